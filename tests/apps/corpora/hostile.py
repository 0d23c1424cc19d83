"""Broken and hostile files by the hundred, each made by code, the same in every run.

`files()` gives (name, content) for what a reader must survive; `names()` gives names for harmless
content. What each must end as stands in `test_hostile.py`.
"""

from __future__ import annotations

import bz2
import gzip
import io
import random
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from email.message import EmailMessage

import zstandard

from tests.apps.corpora import making

ODF = {
    "odt": ("text", "<office:text><text:p>Country: Peru</text:p></office:text>"),
    "ods": (
        "spreadsheet",
        """<office:spreadsheet><table:table table:name="One"><table:table-row>
        <table:table-cell><text:p>Peru</text:p></table:table-cell></table:table-row>
        </table:table></office:spreadsheet>""",
    ),
    "odp": (
        "presentation",
        """<office:presentation><draw:page><draw:frame><draw:text-box><text:p>Country: Peru
        </text:p></draw:text-box></draw:frame></draw:page></office:presentation>""",
    ),
}
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
NAMES = "".join(
    f' xmlns:{short}="urn:oasis:names:tc:opendocument:xmlns:{full}:1.0"'
    for short, full in {
        "office": "office",
        "text": "text",
        "table": "table",
        "draw": "drawing",
    }.items()
)
LAUGHS = (
    '<!DOCTYPE b [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10 if n else "&a;" * 10}">' for n in range(9))
    + "]>"
)
OUTSIDE = '<!DOCTYPE b [<!ENTITY a8 SYSTEM "file:///etc/passwd">]>'


def as_odf(kind: str, doctype: str = "", extra: str = "", manifest: str = "") -> bytes:
    full, body = ODF[kind]
    root = f"<office:document-content{NAMES}><office:body>{body}{extra}</office:body>"
    return making.as_zip(
        {
            "mimetype": f"application/vnd.oasis.opendocument.{full}".encode(),
            "content.xml": f"{doctype}{root}</office:document-content>".encode(),
            "META-INF/manifest.xml": f"<manifest>{manifest}</manifest>".encode(),
        }
    )


def as_pptx() -> bytes:
    from pptx import Presentation  # noqa: PLC0415  a slow import, for these files alone

    deck, out = Presentation(), io.BytesIO()
    for word in ("First", "Second"):
        slide = deck.slides.add_slide(deck.slide_layouts[1])
        slide.shapes.title.text = word
        slide.placeholders[1].text = f"Country: {word}"
        slide.notes_slide.notes_text_frame.text = f"Say {word}"
    deck.save(out)
    return out.getvalue()


def as_rtf() -> bytes:
    return rb"{\rtf1\ansi{\fonttbl{\f0 Arial;}}\f0 Country: Peru\par City: C\u244?te\par}"


