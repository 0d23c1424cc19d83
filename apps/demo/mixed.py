"""Files as a company has them: mixed formats, tens of kilobytes each, some twice, some broken.

Pure and seeded: the same seed writes the same bytes. Their words mean nothing; how many of them
there are, and in which formats, is what reading them costs.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage

from apps.demo import formats

SIZE = 50_000
SHARES = {
    "txt": 18,
    "md": 16,
    "html": 16,
    "eml": 16,
    "pdf": 12,
    "csv": 8,
    "docx": 8,
    "xlsx": 4,
    "pptx": 2,
}
TWICE, BROKEN = 0.02, 0.01  # shares of files that came before, and that cannot be read
LINE = 12  # words
PER_PARAGRAPH, PER_PAGE = 8, 50  # lines
_STARTS = re.findall(r"\w+", "b br c d dr f g gr h k kl l m n p pr r s st t tr v w z")
_ENDS = re.findall(r"\w+", "al an ar el en er in is on or us ut")
VOCABULARY = tuple(f"{a}{b}{c}" for a in _STARTS for b in ("a", "e", "i", "o", "u") for c in _ENDS)


@dataclass(frozen=True)
class File:
    """One file, and what an upload must say of it: "stored", "duplicate" or "rejected"."""

    name: str
    content: bytes
    outcome: str


def files(count: int, *, seed: int, size: int = SIZE) -> Iterator[File]:
    """So many files, one after another; what is a duplicate repeats the last good file.

    size  characters of text in a file, on average
    """
    chance = random.Random(f"mixed {seed}")  # noqa: S311 - made-up words, not a secret
    endings, shares = list(SHARES), list(SHARES.values())
    last: File | None = None
    for number in range(count):
        [ending] = chance.choices(endings, shares)
        kind = chance.random()
        if kind < TWICE and last is not None:
            stem, _, old = last.name.rpartition(".")
            yield File(f"{stem}-copy-{number}.{old}", last.content, "duplicate")
        elif kind > 1 - BROKEN:
            yield File(f"{number:06}.pdf", b"%PDF-1.7 " + chance.randbytes(500), "rejected")
        else:
            lines = _lines(chance, round(size * chance.uniform(0.2, 1.8)))
            last = File(f"{number:06}.{ending}", content(ending, f"File {number}", lines), "stored")
            yield last


def _lines(chance: random.Random, size: int) -> list[str]:
    words = chance.choices(VOCABULARY, k=max(LINE, size // 5))
    return [" ".join(words[at : at + LINE]) + "." for at in range(0, len(words), LINE)]


def content(ending: str, title: str, lines: list[str]) -> bytes:
    """These lines under this title, as a file with this ending."""
    paragraphs = [" ".join(some) for some in _pieces(lines, PER_PARAGRAPH)]
    pages = list(_pieces(lines, PER_PAGE))
    if ending == "docx":
        return formats.docx_of(title, [(0, paragraph) for paragraph in paragraphs])
    if ending == "pdf":
        return formats.pdf_of(pages, author="Nobody")
    if ending == "pptx":
        return formats.pptx_of(title, [(page[0], page[1:PER_PARAGRAPH]) for page in pages])
    if ending == "csv":
        return formats.csv_of([line.split(" ") for line in lines])
    if ending == "xlsx":
        return formats.xlsx_of([line.split(" ") for line in lines], sheet="Rows")
    if ending == "eml":
        return _mail(title, lines)
    if ending == "html":
        body = "".join(f"<p>{paragraph}</p>\n" for paragraph in paragraphs)
        return f"<!doctype html><title>{title}</title><h1>{title}</h1>\n{body}".encode()
    return "\n\n".join([f"# {title}", *paragraphs]).encode()


def _pieces(lines: list[str], size: int) -> Iterator[list[str]]:
    return (lines[at : at + size] for at in range(0, len(lines), size))


def _mail(title: str, lines: list[str]) -> bytes:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "a@mixed.example", "b@mixed.example", title
    mail["Date"] = "Mon, 15 Jan 2024 09:00:00 +0000"
    mail.set_content("\n".join(lines))
    return bytes(mail)
