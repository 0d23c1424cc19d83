"""Whether an augmenter knows enough to be composed: its measured recall against the tenant's bar.

A composition can only give what its augmenter knows; composing an ignorant one costs hours and ends
in a report card that says so. Knows rows; the measuring is the engine's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from apps.accounts.rules import rules_of
from apps.corpora import manifests
from apps.corpora.models import Snapshot
from apps.registry.models import Augmenter
from calm_engine.errors import InputError
from calm_engine.wording import of_sample

if TYPE_CHECKING:
    from apps.accounts.models import User


def require_recall(augmenter: Augmenter, asked: float | None, *, by: User | None) -> float:
    """The bar that holds, when the augmenter reaches it.

    asked   a bar that this run names itself; None: the tenant's
    Raises InputError: "augmenter.recall" with its figures and the documents that it knows least,
    by their titles where `by` may read them; "augmenter.unmeasured" when nobody has asked it.
    """
    least = rules_of(augmenter.tenant)["least_recall"] / 100 if asked is None else float(asked)
    known = augmenter.metrics.get("recall")
    if least <= 0:
        return least
    if known is None:
        raise InputError("augmenter.unmeasured", which=str(augmenter))
    if known < least:
        raise InputError(
            "augmenter.recall",
            which=str(augmenter),
            recall=f"{100 * known:.0f}",
            least=f"{100 * least:.0f}",
            documents=", ".join(_unknown(augmenter, by)),
            **of_sample(augmenter.facts.get("sampled")),
        )
    return least


def _unknown(augmenter: Augmenter, by: User | None) -> list[str]:
    """The documents that it knows least, with the questions that were right and those asked."""
    learned = Snapshot.objects.filter(augmenters=augmenter)
    readable = learned.visible_to(by) if by is not None else learned.none()
    told = augmenter.facts.get("unknown", [])
    named = {digest for digest, _right, _asked in told}
    titles = {
        entry.original: entry.title
        for snapshot in readable
        for entry in manifests.entries(snapshot)
        if entry.original in named
    }
    return [f"{titles.get(d) or d[:12]} ({right}/{asked})" for d, right, asked in told]
