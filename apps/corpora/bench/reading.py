"""Reading files: how many a second one child after another reads, and two beside each other."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage
from pathlib import Path

from apps.corpora.extraction import documents_from
from calm_engine.figures import Figure

FILES = 48
TEXT = "Gauge {n} is made in Peru, weighs {n} grams and is checked each spring by two people. "


def make(folder: Path) -> list[Path]:
    """Mixed files, made here: text, tables, mail and PDF."""
    return [_one(folder, number) for number in range(FILES)]


def _one(folder: Path, number: int) -> Path:
    words = TEXT.format(n=number) * 60
    kind = ("txt", "html", "csv", "eml", "pdf", "md")[number % 6]
    path = folder / f"{number}.{kind}"
    if kind == "pdf":
        path.write_bytes(_pdf(words))
    elif kind == "eml":
        mail = EmailMessage()
        mail["Subject"], mail["From"] = f"Gauge {number}", "a@b.example"
        mail.set_content(words)
        path.write_bytes(bytes(mail))
    elif kind == "csv":
        rows = [f"gauge {row},Peru,{row * number}" for row in range(200)]
        path.write_text("\n".join(["product,country,grams", *rows]), encoding="utf-8")
    else:
        tags = ("<p>", "</p>") if kind == "html" else ("", "")
        path.write_text(tags[0] + words + tags[1], encoding="utf-8")
    return path


def _pdf(words: str) -> bytes:
    from reportlab.pdfgen.canvas import Canvas  # noqa: PLC0415 - for these files alone

    out = io.BytesIO()
    canvas = Canvas(out)
    for page in range(5):
        for line in range(40):
            canvas.drawString(60, 780 - 18 * line, words[page * 40 + line :][:80])
        canvas.showPage()
    canvas.save()
    return out.getvalue()


def measure(folder: Path) -> Iterator[Figure]:
    """Two workers against one, in turns; each file in a confined child of its own."""
    files = make(folder)
    spent = {1: 0.0, 2: 0.0}
    for _ in range(2):
        for workers in spent:
            began = time.perf_counter()
            with ThreadPoolExecutor(workers) as pool:
                list(pool.map(lambda path: documents_from(path, path.name), files))
            spent[workers] += time.perf_counter() - began
    mixed = f"{FILES} mixed files"
    yield Figure(
        "reading, two workers", spent[1] / spent[2], "times one", mixed, 1.8, at_least=True
    )
    yield Figure("reading, one worker", 2 * FILES / spent[1], "files/s", mixed)
