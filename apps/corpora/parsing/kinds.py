"""Which files are taken, and whether a file's content is what its ending says.

Standard library only: both the web process and the confined child import it.
"""

from __future__ import annotations

import codecs
import re
import zipfile
import zlib
from pathlib import Path, PurePosixPath

CHUNK = 1 << 16


MEDIA = {
    "md": "text/markdown",
    "markdown": "text/markdown",
    "txt": "text/plain",
    "text": "text/plain",
    "html": "text/html",
    "htm": "text/html",
    "pdf": "application/pdf",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "odt": "application/vnd.oasis.opendocument.text",
    "ods": "application/vnd.oasis.opendocument.spreadsheet",
    "odp": "application/vnd.oasis.opendocument.presentation",
    "rtf": "application/rtf",
    "csv": "text/csv",
    "tsv": "text/tab-separated-values",
    "jsonl": "application/jsonl",
    "eml": "message/rfc822",
    "msg": "application/vnd.ms-outlook",
    "mbox": "application/mbox",
    "zip": "application/zip",
    "tar": "application/x-tar",
    "tgz": "application/x-tar+gzip",
    "tar.gz": "application/x-tar+gzip",
    "tar.zst": "application/x-tar+zstd",
    "tzst": "application/x-tar+zstd",
    "gz": "application/gzip",
    "zst": "application/zstd",
}
DOUBLE = ("tar.gz", "tar.zst")
# What holds other files and no words of its own, and what the bytes of each begin with.
ARCHIVES = {
    "zip": b"PK",
    "tar": b"",
    "tgz": b"\x1f\x8b",
    "tar.gz": b"\x1f\x8b",
    "gz": b"\x1f\x8b",
    "tar.zst": b"\x28\xb5\x2f\xfd",
    "tzst": b"\x28\xb5\x2f\xfd",
    "zst": b"\x28\xb5\x2f\xfd",
    "mbox": b"From ",
}
MAILS = ("eml", "msg")  # a document with its attachments as inner files
CONTAINERS = (*ARCHIVES, *MAILS)
# Office files are zips; this member says of which kind.
OFFICE = {
    "docx": "word/document.xml",
    "xlsx": "xl/workbook.xml",
    "pptx": "ppt/presentation.xml",
    "odt": "content.xml",
    "ods": "content.xml",
    "odp": "content.xml",
}
ODF = ("odt", "ods", "odp")
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


class RefusedFile(Exception):  # noqa: N818  an outcome, not an error of ours
    """This file cannot be taken, for a reason with a stable code."""

    def __init__(self, code: str, **facts: object) -> None:
        self.code = code
        self.facts = facts
        super().__init__(code, facts)


def extension(name: str) -> str:
    """The ending that decides the type, in lower case and without its dot."""
    lower = name.lower()
    double = next((kind for kind in DOUBLE if lower.endswith(f".{kind}")), "")
    return double or PurePosixPath(lower).suffix.lstrip(".")


def safe_path(name: str) -> str | None:
    """The member's path with plain slashes, or None when it would leave its folder."""
    plain = name.replace("\\", "/")
    parts = PurePosixPath(plain).parts
    if plain.startswith("/") or "\0" in plain or ".." in parts or re.match(r"^[A-Za-z]:", plain):
        return None
    return "/".join(parts) or None


def found(path: Path) -> str:
    """What the content says it is, in a few words for the person who uploaded it."""
    import puremagic  # noqa: PLC0415 - the readers alone load it

    try:
        guesses = puremagic.magic_file(str(path))
    except (puremagic.PureError, ValueError, OSError):
        return "data of an unknown kind"
    named = [guess.name for guess in guesses if guess.name and guess.confidence > 0.1]
    return named[0] if named else "data of an unknown kind"


def check_kind(path: Path, kind: str) -> None:
    """Content and ending must agree. Raises RefusedFile when they do not."""
    head = path.open("rb").read(4096)
    if not head.strip(b"\0 \t\r\n") and not path.read_bytes().strip(b"\0 \t\r\n"):
        raise RefusedFile("file.empty")
    if kind == "pdf":
        check_pdf(path, head)
    elif kind in OFFICE:
        check_office(path, head, kind)
    elif kind in ARCHIVES:
        check_archive(path, head, kind)
    elif kind == "msg":
        if not head.startswith(OLE):
            raise RefusedFile("file.disguised", said=kind, found=found(path))
    elif kind == "rtf":
        if not head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"{\\rtf"):
            raise RefusedFile("file.disguised", said=kind, found=found(path))
    elif head.startswith((b"%PDF-", b"PK\x03\x04", OLE, b"\x7fELF")) or is_binary(head):
        raise RefusedFile("file.disguised", said=kind, found=found(path))


def is_binary(head: bytes) -> bool:
    """Whether these bytes are no text in any encoding we read: NULs without a Unicode mark."""
    return b"\0" in head and not head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))


def check_pdf(path: Path, head: bytes) -> None:
    if b"%PDF-" in head[:1024]:
        return
    what = found(path)
    if what == "data of an unknown kind" and is_binary(head):
        raise RefusedFile("pdf.broken")
    raise RefusedFile("file.disguised", said="pdf", found=what)


def check_office(path: Path, head: bytes, kind: str) -> None:
    if head.startswith(OLE):  # what Office writes for a document with a password
        if "EncryptedPackage".encode("utf-16-le") in path.read_bytes():
            raise RefusedFile("file.encrypted")
        raise RefusedFile("file.disguised", said=kind, found="a document of an older Office")
    if not head.startswith(b"PK"):
        raise RefusedFile("file.disguised", said=kind, found=found(path))
    try:
        with zipfile.ZipFile(path) as office:
            names = set(office.namelist())
            is_right = OFFICE[kind] in names and (kind not in ODF or is_odf(office, kind))
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, RuntimeError) as error:
        raise RefusedFile("file.unreadable", why="the file is damaged or cut short") from error
    if not is_right:
        raise RefusedFile("file.disguised", said=kind, found=found(path))


def is_odf(office: zipfile.ZipFile, kind: str) -> bool:
    """Whether the package says that it is of this kind. Raises RefusedFile("file.encrypted")."""
    names = office.namelist()
    manifest = office.read("META-INF/manifest.xml") if "META-INF/manifest.xml" in names else b""
    if b"encryption-data" in manifest:
        raise RefusedFile("file.encrypted")
    said = office.read("mimetype").decode("ascii", "replace") if "mimetype" in names else ""
    return said.strip().startswith(MEDIA[kind])


def check_archive(path: Path, head: bytes, kind: str) -> None:
    is_right = head[257:262] == b"ustar" if kind == "tar" else head.startswith(ARCHIVES[kind])
    if is_right:
        return
    raise RefusedFile("file.disguised", said=kind, found=found(path))
