"""The list of a snapshot's documents as a Parquet file: digests and names, never a text.

Read and written in pieces, so that a million documents cost the memory of a few thousand.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, fields
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from apps.corpora.models import Snapshot
from counterpoint.storage import blobs

if TYPE_CHECKING:
    import pyarrow as pa

KIND = "manifest"
ROWS = 10_000  # of one row group, and in memory at a time


@dataclass(frozen=True, slots=True)
class Entry:
    """One document of a snapshot, by digests (SHA-256) and names.

    text     the extracted text; training is what models learn, with passages taken out
    """

    corpus: str
    original: str
    text: str
    training: str
    path: str
    title: str
    media_type: str
    language: str
    size: int
    tokens: int


def schema() -> pa.Schema:
    import pyarrow as pa  # noqa: PLC0415 - half a second that few pages need

    numbers = {"size", "tokens"}
    columns = [(f.name, pa.int64() if f.name in numbers else pa.string()) for f in fields(Entry)]
    return pa.schema(columns)


def write(entries: Iterable[Entry], path: Path) -> None:
    """Write the entries, in their order, as one Parquet file."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    names, left = schema(), iter(entries)
    with pq.ParquetWriter(path, names, compression="zstd") as file:
        while some := list(islice(left, ROWS)):
            columns = list(zip(*map(astuple, some), strict=True))
            arrays = [pa.array(c, f.type) for c, f in zip(columns, names, strict=True)]
            file.write_table(pa.Table.from_arrays(arrays, schema=names))


def read(file: IO[bytes]) -> Iterator[Entry]:
    """The entries of such a file, in their order."""
    import pyarrow.parquet as pq  # noqa: PLC0415

    for batch in pq.ParquetFile(file).iter_batches(batch_size=ROWS):
        for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            yield Entry(*row)


def entries(snapshot: Snapshot) -> Iterator[Entry]:
    """Every document of a snapshot, in the order of its manifest. Raises as `Blobs.open`."""
    if snapshot.listed:
        with blobs().open(KIND, snapshot.listed) as file:
            yield from read(file)
        return
    corpus = str(snapshot.corpus_id)
    for original, training, title in snapshot.manifest.get("documents", []):
        yield Entry(corpus, original, training, training, "", title, "", "", 0, 0)


def names_any(snapshot: Snapshot, originals: set[str]) -> bool:
    """Whether a snapshot holds one of these originals; reads only what its order leaves open."""
    import pyarrow.parquet as pq  # noqa: PLC0415

    if not originals:
        return False
    if not snapshot.listed:
        return any(entry.original in originals for entry in entries(snapshot))
    with blobs().open(KIND, snapshot.listed) as file:
        asked = [("original", "in", list(originals))]
        return bool(pq.read_table(file, columns=["original"], filters=asked).num_rows)


class Naming:
    """The digest that names a snapshot, fed a document at a time.

    It is the SHA-256 of the canonical JSON of {"documents": [[original, training, title], ...]} and
    the rest of the manifest, whose keys all sort behind "documents".
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256(b'{"documents":[')
        self._first = True

    def add(self, entry: Entry) -> None:
        row = canonical([entry.original, entry.training, entry.title])
        self._hash.update(row if self._first else b"," + row)
        self._first = False

    def name(self, rest: dict[str, Any]) -> str:
        """Lower-case hexadecimal."""
        assert all(key > "documents" for key in rest)
        self._hash.update(b"]," + canonical(rest)[1:])
        return self._hash.hexdigest()


def canonical(value: Any) -> bytes:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()
