"""Which examples are held out of training, decided once and kept over all snapshots of corpora.

Nothing once held out is trained on later, and nothing seen is asked as if unseen.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from apps.corpora.models import (
    Corpus,
    Example,
    Snapshot,
)
from calm_engine.split import split_examples


@dataclass(frozen=True)
class Split:
    """How examples are held out: shares of entities, of values among those, and of whole tasks."""

    seed: int = 0
    entity_share: float = 0.3
    value_share: float = 1 / 3
    skill_share: float = 1 / 4


def split_of(corpora: Iterable[Corpus]) -> Split:
    """The split of their latest snapshot, or the default: unchanged corpora stay unchanged."""
    rows = Snapshot.objects.of_exactly(each.pk for each in corpora)
    latest = rows.order_by("-created_at").first()
    return Split(**latest.manifest["split"]) if latest else Split()


def as_row(example: Example) -> dict[str, str]:
    """One example as the engine reads it; its id is its digest."""
    names = ("question", "answer", "expected", "kind", "entity", "value")
    return {"id": example.digest} | {name: getattr(example, name) for name in names}


def slices_of(corpora: list[Corpus], split: Split) -> dict[str, str]:
    """Where each ready example belongs, by its digest: `calm_engine.split.Share`."""
    ready = Example.objects.ready().filter(corpus__in=corpora).order_by("created_at", "digest")
    examples = list({example.digest: example for example in ready}.values())
    fresh = split_examples(
        [as_row(example) for example in examples],
        seed=split.seed,
        entity_share=split.entity_share,
        value_share=split.value_share,
        skill_share=split.skill_share,
    )
    return _kept_apart(examples, dict(fresh), _earlier_slices(corpora))


def _earlier_slices(corpora: list[Corpus]) -> dict[str, str]:
    """What was decided first for each example that any snapshot of them holds."""
    earlier: dict[str, str] = {}
    rows = Snapshot.objects.touching(each.pk for each in corpora).order_by("-created_at")
    for manifest in rows.values_list("manifest", flat=True):
        earlier.update(dict(manifest["examples"]))
    return earlier


def _kept_apart(
    examples: list[Example], fresh: dict[str, str], earlier: dict[str, str]
) -> dict[str, str]:
    """The new split, bent so that nothing once held out is trained on, and nothing seen is asked
    as if unseen. Where two corpora decided apart about one entity, holding out wins."""
    known = [e for e in examples if e.digest in earlier]
    hidden = {_name(e.entity) for e in known if earlier[e.digest] != "bridge"} - {""}
    seen = {_name(e.entity) for e in known if earlier[e.digest] == "bridge"} - {""}
    held = {_name(e.value) for e in known if earlier[e.digest] == "unseen_value"} - {""}
    spared = {e.kind for e in known if earlier[e.digest] == "unseen_skill"}
    done = {e.kind for e in known if earlier[e.digest] == "bridge"}
    slices: dict[str, str] = {}
    for e in examples:
        where = fresh[e.digest]
        if e.digest in earlier:
            where = earlier[e.digest]
        elif _name(e.value) in held:
            where = "unseen_value"
        elif _name(e.entity) in hidden and where == "bridge":
            where = "unseen_entity"
        elif _name(e.entity) in seen and where != "unseen_skill":
            where = "bridge"
        if where == "unseen_skill" and e.kind in done - spared:
            where = "bridge"
        if where == "bridge" and e.kind in spared:
            where = "unseen_skill"
        if where == "bridge" and _name(e.entity) in hidden:
            where = "unseen_entity"
        slices[e.digest] = where
    taught = {_name(e.value) for e in examples if slices[e.digest] == "bridge"}
    for e in examples:
        if slices[e.digest] == "unseen_value" and _name(e.value) in taught:
            slices[e.digest] = "unseen_entity"
    return slices


def _name(text: str) -> str:
    return " ".join(text.casefold().split())
