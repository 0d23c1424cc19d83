"""Reads one foreign file inside a confined child process. Knows nothing of Django or of tenants.

Forked by `parsing.forkserver`, one for each file: a file that breaks a parser breaks only this
process. It reads `request.json` in its working folder and leaves `answer.json` there:
texts, inner files of a container, or a refusal with a stable code.
"""

from __future__ import annotations

import errno
import io
import json
import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from apps.corpora.parsing.cleaning import doubts, joined_hyphens
from apps.corpora.parsing.confinement import DISK_FULL, PICTURE, confine, die_with
from apps.corpora.parsing.containers import (
    Caps,
    Member,
    single_member,
    tar_members,
    unpack,
    zip_members,
)
from apps.corpora.parsing.conversion import language, picture
from apps.corpora.parsing.kinds import (
    ARCHIVES,
    CONTAINERS,
    MEDIA,
    RefusedFile,
    check_kind,
    extension,
)
from apps.corpora.parsing.mail import (
    mail_members,
    mailbox_members,
    msg_members,
    read_mail,
    read_msg,
)
from apps.corpora.parsing.office import read_document, read_pdf, read_rich_text, read_workbook
from apps.corpora.parsing.plain import (
    Read,
    read_csv,
    read_html,
    read_jsonl,
    read_markdown,
    read_plain,
    read_tsv,
)
from apps.corpora.parsing.recognition import languages
from apps.corpora.parsing.slides import read_odp, read_ods, read_slides
from apps.corpora.parsing.text import cell, tidy

READERS: dict[str, Callable[[Path], Read]] = {
    "md": read_markdown,
    "markdown": read_markdown,
    "txt": read_plain,
    "text": read_plain,
    "html": read_html,
    "htm": read_html,
    "pdf": read_pdf,
    "docx": partial(read_document, kind="docx"),
    "odt": partial(read_document, kind="odt"),
    "rtf": read_rich_text,
    "xlsx": read_workbook,
    "ods": read_ods,
    "pptx": read_slides,
    "odp": read_odp,
    "csv": read_csv,
    "tsv": read_tsv,
    "jsonl": read_jsonl,
    "eml": read_mail,
    "msg": read_msg,
}


def members_of(path: Path, kind: str, name: str) -> Iterator[Member]:
    """The inner files of a container of this kind, one at a time."""
    if kind in ("gz", "zst"):
        return single_member(path, kind, name)
    readers = {
        "zip": zip_members,
        "eml": mail_members,
        "msg": msg_members,
        "mbox": mailbox_members,
    }
    return readers.get(kind, tar_members)(path)


def document(path: Path, name: str, recognise: str = "") -> dict[str, Any]:
    """One file as one document: title, text, media type, language and small facts."""
    kind = extension(name)
    read = read_pdf(path, recognise=recognise) if recognise else READERS[kind](path)
    text, starts = bound(read.pages, kind)
    if not re.search(r"\w", text):
        raise RefusedFile("file.no_text")
    stem = PurePosixPath(name).name.removesuffix(f".{kind}")
    title = "" if read.title.strip().lower() in ("(anonymous)", "untitled") else cell(read.title)
    unsure = doubts(text)
    return {
        "title": (title or stem).replace("\\|", "|")[:200],
        "text": text,
        "media_type": MEDIA[kind],
        "language": language(text),
        "facts": read.facts | ({"doubts": unsure} if unsure else {}),
        "pages": starts,
    }


def bound(pages: list[str], kind: str) -> tuple[str, list[int]]:
    """One text of its pages, tidied, and the character at which each begins; [] for one page."""
    parts = []
    for page in pages:
        clean = tidy(page)
        parts.append(joined_hyphens(clean) if kind == "pdf" else clean)
    if len(parts) == 1:
        return parts[0], []
    starts: list[int] = []
    whole = io.StringIO()
    at = 0
    for part in parts:
        starts.append(at)
        if part.strip():
            at += whole.write(part + "\n")
    text = whole.getvalue()
    return (text.rstrip("\n") + "\n" if text.strip() else ""), starts


def read(path: Path, name: str, folder: Path, caps: Caps) -> dict[str, Any]:
    """Everything one file gives: its document, its inner files, or both (a mail)."""
    kind = extension(name)
    if kind not in MEDIA:
        raise RefusedFile("file.type", ending=kind or "no ending")
    if path.stat().st_size == 0:
        raise RefusedFile("file.empty")
    check_kind(path, kind)
    inner = []
    if kind in CONTAINERS:
        inner = unpack(members_of(path, kind, name), path.stat().st_size, folder, caps)
    if kind in ARCHIVES:
        if not inner:
            raise RefusedFile("archive.empty")
        return {"container": True, "documents": [], "inner": inner}
    return {"container": False, "documents": [document(path, name)], "inner": inner}


def answer_to(request: dict[str, Any]) -> dict[str, Any]:
    limits = request["limits"]
    caps = Caps(limits["unpacked"], limits["members"], limits["ratio"])
    try:
        if "page" in request:
            Path(PICTURE).write_bytes(picture(Path(request["path"]), request["page"]))
            return {}
        if data := request.get("recognise"):
            os.environ["TESSDATA_PREFIX"] = data
            found = document(Path(request["path"]), request["name"], languages(data))
            return {"container": False, "documents": [found], "inner": []}
        return read(Path(request["path"]), request["name"], Path("inner"), caps)
    except RefusedFile as refused:
        return {"refused": refused.code, "facts": refused.facts}
    except (MemoryError, RecursionError):
        return {"refused": "extract.limits", "facts": {"limit": "memory"}}
    except OSError as error:
        if error.errno == errno.EFBIG:
            return {"refused": "archive.bomb", "facts": {}}
        raise


def main(parent: int) -> int:
    """Read `request.json` in the working folder, leave `answer.json`. 0 whenever there is one.

    parent  the process that forked us: we end with it
    """
    die_with(parent)
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
