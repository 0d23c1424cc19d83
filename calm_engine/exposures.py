"""How often a training met each document, and when first: stored with the augmenter as Parquet.

Needed to forget a document exactly: what was kept before its first step never saw it. Counted by
walking over what was dealt, which is a function of the step, so no crash can make it wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from calm_engine.errors import InputError

FILE = "exposures.parquet"
_SCHEMA = pa.schema(
    [("digest", pa.string()), ("exposures", pa.int64()), ("first_step", pa.int64())]
)
_TOGETHER = 50_000  # rows written at once


@dataclass(frozen=True)
class Exposure:
    """A document in a training.

    exposures   how many pieces of it were read, each time counted
    first_step  the step, from 0, that met it first; None: none did
    """

    digest: str
    exposures: int
    first_step: int | None


def write(folder: Path, found: Iterable[Exposure]) -> None:
    """Write the table into an augmenter's folder."""
    with pq.ParquetWriter(folder / FILE, _SCHEMA) as writer:
        rows: list[dict[str, object]] = []
        for one in found:
            rows.append(vars(one))
            if len(rows) == _TOGETHER:
                writer.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA))
                rows = []
        writer.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA))


def read(folder: str | Path) -> Iterator[Exposure]:
    """The table of an augmenter. Raises InputError("augmenter.exposures") when it has none."""
    path = Path(folder) / FILE
    if not path.is_file():
        raise InputError("augmenter.exposures", "no exposures are stored", folder=path.parent.name)
    for batch in pq.ParquetFile(path).iter_batches():
        for row in batch.to_pylist():
            yield Exposure(**row)


def tallied(met: Iterable[tuple[int, Iterable[str]]]) -> Iterator[Exposure]:
    """Count what was met: (step, digests of the pieces read in it)."""
    counts: dict[str, int] = {}
    first: dict[str, int] = {}
    for step, digests in met:
        for digest in digests:
            counts[digest] = counts.get(digest, 0) + 1
            first.setdefault(digest, step)
    for digest, count in counts.items():
        yield Exposure(digest, count, first[digest])
