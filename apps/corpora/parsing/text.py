"""Bytes to text, rows to tables: the forms that all readers share."""

from __future__ import annotations

import codecs
import re
import unicodedata


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
    from charset_normalizer import from_bytes  # noqa: PLC0415 - the readers alone load it

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
