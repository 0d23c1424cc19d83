"""Reads the questions and answers that a curator wrote, from CSV, JSON lines or plain rows. Pure.

Each row is taken or refused with a reason by its number; one bad row never costs the others.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any, Protocol, runtime_checkable

from apps.corpora.parsing.text import decoded
from calm_engine.errors import InputError

FILE_LIMIT = 32 << 20  # bytes
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

    Raises InputError: examples.type, examples.columns, file.too_large.
    """
    if not isinstance(source, NamedFile):
        yield from enumerate(source, start=1)
        return
    if source.size > FILE_LIMIT:
        raise InputError(
            "file.too_large", size=f"{source.size >> 20} MB", limit=f"{FILE_LIMIT >> 20} MB"
        )
    ending = PurePosixPath(source.name or "").suffix.lower()
    text = decoded(source.read())
    if ending == ".jsonl":
        yield from _json_lines(text)
    elif ending == ".csv":
        yield from _csv_rows(text)
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
    names = {str(name).strip().lower() for name in reader.fieldnames or []}
    if not {"question", "answer"} <= names:
        raise InputError("examples.columns", found=", ".join(sorted(names)) or "none")
    try:
        yield from enumerate(reader, start=1)
    except csv.Error as error:
        yield reader.line_num, f"the table breaks off here: {error}"
