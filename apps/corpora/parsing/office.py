"""Readers of PDF and office documents, page by page where the format has pages."""

from __future__ import annotations

import re
import zipfile
import zlib
from pathlib import Path

from apps.corpora.parsing.cleaning import without_running_heads
from apps.corpora.parsing.containers import Caps, Tally
from apps.corpora.parsing.conversion import converted, recognised
from apps.corpora.parsing.kinds import CHUNK, MEDIA, RefusedFile
from apps.corpora.parsing.plain import Read
from apps.corpora.parsing.text import slimmed


def read_pdf(path: Path, *, recognise: str = "") -> Read:
    """Page by page, line by line; a table that was recognised whole follows its page.

    recognise  languages, for pages that are pictures; "" refuses a PDF of nothing else
    """
    result = converted(path, MEDIA["pdf"], pages=True)
    found = list(result.pages or [])
    told = [str(page["content"]) for page in found]
    blank = {at for at, text in enumerate(told) if not text.strip()}
    if recognise:
        told = [recognised(path, at, recognise) if at in blank else t for at, t in enumerate(told)]
    read = {at for at in blank if told[at].strip()}
    words = without_running_heads(told)
    pages = []
    for text, page in zip(words, found, strict=True):
        tables = [slimmed(t.markdown) for t in page["tables"] if is_whole(t.cells)]
        pages.append("\n\n".join([text, *tables]))
    if not "".join(pages).strip():
        raise RefusedFile("file.no_text" if recognise else "pdf.no_text", pages=len(found))
    facts = {"pages": len(found)}
    facts |= {"pages_without_text": len(blank - read)} if blank - read else {}
    facts |= {"recognised_pages": len(read)} if read else {}
    return Read(str((result.metadata or {}).get("title") or ""), pages, facts)


def is_whole(cells: list[list[str]]) -> bool:
    """Whether a table guessed from positions is one: a full heading, two columns, few holes."""
    if len(cells) < 2 or len(cells[0]) < 2 or not all(c.strip() for c in cells[0]):
        return False
    filled = sum(bool(c.strip()) for row in cells for c in row)
    return filled >= 0.9 * sum(len(row) for row in cells)


def read_document(path: Path, *, kind: str) -> Read:
    """A text document: headings, lists and tables as Markdown; DOCX tells its page breaks."""
    weigh_office(path)
    result = converted(path, MEDIA[kind], paged=kind == "docx")
    told = [str(page["content"]) for page in result.pages or []]
    pages = [slimmed(page) for page in told] if any(told) else [slimmed(str(result.content))]
    heading = re.match(r"\s*#{1,2}\s+(.+)", pages[0])
    facts = {"pages": len(pages)} if len(pages) > 1 else {}
    return Read(heading.group(1).strip() if heading else "", pages, facts)


def read_workbook(path: Path) -> Read:
    """A workbook: each sheet a page, its name over its table."""
    weigh_office(path)
    text = slimmed(str(converted(path, MEDIA["xlsx"]).content))
    sheets = [sheet for sheet in re.split(r"(?m)^(?=## )", text) if sheet.strip()]
    return Read("", sheets or [""], {"sheets": len(sheets)})


def read_rich_text(path: Path) -> Read:
    return Read("", [slimmed(str(converted(path, MEDIA["rtf"]).content))])


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
            except (
                zipfile.BadZipFile,
                zlib.error,
                RuntimeError,
                NotImplementedError,
                EOFError,
            ) as error:
                why = "the file is damaged or not complete"
                raise RefusedFile("file.unreadable", why=why) from error
