"""Verbs of the registry: bring in, publish, move an alias, bar. Each is one transaction.

A row is written after its files: `artifacts.adopt` proves the digest and renames, then the row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Max
from django.db.models.functions import Now

from apps.audit import approvals
from apps.audit.actions import record
from apps.audit.models import Approval
from apps.corpora.models import Snapshot
from apps.registry import artifacts
from apps.registry.closure import can_use, closure_of
from apps.registry.models import (
    Alias,
    AliasChange,
    Anchor,
    Augmenter,
    AugmenterSnapshot,
    Composition,
    CompositionPart,
    Embedder,
)
from calm_engine.errors import InputError
from calm_engine.specs import Outcome
from counterpoint.live import publish

if TYPE_CHECKING:
    from apps.accounts.models import User

SEEN_ANYTHING = "*"  # the caller did not look first, so any present target is agreed to


def import_anchor(
    outcome: Outcome, *, by: User | None, name: str = "", licence: str = "", source: str = ""
) -> Anchor:
    """File the folder that `calm_engine.importing` made; a second time gives the same row.

    Facts of the outcome fill what is not given: name, licence, parameters, vocabulary, source.
    """
    facts = dict(outcome.facts)
    artifacts.adopt("anchor", Path(outcome.folder), outcome.digest)
    with transaction.atomic():
        anchor: Anchor
        anchor, is_new = Anchor.objects.get_or_create(
            digest=outcome.digest,
            defaults={
                "name": name or str(facts.get("name") or f"anchor {outcome.digest[:8]}"),
                "licence": licence or str(facts.get("licence") or ""),
                "parameters": _whole(facts, outcome, "parameters"),
                "vocabulary": _whole(facts, outcome, "vocabulary"),
                "source": source or str(facts.get("source") or ""),
                "facts": facts,
                "imported_by": by,
            },
        )
        if is_new:
            record("anchor.import", anchor, by=by, digest=outcome.digest, name=anchor.name)
    return anchor


def import_embedder(outcome: Outcome, *, by: User | None, name: str = "") -> Embedder:
    """File an embedding model and put it to use in place of another; passages are read anew.

    A second time the same row is put to use again.
    """
    facts = dict(outcome.facts)
    artifacts.adopt("embedder", Path(outcome.folder), outcome.digest)
    with transaction.atomic():
        _one_at_a_time("embedder")
        Embedder.objects.filter(in_use=True).update(in_use=False)
        embedder: Embedder
        embedder, _ = Embedder.objects.update_or_create(
            digest=outcome.digest,
            defaults={"in_use": True},
            create_defaults={
                "in_use": True,
                "name": name or str(facts.get("name") or f"embedder {outcome.digest[:8]}"),
                "licence": str(facts.get("licence") or ""),
                "parameters": _whole(facts, outcome, "parameters"),
                "width": _whole(facts, outcome, "width"),
                "facts": facts,
                "imported_by": by,
            },
        )
        record("embedder.import", embedder, by=by, digest=outcome.digest, name=embedder.name)
    return embedder


def publish_augmenter(
    outcome: Outcome,
    *,
    name: str,
    run_id: UUID,
    anchor: Anchor,
    snapshots: Sequence[Snapshot],
    by: User | None,
) -> Augmenter:
    """Write the row of an augmenter whose folder is adopted already, in the run's transaction."""
    augmenter = Augmenter.objects.create(
        name=name,
        version=_next_version(Augmenter, name),
        digest=outcome.digest,
        run_id=run_id,
        anchor=anchor,
        closure=closure_of(snapshots),
        parameters=_whole(outcome.facts, outcome, "parameters"),
        metrics=outcome.metrics,
        facts=outcome.facts,
    )
    for snapshot in snapshots:
        AugmenterSnapshot.objects.create(augmenter=augmenter, snapshot=snapshot)
    record("augmenter.publish", augmenter, by=by, digest=outcome.digest, run=str(run_id))
    return augmenter


def publish_composition(
    outcome: Outcome,
    *,
    name: str,
    run_id: UUID,
    anchor: Anchor,
    augmenters: Sequence[Augmenter],
    snapshot: Snapshot,
    by: User | None,
) -> Composition:
    """Write the row of an adopted composition and point `candidate` at it, as one with the run."""
    composition = Composition.objects.create(
        name=name,
        version=_next_version(Composition, name),
        digest=outcome.digest,
        anchor=anchor,
        snapshot=snapshot,
        run_id=run_id,
        closure=closure_of([snapshot], augmenters),
        parents=outcome.parents,
        metrics=outcome.metrics,
    )
    for position, augmenter in enumerate(augmenters):
        CompositionPart.objects.create(
            composition=composition, augmenter=augmenter, position=position
        )
    # The alias first: the audit's lock is taken last everywhere, or two acts could wait in a ring.
    promote(composition, Alias.CANDIDATE, by=by, reason="Newest version")
    record("composition.publish", composition, by=by, digest=outcome.digest, run=str(run_id))
    return composition


