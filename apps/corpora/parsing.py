"""Reads one foreign file inside a confined child process. Knows nothing of Django or of tenants.

Started by `apps.corpora.extraction` as a program of its own, so it imports nothing of ours: a file
that breaks a parser breaks only this process. It reads `request.json` in its working folder and
leaves `answer.json` there: texts, inner files of a container, or a refusal with a stable code.
"""

from __future__ import annotations

import codecs
import csv
import ctypes
import email
import email.policy
import errno
import html
import io
import json
import os
import re
import resource
import signal
import stat
import sys
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

DISK_FULL = 28  # our exit status when the scratch folder's disk is full: nothing can be written
CHUNK = 1 << 16
RATIO_FREE = 16 << 20  # bytes unpacked before the ratio is judged: small tables compress well

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
    "csv": "text/csv",
    "tsv": "text/tab-separated-values",
    "jsonl": "application/jsonl",
    "eml": "message/rfc822",
    "zip": "application/zip",
    "tar": "application/x-tar",
    "tgz": "application/x-tar+gzip",
    "tar.gz": "application/x-tar+gzip",
}
ARCHIVES = ("zip", "tar", "tgz", "tar.gz")
OFFICE = {"docx": "word/document.xml", "xlsx": "xl/workbook.xml", "pptx": "ppt/presentation.xml"}
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


class RefusedFile(Exception):  # noqa: N818  an outcome, not an error of ours
    """This file cannot be taken, for a reason with a stable code."""

    def __init__(self, code: str, **facts: object) -> None:
        self.code = code
        self.facts = facts
        super().__init__(code, facts)


@dataclass(frozen=True)
class Caps:
    """How much one container may unpack to: bytes in all, files, and bytes out per byte in."""

    unpacked: int
    members: int
    ratio: int


def extension(name: str) -> str:
    """The ending that decides the type, in lower case and without its dot."""
    lower = name.lower()
    return "tar.gz" if lower.endswith(".tar.gz") else PurePosixPath(lower).suffix.lstrip(".")


# --- confinement -----------------------------------------------------------------------------


