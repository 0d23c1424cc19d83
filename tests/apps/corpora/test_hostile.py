"""Hundreds of broken and hostile files: each ends in a state, with a reason; none stops another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from apps.corpora import actions
from apps.corpora.extraction import reading
from apps.corpora.models import Corpus, Tally
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from calm_engine.wording import WORDING, sentence
from tests.apps.corpora import hostile
from tests.apps.corpora.making import make_corpus, outcomes, read_all, send
from tests.cast import Cast

# What must be said of these, and no other word will do.
EXACT = {
    "bomb.zip": "archive.bomb",
    "bomb.gz": "archive.bomb",
    "bomb.zst": "archive.bomb",
    "bomb.tgz": "archive.bomb",
    "bomb.tar.zst": "archive.bomb",
    "sparse.tar": "archive.bomb",
    "laughs.ods": "archive.bomb",
    "laughs.odp": "archive.bomb",
    "laughs.pptx": "archive.bomb",
    "outside.ods": "archive.bomb",
    "outside.odp": "archive.bomb",
    "outside.pptx": "archive.bomb",
    "locked.pdf": "file.encrypted",
    "locked.docx": "file.encrypted",
    "locked.odt": "file.encrypted",
    "scan.pdf": "pdf.no_text",
    "empty.zip": "archive.empty",
    "folders-only.tar": "archive.empty",
    "empty.md": "file.empty",
    "spaces.md": "file.empty",
    "only-script.html": "file.no_text",
    "broken.jsonl": "file.unreadable",
    "no-parts.msg": "file.unreadable",
    "a-nul.txt": "file.disguised",
    **{f"program.{kind}": "file.disguised" for kind in ("pdf", "docx", "zip", "rtf", "txt", "odt")},
    **{f"zeros.{kind}": "file.empty" for kind in ("pdf", "docx", "zip", "txt", "eml", "odt")},
}
READ = ("utf-8-sig.txt", "koi8.txt", "cp1252.txt", "bidi.txt", "charset.eml", "many.mbox")


def said_of(folder: Path, files: dict[str, bytes]) -> dict[str, dict[str, Any]]:
    """What the product says of each file, by name: {"refused", "facts"} or what it read."""
    said = {}
    for name, content in files.items():
        path = folder / "file"
        path.write_bytes(content)
        try:
            with reading(path, name, scratch=folder) as found:
                texts = [one.text for one in found.documents]
                inner = [(one.path, one.file is not None, one.code) for one in found.inner]
                said[name] = {"texts": texts, "inner": inner, "container": found.is_container}
        except InputError as refused:
            said[name] = {"refused": refused.code, "facts": refused.facts}
    return said


def has_died(one: dict[str, Any]) -> bool:
    """Whether the reader ended with an error of its own, which no refusal of ours is."""
    return bool(one.get("facts", {}).get("detail"))


def test_two_hundred_hostile_files_each_end_in_a_state_with_a_reason(tmp_path: Path) -> None:
    made = dict(hostile.files())
    assert len(made) > 200
    said = said_of(tmp_path, made)
    died = {name: one["facts"]["detail"] for name, one in said.items() if has_died(one)}
    assert died == {}, "readers must refuse, not die"
    for name, one in said.items():
        if "refused" in one:
            assert one["refused"] in WORDING, name
            assert sentence(InputError(one["refused"], **one["facts"])).endswith("."), name
            continue
        assert one["texts"] or one["inner"] or one["container"], name
        assert all(text.strip() for text in one["texts"]), name
        for inner, is_kept, code in one["inner"]:
            assert is_kept or code in WORDING, (name, inner)
    told = {name: said[name].get("refused", "read") for name in EXACT}
    assert told == EXACT
    assert {name: said[name].get("refused", "read") for name in READ} == dict.fromkeys(READ, "read")
    assert not any("root:" in json.dumps(one) for one in said.values())


def test_a_whole_file_of_each_kind_is_read(tmp_path: Path) -> None:
    whole = {f"a.{kind}": content for kind, content in hostile.good().items()}
    said = said_of(tmp_path, whole)
    assert {name: one.get("refused", "") for name, one in said.items()} == dict.fromkeys(whole, "")


def test_a_name_in_any_script_is_kept_or_refused_and_never_lost(cast: Cast) -> None:
    names = hostile.names()
    sent = [SimpleUploadedFile("x.txt", b"words %d" % n) for n in range(len(names))]
    with tenant_scope(cast.north):
        upload = actions.receive(make_corpus(cast), sent, by=cast.ada, paths=names)
    with tenant_scope(cast.north):
        assert upload.tally() == Tally(in_progress=len(names) - 1, rejected=1)
        assert upload.items.get(state="rejected").code == "file.path"  # the one with a NUL
        answer = cast.client(cast.ada).get(upload.get_absolute_url())
    assert answer.status_code == 200
    assert "<script>alert(1)</script>" not in answer.content.decode()


def test_no_file_stops_another(cast: Cast) -> None:
    some = dict(list(hostile.files())[1::43])
    upload = send(cast, make_corpus(cast), some | {"good.txt": b"Country: Peru"})
    read_all(cast, upload)
    with tenant_scope(cast.north):
        assert upload.tally().in_progress == 0
        for item in upload.items.exclude(code=""):
            assert item.reason.endswith("."), item.path
    assert outcomes(cast, upload)["good.txt"] == "stored"


def test_ten_thousand_pages_are_read_each_at_its_place(tmp_path: Path) -> None:
    lines = [b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"]
    count = 10_000
    kids = b" ".join(b"%d 0 R" % (n + 4) for n in range(count))
    lines.append(b"2 0 obj<</Type/Pages/Count %d/Kids[%s]>>endobj\n" % (count, kids))
    words = b"BT /F1 12 Tf 72 720 Td (Country: Peru) Tj ET"
    lines.append(b"3 0 obj<</Length %d>>stream\n%s\nendstream endobj\n" % (len(words), words))
    font = b"/Resources<</Font<</F1<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>>>"
    page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 3 0 R%s>>" % font
    lines += [b"%d 0 obj%sendobj\n" % (n + 4, page) for n in range(count)]
    lines.append(b"trailer<</Root 1 0 R/Size %d>>\n%%%%EOF" % (count + 4))
    path = tmp_path / "long.pdf"
    path.write_bytes(b"".join(lines))
    with reading(path, "long.pdf") as found:
        assert len(found.documents[0].pages) == count


paths = st.text(max_size=60)
contents = st.binary(max_size=300)


@effort(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(paths, contents), max_size=5))
def test_whatever_is_handed_over_the_equation_balances(
    cast: Cast, given_files: list[tuple[str, bytes]]
) -> None:
    sent = [SimpleUploadedFile("x.txt", content) for _path, content in given_files]
    with tenant_scope(cast.north):
        corpus = Corpus.objects.first() or actions.create_corpus("Any", by=cast.ada)
        upload = actions.receive(
            corpus, sent, by=cast.ada, paths=[path for path, _content in given_files]
        )
        tally = upload.tally()
        assert tally.received == len(given_files)
        assert tally.received == tally.in_progress + tally.rejected


@effort(max_examples=40, deadline=None)
@given(st.text(max_size=80))
def test_no_path_leads_out_of_its_folder(path: str) -> None:
    from apps.corpora.parsing.kinds import safe_path  # noqa: PLC0415  beside its law

    safe = safe_path(path)
    assert safe is None or (not safe.startswith("/") and ".." not in safe.split("/"))


@pytest.mark.parametrize("declared", [1 << 32, 1 << 40])
def test_four_gigabytes_of_nothing_are_refused_by_their_size(cast: Cast, declared: int) -> None:
    file = SimpleUploadedFile("sparse.txt", b"x")
    file.size = declared
    with tenant_scope(cast.north):
        upload = actions.receive(make_corpus(cast), [file], by=cast.ada)
    assert outcomes(cast, upload) == {"sparse.txt": "file.too_large"}