def promote(
    composition: Composition,
    alias: str,
    *,
    by: User | None,
    reason: str = "",
    gates: Sequence[dict[str, object]] = (),
    report_id: UUID | None = None,
    seen: str = SEEN_ANYTHING,
) -> AliasChange | None:
    """Move an alias of this model here, if it still stands where the caller saw it.

    seen   the id of the composition that the page showed under this alias, "" for none
    Returns the history row, or None when the alias stood here already. The gates are judged by
    `evaluation.actions.promote`; here the move is only carried out and written down.
    Raises InputError("alias.moved") when somebody else was faster, ("composition.quarantined").
    """
    with transaction.atomic():
        _one_at_a_time(f"alias {composition.name} {alias}")
        now = Composition.objects.select_for_update().get(pk=composition.pk)
        if now.state != Composition.State.READY:
            raise InputError("composition.quarantined", name=str(composition))
        before = Alias.objects.filter(model=composition.name, name=alias).first()
        stood = str(before.composition_id) if before else ""
        if seen not in (SEEN_ANYTHING, stood):
            raise InputError("alias.moved", name=f"{composition.name}:{alias}")
        if stood == str(composition.pk):
            return None
        Alias.objects.update_or_create(
            model=composition.name,
            name=alias,
            defaults={"composition": composition, "moved_at": Now()},
        )
        change: AliasChange = AliasChange.objects.create(
            model=composition.name,
            name=alias,
            before=before.composition if before else None,
            after=composition,
            by=by,
            reason=reason,
            gates=list(gates),
            report_id=report_id,
        )
        record(
            "alias.move", composition, by=by, alias=alias, before=stood, after=str(composition.pk)
        )
    return change


def previous_live(changes: Iterable[AliasChange]) -> Composition | None:
    """What `live` named before its last move, if that may still be used.

    changes   moves of one model's aliases, newest first
    """
    last = next((change for change in changes if change.name == Alias.LIVE), None)
    if last is None or last.before is None or last.before.state != Composition.State.READY:
        return None
    target: Composition = last.before
    return target


def roll_back(model: str, *, by: User, reason: str = "") -> AliasChange | None:
    """Move `live` back to what it named before: a move like any other, already approved once.

    Raises InputError("alias.no_previous") when there is nothing to go back to,
    ("composition.closure") when `by` may not use what it would go back to.
    """
    moves = AliasChange.objects.filter(model=model, name=Alias.LIVE).select_related("before")
    target = previous_live(moves[:1])
    if target is None:
        raise InputError("alias.no_previous", name=model)
    if not can_use(by, target):
        raise InputError("composition.closure", name=str(target))
    return promote(target, Alias.LIVE, by=by, reason=reason or "Rolled back")


def keep_warm(composition: Composition, *, kept: bool, by: User) -> None:
    """Let a live model never be put to sleep for others, or let it again; later versions too.

    Raises InputError("alias.not_live").
    """
    with transaction.atomic():
        alias = Alias.objects.filter(composition=composition, name=Alias.LIVE).first()
        if alias is None:
            raise InputError("alias.not_live", name=str(composition))
        if Alias.objects.filter(pk=alias.pk).exclude(keep_warm=kept).update(keep_warm=kept):
            record("alias.change", composition, by=by, keep_warm=kept)


def quarantine(composition: Composition, *, by: User, reason: str) -> None:
    """Bar a composition from every use, at once. Raises InputError("reason.missing")."""
    _set_state(composition, Composition.State.QUARANTINED, by=by, reason=reason)


def lift_quarantine(composition: Composition, *, by: User, reason: str) -> None:
    """Let a barred composition be used again, by two where the tenant wants it.

    Raises InputError: "reason.missing", "approval.needed".
    """
    with transaction.atomic():
        approvals.spend(Approval.Kind.LIFT, composition, by=by)
        _set_state(composition, Composition.State.READY, by=by, reason=reason)


def _set_state(composition: Composition, state: str, *, by: User, reason: str) -> None:
    if not reason.strip():
        raise InputError("reason.missing")
    with transaction.atomic():
        moved = (
            Composition.objects.filter(pk=composition.pk)
            .exclude(state=state)
            .update(state=state, state_reason=reason.strip())
        )
        if not moved:
            return
        record(f"composition.{state}", composition, by=by, reason=reason.strip())
        transaction.on_commit(
            lambda: publish(f"composition:{composition.pk}", {"state": str(state)})
        )
    composition.state = state
    composition.state_reason = reason.strip()


def _one_at_a_time(what: str) -> None:
    """Wait for whoever numbers or moves the same thing; freed when the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock("
            "hashtextextended(current_setting('app.tenant', true) || %s, 0))",
            [what],
        )


def _next_version(model: type[Augmenter] | type[Composition], name: str) -> int:
    _one_at_a_time(f"{model.__name__} {name}")
    last = model.objects.filter(name=name).aggregate(last=Max("version"))["last"]
    return int(last or 0) + 1


def _whole(facts: dict[str, object], outcome: Outcome, name: str) -> int:
    """A whole number from the facts or the metrics; 0 when neither has it."""
    value = facts.get(name, outcome.metrics.get(name, 0))
    return int(value) if isinstance(value, int | float | str) else 0
