"""What a plan will need, said before it starts: memory, disk, time, quota. Loads no torch.

Memory and disk are reckoned from the models' sizes; time comes from runs that have finished here,
and where none has, none is promised. An estimate is shown as one, never as a promise.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from django.db.models import F, Window
from django.db.models.functions import RowNumber
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.corpora.models import Snapshot
from apps.registry.models import Anchor
from apps.runs.models import Run
from apps.runs.sentences import in_words
from apps.runs.standing import Surroundings
from apps.runs.starts import NOTHING, Start
from apps.runs.states import Control, Kind, State
from calm_engine import capacity
from calm_engine.specs import Estimate

VOCABULARY = 49_152  # where the anchor does not tell its own
TRAINED_BYTES = 16  # a parameter in training: itself, its slope and two moments, in float32
KEPT_BYTES = 12  # of it in a checkpoint
FROZEN_BYTES = 4
BRIDGES = 0.08  # of the anchor's parameters, by the bridges' usual form
TOKEN_BYTES = 40  # of activations, for each token of a step, each layer and each unit of width
BLOCK = 400  # tokens of a packed row
# How often each fact is met: in rounds, or from shards, which a corpus of so many tokens is dealt
# from (`calm_engine.course`, `calm_engine.curriculum`; a test holds them together).
IN_ROUNDS, FROM_SHARDS, LARGE_CORPUS = 56, 24, 2_000_000
CHECKPOINTS = 3
TIGHT = 0.8  # of a slot's memory
SPREAD = (0.8, 1.4)  # of what runs like it took
HISTORY = 5
LARGE = ("outcome", "samples", "snapshot__manifest")  # columns that say nothing of time


@dataclass(frozen=True)
class Need:
    """Bytes of one kind of run: what is certain (weights and moments), and what is likely."""

    certain: int
    likely: int
    disk: int


@dataclass(frozen=True)
class Forecast:
    """The plan rail's figures; None where nothing is known."""

    memory: int
    certain: int
    word: str
    look: str
    why: str
    disk: int
    disk_free: int | None
    seconds: tuple[float, float] | None
    measured: str
    bridges: str
    minutes_left: int | None
    workers: int
    is_quiet: bool

    @property
    def low(self) -> str:
        return in_words(int(self.seconds[0])) if self.seconds else ""

    @property
    def high(self) -> str:
        return in_words(int(self.seconds[1])) if self.seconds else ""

    @property
    def fits_disk(self) -> bool:
        return self.disk_free is None or self.disk < self.disk_free