def confine(limits: dict[str, int]) -> None:
    """Bound memory, time, open files and file size, and give up the network where we may.

    Called before any parser is imported. The parent-death signal ends us with the worker.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != limits["parent"]:  # it died before the line above
        os._exit(1)
    for flags in (0x40000000, 0x50000000):  # CLONE_NEWNET as root, else with CLONE_NEWUSER
        if libc.unshare(flags) == 0:
            break
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (limits["memory"], limits["memory"]))
    resource.setrlimit(resource.RLIMIT_CPU, (limits["cpu"], limits["cpu"] + 5))
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits["files"], limits["files"]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits["unpacked"], limits["unpacked"]))


# --- what a file really is -------------------------------------------------------------------


def found(path: Path) -> str:
    """What the content says it is, in a few words for the person who uploaded it."""
    import puremagic  # noqa: PLC0415 - only after confine()

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
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise RefusedFile("file.unreadable", why="the file is damaged or cut short") from error
    if OFFICE[kind] not in names:
        raise RefusedFile("file.disguised", said=kind, found=found(path))


def check_archive(path: Path, head: bytes, kind: str) -> None:
    looks = {"zip": head.startswith(b"PK"), "tar": head[257:262] == b"ustar"}
    if looks.get(kind, head.startswith(b"\x1f\x8b")):
        return
    raise RefusedFile("file.disguised", said=kind, found=found(path))


# --- text ------------------------------------------------------------------------------------


def decoded(data: bytes) -> str:
    """Text of bytes in an unknown charset: marks first, then UTF-8, then the likeliest."""
    for mark, charset in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if data.startswith(mark):
            return data.decode(charset, errors="replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return guessed(data)


def guessed(data: bytes) -> str:
    """A legacy charset: Windows-1252 when every byte has a meaning there, else a detector's word.

    Short texts mislead detectors, and Western Windows is what old exports mostly are; a detector
    is asked only where it sees more than a stray accent.
    """
    from charset_normalizer import from_bytes  # noqa: PLC0415 - only after confine()

    share = sum(byte > 127 for byte in data) / len(data)
    best = from_bytes(data).best() if share > 0.15 else None
    if best is not None:
        return str(best)
    return data.decode("cp1252", errors="replace")


def tidy(text: str) -> str:
    """One form for all texts: composed Unicode, plain line ends, no control characters."""
    text = unicodedata.normalize("NFC", text).replace("\r\n", "\n").replace("\r", "\n")
    text = "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs"))
    text = re.sub(r"[ \t]+\n", "\n", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def cell(value: object) -> str:
    return re.sub(r"\s+", " ", str(value if value is not None else "")).strip().replace("|", "\\|")


def as_table(rows: list[list[str]]) -> str:
    """Rows as a Markdown table; the first row is the heading. Shorter rows are filled up."""
    width = max(len(row) for row in rows)
    lines = [
        "| " + " | ".join([cell(c) for c in row] + [""] * (width - len(row))) + " |" for row in rows
    ]
    return "\n".join([lines[0], "|" + " --- |" * width, *lines[1:]])


def slimmed(text: str) -> str:
    """Converted text without what says nothing: padding of table rows, marks of bold and italic."""
    text = re.sub(r"(\*\*|__)(?=\S)([^\n]+?)(?<=\S)\1", r"\2", text)
    lines = []
    for line in text.split("\n"):
        row = line.lstrip().startswith("|")
        lines.append(re.sub(r"-{4,}", "---", re.sub(r" {2,}", " ", line)) if row else line)
    return "\n".join(lines)


# --- readers, one a type: each gives (title or "", text, facts) -------------------------------

Read = tuple[str, str, dict[str, Any]]


def read_markdown(path: Path) -> Read:
    text = decoded(path.read_bytes())
    heading = re.search(r"^#\s+(.+)$", text, re.MULTILINE)
    return (heading.group(1).strip() if heading else ""), text, {}


def read_plain(path: Path) -> Read:
    return "", decoded(path.read_bytes()), {}


def read_csv(path: Path, delimiter: str = "") -> Read:
    csv.field_size_limit(16 << 20)
    text = decoded(path.read_bytes())
    if not delimiter:
        try:
            delimiter = csv.Sniffer().sniff(text[:8192], delimiters=",;\t|").delimiter
        except csv.Error:
            delimiter = ","
    try:
        rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if any(row)]
    except csv.Error as error:
        raise RefusedFile("file.unreadable", why=f"not a table: {error}") from error
    if not rows:
        raise RefusedFile("file.empty")
    return "", as_table(rows), {"rows": len(rows) - 1}


def read_tsv(path: Path) -> Read:
    return read_csv(path, delimiter="\t")


def read_jsonl(path: Path) -> Read:
    blocks = []
    for number, line in enumerate(decoded(path.read_bytes()).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            blocks.append(as_block(json.loads(line)))
        except (ValueError, RecursionError) as error:
            raise RefusedFile("file.unreadable", why=f"line {number} is not JSON") from error
    return "", "\n\n".join(blocks), {"rows": len(blocks)}


def as_block(value: object) -> str:
    """One JSON value as lines; a row with a title and a text becomes a heading and a text."""
    if not isinstance(value, dict):
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    lines = []
    for key, said in value.items():
        flat = said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)
        lines.append({"title": f"# {flat}\n", "text": flat}.get(str(key), f"{key}: {flat}"))
    return "\n".join(lines)


def read_html(path: Path) -> Read:
    data = path.read_bytes()
    declared = re.search(rb"<meta[^>]+charset=[\"']?([\w-]+)", data[:4096], re.IGNORECASE)
    try:
        source = data.decode(declared.group(1).decode("ascii") if declared else "utf-8")
    except (UnicodeDecodeError, LookupError):
        source = decoded(data)
    return markup(source)


def markup(source: str) -> Read:
    """HTML as Markdown: tables stay tables, definition lists become `Key: value` lines."""
    title = re.search(r"<title[^>]*>(.*?)</title>", source, re.IGNORECASE | re.DOTALL)
    body = re.sub(r"<head[\s>].*?</head>", "", source, flags=re.IGNORECASE | re.DOTALL)
    body = re.sub(r"<title[\s>].*?</title>", "", body, flags=re.IGNORECASE | re.DOTALL)
    body = re.sub(r":?\s*</dt>\s*<dd[^>]*>", ": ", body, flags=re.IGNORECASE)
    text = slimmed(str(converted(f"<body>{body}</body>".encode(), "text/html").content))
    name = cell(html.unescape(title.group(1))) if title else ""
    return name, html.unescape(text), {}


def converted(source: Path | bytes, media_type: str, *, pages: bool = False) -> Any:
    """What the extraction library makes of a file or of bytes. Raises RefusedFile in its words."""
    import kreuzberg as k  # noqa: PLC0415 - a large library, loaded only after confine()

    config = k.ExtractionConfig(
        output_format="plain" if pages else "markdown",
        use_cache=False,
        concurrency=k.ConcurrencyConfig(max_threads=1),
        pages=k.PageConfig(extract_pages=True) if pages else None,
        content_filter=k.ContentFilterConfig(include_headers=True, include_footers=True),
    )
    try:
        if isinstance(source, Path):
            return k.extract_file_sync(str(source), mime_type=media_type, config=config)
        return k.extract_bytes_sync(source, media_type, config=config)
    except k.KreuzbergError as error:
        raise refusal(str(error), media_type) from error


def refusal(said: str, media_type: str) -> RefusedFile:
    lower = said.lower()
    if "password" in lower or "encrypt" in lower:
        return RefusedFile("file.encrypted")
    if "security limit" in lower or "bomb" in lower:
        return RefusedFile("archive.bomb")
    if media_type == MEDIA["pdf"]:
        return RefusedFile("pdf.broken")
    return RefusedFile("file.unreadable", why="the file is damaged or not complete")


def read_pdf(path: Path) -> Read:
    """Page by page, line by line; a table that was recognised whole follows its page."""
    result = converted(path, MEDIA["pdf"], pages=True)
    pages = list(result.pages or [])
    parts = []
    for page in pages:
        parts.append(str(page["content"]))
        parts += [slimmed(t.markdown) for t in page["tables"] if is_whole(t.cells)]
    blank = sum(not str(page["content"]).strip() for page in pages)
    if not "".join(parts).strip():
        raise RefusedFile("pdf.no_text", pages=len(pages))
    facts = {"pages": len(pages)} | ({"pages_without_text": blank} if blank else {})
    return str((result.metadata or {}).get("title") or ""), "\n\n".join(parts), facts


def is_whole(cells: list[list[str]]) -> bool:
    """Whether a table guessed from positions is one: a full heading, two columns, few holes."""
    if len(cells) < 2 or len(cells[0]) < 2 or not all(c.strip() for c in cells[0]):
        return False
    filled = sum(bool(c.strip()) for row in cells for c in row)
    return filled >= 0.9 * sum(len(row) for row in cells)


def read_office(path: Path, *, kind: str) -> Read:
    weigh_office(path)
    result = converted(path, MEDIA[kind])
    text = slimmed(str(result.content))
    # A sheet's name stands over its table, but it names a part; a document begins with its title.
    heading = re.match(r"\s*#{1,2}\s+(.+)", text) if kind != "xlsx" else None
    return (heading.group(1).strip() if heading else ""), text, {}


def weigh_office(path: Path) -> None:
    """Office files are zips: unpack them once into nothing, so that a bomb is named as one."""
    with zipfile.ZipFile(path) as office:
        tally = Tally(Caps(unpacked=512 << 20, members=20_000, ratio=400), path.stat().st_size)
        for info in office.infolist():
            tally.member()
            try:
                with office.open(info) as stream:
                    while piece := stream.read(CHUNK):
                        tally.add(len(piece))
            except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
                why = "the file is damaged or not complete"
                raise RefusedFile("file.unreadable", why=why) from error


def parsed_mail(path: Path) -> EmailMessage:
    with path.open("rb") as file:
        message = email.message_from_binary_file(file, policy=email.policy.default)
    if not any(message.get(name) for name in ("From", "To", "Subject", "Date", "Received")):
        raise RefusedFile("file.unreadable", why="it has no mail headers")
    return message


def read_mail(path: Path) -> Read:
    message = parsed_mail(path)
    heads = [
        f"{name}: {message[name]}" for name in ("Subject", "From", "To", "Date") if message[name]
    ]
    body = message.get_body(("plain", "html"))
    text = ""
    if body is not None:
        text = str(body.get_content())
        text = markup(text)[1] if body.get_content_subtype() == "html" else text
    return str(message["Subject"] or ""), "\n".join(heads) + "\n\n" + text, {}


READERS: dict[str, Callable[[Path], Read]] = {
    "md": read_markdown,
    "markdown": read_markdown,
    "txt": read_plain,
    "text": read_plain,
    "html": read_html,
    "htm": read_html,
    "pdf": read_pdf,
    **{kind: partial(read_office, kind=kind) for kind in OFFICE},
    "csv": read_csv,
    "tsv": read_tsv,
    "jsonl": read_jsonl,
    "eml": read_mail,
}


def document(path: Path, name: str) -> dict[str, Any]:
    """One file as one document: title, text, media type, language and small facts."""
    kind = extension(name)
    title, text, facts = READERS[kind](path)
    text = tidy(text)
    if not re.search(r"\w", text):
        raise RefusedFile("file.no_text")
    stem = PurePosixPath(name).name.removesuffix(f".{kind}")
    title = "" if title.strip().lower() in ("(anonymous)", "untitled") else cell(title)
    return {
        "title": (title or stem).replace("\\|", "|")[:200],
        "text": text,
        "media_type": MEDIA[kind],
        "language": language(text),
        "facts": facts,
    }


def language(text: str) -> str:
    """ISO 639-3 code of the likeliest language, or "" when the text is too short to tell."""
    import kreuzberg as k  # noqa: PLC0415 - only after confine()

    config = k.ExtractionConfig(
        use_cache=False, language_detection=k.LanguageDetectionConfig(enabled=True)
    )
    sample = text[:20_000].encode()
    languages = k.extract_bytes_sync(sample, "text/plain", config=config).detected_languages
    return languages[0] if languages else ""


# --- containers ------------------------------------------------------------------------------


class Tally:
    """Counts what a container really gives, because its headers may lie."""

    def __init__(self, caps: Caps, packed: int) -> None:
        self.caps = caps
        self.packed = max(packed, 1)
        self.bytes = 0
        self.members = 0

    def member(self) -> None:
        self.members += 1
        if self.members > self.caps.members:
            raise RefusedFile("archive.bomb", limit=f"{self.caps.members} files")

    def add(self, count: int) -> None:
        self.bytes += count
        if self.bytes > self.caps.unpacked:
            raise RefusedFile("archive.bomb", limit=f"{self.caps.unpacked >> 20} MB unpacked")
        if self.bytes > max(RATIO_FREE, self.packed * self.caps.ratio):
            raise RefusedFile("archive.bomb", limit=f"{self.caps.ratio} times its own size")


Member = tuple[str, str, IO[bytes] | None]  # its path, the code that refuses it or "", its bytes


def safe_path(name: str) -> str | None:
    """The member's path with plain slashes, or None when it would leave its folder."""
    plain = name.replace("\\", "/")
    parts = PurePosixPath(plain).parts
    if plain.startswith("/") or "\0" in plain or ".." in parts or re.match(r"^[A-Za-z]:", plain):
        return None
    return "/".join(parts) or None


