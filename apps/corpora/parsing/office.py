"""Readers of PDF and office documents."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from apps.corpora.parsing.containers import Caps, Tally
from apps.corpora.parsing.conversion import converted
from apps.corpora.parsing.kinds import CHUNK, MEDIA, RefusedFile
from apps.corpora.parsing.plain import Read
from apps.corpora.parsing.text import slimmed


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