def as_tar(mode: str = "w", **members: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]  # a mode
        for name, content in (members or {"a.txt": b"words"}).items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def zst(content: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(content)


def good() -> dict[str, bytes]:
    """One whole file of each kind."""
    text = b"Country: Peru. The gauge is made in Lima and checked each year.\n" * 4
    return {
        "pdf": making.as_pdf("Country: Peru", "City: Lima"),
        "docx": making.as_docx("Country: Peru"),
        "xlsx": making.as_xlsx(),
        "pptx": as_pptx(),
        **{kind: as_odf(kind) for kind in ODF},
        "rtf": as_rtf(),
        "html": b"<html><body><h1>Country</h1><p>Peru</p></body></html>",
        "csv": making.as_csv(),
        "jsonl": b'{"Country": "Peru"}\n{"City": "Lima"}\n',
        "eml": making.as_mail("Country: Peru", a_txt=b"words"),
        "mbox": b"From a@b Sat Jan  3 01:05:34 1996\n" + making.as_mail("Country: Peru") + b"\n",
        "zip": making.as_zip({"a.txt": text}),
        "tar": as_tar(),
        "tgz": as_tar("w:gz"),
        "tar.zst": zst(as_tar()),
        "gz": gzip.compress(text, mtime=0),
        "zst": zst(text),
        "txt": text,
        "md": b"# Peru\n\n" + text,
    }


def files() -> Iterator[tuple[str, bytes]]:
    """(name, content), each name once."""
    whole = good()
    yield from cut(whole)
    yield from flipped(whole)
    yield from disguised(whole)
    yield from encodings()
    yield from entities()
    yield from archives()
    yield from mails()
    yield from documents()


def cut(whole: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    for kind, content in whole.items():
        for share in (0.25, 0.5, 0.99):
            yield f"cut-{share}.{kind}", content[: max(1, int(len(content) * share))]


def flipped(whole: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    for kind, content in whole.items():
        for seed in range(2):
            chance, broken = random.Random(f"{kind}{seed}"), bytearray(content)  # noqa: S311  no secret
            for _ in range(max(3, len(broken) // 200)):
                broken[chance.randrange(len(broken))] = chance.randrange(256)
            yield f"flipped-{seed}.{kind}", bytes(broken)


def disguised(whole: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    for kind in whole:
        for other in ("pdf", "docx", "zip", "gz", "rtf"):
            if other != kind:
                yield f"really-{other}.{kind}", whole[other]
        yield f"program.{kind}", making.ELF
        yield f"zeros.{kind}", b"\0" * 5000


def encodings() -> Iterator[tuple[str, bytes]]:
    words = "Größe: Überprüfung in Köln. Страна: Перу. 国: ペルー. "
    for charset in ("utf-16-le", "utf-16-be", "utf-32", "utf-8-sig", "gb18030", "utf-7"):
        yield f"{charset}.txt", words.encode(charset) * 5
    yield "shift-jis.txt", "国名はペルーです。".encode("shift-jis") * 5
    yield "koi8.txt", "Страна производства Перу. ".encode("koi8-r") * 5
    yield "cp1252.txt", "Größe: Überprüfung".encode("cp1252") * 5
    yield "overlong.txt", b"words \xc0\xaf\xe0\x80\xaf words"
    yield "half-characters.txt", b"words \xed\xa0\x80 words"
    yield "noncharacters.txt", "words \ufffe\uffff words".encode()
    yield "a-nul.txt", b"words\0words"
    yield "only-a-mark.txt", b"\xef\xbb\xbf"
    yield "controls.txt", bytes(range(1, 32)) + b"words"
    yield "declared.html", b'<meta charset="no-such-charset"><p>words</p>'
    yield "bidi.txt", "words \u202ereversed\u202c words".encode()
    yield "random.txt", random.Random(1).randbytes(4000)  # noqa: S311  no secret


def entities() -> Iterator[tuple[str, bytes]]:
    parts = {"docx": "word/document.xml", "xlsx": "xl/workbook.xml", "pptx": "ppt/presentation.xml"}
    whole = {"docx": making.as_docx("words"), "xlsx": making.as_xlsx(), "pptx": as_pptx()}
    for label, doctype in (("laughs", LAUGHS), ("outside", OUTSIDE)):
        for kind in ODF:
            yield f"{label}.{kind}", as_odf(kind, doctype, "<text:p>&a8;</text:p>")
        for kind, part in parts.items():
            out = io.BytesIO()
            with zipfile.ZipFile(io.BytesIO(whole[kind])) as old, zipfile.ZipFile(out, "w") as new:
                for name in old.namelist():
                    content = old.read(name)
                    if name == part:
                        head, _mark, rest = content.partition(b"?>")
                        content = head + b"?>" + doctype.encode() + rest
                    new.writestr(name, content)
            yield f"{label}.{kind}", out.getvalue()


def archives() -> Iterator[tuple[str, bytes]]:
    yield "bomb.zip", making.as_bomb(64)
    yield "bomb.gz", gzip.compress(b"\0" * (64 << 20), mtime=0)
    yield "bomb.zst", zst(b"\0" * (64 << 20))
    yield "bomb.tgz", as_tar("w:gz", big=b"\0" * (64 << 20))
    yield "bomb.tar.zst", zst(as_tar(big=b"\0" * (64 << 20)))
    yield "locked.zip", making.as_locked_zip()
    yield "empty.zip", making.as_zip({})
    yield "not-utf8-name.zip", making.as_zip({"a.txt": b"words"}).replace(b"a.txt", b"\xff.txt")
    yield "folders-only.tar", folders()
    yield "window.zst", b"\x28\xb5\x2f\xfd\x00\xf8" + b"\x01\x00\x00" + b"x" * 20
    yield "wrong-sum.gz", gzip.compress(b"words" * 50, mtime=0)[:-8] + b"\0" * 8
    yield "bzip.zip", bzipped()
    yield "two-of-one-name.zip", twice()
    yield "prefix.zip", b"MZ garbage" * 9 + making.as_zip({"a.txt": b"words"})
    yield "huge-declared.tar", huge()
    for label, kind in (
        ("symlink", tarfile.SYMTYPE),
        ("hardlink", tarfile.LNKTYPE),
        ("device", tarfile.CHRTYPE),
        ("pipe", tarfile.FIFOTYPE),
    ):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as archive:
            info = tarfile.TarInfo("a.txt")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        yield f"{label}.tar", out.getvalue()
    for number, path in enumerate(
        ("../up.txt", "/etc/root.txt", "C:\\drive.txt", "a/../../up.txt", "..\\up.txt", "//h/s.txt")
    ):
        yield f"path-{number}.zip", making.as_zip({path: b"words"})
        yield f"path-{number}.tar", as_tar(**{path: b"words"})
    yield "sparse.tar", sparse()


def folders() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("folder")
        info.type = tarfile.DIRTYPE
        archive.addfile(info)
    return out.getvalue()


def bzipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a.txt", "words")
    assert bz2.compress(b"words")[:3] in out.getvalue()
    return out.getvalue()


def twice() -> bytes:
    packed = making.as_zip({"a.txt": b"one", "b.txt": b"two"})
    return packed.replace(b"b.txt", b"a.txt")


def huge() -> bytes:
    """A header that says 8 GB, and no such bytes behind it."""
    info = tarfile.TarInfo("a.txt")
    info.size = 8 << 30
    return info.tobuf(tarfile.GNU_FORMAT) + b"words".ljust(1024, b"\0")


def sparse() -> bytes:
    """An old GNU sparse member: 4 GB of nothing, in one block."""
    head = bytearray(tarfile.TarInfo("a.txt").tobuf(tarfile.GNU_FORMAT))
    head[156:157] = b"S"
    head[386:410] = b"%011o\0%011o\0" % (0, 0)
    head[483:495] = b"%011o\0" % (4 << 30)
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head[:512])
    return bytes(head) + b"\0" * 1024


def mails() -> Iterator[tuple[str, bytes]]:
    deep: EmailMessage | None = None
    for _ in range(60):
        outer = EmailMessage()
        outer["Subject"] = "Fwd"
        outer.set_content("words")
        if deep is not None:
            outer.add_attachment(deep)
        deep = outer
    assert deep is not None
    yield "loop.eml", bytes(deep)
    yield (
        "no-end.eml",
        (b"Subject: x\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nwords never end"),
    )
    yield "no-boundary.eml", b"Subject: x\nContent-Type: multipart/mixed\n\nwords"
    yield "charset.eml", b"Subject: x\nContent-Type: text/plain; charset=no-such\n\nw\xf6rds"
    yield (
        "base64.eml",
        (b"Subject: x\nContent-Transfer-Encoding: base64\n\n!!!not base64"),
    )
    yield "heads.eml", b"Subject: x\n" + b"X-A: b\n" * 20_000 + b"\nwords"
    yield "long-head.eml", b"Subject: " + b"word " * 50_000 + b"\n\nwords"
    yield "broken-heads.eml", b"Subject: =?utf-8?b?!!!?=\nFrom: <<<>>>@@\nDate: never\n\nwords"
    yield "nul.eml", b"Subject: x\0y\nFrom: a@b\n\nwords\0"
    yield (
        "names.eml",
        making.as_mail("words").replace(
            b"Subject: Ticket 12",
            b"Subject: x\nContent-Disposition: attachment; filename*=bad''%ff",
        ),
    )
    yield "no-mail.mbox", b"From here on these are only words\n"
    yield (
        "many.mbox",
        b"".join(
            b"From a@b Sat Jan  3 01:05:34 1996\nSubject: n\n\nwords %d\n\n" % n for n in range(60)
        ),
    )
    yield "no-parts.msg", OLE + b"\0" * 1536


def documents() -> Iterator[tuple[str, bytes]]:
    yield "locked.pdf", making.as_pdf("words", password="secret")
    yield "scan.pdf", making.as_scan()
    yield (
        "locked.docx",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le"),
    )
    yield "locked.odt", as_odf("odt", manifest="<encryption-data/>")
    yield "looping-tree.pdf", pdf(b"<</Type/Pages/Kids[2 0 R 2 0 R]/Count 2>>")
    yield "huge-count.pdf", pdf(b"<</Type/Pages/Kids[]/Count 99999999>>")
    yield "huge-picture.pdf", picture()
    yield "stream-bomb.pdf", stream(zlib.compress(b"0 " * (16 << 20)))
    yield (
        "script.pdf",
        pdf(b"<</Kids[]/Count 0>>", b"/OpenAction<</S/JavaScript/JS(x)>>"),
    )
    yield (
        "repeated.ods",
        as_odf(
            "ods",
            extra='<table:table><table:table-row table:number-rows-repeated="1048576">'
            '<table:table-cell table:number-columns-repeated="16384"><text:p>x</text:p>'
            "</table:table-cell></table:table-row></table:table>",
        ),
    )
    yield "deep.html", b"<div>" * 50_000 + b"words"
    yield "attributes.html", b"<p " + b"a=b " * 50_000 + b">words</p>"
    yield "only-script.html", b"<script>alert(1)</script>"
    yield "deep.jsonl", b"[" * 50_000 + b"\n"
    yield "number.jsonl", b"1" * 100_000 + b"\n"
    yield "broken.jsonl", b'{"a": \n'
    yield "columns.csv", b",".join(b"x" for _ in range(20_000)) + b"\n1\n"
    yield "unclosed.csv", b'a,b\n"never closed,1\n2,3\n'
    yield "nul.csv", b"a,b\n1,\0\n"
    yield "one-line.txt", b"word" * 500_000
    yield "deep.rtf", b"{\\rtf1" + b"{" * 50_000 + b"words"
    yield "binary.rtf", b"{\\rtf1\\bin2000000000 x}"
    yield "marks.md", b"*" * 100_000
    yield "empty.md", b""
    yield "spaces.md", b" \n\t \r\n"


def pdf(pages: bytes, more: bytes = b"") -> bytes:
    body = b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R" + more + b">>endobj\n2 0 obj" + pages
    return body + b"endobj\ntrailer<</Root 1 0 R>>\n%%EOF"


def stream(packed: bytes, heads: bytes = b"/Filter/FlateDecode") -> bytes:
    return (
        b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
        b"2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
        b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents 4 0 R>>endobj\n"
        b"4 0 obj<<"
        + heads
        + b"/Length %d>>stream\n" % len(packed)
        + packed
        + b"\nendstream endobj\n"
        b"trailer<</Root 1 0 R>>\n%%EOF"
    )


def picture() -> bytes:
    """A page whose only picture says that it is a hundred thousand pixels wide and high."""
    heads = b"/Type/XObject/Subtype/Image/Width 100000/Height 100000/BitsPerComponent 8"
    return stream(zlib.compress(b"\0" * 1000), heads + b"/ColorSpace/DeviceRGB/Filter/FlateDecode")


def names() -> list[str]:
    """File names that a company's drives really hold, and some that only an attacker sends."""
    scripts = (
        "Übersicht", "отчёт", "合同", "契約書", "계약", "عقد", "חוזה", "สัญญา", "σύμβαση",
        "պայմանագիր", "કરાર", "ಒಪ್ಪಂದ", "nº 7", "e\u0301te\u0301", "\U0001d518", "📄 offer",
    )  # fmt: skip
    odd = (
        "a\u202etxt.exe", "CON", "  spaces  ", "-rf", "--help", "a;b|c&d", "$(id)", "`id`", "'q\"q",
        "<script>alert(1)</script>", "=cmd()", "new\nline", "tab\tbed", "a\x1bb", ".hidden",
        "a" * 4096, "長" * 1365, "nul\0byte", "half\ud800", "%2e%2e%2f", "~root", "a\u200bb",
    )  # fmt: skip
    return [f"{name}.txt" for name in (*scripts, *odd)]
