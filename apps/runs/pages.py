"""What the page of a run shows, gathered once for the page and for its stream. Knows no request."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.conf import settings
from django.utils import timezone

from apps.registry import learned
from apps.registry.models import Augmenter, Composition
from apps.runs import causes, pipeline, sentences
from apps.runs.actions import FOLDERS, OFFERED, SPECS
from apps.runs.models import Run, Slot
from apps.runs.standing import Surroundings, standing
from apps.runs.states import Kind, State
from calm_engine.specs import Spec

STORY = 50  # the newest lines of what happened
LOOKS = 8  # the newest looks at the samples
CURVE = 2000  # points of the loss that the sentence is read from
LATEST = ("tokens_per_second", "seconds_per_step", "memory_bytes")
MOVES = 2  # looks at public text that it is read from
# What a run's page names of its parts, fetched with it.
PARTS = ("snapshot__corpus", "anchor", "augmenter", "base", "composition", "created_by")


def facts_of(row: Run) -> dict[str, Any]:
    """What the run page and each of its regions show."""
    now = timezone.now()
    told = _numbers(row)
    stands = standing(row, Surroundings.of(row))
    slot = Slot.objects.filter(name=row.owner).first() if row.owner else None
    return {
        "run": row,
        "stands": stands,
        "sentence": sentences.sentence(row, stands, now=now, losses=told.curve, moved=told.moved),
        "left": sentences.left(row, now) if row.state == State.RUNNING else "",
        "span": sentences.elapsed(row, now),
        "steps": _steps_of(row),
        "measured": _measured(row),
        "story": row.events.order_by("-at", "-id")[:STORY],
        "last_loss": told.curve[-1] if told.curve else None,
        "latest": told.latest,
        "looks": row.looks.order_by("-step")[:LOOKS],
        "checkpoints": list(row.checkpoints.all()),
        "slot": slot,
        "fix": causes.fix_for(row.cause, row.asked) if row.state == State.FAILED else None,
        "made": made_by(row),
        "updated": learned.update_of(*_outcome(row)),
        "forgotten": learned.forgetting_of(*_outcome(row)),
        "chosen": settings_of(row, own=True),
        "as_engine": settings_of(row, own=False),
        "is_older": slot is not None and slot.release not in ("", settings.RELEASE),
    }


@dataclass(frozen=True)
class Numbers:
    """What a run has told by now.

    curve    the end of its loss;  moved  how far it moved public text at its last two looks
    latest   by name: tokens it reads in a second, seconds of a step, bytes its process holds
    """

    curve: list[float]
    moved: list[float]
    latest: dict[str, float]


def _numbers(row: Run) -> Numbers:
    """In one query."""
    told = row.metrics.values_list("name", "step", "value")
    losses = told.filter(name="loss").order_by("-step")[:CURVE]
    moves = told.filter(name="general_loss").order_by("-step")[:MOVES]
    newest = told.filter(name__in=LATEST).order_by("name", "-step").distinct("name")
    rows = losses.union(moves, newest[: len(LATEST)], all=True)
    every = sorted(rows, key=lambda each: each[1])
    curve, moved = (
        [value for name, _step, value in every if name == wanted]
        for wanted in ("loss", "general_loss")
    )
    latest = {name: value for name, _step, value in every if name in LATEST}
    is_told = row.kind == Kind.COMPOSE and row.state == State.RUNNING
    return Numbers(curve, moved if is_told else [], latest)


def _steps_of(row: Run) -> list[pipeline.Step]:
    if row.kind == Kind.ESTIMATE:
        return []  # a step of no plan
    return pipeline.of_plan(row.plan) if row.plan else pipeline.strip([row])


def _measured(row: Run) -> dict[str, Any] | None:
    """What a dry run found, with its time in words."""
    facts: dict[str, Any] = (row.outcome or {}).get("facts", {})
    if "estimate" not in facts:
        return None
    told: dict[str, Any] = facts["estimate"]
    return _costs(told) | {
        "device": facts.get("device", ""),
        "bridges": _costs(told["bridges"]) if told.get("bridges") else None,
    }


def _outcome(row: Run) -> tuple[dict[str, Any], dict[str, Any]]:
    """Metrics and facts of what came out; empty before that."""
    told = row.outcome or {}
    return told.get("metrics", {}), told.get("facts", {})


def _costs(told: dict[str, Any]) -> dict[str, Any]:
    memory = told["device_memory_bytes"] or told["memory_bytes"]
    return told | {"time": sentences.in_words(int(told["seconds"])), "memory": memory}


def settings_of(row: Run, *, own: bool) -> list[tuple[str, Any]]:
    """The settings that differ from the engine's own choice, or those that do not."""
    chosen = _apart(Kind(row.kind), row.asked, own=own)
    after = row.asked.get(str(Kind.COMPOSE)) or {}  # of the bridges that a dry run tries as well
    bridges = _apart(Kind.COMPOSE, after, own=own)
    return chosen + [(f"{Kind.COMPOSE}.{name}", value) for name, value in bridges]


def _apart(kind: Kind, asked: dict[str, Any], *, own: bool) -> list[tuple[str, Any]]:
    defaults, passed_over = _defaults(kind), (FOLDERS - set(OFFERED)) | {str(Kind.COMPOSE)}
    return [
        (name, value)
        for name, value in asked.items()
        if name not in passed_over and (value != defaults.get(name)) == own
    ]


@cache
def _defaults(kind: Kind) -> dict[str, Any]:
    """What the engine chooses where nothing was asked, as JSON."""
    found: dict[str, Any] = {}
    for each in dataclasses.fields(SPECS[kind]):
        value: Any = each.default
        factory: Any = each.default_factory
        if factory is not dataclasses.MISSING:
            value = factory()
        if value is not dataclasses.MISSING:
            found[each.name] = value.to_dict() if isinstance(value, Spec) else value
    plain: dict[str, Any] = json.loads(json.dumps(found))
    return plain


def made_by(row: Run) -> Any:
    """What came out of a run: an augmenter, a composition or a report; None before that."""
    if row.state != State.SUCCEEDED:
        return None
    if row.kind == Kind.AUGMENT:
        return Augmenter.objects.filter(run_id=row.pk).first()
    if row.kind == Kind.COMPOSE:
        return Composition.objects.filter(run_id=row.pk).first()
    return row.reports.select_related("composition").first() if row.kind == Kind.EVALUATE else None
