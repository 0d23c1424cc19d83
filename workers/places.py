"""Where one run works on this machine, and what lies there. Knows files, no rows and no child."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHECKPOINT = re.compile(r"step-(\d{8})")


@dataclass(frozen=True)
class Saved:
    """A checkpoint that is whole: its step, its size, and the digest that its manifest states.

    is_milestone   it is kept when its run is done
    """

    step: int
    bytes: int
    digest: str
    is_milestone: bool = False


@dataclass(frozen=True)
class Place:
    """A run's folder, and the files inside."""

    folder: Path

    @property
    def spec(self) -> Path:
        return self.folder / "spec.json"

    @property
    def output(self) -> Path:
        return self.folder / "output"

    @property
    def work(self) -> Path:
        return self.folder / "work"

    @property
    def data(self) -> Path:
        """The snapshot in plain text, while an attempt works."""
        return self.folder / "data"

    @property
    def study(self) -> Path:
        """What a model wrote of the documents, in plain text, while an attempt works."""
        return self.folder / "study"

    @property
    def shards(self) -> Path:
        """The corpus as packed tokens, where the engine looks for it, while an attempt works."""
        return self.work / "corpus"

    @property
    def studied(self) -> tuple[Path, Path]:
        """Lessons of a large corpus, in words and as packed tokens, while an attempt works."""
        return self.work / "study", self.work / "lessons"

    @property
    def child(self) -> Path:
        """Process id and start time of the child that lives, or lived, here."""
        return self.folder / "child.json"

    def events(self, epoch: int) -> Path:
        return self.folder / f"events-{epoch}.jsonl"

    def words(self, epoch: int) -> Path:
        """What the child of this attempt says on its standard output and error."""
        return self.folder / f"child-{epoch}.log"

    def checkpoint(self, step: int) -> Path:
        return self.work / f"step-{step:08}"

    def checkpoints(self) -> Iterator[Saved]:
        """Every whole checkpoint; one that is being written has another name."""
        for folder in self.work.iterdir() if self.work.is_dir() else ():
            found = CHECKPOINT.fullmatch(folder.name)
            with suppress(OSError, ValueError, KeyError):  # removed while we look
                if found:
                    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
                    told = json.loads((folder / "state.json").read_text(encoding="utf-8"))
                    digest, is_kept = str(manifest["digest"]), bool(told.get("milestone"))
                    yield Saved(int(found[1]), size_of(folder), digest, is_kept)


def located(spec: Mapping[str, Any], places: Mapping[str, Path | str | None]) -> dict[str, Any]:
    """A run's spec with every reference ("@anchor") replaced by the folder that it means here."""

    def put(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [put(item) for item in value]
        if isinstance(value, dict):
            return located(value, places)
        if isinstance(value, str) and value.startswith("@"):
            place = places[value]
            return None if place is None else str(place)
        return value

    return {name: put(value) for name, value in spec.items()}


def size_of(folder: Path) -> int:
    """Bytes of every file in a folder; what goes while we look counts nothing."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def private(folder: Path) -> Path:
    """This folder, open to its owner alone."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def clear(place: Place) -> None:
    """Remove what a finished run no longer needs: checkpoints, scratch, copies of the data."""
    shutil.rmtree(place.folder, ignore_errors=True)


def clear_but_milestones(place: Place) -> None:
    """The same, but for the checkpoints that outlive their run."""
    kept = {place.checkpoint(saved.step) for saved in place.checkpoints() if saved.is_milestone}
    if not kept:
        clear(place)
        return
    for path in [*place.folder.iterdir(), *place.work.iterdir()]:
        if path in kept or path == place.work:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
