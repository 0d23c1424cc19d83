"""What speaks of a person: found by search, confirmed by a curator, one document at a time.

Search proposes and never decides: another may bear the same name. Knows no weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib.postgres.search import SearchQuery
from django.db import transaction
from django.db.models import Q

from apps.accounts.oblivion import forget_account
from apps.audit import holds
from apps.audit.actions import record
from apps.audit.models import Hold
from apps.chat.models import Conversation, Draft, Share
from apps.corpora.models import Document, Passage, UploadItem
from apps.forgetting.models import ForgetPlan, Mention
from apps.tenants.models import Membership
from apps.tenants.scope import current_tenant_id
from calm_engine.errors import InputError

if TYPE_CHECKING:
    from apps.accounts.models import User


def open_person_plan(person: User, *, by: User, reason: str) -> ForgetPlan:
    """Write the wish down and look for the person. Raises InputError.

    "reason.missing", "hold.stands", "forget.person" for somebody who is no member.
    """
    if not reason.strip():
        raise InputError("reason.missing")
    if not Membership.objects.filter(tenant=current_tenant_id(), user=person).exists():
        raise InputError("forget.person")
    holds.require_free(Hold.Kind.PERSON, person.pk)
    with transaction.atomic():
        plan: ForgetPlan = ForgetPlan.objects.create(
            person=person, person_name=person.name, reason=reason.strip(), by=by
        )
        found = look(plan)
        record("forget.open", plan, by=by, person=str(person.pk), mentions=found)
    return plan


def look(plan: ForgetPlan) -> int:
    """Propose every document that says the name or the address, or that the person brought.

    What was decided stays decided. How many documents are proposed in all.
    """
    assert plan.person is not None  # asked of plans for people alone
    name, address = plan.person_name, plan.person.email
    phrase = SearchQuery(name, config="simple", search_type="phrase")
    said = Passage.objects.filter(Q(words=phrase) | Q(body__icontains=address))
    titled = Document.objects.filter(Q(title__icontains=name) | Q(path__icontains=name))
    brought = UploadItem.objects.filter(upload__by=plan.person, document__isnull=False)
    reasons = (
        (Mention.Why.SAID, {*said.values_list("document", flat=True)}),
        (Mention.Why.SAID, {*titled.values_list("pk", flat=True)}),
        (Mention.Why.BROUGHT, {*brought.values_list("document", flat=True)}),
    )
    for why, documents in reasons:
        rows = [Mention(plan=plan, document_id=each, why=why) for each in documents]
        Mention.objects.bulk_create(rows, ignore_conflicts=True, batch_size=500)
    return int(plan.mentions.count())


def decide(plan: ForgetPlan, chosen: list[str], verdict: str, *, by: User) -> int:
    """Say of these mentions that their documents go or stay; how many were decided.

    Only of corpora that `by` may curate. Raises InputError("forget.order") once it is destroyed.
    """
    if plan.destroyed_at is not None or verdict not in Mention.Verdict.values:
        raise InputError("forget.order")
    with transaction.atomic():
        rows = plan.mentions.filter(pk__in=Mention.objects.visible_to(by).values("pk"))
        moved: int = rows.filter(pk__in=chosen).update(verdict=verdict, decided_by=by)
        record("forget.decide", plan, by=by, verdict=verdict, documents=moved)
    return moved


def require_decided(plan: ForgetPlan) -> None:
    """Raises InputError("forget.undecided", count=) while a document waits for a curator."""
    left = plan.mentions.filter(verdict=Mention.Verdict.OPEN).count()
    if left:
        raise InputError("forget.undecided", count=left)


def drop_person(plan: ForgetPlan) -> dict[str, int]:
    """Delete their conversations, what others share with them, and what identifies them here.

    How many rows of what.
    """
    assert plan.person is not None  # as above
    talks = Conversation.objects.filter(owner=plan.person)
    gone = {"conversations": talks.count()}
    talks.delete()
    Draft.objects.filter(owner=plan.person).delete()  # of questions in no conversation yet
    gone["shares"] = Share.objects.filter(user=plan.person).delete()[0]
    return gone | forget_account(plan.person)
