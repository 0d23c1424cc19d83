"""Reads the questions and answers that a curator wrote: CSV, JSON lines, a sheet, plain rows. Pure.

Each row is taken or refused with a reason by its number; one bad row never costs the others.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any, Protocol, runtime_checkable

from apps.corpora.parsing.text import decoded
from calm_engine.errors import InputError

FILE_LIMIT = 32 << 20  # bytes
UNPACKED_LIMIT = 256 << 20  # bytes of a sheet's parts
ROW_LIMIT = 200_000  # of one delivery
TEXT_LIMIT = 4000  # characters of one question or answer
KEYS = ("question", "answer", "expected", "entity", "value", "kind")


@runtime_checkable
class NamedFile(Protocol):
    """What an uploaded file offers: its name, its size and its bytes."""

    @property
    def name(self) -> str | None: ...

    @property
    def size(self) -> int: ...

    def read(self) -> bytes: ...


@dataclass(frozen=True)
class Row:
    """One example. `expected` scores and stands inside `answer`, the full text to be said."""

    question: str
    answer: str
    expected: str
    entity: str
    value: str
    kind: str

    @property
    def digest(self) -> str:
        """SHA-256 of the row's canonical JSON: the same example is the same everywhere."""
        text = json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


def row_from(values: dict[str, Any]) -> Row:
    """One row from named values. Raises ValueError with the reason a person needs."""
    said = {
        str(k).strip().lower(): str(v).strip() for k, v in values.items() if k and v is not None
    }
    question, answer = said.get("question", ""), said.get("answer", "")
    if not question or not answer:
        raise ValueError("question and answer must both be filled in")
    if max(len(question), len(answer)) > TEXT_LIMIT:
        raise ValueError(f"longer than {TEXT_LIMIT} characters")
    expected = said.get("expected") or answer
    if expected.lower() not in answer.lower():
        raise ValueError("the expected words do not stand in the answer")
    entity, value = said.get("entity", ""), said.get("value", "")
    if max(len(entity), len(value)) > 200:
        raise ValueError("entity and value may have 200 characters")
    return Row(question, answer, expected, entity, value, (said.get("kind") or "recall")[:60])


def rows_in(
    source: NamedFile | Iterable[dict[str, Any]],
) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Numbered raw rows, counted from 1; a string in place of a row says why it cannot be read.

    Raises InputError: examples.type, examples.columns, examples.sheet, examples.many,
    file.too_large.
    """
    for number, values in _raw_rows(source):
        if number > ROW_LIMIT:
            raise InputError("examples.many", limit=f"{ROW_LIMIT:,}")
        yield number, values


def _raw_rows(
    source: NamedFile | Iterable[dict[str, Any]],
) -> Iterator[tuple[int, dict[str, Any] | str]]:
    if not isinstance(source, NamedFile):
        yield from enumerate(source, start=1)
        return
    if source.size > FILE_LIMIT:
        raise InputError(
            "file.too_large", size=f"{source.size >> 20} MB", limit=f"{FILE_LIMIT >> 20} MB"
        )
    ending = PurePosixPath(source.name or "").suffix.lower()
    if ending == ".jsonl":
        yield from _json_lines(decoded(source.read()))
    elif ending == ".csv":
        yield from _csv_rows(decoded(source.read()))
    elif ending == ".xlsx":
        yield from _sheet_rows(source.read())
    else:
        raise InputError("examples.type", ending=ending or "no ending")


def _json_lines(text: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        yield number, value if isinstance(value, dict) else "this line is no JSON object"


def _csv_rows(text: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    _need_columns(reader.fieldnames or [])
    try:
        yield from enumerate(reader, start=1)
    except csv.Error as error:
        yield reader.line_num, f"the table breaks off here: {error}"


def _sheet_rows(raw: bytes) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """The first sheet of a workbook, its first row naming the columns; formulas by their values."""
    import openpyxl  # noqa: PLC0415  takes numpy along where that is installed

    try:
        unpacked = sum(part.file_size for part in zipfile.ZipFile(io.BytesIO(raw)).infolist())
        is_large = unpacked > UNPACKED_LIMIT
        book = None if is_large else openpyxl.load_workbook(io.BytesIO(raw), True, data_only=True)
        rows = book.worksheets[0].iter_rows(values_only=True) if book else iter(())
        names = [str(name or "").strip().lower() for name in next(rows, ())]
    except Exception as error:  # whatever a broken workbook makes its reader raise
        raise InputError("examples.sheet") from error
    if is_large:
        raise InputError("file.too_large", limit=f"{UNPACKED_LIMIT >> 20} MB unpacked")
    _need_columns(names)
    number = 0
    try:
        for number, cells in enumerate(rows, start=1):
            if any(cell is not None for cell in cells):
                yield number, dict(zip(names, cells, strict=False))
    except Exception as error:  # noqa: BLE001  as above
        yield number + 1, f"the sheet breaks off here: {type(error).__name__}"


def _need_columns(names: Iterable[str]) -> None:
    """Raises InputError("examples.columns") where there is no question or no answer."""
    found = {str(name).strip().lower() for name in names} - {""}
    if not {"question", "answer"} <= found:
        raise InputError("examples.columns", found=", ".join(sorted(found)) or "none")
