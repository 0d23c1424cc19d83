"""Readers of office formats that the extraction library does not page: PPTX, ODP and ODS.

Each slide and each sheet is a page. XML is read by defusedxml alone, which refuses entities.
Sources: ECMA-376 part 1 (PresentationML), OASIS OpenDocument 1.3 part 3.
"""

from __future__ import annotations

import posixpath
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree.ElementTree import ParseError  # the name of an error; nothing is parsed with it

from defusedxml import DefusedXmlException, ElementTree

from apps.corpora.parsing.kinds import RefusedFile
from apps.corpora.parsing.office import weigh_office
from apps.corpora.parsing.plain import Read
from apps.corpora.parsing.text import as_table

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
P = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
OFFICE = "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}"
TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
DRAW = "{urn:oasis:names:tc:opendocument:xmlns:drawing:1.0}"
PRESENTATION = "{urn:oasis:names:tc:opendocument:xmlns:presentation:1.0}"
COLUMNS, CELLS = 1000, 2_000_000  # a sheet may say that a cell is repeated a million times


def read_slides(path: Path) -> Read:
    """A PowerPoint: each slide a page, with its title, words, tables and notes."""
    weigh_office(path)
    with zipfile.ZipFile(path) as office:
        pages = [slide(office, name) for name in slide_names(office)]
    first = next((line for page in pages for line in page.splitlines() if line.strip()), "")
    title = first.removeprefix("## ") if first.startswith("## ") else ""
    return Read(title, pages or [""], {"slides": len(pages)})


def tree(office: zipfile.ZipFile, name: str) -> Element:
    """One part of the package. Raises RefusedFile when it is missing, broken or hostile."""
    try:
        return ElementTree.fromstring(office.read(name))
    except DefusedXmlException as error:
        raise RefusedFile("archive.bomb", limit="entities in its XML") from error
    except (ParseError, KeyError, ValueError, RuntimeError) as error:
        why = "the file is damaged or not complete"
        raise RefusedFile("file.unreadable", why=why) from error


def targets(office: zipfile.ZipFile, name: str) -> dict[str, tuple[str, str]]:
    """{relation id: (kind, part)} of one part; relations to the outside are left out."""
    folder, _slash, file = name.rpartition("/")
    rels = f"{folder}/_rels/{file}.rels"
    if rels not in office.namelist():
        return {}
    return {
        rel.get("Id", ""): (
            rel.get("Type", "").rpartition("/")[2],
            posixpath.normpath(posixpath.join(folder, rel.get("Target", ""))).lstrip("/"),
        )
        for rel in tree(office, rels)
        if rel.get("TargetMode") != "External"
    }


def slide_names(office: zipfile.ZipFile) -> list[str]:
    """The parts of the slides, in the order in which they are shown."""
    deck = "ppt/presentation.xml"
    parts = targets(office, deck)
    wanted = [one.get(f"{R}id", "") for one in tree(office, deck).iter(f"{P}sldId")]
    return [parts[key][1] for key in wanted if key in parts]


def slide(office: zipfile.ZipFile, name: str) -> str:
    lines = list(shapes(tree(office, name)))
    for kind, part in targets(office, name).values():
        if kind == "notesSlide":
            said = [line for line in shapes(tree(office, part)) if not line.strip().isdigit()]
            lines += ["Notes: " + " ".join(said)] if said else []
    return "\n\n".join(lines)


def shapes(root: Element) -> Iterator[str]:
    """The words of a slide, shape by shape; its title as a heading, its tables as Markdown."""
    for shape in root.iter():
        if shape.tag == f"{P}sp":
            text = "\n".join(filter(str.strip, map(paragraph, shape.iter(f"{A}p"))))
            placed = shape.find(f".//{P}ph")
            is_title = placed is not None and placed.get("type") in ("title", "ctrTitle")
            if text.strip():
                yield f"## {' '.join(text.split())}" if is_title else text
        elif shape.tag == f"{A}tbl":
            rows = [
                [" ".join(map(paragraph, cell.iter(f"{A}p"))) for cell in row.iter(f"{A}tc")]
                for row in shape.iter(f"{A}tr")
            ]
            if rows := [row for row in rows if row]:
                yield as_table(rows)


def paragraph(node: Element) -> str:
    return "".join(
        "\n" if part.tag == f"{A}br" else part.text or ""
        for part in node.iter()
        if part.tag in (f"{A}t", f"{A}br")
    )


# --- OpenDocument ------------------------------------------------------------------------------


def read_odp(path: Path) -> Read:
    """An OpenDocument presentation: each slide a page."""
    weigh_office(path)
    with zipfile.ZipFile(path) as office:
        root = tree(office, "content.xml")
    pages = ["\n\n".join(blocks(page)) for page in root.iter(f"{DRAW}page")]
    return Read("", pages or [""], {"slides": len(pages)})


def blocks(page: Element) -> Iterator[str]:
    for node in page.iter():
        if node.tag in (f"{TEXT}p", f"{TEXT}h") and (text := words(node).strip()):
            yield text


def read_ods(path: Path) -> Read:
    """An OpenDocument workbook: each sheet a page, its name over its table."""
    weigh_office(path)
    with zipfile.ZipFile(path) as office:
        root = tree(office, "content.xml")
    pages = []
    for table in root.iter(f"{TABLE}table"):
        rows = sheet_rows(table)
        name = table.get(f"{TABLE}name", "")
        pages.append(f"## {name}\n\n{as_table(rows)}" if rows else "")
    return Read("", pages or [""], {"sheets": len(pages)})


def sheet_rows(table: Element) -> list[list[str]]:
    """The filled rows; what a sheet says to repeat is repeated only where it says something."""
    rows: list[list[str]] = []
    filled = 0
    for row in table.iter(f"{TABLE}table-row"):
        cells: list[str] = []
        for cell in row:
            if cell.tag not in (f"{TABLE}table-cell", f"{TABLE}covered-table-cell"):
                continue
            text = " ".join(words(p) for p in cell.iter(f"{TEXT}p")).strip()
            times = repeated(cell, "columns")
            room = max(0, COLUMNS - len(cells))
            cells += [text] * (min(times, room) if text else min(times, room, 64))
        while cells and not cells[-1]:
            cells.pop()
        if cells:
            times = min(repeated(row, "rows"), (CELLS - filled) // len(cells))
            rows += [cells] * times
            filled += times * len(cells)
    return rows


def repeated(node: Element, what: str) -> int:
    said = node.get(f"{TABLE}number-{what}-repeated", "1")
    return int(said) if said.isdigit() and len(said) < 8 else 1


def words(node: Element) -> str:
    """The text of a paragraph with its spaces, tabs and line breaks."""
    out = [node.text or ""]
    for part in node:
        spaces = {f"{TEXT}s": " ", f"{TEXT}tab": "\t", f"{TEXT}line-break": "\n"}
        out.append(spaces.get(part.tag) or words(part))
        out.append(part.tail or "")
    return "".join(out)
