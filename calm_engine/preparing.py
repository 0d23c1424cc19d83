"""Documents and lessons to shards of packed tokens: slice by slice, by several processes.

A slice is a run of lines of a file, cut by bytes; it becomes one shard, whichever process makes it,
so the shards are the same bytes for any number of workers, and what a killed run had finished is
not made again. No process holds more than a slice. Knows no model and no training.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from calm_engine.data import encode, end_of_answer, piece_of, row_of, shared_prefix
from calm_engine.digests import file_digest
from calm_engine.errors import InputError
from calm_engine.families import read_tokenizer
from calm_engine.selfstudy import Lesson
from calm_engine.selfstudy.words import tag_of
from calm_engine.shards import BLOCKS, DOCUMENTS, PLAN, Tally, Writer, write_documents
from calm_engine.spreading import spread
from calm_engine.vetting import Census

FORMAT = 3
SLICE = 4 << 20  # bytes of a source that make one shard
TOGETHER = 64  # texts that are tokenised in one call


@dataclass(frozen=True)
class Preparation:
    """What shards are made from, and how.

    files      JSON lines: documents {"digest", "title", "text"} or lessons (`selfstudy.Lesson`)
    tokenizer  folder
    block      tokens in a block, the chat's prefix counted
    digests    of the files, where they are known and only parts of the files lie here
    """

    files: tuple[str, ...]
    tokenizer: str
    block: int
    digests: tuple[str, ...] = ()

    def key(self) -> dict[str, Any]:
        """What decides the shards' bytes."""
        return {
            "format": FORMAT,
            "files": list(self.digests) or [file_digest(Path(file)) for file in self.files],
            "tokenizer": file_digest(Path(self.tokenizer) / "tokenizer.json"),
            "block": self.block,
            "slice": SLICE,
        }


@dataclass(frozen=True)
class Slice:
    """The lines of a file that begin in [start, end), and the shard that they become."""

    file: str
    start: int
    end: int
    name: str


def slices(files: Sequence[str]) -> list[Slice]:
    """The work, cut: a function of the files' sizes alone. Raises InputError("data.file")."""
    found = []
    for number, file in enumerate(files):
        try:
            size = Path(file).stat().st_size
        except OSError as error:
            raise InputError("data.file", f"cannot read {file}", path=file) from error
        for count, start in enumerate(range(0, size, SLICE)):
            found.append(Slice(file, start, min(size, start + SLICE), name_of(number, count)))
    return found


def name_of(file: int, count: int) -> str:
    """The shard of a slice, both counted from 0."""
    return f"{file}-{count:06}{BLOCKS}"


def prepare_shards(
    asked: Preparation, folder: Path, *, workers: int = 1
) -> Iterator[tuple[int, int]]:
    """Make all shards that are not there yet: (shards done, in all) after each.

    Raises InputError: "data.file", "data.json", "data.row", "augment.block", "documents.empty" when
    no line holds any text.
    """
    key = asked.key()
    if _is_whole(folder, key):
        return
    begin(folder, key)
    work = slices(asked.files)
    maker = Maker(asked, folder)
    missing = [one for one in work if not (folder / f"{one.name}.json").is_file()]
    done = len(work) - len(missing)
    for _ in spread(maker.make, missing, workers):
        done += 1
        yield done, len(work)
    _end(maker, key, [one.name for one in work])


