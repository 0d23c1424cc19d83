"""Files of the usual formats made of plain words, the same bytes each time: no clock is in them."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Callable, Sequence

import docx
import openpyxl
import pptx
from openpyxl.utils.datetime import from_ISO8601
from reportlab.lib.pagesizes import A4
from reportlab.pdfgen.canvas import Canvas

STILL = (2024, 1, 15, 9, 0, 0)  # the date of every member of every archive


def csv_of(rows: Sequence[Sequence[str]]) -> bytes:
    held = io.StringIO()
    csv.writer(held, lineterminator="\n").writerows(rows)
    return held.getvalue().encode()


def docx_of(title: str, blocks: Sequence[tuple[int, str]]) -> bytes:
    """A Word document; each block is a heading of its level, or a paragraph when that is 0."""
    page = docx.Document()
    page.add_heading(title, level=1)
    for level, text in blocks:
        if level:
            page.add_heading(text, level=level)
        else:
            page.add_paragraph(text)
    return _office(page.save)


def pdf_of(pages: Sequence[Sequence[str]], *, author: str) -> bytes:
    """A PDF; each page is its lines, wrapped where they are too long."""
    held = io.BytesIO()
    canvas = Canvas(held, pagesize=A4, invariant=1)
    canvas.setAuthor(author)
    for lines in pages:
        at = canvas.beginText(60, 790)
        at.setFont("Helvetica", 10)
        for line in lines:
            for row in _wrapped(line, 92):
                at.textLine(row)
        canvas.drawText(at)
        canvas.showPage()
    canvas.save()
    return held.getvalue()


def _wrapped(line: str, width: int) -> list[str]:
    rows = [""]
    for word in line.split(" "):
        if len(rows[-1]) + len(word) > width:
            rows.append(word)
        else:
            rows[-1] = f"{rows[-1]} {word}".strip()
    return rows


def pptx_of(title: str, slides: Sequence[tuple[str, Sequence[str]]]) -> bytes:
    """A presentation: a slide with its title, then one for each heading and its lines."""
    show = pptx.Presentation()
    show.slides.add_slide(show.slide_layouts[0]).shapes.title.text = title
    for heading, lines in slides:
        slide = show.slides.add_slide(show.slide_layouts[1])
        slide.shapes.title.text = heading
        slide.placeholders[1].text = "\n".join(lines)
    return _office(show.save)


def xlsx_of(rows: Sequence[Sequence[str]], *, sheet: str) -> bytes:
    book = openpyxl.Workbook()
    book.properties.created = from_ISO8601("2024-01-15T09:00:00Z")
    page = book.active
    page.title = sheet
    for row in rows:
        page.append(row)
    return _office(book.save)


def zip_of(members: Sequence[tuple[str, bytes]]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as made:
        for name, content in members:
            made.writestr(zipfile.ZipInfo(name, STILL), content, zipfile.ZIP_DEFLATED)
    return held.getvalue()


def _office(save: Callable[[io.BytesIO], object]) -> bytes:
    """Save an office file and take the clock out of it: member dates and the core properties."""
    held = io.BytesIO()
    save(held)
    with zipfile.ZipFile(held) as made:
        members = [(name, made.read(name)) for name in made.namelist()]
    return zip_of([(name, _timeless(name, content)) for name, content in members])


def _timeless(name: str, content: bytes) -> bytes:
    if name != "docProps/core.xml":
        return content
    return re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", b"2024-01-15T09:00:00Z", content)
