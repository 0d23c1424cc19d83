"""Packed blocks of tokens on disk, read in any order without holding them. Knows no tokenizer.

One Arrow file a slice of the corpus, mapped into memory: a block is read where it lies, so a global
shuffle needs no more memory than the order itself. Beside each lies a Parquet table of its
documents. `plan.json` says what all of it was made from.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from heapq import heappush, heapreplace
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from calm_engine.data import Piece
from calm_engine.vetting import Census

PLAN = "plan.json"
BLOCKS, DOCUMENTS = ".blocks.arrow", ".documents.parquet"
BATCH = 256  # blocks of a record batch
# Numbers of a span: document in the shard, tokens, the first to be said, is it asked, its topic.
SPAN = 5

_SCHEMA = pa.schema([("ids", pa.list_(pa.int32())), ("spans", pa.list_(pa.int32()))])


@dataclass(frozen=True)
class Tally:
    """What a shard, or all of them, hold.

    read    bytes of the source;  characters, text_bytes, text_tokens  of its texts alone
    pieces  runs of tokens that see only themselves
    """

    blocks: int = 0
    documents: int = 0
    pieces: int = 0
    tokens: int = 0
    characters: int = 0
    read: int = 0
    text_bytes: int = 0
    text_tokens: int = 0

    def __add__(self, other: Tally) -> Tally:
        mine, theirs = asdict(self), asdict(other)
        return Tally(**{name: mine[name] + theirs[name] for name in mine})


@dataclass(frozen=True)
class Met:
    """A document in the shards.

    pieces  how many runs of tokens it has there;  first  its first block, counted over all shards
    """

    shard: int
    number: int
    digest: str
    pieces: int
    blocks: tuple[int, ...]


class Writer:
    """Fills blocks in the order given and writes them as they become full.

    room   tokens of a block, its prefix not counted
    """

    def __init__(self, path: Path, room: int) -> None:
        self.room = room
        self._sink = pa.OSFile(str(path), "wb")
        self._file = pa.ipc.new_file(self._sink, _SCHEMA)
        self._ids: list[np.ndarray[Any, Any]] = []
        self._spans: list[int] = []
        self._left = room
        self._full: list[tuple[np.ndarray[Any, Any], list[int]]] = []
        self.blocks = self.pieces = self.tokens = 0
        self.met: dict[int, list[int]] = {}  # document -> blocks, once for each of its pieces

    def text(self, document: int, tag: Sequence[int], ids: np.ndarray[Any, Any]) -> None:
        """A text, cut where blocks end; each part begins with its source's tag, which is given."""
        head = np.asarray(tag[: self.room // 4], dtype=np.int32)
        at = 0
        while at < len(ids):
            # A few words at the end of a block teach nothing: they begin the next one.
            least = len(head) + min(len(ids) - at, self.room // 16 + 1)
            if self._left < least:
                self._end_block()
            part = ids[at : at + self._left - len(head)]
            # Without a tag the first token of a part is given, since nothing stands before it.
            self._put(document, np.concatenate((head, part)), (max(1, len(head)), 0, 0))
            at += len(part)

    def piece(self, document: int, piece: Piece) -> None:
        """A piece that stays whole; the end of one too long for a block is kept."""
        cut = max(0, len(piece.ids) - self.room)
        ids = np.asarray(piece.ids[cut:], dtype=np.int32)
        if len(ids) > self._left:
            self._end_block()
        told = (max(1, piece.first - cut), int(piece.is_asked), _topic(piece))
        self._put(document, ids, told)

    def close(self) -> None:
        """Write what is left."""
        self._end_block()
        self._write()
        self._file.close()
        self._sink.close()

    def _put(self, document: int, ids: np.ndarray[Any, Any], told: tuple[int, int, int]) -> None:
        if len(ids) <= told[0]:  # nothing is left to be said
            return
        self._ids.append(ids)
        self._spans += [document, len(ids), *told]
        self._left -= len(ids)
        self.pieces += 1
        self.tokens += len(ids)
        self.met.setdefault(document, []).append(self.blocks)

    def _end_block(self) -> None:
        if self._ids:
            self._full.append((np.concatenate(self._ids), self._spans))
            self.blocks += 1
        self._ids, self._spans, self._left = [], [], self.room
        if len(self._full) == BATCH:
            self._write()

    def _write(self) -> None:
        if not self._full:
            return
        columns = [
            _lists([ids for ids, _ in self._full]),
            _lists([np.asarray(spans, dtype=np.int32) for _, spans in self._full]),
        ]
        self._file.write_batch(pa.record_batch(columns, schema=_SCHEMA))
        self._full = []


def _mark(seed: int, digest: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed} {digest}".encode(), digest_size=8).digest())


def _lists(rows: Sequence[np.ndarray[Any, Any]]) -> Any:
    ends = np.cumsum([0, *(len(row) for row in rows)], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), pa.array(np.concatenate(rows)))


def write_documents(path: Path, digests: Sequence[str], met: dict[int, list[int]]) -> None:
    """The table of a shard's documents: digest, and the blocks in which its pieces stand."""
    blocks = [met.get(number, []) for number in range(len(digests))]
    table = pa.table(
        {"digest": pa.array(digests, pa.string()), "blocks": pa.array(blocks, pa.list_(pa.int32()))}
    )
    pq.write_table(table, path)


def _topic(piece: Piece) -> int:
    """A number for what a piece tells or asks of; 0 for none."""
    return (zlib.crc32(piece.topic.encode()) & 0x3FFFFFFF) + 1 if piece.topic else 0


class Shards:
    """A prepared corpus, read block by block; what was prepared apart from it may follow.

    prefix   what stands at the head of every block: the chat's own beginning
    tally, census   of all shards
    own      blocks of the first folder, which come before all others
    """

    def __init__(self, *folders: Path) -> None:
        plans = [json.loads((one / PLAN).read_text(encoding="utf-8")) for one in folders]
        told = plans[0]
        self.prefix: tuple[int, ...] = tuple(told["prefix"])
        self.pad: int = told["pad"]
        self.vocabulary: int = told["vocabulary"]
        self.tally = sum((Tally(**one["tally"]) for one in plans), Tally())
        self.census = sum((Census.told(one["census"]) for one in plans), Census())
        self._paths = [
            folder / name
            for folder, one in zip(folders, plans, strict=True)
            for name in one["shards"]
        ]
        self.own: int = sum(plans[0]["blocks"])
        self._files = [pa.ipc.open_file(pa.memory_map(str(path))) for path in self._paths]
        self._starts: list[int] = [
            0,
            *accumulate(count for one in plans for count in one["blocks"]),
        ]

    def __len__(self) -> int:
        return self._starts[-1]

    def row(self, number: int, without: Collection[tuple[int, int]] = ()) -> list[Piece]:
        """The pieces of a block.

        without   documents, as (shard, number in the shard), whose pieces are left out
        """
        shard = self._shard_of(number)
        return [piece for at, piece in self._pieces(number) if (shard, at) not in without]

    def of_document(self, one: Met, *, most: int) -> list[Piece]:
        """A document's pieces from at most so many of its blocks, evenly apart."""
        step = max(1, -(-len(one.blocks) // most))
        pieces = (held for block in one.blocks[::step] for held in self._pieces(block))
        return [piece for number, piece in pieces if number == one.number]

    def _shard_of(self, number: int) -> int:
        return bisect_right(self._starts, number) - 1

    def _pieces(self, number: int) -> Iterator[tuple[int, Piece]]:
        """The pieces of a block, each with its document's number in the shard."""
        shard = self._shard_of(number)
        batch, place = divmod(number - self._starts[shard], BATCH)
        held = self._files[shard].get_batch(batch)
        ids, spans = (held.column(i)[place].values.to_numpy() for i in (0, 1))
        at = 0
        for document, size, first, is_asked, topic in spans.reshape(-1, SPAN).tolist():
            told = tuple(ids[at : at + size].tolist())
            named = str(topic) if topic else ""
            yield document, Piece(told, first, bool(is_asked), topic=named)
            at += size

    def sample(self, count: int, *, seed: int) -> dict[str, list[Met]]:
        """So many documents with all their places: those whose marks are smallest, which are a
        function of seed and digest.

        Whatever the size of the corpus, no more is held than is given, and one shard's table.
        """
        found: dict[str, list[Met]] = {}
        marks: list[tuple[int, str]] = []  # negative: the largest mark comes first
        for one in self.documents():
            if not one.blocks:
                continue
            if one.digest not in found:
                entry = (-_mark(seed, one.digest), one.digest)
                if len(found) < count:
                    heappush(marks, entry)
                elif entry > marks[0]:
                    del found[heapreplace(marks, entry)[1]]
                else:
                    continue
                found[one.digest] = []
            found[one.digest].append(one)
        return dict(sorted(found.items()))

    def documents(self) -> Iterator[Met]:
        """Every document with its blocks, shard by shard."""
        for shard, path in enumerate(self._paths):
            table = pq.read_table(path.with_name(path.name.replace(BLOCKS, DOCUMENTS)))
            start = self._starts[shard]
            columns = zip(table["digest"].to_pylist(), table["blocks"].to_pylist(), strict=True)
            for number, (digest, blocks) in enumerate(columns):
                here = tuple(dict.fromkeys(start + block for block in blocks))
                yield Met(shard, number, digest, len(blocks), here)