def _is_whole(folder: Path, key: dict[str, Any]) -> bool:
    try:
        told = json.loads((folder / PLAN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(told["key"] == key and "tally" in told)


def begin(folder: Path, key: dict[str, Any]) -> None:
    """An empty folder, or one that was begun for the very same work."""
    begun = folder / "begun.json"
    text = json.dumps(key, sort_keys=True)
    if not begun.is_file() or begun.read_text(encoding="utf-8") != text:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        begun.write_text(text, encoding="utf-8")


def _end(maker: Maker, key: dict[str, Any], names: Sequence[str]) -> None:
    counted = [_counted(maker.folder, name) for name in names]
    total = sum((one for one, _ in counted), Tally())
    if not total.pieces:
        raise InputError("documents.empty", "no document holds any text")
    told = {
        "key": key,
        "shards": names,
        "blocks": [one.blocks for one, _ in counted],
        "prefix": maker.prefix,
        "pad": end_of_answer(maker.tokenizer),
        "vocabulary": len(maker.tokenizer),
        "tally": asdict(total),
        "census": asdict(sum((census for _, census in counted), Census())),
    }
    replace_file(maker.folder / PLAN, json.dumps(told, indent=2))


def _counted(folder: Path, name: str) -> tuple[Tally, Census]:
    told = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return Tally(**told["tally"]), Census.told(told["census"])


def make(asked: Preparation, work: Sequence[Slice], folder: Path) -> None:
    """Make the shards of some slices, in this process."""
    maker = Maker(asked, folder)
    for one in work:
        maker.make(one)


class Maker:
    """Turns slices into shards, one at a time."""

    def __init__(self, asked: Preparation, folder: Path) -> None:
        self.asked, self.folder = asked, folder
        self.tokenizer = read_tokenizer(asked.tokenizer)
        self.prefix = shared_prefix(self.tokenizer)
        self.room = asked.block - len(self.prefix)
        if self.room < 2:
            raise InputError(
                "augment.block", "the chat's prefix alone fills a block", block=asked.block
            )
        self.backend: Any = self.tokenizer.backend_tokenizer  # of fast ones: all here
        self.backend.encode_special_tokens = True  # what people write is text to the last sign
        self.tags: dict[str, list[int]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        # A process that is not forked makes its own: a pickled tokenizer forgets how it was set.
        return Maker, (self.asked, self.folder)

    def make(self, one: Slice) -> Tally:
        """Write the shard of a slice: its blocks, its documents, and last its tally."""
        path = self.folder / one.name
        writer = Writer(path, self.room)
        digests: dict[str, int] = {}
        characters = text_bytes = text_tokens = read = 0
        census = Census()
        texts: list[tuple[int, str, str]] = []
        for size, row in rows_of(one):
            read += size
            number = digests.setdefault(str(row["digest"]), len(digests))
            if "text" not in row:
                writer.piece(number, piece_of(_lesson(row), self.tokenizer, self.prefix))
                continue
            text = str(row["text"])
            characters, text_bytes = characters + len(text), text_bytes + len(text.encode())
            if text.strip():
                texts.append((number, str(row.get("title", "")), text))
            if len(texts) == TOGETHER:
                text_tokens += self._write(writer, texts)
                census += Census.of(text for _, _, text in texts)
                texts = []
        text_tokens += self._write(writer, texts)
        census += Census.of(text for _, _, text in texts)
        writer.close()
        write_documents(
            self.folder / one.name.replace(BLOCKS, DOCUMENTS), list(digests), writer.met
        )
        tally = Tally(
            blocks=writer.blocks,
            documents=len(digests),
            pieces=writer.pieces,
            tokens=writer.tokens,
            characters=characters,
            read=read,
            text_bytes=text_bytes,
            text_tokens=text_tokens,
        )
        told = {"tally": asdict(tally), "census": asdict(census)}
        replace_file(Path(f"{path}.json"), json.dumps(told))
        return tally

    def _write(self, writer: Writer, texts: Sequence[tuple[int, str, str]]) -> int:
        """Write these texts; how many tokens they are."""
        found = self._encoded([f" {text}" for _, _, text in texts])
        for (number, title, _), ids in zip(texts, found, strict=True):
            tag = f"[{tag_of(title)}]"
            if tag not in self.tags:
                self.tags = {tag: encode(self.tokenizer, tag)}
            writer.text(number, self.tags[tag], ids)
        return sum(map(len, found))

    def _encoded(self, texts: Sequence[str]) -> list[np.ndarray[Any, Any]]:
        """Texts to arrays of tokens, as `data.encode` has them, many in one call."""
        # A lone surrogate is no text; it is shown as a question mark, as everywhere.
        clean = [text.encode("utf-8", "replace").decode() for text in texts]
        found = self.backend.encode_batch_fast(clean, add_special_tokens=False)
        return [np.asarray(one.ids, dtype=np.int32) for one in found]


def _lesson(row: dict[str, Any]) -> Lesson:
    """A line of lessons as what it was written from."""
    known = Lesson.__dataclass_fields__
    return Lesson(**{name: row[name] for name in row if name in known and name != "about"})


def rows_of(one: Slice) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows that begin in the slice, with their sizes in bytes."""
    with Path(one.file).open("rb") as file:
        # The byte before tells whether a line begins here or goes on.
        file.seek(max(0, one.start - 1))
        if one.start:
            file.readline()
        while file.tell() < one.end:
            at = file.tell()
            line = file.readline()
            if line.strip():
                yield len(line), _row(line, one.file, at)


def _row(line: bytes, file: str, at: int) -> dict[str, Any]:
    try:
        return row_of(line, path=file, line=0, needs=("digest",))
    except InputError as error:
        # Lines are counted only for whoever must find this one.
        with Path(file).open("rb") as whole:
            error.facts["line"] = 1 + sum(1 for _ in _lines_before(whole, at))
        raise


def _lines_before(file: IO[bytes], until: int) -> Iterator[bytes]:
    """The lines that begin before a byte."""
    while file.tell() < until:
        yield file.readline()


def replace_file(path: Path, text: str) -> None:
    """Write a small file whole or not at all."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)