def zip_members(path: Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.is_dir():
                continue
            if info.flag_bits & 1:
                yield info.filename, "file.encrypted", None
            elif stat.S_ISLNK(info.external_attr >> 16):
                yield info.filename, "archive.path", None
            else:
                try:
                    stream = archive.open(info)
                except (zipfile.BadZipFile, NotImplementedError, RuntimeError):
                    yield info.filename, "file.unreadable", None
                else:
                    with stream:
                        yield info.filename, "", stream


def tar_members(path: Path) -> Iterator[Member]:
    """Read as a stream, so that a lying size cannot make us seek or allocate."""
    with tarfile.open(path, "r|*") as archive:
        for info in archive:
            if info.isdir():
                continue
            if not info.isreg():
                yield info.name, "archive.path", None  # links and devices
            else:
                yield info.name, "", archive.extractfile(info)


def mail_members(path: Path) -> Iterator[Member]:
    for number, part in enumerate(parsed_mail(path).iter_attachments(), start=1):
        if part.get_content_type() == "message/rfc822":
            inner = part.get_content()
            yield part.get_filename() or f"mail-{number}.eml", "", io.BytesIO(bytes(inner))
            continue
        payload = part.get_payload(decode=True)
        data = payload if isinstance(payload, bytes) else b""
        yield part.get_filename() or f"attachment-{number}", "", io.BytesIO(data)


def members_of(path: Path, kind: str) -> Iterator[Member]:
    if kind == "eml":
        return mail_members(path)
    return zip_members(path) if kind == "zip" else tar_members(path)


def unpack(path: Path, kind: str, folder: Path, caps: Caps) -> list[dict[str, Any]]:
    """Write each inner file under a number in `folder`; one outcome for each.

    Returns [{"path", "file" (number or ""), "code", "facts"}]. Raises RefusedFile("archive.bomb")
    when the whole passes a cap: then nothing of it is kept.
    """
    tally = Tally(caps, path.stat().st_size)
    inner: list[dict[str, Any]] = []
    try:
        for name, code, stream in members_of(path, kind):
            tally.member()
            inner.append(outcome(name, code, stream, folder / str(len(inner)), tally))
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, ValueError) as error:
        why = "the archive is damaged or not complete"
        if not inner:
            raise RefusedFile("file.unreadable", why=why) from error
        # What came before the damage is kept; the damage itself is one more outcome.
        inner.append(
            {"path": "(the rest)", "file": "", "code": "file.unreadable", "facts": {"why": why}}
        )
    return inner


