"""What the training of an augmenter begins with: nothing, an open base, or an earlier augmenter.

Going on from an earlier one brings it up to date; trained once more without some documents, it
never met them. Knows rows and references of specs; where folders lie the worker knows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from apps.corpora.models import Snapshot
from apps.registry import artifacts
from apps.registry.models import Anchor, Augmenter
from apps.runs.models import Run
from calm_engine.errors import EngineError, InputError

BASE, PREVIOUS, PREVIOUS_DOCUMENTS = "@base", "@previous", "@previous_documents"
# Fields of a spec that a start sets, and nobody else.
FOLDERS = frozenset({"base", "previous", "previous_documents", "before", "history"})


@dataclass(frozen=True)
class Start:
    """From nothing, where none of these is given.

    base       an open model that shares the anchor's tokenizer
    previous   the augmenter that is brought up to date; a training goes on from one model
    before     the augmenter that is trained once more, as it was, without the documents `forget`
               (digests of their originals), of which it is then asked beside the new one
    """

    base: Anchor | None = None
    previous: Augmenter | None = None
    before: Augmenter | None = None
    forget: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.previous is not None and (self.base or self.before):
            raise InputError("spec.clash", fields="previous, base, before")
        if bool(self.before) != bool(self.forget):
            raise InputError("spec.clash", fields="before, forget")

    @property
    def goes_on(self) -> bool:
        """Whether a model that has its shape already is trained on."""
        return bool(self.base or self.previous)

    @property
    def earlier(self) -> Augmenter | None:
        return self.previous or self.before

    def fields(self) -> dict[str, Any]:
        """Of the spec, folders as references."""
        told: dict[str, Any] = {"base": BASE} if self.base else {}
        if self.previous:
            told |= {"previous": PREVIOUS, "previous_documents": PREVIOUS_DOCUMENTS}
        if self.before:
            told |= {"before": PREVIOUS, "forget": list(self.forget)}
        return told

    def parts(self) -> dict[str, Any]:
        """Of the run's row."""
        held: dict[str, Any] = {"base": self.base, "augmenter": self.earlier}
        if self.before and (source := maker_of(self.before)):
            held |= {"source": source, "branch_step": branch_step(source, self.before, self.forget)}
        return held

    def require_tokenizer(self, anchor: Anchor) -> None:
        """Raises InputError: "tokenizer.mismatch", "augment.tokenizer"."""
        if self.earlier is not None and self.earlier.anchor.vocabulary != anchor.vocabulary:
            raise InputError("tokenizer.mismatch", anchor=anchor.name, augmenter=str(self.earlier))
        if self.base is not None and self.base.vocabulary != anchor.vocabulary:
            raise InputError("augment.tokenizer", base=self.base.name)


NOTHING = Start()


def maker_of(augmenter: Augmenter) -> Run | None:
    """The run that made it."""
    found: Run | None = Run.objects.filter(pk=augmenter.run_id).select_related("base").first()
    return found


def taught_to(augmenter: Augmenter) -> Snapshot:
    """The snapshot that its own training read; what it knows from before it was made of."""
    run = Run.objects.filter(pk=augmenter.run_id).select_related("snapshot__corpus").first()
    if run is not None:
        own: Snapshot = run.snapshot
        return own
    newest: Snapshot = augmenter.snapshots.order_by("-created_at")[:1].get()
    return newest


def dealt_to(run: Run) -> Snapshot:
    """The snapshot whose documents its training is dealt: one that forgets is dealt what the one
    before it was dealt, and leaves gaps."""
    if run.augmenter is not None and run.asked.get("forget"):
        return taught_to(run.augmenter)
    own: Snapshot = run.snapshot
    return own


def learned_by(run: Run) -> list[Snapshot]:
    """Every snapshot that the result of a training learned: its own, and what it went on from."""
    found = {run.snapshot.pk: run.snapshot}
    if run.augmenter is not None and not run.spec.get("forget"):
        found |= {each.pk: each for each in run.augmenter.snapshots.all()}
    return list(found.values())


def branch_step(source: Run, augmenter: Augmenter, forget: Collection[str]) -> int | None:
    """The step of the newest kept checkpoint that had met none of these; None: from the beginning.

    Only where the checkpoint's own past is this training's past too: a run that went on from an
    augmenter, or itself forgot something, learned from other documents before.
    """
    if source.spec.get("previous") or source.spec.get("forget"):
        return None
    first = first_step(augmenter, forget)
    if first is None:
        return None
    kept = source.checkpoints.filter(is_milestone=True, step__lte=first)
    return kept.order_by("-step").values_list("step", flat=True).first()


def first_step(augmenter: Augmenter, digests: Collection[str]) -> int | None:
    """The step of its training that first met one of these documents; None where none is told."""
    try:
        return min(_first_steps(augmenter, digests), default=None)
    except EngineError:  # of an older release, or not on this machine
        return None


def _first_steps(augmenter: Augmenter, digests: Collection[str]) -> Iterator[int]:
    from calm_engine import exposures  # noqa: PLC0415  pyarrow brings numpy, which no page needs

    for one in exposures.read(artifacts.path(augmenter)):
        if one.digest in digests and one.first_step is not None:
            yield one.first_step
