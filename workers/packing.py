"""Shards of a large corpus, made on the ingest queue while its training waits for a slot.

Only a head start: the training takes what is there and makes the rest itself, so a message that is
lost, late or repeated costs time alone. Shards quote documents: they lie sealed on a shelf named by
what they were made of, and plain only in the private folder of a part or of an attempt.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog

from apps.corpora.actions import lines_of, once
from apps.corpora.models import Snapshot
from apps.registry import artifacts
from apps.runs import starts
from apps.runs.models import Run
from apps.runs.states import ACTIVE
from apps.tenants.scope import tenant_scope
from calm_engine.digests import file_digest
from calm_engine.specs import AugmentSpec
from counterpoint.celery import send
from counterpoint.plaincopies import plain_folder
from counterpoint.shelves import SHARDS, shelf_of
from workers import task
from workers.places import private

log = structlog.get_logger(__name__)

SLICE = 4 << 20  # bytes of a shard's source, as the engine cuts them (a test holds them together)
TOGETHER = 8  # slices of a part: what a child takes a few seconds to begin for
CUT = "cut.json"  # on the shelf: where the parts begin
HOUR = 3600


@dataclass(frozen=True)
class Cut:
    """Where the parts of a corpus's lines begin.

    digest, size   of all lines, as a training would read them
    starts         of each part the document it begins with, and that one's first byte
    """

    digest: str
    size: int
    starts: list[tuple[int, int]]

    @classmethod
    def of(cls, snapshot: Snapshot) -> Cut:
        """Read every line once; hold none."""
        digest, at, starts = hashlib.sha256(), 0, [(0, 0)]
        for number, line in enumerate(lines_of(once(snapshot))):
            while at >= len(starts) * TOGETHER * SLICE:
                starts.append((number, at))
            digest.update(line)
            at += len(line)
        return cls(digest.hexdigest(), at, starts)


@task("ingestion.pack", queue="ingest")
def pack(tenant_id: str, run_id: str) -> None:
    """Cut the corpus of a waiting training into parts, and call for each."""
    with tenant_scope(tenant_id):
        run = waiting(run_id)
        if run is None:
            return
        cut = Cut.of(starts.dealt_to(run))
        if not AugmentSpec.from_dict(run.asked).is_shuffled(cut.size):
            return
        with plain_folder(tenant_id) as folder:
            here = private(folder / "cut")
            (here / CUT).write_text(json.dumps(asdict(cut)), encoding="utf-8")
            SHARDS.keep(f"{place_of(run, cut.digest)}/cut", here, "*")
        for number in range(len(cut.starts)):
            send("ingestion.pack_part", tenant_id, run_id, cut.digest, str(number))


@task("ingestion.pack_part", queue="ingest")
def pack_part(tenant_id: str, run_id: str, digest: str, number: str) -> None:
    """Make the shards of one part, unless they are there or nobody waits for them any more."""
    with plain_folder(tenant_id) as place:
        with tenant_scope(tenant_id):
            run = waiting(run_id)
            shelf = place_of(run, digest) if run is not None else ""
            asked = laid_out(run, shelf, int(number), place) if run is not None else None
        if asked is None:
            return
        (place / "part.json").write_text(json.dumps(asked), encoding="utf-8")
        child = [sys.executable, "-m", "calm_engine.packing", str(place / "part.json")]
        done = subprocess.run(child, capture_output=True, check=False, timeout=HOUR)  # noqa: S603 - our own module
        if done.returncode:  # the training will meet the same, and say it where people look
            log.warning("shards.refused", run=run_id, code=done.returncode)
            return
        with tenant_scope(tenant_id):
            SHARDS.keep(shelf, place / "made", "*")


def laid_out(run: Run, shelf: str, number: int, place: Path) -> dict[str, Any] | None:
    """What the engine is asked, with the part's lines in its folder; None: it is done already."""
    SHARDS.bring(f"{shelf}/cut", place)
    if not (place / CUT).exists():  # forgotten meanwhile
        return None
    cut = Cut(**json.loads((place / CUT).read_text(encoding="utf-8")))
    slices = -(-cut.size // SLICE)
    first, last = number * TOGETHER, min(slices, (number + 1) * TOGETHER)
    if all(SHARDS.holds(shelf, f"0-{each:06}.blocks.arrow.json") for each in range(first, last)):
        return None
    begins, offset = cut.starts[number]
    ends = cut.starts[number + 1][0] if number + 1 < len(cut.starts) else None
    with (place / "lines.jsonl").open("wb") as out:
        out.writelines(lines_of(islice(once(starts.dealt_to(run)), begins, ends)))
    return {
        "lines": str(place / "lines.jsonl"),
        "tokenizer": str(artifacts.path(run.anchor)),
        "output": str(place / "made"),
        "block": run.asked["block"],
        "digest": cut.digest,
        "size": cut.size,
        "offset": offset,
        "first": first,
        "last": last,
    }


def waiting(run_id: str) -> Run | None:
    """The training, while it waits or works."""
    rows = Run.objects.filter(pk=UUID(run_id), state__in=ACTIVE)
    found: Run | None = rows.select_related("snapshot", "anchor", "augmenter").first()
    return found


def place_of(run: Run, digest: str) -> str:
    """The corpora it deals, and by what their shards are decided: the shelf's name."""
    corpora = shelf_of(starts.dealt_to(run).closure)
    decided = json.dumps([digest, run.anchor.digest, run.asked["block"], SLICE])
    return f"{corpora}/{hashlib.sha256(decided.encode()).hexdigest()}"


@contextmanager
def packed(
    tenant_id: UUID, run: Run, documents: Path, spec: AugmentSpec, folder: Path
) -> Iterator[None]:
    """What shards there are, plain for this attempt alone; then all of them sealed."""
    if not spec.is_shuffled(documents.stat().st_size):
        yield
        return
    digest = file_digest(documents)
    with tenant_scope(tenant_id):
        shelf = place_of(run, digest)
        SHARDS.bring(shelf, private(folder))
    whole_alone(folder)
    try:
        yield
    finally:
        if folder.is_dir():
            with tenant_scope(tenant_id):
                SHARDS.keep(shelf, folder, "*")


def whole_alone(folder: Path) -> None:
    """A shard that lacks a file is none: the engine makes it anew."""
    for told in folder.glob("*.arrow.json"):
        blocks = told.with_name(told.name.removesuffix(".json"))
        documents = blocks.with_name(blocks.name.replace(".blocks.arrow", ".documents.parquet"))
        if not (blocks.exists() and documents.exists()):
            told.unlink()
            (folder / "plan.json").unlink(missing_ok=True)
