"""Objects of North for the walk of strangers."""

from __future__ import annotations

from collections.abc import Callable

from apps.registry.models import Anchor, Augmenter, Composition
from tests.browser.making import fill
from tests.cast import Cast


def one(model: type) -> Callable[[Cast], dict[str, object]]:
    """The address's arguments for the one object of this kind that North has."""
    return lambda cast: {"code": next(row.pk for row in fill(cast) if isinstance(row, model))}


OBJECTS = {
    "registry:anchor": one(Anchor),
    "registry:augmenter": one(Augmenter),
    "registry:composition": one(Composition),
    "registry:roll_back": one(Composition),
    "registry:keep_warm": one(Composition),
    "registry:quarantine": one(Composition),
    "registry:lift": one(Composition),
    "registry:export": one(Composition),
    "registry:export_augmenter": one(Augmenter),
}
