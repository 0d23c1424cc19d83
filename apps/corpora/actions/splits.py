"""Which examples are held out of training, decided once and kept over all snapshots of a corpus.

Nothing once held out is trained on later, and nothing seen is asked as if unseen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from apps.corpora.models import (
    Corpus,
    Example,
)
from calm_engine.split import split_examples

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class Split:
    """How examples are held out: shares of entities, and of values among those."""

    seed: int = 0
    entity_share: float = 0.3
    value_share: float = 1 / 3


def split_of(corpus: Corpus) -> Split:
    """The split of the latest snapshot, or the default: unchanged corpora stay unchanged."""
    latest = corpus.snapshots.order_by("-created_at").first()
    return Split(**latest.manifest["split"]) if latest else Split()


def as_row(example: Example) -> dict[str, str]:
    """One example as the engine reads it; its id is its digest."""
    names = ("question", "answer", "expected", "kind", "entity", "value")
    return {"id": example.digest} | {name: getattr(example, name) for name in names}


def slices_of(corpus: Corpus, split: Split) -> dict[str, str]:
    """Where each ready example belongs: {digest: "bridge" | "unseen_entity" | "unseen_value"}."""
    examples = list(corpus.examples.ready())
    fresh = split_examples(
        [as_row(example) for example in examples],
        seed=split.seed,
        entity_share=split.entity_share,
        value_share=split.value_share,
    )
    return _kept_apart(examples, dict(fresh), _earlier_slices(corpus))


def _earlier_slices(corpus: Corpus) -> dict[str, str]:
    """What was decided first for each example that any snapshot holds; it is never moved."""
    earlier: dict[str, str] = {}
    for manifest in corpus.snapshots.order_by("-created_at").values_list("manifest", flat=True):
        earlier.update(dict(manifest["examples"]))
    return earlier


def _kept_apart(
    examples: list[Example], fresh: dict[str, str], earlier: dict[str, str]
) -> dict[str, str]:
    """The new split, bent so that nothing once held out is trained on, and nothing seen is asked
    as if unseen."""
    known = [e for e in examples if e.digest in earlier]
    hidden = {_name(e.entity) for e in known if earlier[e.digest] != "bridge"} - {""}
    seen = {_name(e.entity) for e in known if earlier[e.digest] == "bridge"} - {""}
    held = {_name(e.value) for e in known if earlier[e.digest] == "unseen_value"} - {""}
    slices: dict[str, str] = {}
    for e in examples:
        where = fresh[e.digest]
        if e.digest in earlier:
            where = earlier[e.digest]
        elif _name(e.value) in held:
            where = "unseen_value"
        elif _name(e.entity) in hidden and where == "bridge":
            where = "unseen_entity"
        elif _name(e.entity) in seen:
            where = "bridge"
        slices[e.digest] = where
    taught = {_name(e.value) for e in examples if slices[e.digest] == "bridge"}
    for e in examples:
        if (
            slices[e.digest] == "unseen_value"
            and e.digest not in earlier
            and _name(e.value) in taught
        ):
            slices[e.digest] = "unseen_entity"
    return slices


def _name(text: str) -> str:
    return " ".join(text.casefold().split())
