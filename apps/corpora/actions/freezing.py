"""Orders to freeze, and the job that carries them out. The order's row is the truth.

An order that comes twice while it is open is one; a message that comes twice finds nothing to do.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from apps.audit import actions as audit
from apps.corpora.actions.snapshots import freeze, in_order, require_settled
from apps.corpora.models import Corpus, Freezing, FreezingState, Snapshot
from calm_engine.errors import EngineError
from counterpoint.celery import send

if TYPE_CHECKING:
    from apps.accounts.models import User

ATTEMPTS = 3
LEASE = timedelta(minutes=30)  # a million documents take a few minutes
LOST_AFTER = timedelta(seconds=45)


@transaction.atomic
def order_freeze(corpus: Corpus, *further: Corpus, note: str = "", by: User) -> Freezing:
    """Have a worker freeze these corpora; the open order for the same ones when there is one.

    Refuses at the door what `freeze` would refuse. Raises PermissionDenied and InputError.
    """
    corpora = in_order(corpus, *further)
    require_settled(corpora, by)
    ids = [each.pk for each in corpora]
    order, is_new = Freezing.objects.get_or_create(
        corpus=corpora[0],
        further=ids[1:],
        state__in=[FreezingState.QUEUED, FreezingState.RUNNING],
        defaults={"note": note, "by": by, "state": FreezingState.QUEUED},
    )
    if is_new:
        audit.record("freezing.order", order, by=by, corpora=[str(pk) for pk in ids])
    send("ingestion.freeze", str(order.tenant_id), str(order.pk))
    found: Freezing = order
    return found


@transaction.atomic
def claim_freezing(order_id: UUID | str) -> Freezing | None:
    """Take an order; None when another worker has it or it is settled."""
    waiting = Q(state=FreezingState.QUEUED) | Q(
        state=FreezingState.RUNNING, claimed_at__lt=Now() - LEASE
    )
    moved = Freezing.objects.filter(waiting, pk=order_id).update(
        state=FreezingState.RUNNING, claimed_at=Now(), attempts=F("attempts") + 1
    )
    found = Freezing.objects.select_related("by").filter(pk=order_id)
    return found.first() if moved else None


def carry_out(order: Freezing) -> Snapshot | None:
    """Freeze what a claimed order says, and settle it; None when that was refused."""
    corpora = list(Corpus.objects.filter(pk__in=order.closure))
    try:
        with transaction.atomic():
            # The order holds as long as whoever gave it may give it.
            snapshot = freeze(*corpora, note=order.note, by=order.by)
            _settle(order, FreezingState.DONE, snapshot=snapshot)
            return snapshot
    except EngineError as refused:
        facts = {name: str(fact) for name, fact in refused.facts.items()}
        _settle(order, FreezingState.FAILED, code=refused.code, facts=facts)
    except PermissionDenied:
        _settle(order, FreezingState.FAILED, code="freezing.right")
    return None


def _settle(order: Freezing, state: FreezingState, **values: object) -> None:
    Freezing.objects.filter(pk=order.pk, state=FreezingState.RUNNING).update(state=state, **values)


def reconcile_freezings() -> None:
    """Wake a worker for orders whose message or whose worker was lost; give up those that keep
    killing theirs."""
    lost = Freezing.objects.filter(state=FreezingState.RUNNING, claimed_at__lt=Now() - LEASE)
    lost.filter(attempts__gte=ATTEMPTS).update(
        state=FreezingState.FAILED, code="freezing.lost", facts={"attempts": ATTEMPTS}
    )
    late = Q(state=FreezingState.QUEUED, created_at__lt=Now() - LOST_AFTER)
    for order in Freezing.objects.filter(late | Q(pk__in=lost.values("pk"))):
        send("ingestion.freeze", str(order.tenant_id), str(order.pk))