def outcome(
    name: str, code: str, stream: IO[bytes] | None, target: Path, tally: Tally
) -> dict[str, Any]:
    path = safe_path(name)
    if path is None or code or stream is None:
        said = code if path is not None and code else "archive.path"
        return {"path": path or name, "file": "", "code": said, "facts": {}}
    try:
        with target.open("wb") as out:
            while piece := stream.read(CHUNK):
                tally.add(len(piece))
                out.write(piece)
    except (zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError) as error:
        target.unlink(missing_ok=True)
        facts = {"why": f"it is damaged inside the archive: {type(error).__name__}"}
        return {"path": path, "file": "", "code": "file.unreadable", "facts": facts}
    return {"path": path, "file": target.name, "code": "", "facts": {}}


# --- the program -----------------------------------------------------------------------------


def read(path: Path, name: str, folder: Path, caps: Caps) -> dict[str, Any]:
    """Everything one file gives: its document, its inner files, or both (a mail)."""
    kind = extension(name)
    if kind not in MEDIA:
        raise RefusedFile("file.type", ending=kind or "no ending")
    if path.stat().st_size == 0:
        raise RefusedFile("file.empty")
    check_kind(path, kind)
    inner = unpack(path, kind, folder, caps) if kind in (*ARCHIVES, "eml") else []
    if kind in ARCHIVES:
        if not inner:
            raise RefusedFile("archive.empty")
        return {"container": True, "documents": [], "inner": inner}
    return {"container": False, "documents": [document(path, name)], "inner": inner}


def answer_to(request: dict[str, Any]) -> dict[str, Any]:
    limits = request["limits"]
    caps = Caps(limits["unpacked"], limits["members"], limits["ratio"])
    try:
        return read(Path(request["path"]), request["name"], Path("inner"), caps)
    except RefusedFile as refused:
        return {"refused": refused.code, "facts": refused.facts}
    except (MemoryError, RecursionError):
        return {"refused": "extract.limits", "facts": {"limit": "memory"}}
    except OSError as error:
        if error.errno == errno.EFBIG:
            return {"refused": "archive.bomb", "facts": {}}
        raise


def main() -> int:
    """Read `request.json` in the working folder, leave `answer.json`. 0 whenever there is one."""
    request = json.loads(Path("request.json").read_text(encoding="utf-8"))
    confine(request["limits"])
    try:
        Path("inner").mkdir()
        said = json.dumps(answer_to(request), ensure_ascii=False)
        Path("answer.json").write_text(said, encoding="utf-8", errors="replace")
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return DISK_FULL
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main())
