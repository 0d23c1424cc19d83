"""Verbs of runs: start one, and hand over what it made. What people wish of it: `runs.wishes`.

A start writes the row with its whole spec and sends a wake-up after the commit; losing that
message costs seconds, never the run. Folders in a spec are written as references ("@documents"),
because the worker alone knows where they lie.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import transaction

from apps.accounts import quotas
from apps.audit.actions import record
from apps.corpora.models import Corpus, Snapshot
from apps.registry import artifacts
from apps.registry.actions import publish_augmenter, publish_composition
from apps.registry.closure import closure_of
from apps.registry.models import Anchor, Augmenter, Composition
from apps.runs import starts
from apps.runs.endings import hold, succeed
from apps.runs.knowing import require_recall
from apps.runs.models import Run
from apps.runs.starts import NOTHING, Start
from apps.runs.states import Control, Kind
from calm_engine.errors import InputError
from calm_engine.specs import (
    EVERYDAY,
    STUDIED,
    AugmentSpec,
    ComposeSpec,
    EvaluateSpec,
    Outcome,
    Spec,
    TrialSpec,
)
from counterpoint.celery import send

if TYPE_CHECKING:
    from apps.accounts.models import User

Settings = Mapping[str, Any]

OUTPUT, WORK = "@output", "@work"
ANCHOR, AUGMENTER, COMPOSITION, CONTROL = "@anchor", "@augmenter", "@composition", "@control"
SPECS: dict[Kind, type[AugmentSpec] | type[ComposeSpec] | type[EvaluateSpec]] = {
    Kind.AUGMENT: AugmentSpec,
    Kind.COMPOSE: ComposeSpec,
    Kind.EVALUATE: EvaluateSpec,
    Kind.ESTIMATE: TrialSpec,
}
MAYBE_LARGE = 500_000  # tokens from which a corpus may be dealt from shards; its bytes decide
SOON = -5  # the priority of what a person waits for
DOCUMENTS, EXAMPLES, QUESTIONS = "@documents", "@examples", "@questions"
HELD_OUT, STUDY = "@held_out", "@study"
EMBEDDER, STRANGERS, JUDGE, TASKS = "@embedder", "@strangers", "@judge", "@tasks"
FOLDERS = frozenset(
    {"output", "work", "tokenizer", "documents", "examples", "held_out", "passages"}
    | {"anchor", "augmenters"}
    | {"control", "study_cache"}
    | starts.FOLDERS
)
# Fields that name a file or what comes with us: of these no file of this machine.
NAMED = {"general": (None, EVERYDAY), "lessons": (None, STUDIED)}


def start_augment(
    snapshot: Snapshot,
    *,
    anchor: Anchor,
    settings: Settings | None = None,
    start: Start = NOTHING,
    by: User | None,
    name: str = "",
    plan: UUID | None = None,
    device_bytes: int = 0,
) -> Run:
    """Queue the training of a small model on this snapshot.

    settings  fields of `AugmentSpec` but its folders, such as steps or width
    start     what it begins as
    device_bytes   memory that a slot must have; 0: not known, any slot takes it
    Raises InputError at the door: a bad setting, a tokenizer of its own, or a corpus that `by` may
    not read.
    """
    start.require_tokenizer(anchor)
    run = queue(
        Kind.AUGMENT,
        augment_spec(snapshot, settings, start),
        snapshot=snapshot,
        anchor=anchor,
        closure=closure_of([snapshot], [start.previous] if start.previous else []),
        by=by,
        name=name,
        plan=plan,
        device_bytes=device_bytes,
        **start.parts(),
    )
    if run.spec["deal"] == "shuffled" or snapshot.tokens > MAYBE_LARGE:
        send("ingestion.pack", str(run.tenant_id), str(run.pk))
    return run


def start_estimate(
    snapshot: Snapshot,
    *,
    anchor: Anchor,
    settings: Mapping[str, Settings] | None = None,
    start: Start = NOTHING,
    by: User | None,
    device_bytes: int = 0,
) -> Run:
    """Queue a dry run of the same trainings: a few steps on the real device, nothing kept.

    settings   {"augment": {...}, "compose": {...}}
    It goes before its tenant's other runs, since somebody waits for it. Raises as `start_augment`.
    """
    start.require_tokenizer(anchor)
    return queue(
        Kind.ESTIMATE,
        trial_spec(snapshot, settings, start),
        snapshot=snapshot,
        anchor=anchor,
        closure=closure_of([snapshot], [start.previous] if start.previous else []),
        by=by,
        name="",
        priority=SOON,
        device_bytes=device_bytes,
        **start.parts(),
    )


def augment_spec(
    snapshot: Snapshot, settings: Settings | None, start: Start = NOTHING
) -> AugmentSpec:
    """The whole spec of an augment run. Raises InputError for what makes no sense in it."""
    return AugmentSpec.from_dict(_augmenting(snapshot, settings, start))


def trial_spec(
    snapshot: Snapshot, settings: Mapping[str, Settings] | None, start: Start = NOTHING
) -> TrialSpec:
    """The whole spec of a dry run: of the augmenter, and of the bridges where there is an example.

    Raises InputError for what makes no sense in either.
    """
    asked = settings or {}
    spec = _augmenting(snapshot, asked.get(str(Kind.AUGMENT)), start)
    if bridge_examples(snapshot):
        after = checked(asked.get(str(Kind.COMPOSE))) | _composing(OUTPUT)
        spec["compose"] = ComposeSpec.from_dict(after).to_dict()
    return TrialSpec.from_dict(spec)


def _augmenting(snapshot: Snapshot, settings: Settings | None, start: Start) -> dict[str, Any]:
    examples = EXAMPLES if bridge_examples(snapshot) else None
    return (
        checked(settings)
        | start.fields()
        | {"output": OUTPUT, "work": WORK, "tokenizer": ANCHOR}
        | {"documents": DOCUMENTS, "examples": examples, "study_cache": STUDY}
    )


def _composing(augmenter: str) -> dict[str, Any]:
    return {"output": OUTPUT, "work": WORK, "anchor": ANCHOR, "augmenters": [augmenter]} | {
        "examples": EXAMPLES,
        "held_out": HELD_OUT,
    }


def start_compose(
    anchor: Anchor,
    augmenter: Augmenter,
    snapshot: Snapshot,
    *,
    control: str = Control.NONE,
    settings: Settings | None = None,
    by: User | None,
    name: str = "",
    plan: UUID | None = None,
    device_bytes: int = 0,
) -> Run:
    """Queue the training of bridges from an augmenter to an anchor, on the snapshot's examples.

    control   "random": the same training on an augmenter of random weights; what that scores is
              not the knowledge's work. Its result is no composition, only a column of reports.
    Raises InputError("snapshot.examples") when the snapshot holds no example for the bridges,
    ("tokenizer.mismatch") when the augmenter was trained with another anchor's tokenizer,
    ("augmenter.recall") when it knows less of its documents than the tenant wants.
    """
    if not bridge_examples(snapshot):
        raise InputError("snapshot.examples")
    if augmenter.anchor.vocabulary != anchor.vocabulary:
        raise InputError("tokenizer.mismatch", anchor=anchor.name, augmenter=str(augmenter))
    asked = checked(settings)
    asked["least_recall"] = require_recall(augmenter, asked.get("least_recall"), by=by)
    spec = ComposeSpec.from_dict(asked | _composing(AUGMENTER) | {"control": control})
    return queue(
        Kind.COMPOSE,
        spec,
        snapshot=snapshot,
        anchor=anchor,
        augmenter=augmenter,
        control=control,
        closure=closure_of([snapshot], [augmenter]),
        by=by,
        name=name or augmenter.name,
        plan=plan,
        device_bytes=device_bytes,
    )


def queue_evaluate(
    composition: Composition,
    spec: Spec,
    *,
    control_run: Run | None,
    by: User | None,
    plan: UUID | None,
) -> Run:
    """Queue an evaluation; `evaluation.actions.start_evaluate` chooses the questions."""
    return queue(
        Kind.EVALUATE,
        spec,
        snapshot=composition.snapshot,
        anchor=composition.anchor,
        composition=composition,
        control_run=control_run,
        closure=list(composition.closure),
        by=by,
        name=composition.name,
        plan=plan,
    )


def bridge_examples(snapshot: Snapshot) -> int:
    """How many examples of the snapshot the bridges may see."""
    examples = snapshot.manifest.get("examples", [])
    return sum(1 for _digest, part in examples if part == "bridge")


# What a start may choose by itself: the snapshot's documents, to be read beside the examples.
OFFERED = {"passages": DOCUMENTS}


def checked(settings: Settings | None) -> dict[str, Any]:
    asked = dict(settings or {})
    offered = {name for name, place in OFFERED.items() if asked.get(name) in (place, None)}
    taken = sorted((FOLDERS - offered) & set(asked))
    if taken:
        raise InputError("spec.unknown", f"not yours to set: {', '.join(taken)}", fields=taken)
    for name, known in NAMED.items():
        if name in asked and asked[name] not in known:
            raise InputError("spec.value", f"`{name}` names nothing of ours", fields=name)
    return asked


def queue(
    kind: Kind,
    spec: Spec,
    *,
    snapshot: Snapshot,
    closure: list[UUID],
    by: User | None,
    name: str,
    **parts: Any,
) -> Run:
    """One transaction: the row, its first event, the audit line; the wake-up after the commit."""
    if by is not None:
        refuse_stranger(by, closure)
        if not parts.get("plan"):  # what a plan goes on with waits instead, when it is claimed
            quotas.require(by, quotas.Kind.GPU_MINUTES)
    with transaction.atomic():
        run = Run.objects.create(
            kind=kind,
            spec=spec.to_dict(),
            snapshot=snapshot,
            closure=closure,
            created_by=by,
            name=name or snapshot.names,
            **parts,
        )
        run.note("queued", "Waiting for a worker")
        record("run.start", run, by=by, kind=str(kind))
        send("gpu.wake")
    return run


def refuse_stranger(by: User, closure: list[UUID]) -> None:
    """Nobody learns from what they may not read, and nobody else does it for them."""
    readable = Corpus.objects.readable_by(by).filter(id__in=closure).values_list("id", flat=True)
    if set(closure) - set(readable):
        raise InputError("run.closure")


def finish_augment(run: Run, outcome: Outcome) -> Augmenter:
    """Take the trained augmenter in: files first, then its row and the run's end as one.

    One that went on from another has learned what that one had learned, too.
    """
    artifacts.adopt("augmenter", Path(outcome.folder), outcome.digest)
    with transaction.atomic():
        hold(run)
        augmenter = publish_augmenter(
            outcome,
            name=run.name,
            run_id=run.pk,
            anchor=run.anchor,
            snapshots=starts.learned_by(run),
            by=run.created_by,
        )
        succeed(run, _kept(outcome))
    return augmenter


def finish_compose(run: Run, outcome: Outcome) -> Composition | None:
    """Take the trained bridges in; a control is stored, but never becomes a composition."""
    if run.control != Control.NONE:
        artifacts.adopt("control", Path(outcome.folder), outcome.digest)
        with transaction.atomic():
            hold(run)
            succeed(run, _kept(outcome))
        return None
    assert run.augmenter is not None
    artifacts.adopt("composition", Path(outcome.folder), outcome.digest)
    with transaction.atomic():
        hold(run)
        composition = publish_composition(
            outcome,
            name=run.name,
            run_id=run.pk,
            anchor=run.anchor,
            augmenters=[run.augmenter],
            snapshot=run.snapshot,
            by=run.created_by,
        )
        succeed(run, _kept(outcome))
    return composition


def finish_estimate(run: Run, outcome: Outcome, *, device: str) -> None:
    """Keep what a dry run measured, and where; nothing else is left of it."""
    with transaction.atomic():
        hold(run)
        succeed(run, outcome.to_dict() | {"facts": outcome.facts | {"device": device}})


def _kept(outcome: Outcome) -> dict[str, Any]:
    """What a run's row remembers of its outcome: everything but where the folder once was."""
    return outcome.to_dict() | {"folder": ""}
