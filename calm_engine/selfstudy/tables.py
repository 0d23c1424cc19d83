"""Read tables as extraction leaves them: Markdown, CSV, semicolons, tabs; rows become facts."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator

from calm_engine.selfstudy.names import MAX_ATTRIBUTE
from calm_engine.selfstudy.words import clean, plain

LONGEST_ROW = 10_000  # characters of a line with cells; beyond stands data that nobody reads
NAMING_KEYS = {"product", "product name", "name", "item", "model", "title", "entity", "subject"}

_VALUE_HEADERS = {"", "value", "values", "detail", "details", "entry", "data"}


def table_at(lines: list[str], at: int) -> tuple[list[list[str]], int]:
    """The table that starts here (Markdown, CSV, semicolons or tabs), and the line after it."""
    for cells in (_piped, _split_by("\t"), _split_by(";"), _split_by(",")):
        rows: list[list[str]] = []
        end = at
        while end < len(lines):
            row = cells(lines[end])
            if row is None or (rows and len(row) != len(rows[0])):
                break
            rows.append(row)
            end += 1
        rows = [row for row in rows if not all(re.fullmatch(r":?-{2,}:?|", c) for c in row)]
        is_piped = cells is _piped
        if len(rows) >= (2 if is_piped else 3) and (is_piped or _looks_like_header(rows[0])):
            return rows, end
    return [], at


def _piped(line: str) -> list[str] | None:
    told = line.strip()
    if told.count("|") < (2 if told.startswith("|") else 1):
        return None
    return [clean(cell) for cell in told.strip("|").split("|")]


class _split_by:  # noqa: N801 - used like a function, but compared by identity with _piped
    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __call__(self, line: str) -> list[str] | None:
        if self.mark not in line or len(line) > LONGEST_ROW:
            return None
        cells = next(csv.reader([line], delimiter=self.mark), [])
        # A comma with a space behind it stands in a sentence, or in a quoted cell.
        if any(cell.startswith(" ") for cell in cells[1:]):
            return None
        return [clean(cell) for cell in cells]


def _looks_like_header(cells: list[str]) -> bool:
    return all(
        cell and len(cell) <= MAX_ATTRIBUTE and cell[-1] not in ".!?" and not cell[0].isdigit()
        for cell in cells
    )


def facts_of_table(rows: list[list[str]], title: str) -> Iterator[tuple[str, str, str]]:
    header, body = rows[0], rows[1:]
    if len(header) == 2 and (plain(header[1]) in _VALUE_HEADERS or _is_sheet(rows)):
        yield from ((title, key, value) for key, value in rows if plain(key) != plain(header[0]))
        if plain(header[1]) not in _VALUE_HEADERS:
            yield (title, header[0], header[1])
        return
    name = _naming_column(header, body)
    for row in body:
        for column, value in enumerate(row):
            if column != name and header[column]:
                yield (row[name], header[column], value)


def _is_sheet(rows: list[list[str]]) -> bool:
    """Two columns without a header: the first holds attributes, as words without digits."""
    return len(rows) <= 8 and not any(plain(cell) in NAMING_KEYS for cell in rows[0])


def _naming_column(header: list[str], body: list[list[str]]) -> int:
    """The column that names the rows: called a name, else the first with distinct words in it."""
    for column, cell in enumerate(header):
        if plain(cell) in NAMING_KEYS:
            return column
    for column in range(len(header)):
        cells = [row[column] for row in body]
        if len(set(cells)) == len(cells) and all(re.match(r"[^\W\d_]{2}", c) for c in cells):
            return column
    return 0
