"""Models that are rows alone: their files are never opened here."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from uuid import uuid4

from apps.corpora.models import Snapshot
from apps.registry.actions import publish_augmenter, publish_composition
from apps.registry.models import Anchor, Augmenter, Composition
from calm_engine.specs import Outcome


def outcome(kind: str, word: str) -> Outcome:
    return Outcome(kind, "", sha256(f"{kind} {word}".encode()).hexdigest())


def make_augmenter(
    snapshots: Sequence[Snapshot], *, anchor: Anchor, name: str = "Devices"
) -> Augmenter:
    """In the tenant's scope, like everything here."""
    run = uuid4()
    return publish_augmenter(
        outcome("augmenter", str(run)),
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
