"""Corpora, and who has which right on them. The only place that grants or takes one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils.translation import gettext

from apps.audit import actions as audit
from apps.corpora.models import (
    Corpus,
    CorpusGrant,
    Right,
)
from apps.tenants.models import Group, GroupMember, Membership
from calm_engine.errors import InputError

if TYPE_CHECKING:
    from apps.accounts.models import User


def must(corpus: Corpus, by: User, right: Right) -> None:
    """Raise PermissionDenied, naming the right and who can grant it, unless this person has it."""
    if not corpus.may(by, right):
        told = {"right": right.label, "corpus": corpus.name, "owner": corpus.owner.name}
        words = gettext(
            "You need the right “%(right)s” on the corpus “%(corpus)s”. %(owner)s can grant it."
        )
        raise PermissionDenied(words % told)


def create_corpus(
    name: str, *, by: User, description: str = "", sensitivity: str = "internal"
) -> Corpus:
    """Open an empty corpus that its owner alone may read. Raises InputError("corpus.name")."""
    try:
        with transaction.atomic():
            corpus = Corpus.objects.create(
                name=name, description=description, sensitivity=sensitivity, owner=by
            )
            audit.record("corpus.create", corpus, by=by, sensitivity=sensitivity)
    except IntegrityError as error:
        raise InputError("corpus.name", name=name) from error
    return corpus


@transaction.atomic
def grant(corpus: Corpus, to: User | Group, right: str, *, by: User) -> CorpusGrant:
    """Let a person or a group read, curate or export this corpus. Only its owner may."""
    _only_the_owner(corpus, by)
    who = {"group": to} if isinstance(to, Group) else {"user": to}
    given, is_new = CorpusGrant.objects.get_or_create(corpus=corpus, right=Right(right), **who)
    if is_new:
        audit.record("corpus.grant", corpus, by=by, to=str(to.pk), right=given.right)
    return given


@transaction.atomic
def revoke(given: CorpusGrant, *, by: User) -> None:
    """Take one right back; it acts on the next request of whoever had it."""
    _only_the_owner(given.corpus, by)
    to = str(given.user_id or given.group_id)
    audit.record("corpus.revoke", given.corpus, by=by, to=to, right=given.right)
    given.delete()


def readers(*corpora: Corpus) -> list[User]:
    """Everybody of the tenant who may read every one of these corpora now, by name; one query."""
    if not corpora:
        return []
    tenant = corpora[0].tenant_id
    members = Membership.objects.filter(tenant=tenant, user__is_active=True)
    for corpus in corpora:
        to_read = corpus.grants.filter(right__in=[Right.READ, Right.CURATE])
        groups = GroupMember.objects.filter(group__in=to_read.values("group"))
        members = members.filter(
            Q(user=corpus.owner_id)
            | Q(user__in=to_read.filter(user__isnull=False).values("user"))
            | Q(user__in=groups.values("user"))
        )
    members = members.select_related("user")
    return [member.user for member in members.order_by("user__name", "user__email")]


def _only_the_owner(corpus: Corpus, by: User) -> None:
    if corpus.owner_id != by.pk:
        words = gettext("Only %(owner)s, who owns “%(corpus)s”, sets its access.")
        raise PermissionDenied(words % {"owner": corpus.owner.name, "corpus": corpus.name})