def forecast(
    snapshot: Snapshot,
    anchor: Anchor,
    settings: Mapping[str, Any],
    around: Surroundings,
    measured: Estimate | None = None,
    start: Start = NOTHING,
) -> Forecast:
    """What teaching this snapshot to this anchor will need, of the slots that listen now.

    around     the slots, and the tenant's share of them
    measured   by a dry run: it takes the place of the estimates of what was tried
    start      what the augmenter begins as
    """
    tried = _tried(measured)
    needs = [
        _measured(tried[kind])
        if kind in tried
        else need_of(kind, snapshot, anchor, settings, start)
        for kind in (Kind.AUGMENT, Kind.COMPOSE)
    ]
    slots, share, local = around.slots, around.share, timezone.localtime(around.now)
    memory, certain = max(n.likely for n in needs), max(n.certain for n in needs)
    word, look, why = _fit(memory, max((slot.memory_bytes for slot in slots), default=0))
    left = None
    if share.minutes is not None:
        left = max(0, share.minutes - int(share.seconds_in(local) // 60))
    return Forecast(
        memory=memory,
        certain=certain,
        word=word,
        look=look,
        why=why,
        disk=sum(need.disk for need in needs),
        disk_free=max((slot.disk_free for slot in slots), default=None),
        seconds=_seconds(snapshot, settings, tried),
        measured=in_words(int(tried[Kind.AUGMENT].seconds)) if tried else "",
        bridges=in_words(int(tried[Kind.COMPOSE].seconds)) if Kind.COMPOSE in tried else "",
        minutes_left=left,
        workers=len(slots),
        is_quiet=share.is_quiet(local),
    )


def memory_of(measured: Estimate) -> int:
    """Bytes at most: of the accelerator where there is one, else of the machine."""
    every = [each for each in (measured, measured.bridges) if each is not None]
    return max(each.device_memory_bytes or each.memory_bytes for each in every)


def _tried(measured: Estimate | None) -> dict[Kind, Estimate]:
    """What a dry run measured, by the kind of run that it measured."""
    found = {Kind.AUGMENT: measured, Kind.COMPOSE: measured.bridges if measured else None}
    return {kind: each for kind, each in found.items() if each is not None}


def _measured(told: Estimate) -> Need:
    held = told.device_memory_bytes or told.memory_bytes
    return Need(held, held, told.disk_bytes)


def exposures_of(snapshot: Snapshot) -> int:
    """About how often each fact will be met."""
    return FROM_SHARDS if snapshot.tokens > LARGE_CORPUS else IN_ROUNDS


def need_of(
    kind: Kind,
    snapshot: Snapshot,
    anchor: Anchor,
    settings: Mapping[str, Any],
    start: Start = NOTHING,
) -> Need:
    """What a run of this kind needs, from the sizes of its models."""
    asked = settings.get(str(kind), {})
    sizes = settings.get(str(Kind.AUGMENT), {})
    exposures = exposures_of(snapshot)
    shape = capacity.propose(tokens=snapshot.tokens, facts=0, exposures=exposures).shape
    width, layers = sizes.get("width") or shape.width, sizes.get("layers") or shape.layers
    small = (anchor.vocabulary or VOCABULARY) * width + layers * 12 * width * width
    if (known := start.base or start.previous) and known.parameters:
        small = known.parameters
    if kind is Kind.AUGMENT:
        rows = asked.get("batch_size") or capacity.rows_for(small)
        certain = small * TRAINED_BYTES
        likely = certain + rows * asked.get("block", BLOCK) * width * layers * TOKEN_BYTES
        disk = small * (KEPT_BYTES * CHECKPOINTS + FROZEN_BYTES)
        return Need(certain, likely, disk)
    bridges = int(anchor.parameters * BRIDGES)
    certain = (anchor.parameters + small) * FROZEN_BYTES + bridges * TRAINED_BYTES
    likely = int(certain * 1.25)
    return Need(certain, likely, bridges * (KEPT_BYTES * CHECKPOINTS + FROZEN_BYTES))


def _fit(need: int, most: int) -> tuple[str, str, str]:
    """Fits, tight or will not fit, with its look and the reason."""
    if not most:
        return _("Not known"), "off", _("No worker listens, so its memory is not known.")
    if need > most:
        return _("Will not fit"), "bad", _("No slot has so much memory.")
    if need > most * TIGHT:
        return _("Tight"), "warn", _("It needs nearly all the memory of the largest slot.")
    return _("Fits"), "ok", ""


def _seconds(
    snapshot: Snapshot, settings: Mapping[str, Any], tried: Mapping[Kind, Estimate]
) -> tuple[float, float] | None:
    """How long the whole plan may take: as tried, else as runs that finished here; or None."""
    total = 0.0
    finished = _finished()
    steps = ((Kind.AUGMENT, Control.NONE), (Kind.COMPOSE, Control.NONE))
    for kind, control in (*steps, (Kind.COMPOSE, Control.RANDOM), (Kind.EVALUATE, Control.NONE)):
        if kind in tried:
            total += tried[kind].seconds
            continue
        rows = finished.get((kind, control), [])
        alike = [row for row in rows if _is_alike(row, settings.get(str(kind), {}))]
        if not alike:
            return None
        sizes = [(row.used_seconds, max(1, row.snapshot.tokens)) for row in alike]
        # An augmenter learns for as long as its corpus is large; the others ask a fixed number.
        grows = kind is Kind.AUGMENT
        total += median(
            seconds * (max(1, snapshot.tokens) / tokens if grows else 1.0)
            for seconds, tokens in sizes
        )
    return total * SPREAD[0], total * SPREAD[1]


def _finished() -> dict[tuple[str, str], list[Run]]:
    """The newest runs of each sort that have finished here, in one query."""
    newest = Window(
        RowNumber(), partition_by=[F("kind"), F("control")], order_by=F("finished_at").desc()
    )
    rows = Run.objects.filter(state=State.SUCCEEDED, used_seconds__gt=0).annotate(place=newest)
    found: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for row in rows.filter(place__lte=HISTORY).select_related("snapshot").defer(*LARGE):
        found[row.kind, row.control].append(row)
    return found


def _is_alike(row: Run, asked: Mapping[str, Any]) -> bool:
    """Whether a finished run was asked the same: a quick check says nothing of a whole training."""
    names = ("steps", "width", "layers", "batch_size")
    return all(row.spec.get(name) == asked.get(name, row.spec.get(name)) for name in names) and (
        bool(asked.get("steps")) == bool(row.spec.get("steps"))
    )
