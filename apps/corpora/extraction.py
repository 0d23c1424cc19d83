"""Turns one foreign file into text, safely. Pure: knows no database, no tenant, no storage.

The reading itself happens in `parsing/`, a child process with bounded memory, time, open files
and file size and, where the system lets us, no network; `readers` starts it. Here stand the limits
and what the child's end means. Every refusal is an InputError with a stable code.
"""

from __future__ import annotations

import json
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from apps.corpora.parsing.confinement import DISK_FULL, PICTURE
from apps.corpora.parsing.kinds import MEDIA
from apps.corpora.parsing.recognition import data_folder
from apps.corpora.readers import GONE, borrowed
from calm_engine.errors import EngineError, InputError, InternalError

ALLOWED = tuple(MEDIA)
WORDS_FOR_TYPES = (
    "Markdown, text, HTML, PDF, Word, Excel, PowerPoint, OpenDocument, RTF, CSV, JSON lines, "
    "mail and mailboxes, zip, tar, gz and zst"
)


@dataclass(frozen=True)
class Limits:
    """What one file may cost. Bytes, seconds and counts; a container's caps are for its sum."""

    file: int = 256 << 20
    unpacked: int = 1 << 30
    members: int = 5_000
    ratio: int = 200
    depth: int = 3
    memory: int = 2 << 30
    cpu: int = 60
    wall: int = 300  # a starved machine is not the file's fault: the seconds of CPU judge that
    files: int = 128


LIMITS = Limits()


@dataclass(frozen=True)
class Extracted:
    """The text of one document.

    language  ISO 639-3 code, or "" when the text is too short to tell
    facts     numbers that a person may want: pages, slides, rows; `doubts` of its quality
    pages     the character at which each page, slide or sheet begins; [] without pages
    """

    title: str
    text: str
    media_type: str
    language: str
    facts: dict[str, Any] = field(default_factory=dict)
    pages: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Inner:
    """One file inside a container: its bytes in `file`, or the code that refuses it."""

    path: str
    file: Path | None
    code: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Reading:
    """What a file gave. A container is only its inner files; a mail is both."""

    is_container: bool
    documents: list[Extracted]
    inner: list[Inner]


@contextmanager
def reading(
    path: Path, name: str, *, limits: Limits = LIMITS, scratch: Path | None = None
) -> Iterator[Reading]:
    """Read one file; the inner files of the Reading live as long as the context.

    name      decides the expected type, and is checked against the content
    scratch   folder for what is unpacked; its disk must hold `limits.unpacked` bytes

    Raises InputError: file.empty, file.type, file.disguised, file.encrypted, file.no_text,
    file.too_large, file.unreadable, pdf.broken, pdf.no_text, archive.bomb, archive.empty,
    extract.limits, upload.disk_full. Raises InternalError("extract.killed").
    """
    size = path.stat().st_size
    if size > limits.file:
        raise InputError("file.too_large", size=_megabytes(size), limit=_megabytes(limits.file))
    with tempfile.TemporaryDirectory(prefix="extract-", dir=scratch) as folder:
        yield _answer(path, name, Path(folder), limits)


def documents_from(path: Path, name: str, *, limits: Limits = LIMITS) -> list[Extracted]:
    """The documents of one file that is no container. Raises as `reading` does."""
    with reading(path, name, limits=limits) as found:
        return found.documents


def page_picture(
    path: Path, page: int, *, limits: Limits = LIMITS, scratch: Path | None = None
) -> bytes:
    """One page of a PDF as a PNG, drawn by the confined child; `page` counts from 0.

    Raises InputError: pdf.broken, extract.limits, upload.disk_full.
    """
    with tempfile.TemporaryDirectory(prefix="extract-", dir=scratch) as name:
        folder = Path(name)
        _asked({"path": str(path.resolve()), "name": "a.pdf", "page": page}, folder, limits)
        return (folder / PICTURE).read_bytes()


def _answer(path: Path, name: str, folder: Path, limits: Limits) -> Reading:
    asked = {"path": str(path.resolve()), "name": name}
    try:
        said = _asked(asked, folder, limits)
    except InputError as refused:
        if refused.code != "pdf.no_text" or not (data := data_folder()):
            raise
        said = _recognised(asked, data, folder, limits)
    else:
        is_blank = any(each["facts"].get("pages_without_text") for each in said["documents"])
        if is_blank and (data := data_folder()):
            with suppress(InputError):  # what has words without it stays as it was read
                said = _recognised(asked, data, folder, limits)
    inner = [
        Inner(i["path"], folder / "inner" / i["file"] if i["file"] else None, i["code"], i["facts"])
        for i in said["inner"]
    ]
    return Reading(said["container"], [Extracted(**d) for d in said["documents"]], inner)


def _recognised(asked: dict[str, Any], data: str, folder: Path, limits: Limits) -> dict[str, Any]:
    """The same with the text of pictures of pages; in a child of its own.

    Recognition costs seconds a page: the wall clock is its limit.
    """
    folder = folder / "recognised"
    folder.mkdir()
    return _asked(asked | {"recognise": data}, folder, replace(limits, cpu=limits.wall))


def _asked(asked: dict[str, Any], folder: Path, limits: Limits) -> dict[str, Any]:
    """Put one request to a fresh child in `folder`; its answer, or the InputError that it means."""
    request = asked | {"limits": _for_child(limits)}
    try:
        (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
    except OSError as error:
        raise InputError("upload.disk_full") from error
    status = _run_child(folder, limits)
    try:
        said = json.loads((folder / "answer.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _death(status, _words(folder / "stderr")) from error
    if "refused" in said:
        raise InputError(said["refused"], **said["facts"])
    answer: dict[str, Any] = said
    return answer


def _for_child(limits: Limits) -> dict[str, int]:
    names = ("unpacked", "members", "ratio", "memory", "cpu", "files")
    return {name: getattr(limits, name) for name in names}


def _run_child(folder: Path, limits: Limits) -> int:
    """How the reader of this folder's request ended."""
    with borrowed() as server:
        return server.run(folder, limits.wall)


def _words(file: Path) -> bytes:
    """What the child said at its end; nothing when it never began."""
    return file.read_bytes() if file.exists() else b""


def _death(status: int, stderr: bytes) -> EngineError:
    """What it means that the child left no answer."""
    if status == DISK_FULL or b"No space left" in stderr:
        return InputError("upload.disk_full")
    if status == GONE:  # nobody's limit: those of time and memory end it otherwise
        return InternalError("extract.killed", "The reader was ended from outside.")
    if status == -signal.SIGXCPU:
        return InputError("extract.limits", limit="time")
    if b"memory allocation" in stderr or b"MemoryError" in stderr:
        return InputError("extract.limits", limit="memory")
    # Only the kind of the reader's error goes on: its words may quote the document.
    last = stderr.decode(errors="replace").strip().splitlines()[-1:] or [""]
    kind = last[0].partition(":")[0][:80]
    return InputError("file.unreadable", why="the reader could not finish", detail=kind)


def _megabytes(size: int) -> str:
    return f"{size / (1 << 20):.0f} MB"
