"""Reads one foreign file inside a confined child process. Knows nothing of Django or of tenants.

Started by `apps.corpora.extraction` as a program of its own: a file that breaks a parser breaks
only this process. It reads `request.json` in its working folder and leaves `answer.json` there:
texts, inner files of a container, or a refusal with a stable code.
"""

from __future__ import annotations

import errno
import json
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

from apps.corpora.parsing.confinement import DISK_FULL, confine
from apps.corpora.parsing.containers import Caps, Member, Tally, tar_members, zip_members
from apps.corpora.parsing.conversion import language
from apps.corpora.parsing.kinds import (
    ARCHIVES,
    CHUNK,
    MEDIA,
    OFFICE,
    RefusedFile,
    check_kind,
    extension,
    safe_path,
)
from apps.corpora.parsing.mail import mail_members, read_mail
from apps.corpora.parsing.office import read_office, read_pdf
from apps.corpora.parsing.plain import (
    Read,
    read_csv,
    read_html,
    read_jsonl,
    read_markdown,
    read_plain,
    read_tsv,
)
from apps.corpora.parsing.text import cell, tidy

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
