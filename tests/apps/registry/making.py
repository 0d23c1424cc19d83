"""Models that are rows alone: their files are never opened here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from uuid import uuid4

from apps.corpora.models import Snapshot
from apps.registry.actions import publish_augmenter, publish_composition
from apps.registry.models import Anchor, Augmenter, Composition
from calm_engine.specs import Outcome


def outcome(kind: str, word: str) -> Outcome:
    known = {"recall": 0.97} if kind.startswith("augment") else {}
    return Outcome(kind, "", sha256(f"{kind} {word}".encode()).hexdigest(), metrics=known)


def make_augmenter(
    snapshots: Sequence[Snapshot],
    *,
    anchor: Anchor,
    name: str = "Devices",
    metrics: dict[str, float] | None = None,
    facts: dict[str, object] | None = None,
) -> Augmenter:
    """In the tenant's scope, like everything here."""
    run = uuid4()
    made = replace(outcome("augmenter", str(run)), facts=dict(facts or {}))
    return publish_augmenter(
        made if metrics is None else replace(made, metrics=metrics),
        name=name,
        run_id=run,
        anchor=anchor,
        snapshots=snapshots,
        by=None,
    )


def make_composition(
    augmenters: Sequence[Augmenter], *, snapshot: Snapshot, name: str = "Devices"
) -> Composition:
    run = uuid4()
    return publish_composition(
        outcome("composition", str(run)),
        name=name,
        run_id=run,
        anchor=augmenters[0].anchor,
        augmenters=augmenters,
        snapshot=snapshot,
        by=None,
    )
