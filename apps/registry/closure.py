"""Who may use a model: whoever may read every corpus that it learned from. Nobody else, ever.

Other products add rights up; this one intersects them (screens.md, rule 4.1). The closure of a row
is the plain list of corpus ids that its lineage reaches, written once when the row is made. What
follows from it is computed whenever it is asked: a deleted corpus stays in the list and denies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from django.db.models import Q

from apps.corpora.models import Corpus, CorpusGrant, Right, Snapshot
from apps.registry.models import Augmenter, Composition
from apps.tenants.models import GroupMember, Membership
from apps.tenants.scope import current_tenant_id
from calm_engine.errors import InternalError

if TYPE_CHECKING:
    from apps.accounts.models import User

READING = (Right.READ, Right.CURATE)


def closure(composition: Composition) -> set[UUID]:
    """The ids of every corpus that the composition learned from."""
    return set(composition.closure)


def closure_of(snapshots: Iterable[Snapshot], augmenters: Iterable[Augmenter] = ()) -> list[UUID]:
    """The closure of something made from these parents, sorted. Raises InternalError when empty."""
    found = {corpus for snapshot in snapshots for corpus in snapshot.closure}
    found.update(corpus for augmenter in augmenters for corpus in augmenter.closure)
    if not found:
        raise InternalError("closure.empty", "a model without lineage can be used by nobody")
    return sorted(found)


def can_use(user: User, composition: Composition) -> bool:
    """Whether this person may use this composition now; asked of the database, never remembered.

    The same as `usable_by` says of a whole list, looking only at the corpora of this closure.
    """
    ready = Composition.objects.filter(pk=composition.pk, state=Composition.State.READY)
    wanted = set(ready.values_list("closure", flat=True).first() or [])
    belongs = Membership.objects.filter(
        tenant=composition.tenant_id, user=user, user__is_active=True
    )
    readable = Corpus.objects.readable_by(user).filter(pk__in=wanted)
    return bool(wanted) and belongs.exists() and readable.count() == len(wanted)


def not_exportable(user: User, model: Composition | Augmenter) -> list[str]:
    """Names of the corpora that keep this person from taking the weights out; a gone one denies."""
    wanted = set(model.closure)
    if not wanted:  # shut out by a constraint, and again here
        return ["a corpus that is not known"]
    held = Corpus.objects.exportable_by(user).filter(pk__in=wanted)
    lacking = wanted - set(held.values_list("pk", flat=True))
    names = dict(Corpus.objects.filter(pk__in=lacking).values_list("pk", "name"))
    return sorted(names.get(each, "a corpus that is gone") for each in lacking)


def why_not(user: User, composition: Composition) -> list[Corpus]:
    """The corpora of the closure that this person may not read; a deleted one has no name."""
    return lacking(user, [composition])[composition.pk]


def lacking(user: User, models: Sequence[Composition]) -> dict[UUID, list[Corpus]]:
    """For each of these what `why_not` says of one, in one query."""
    every = {corpus for model in models for corpus in model.closure}
    readable = Corpus.objects.readable_by(user).values("id")
    missing = Corpus.objects.filter(id__in=every).exclude(id__in=readable).order_by("name")
    named = list(missing) if every else []
    return {
        model.pk: [corpus for corpus in named if corpus.pk in model.closure] for model in models
    }


@dataclass(frozen=True)
class Ground:
    """Why one person may, or may not, read one corpus of a closure.

    corpus  None when it is gone; what a model learned from it stays shut to everybody
    road    "owner", "grant", "group", or "" when there is none
    group   the name of the group whose grant it is
    """

    corpus: Corpus | None
    road: str
    group: str = ""


def grounds(user: User, model: Composition | Augmenter) -> list[Ground]:
    """For each corpus of the closure, the road by which this person reads it, or none."""
    known = {corpus.pk: corpus for corpus in corpora(model)}
    grants = CorpusGrant.objects.filter(
        Q(user=user) | Q(group__members=user), corpus__in=known, right__in=READING
    ).select_related("group")
    roads: dict[UUID, Ground] = {}
    for given in grants:
        corpus, group = known[given.corpus_id], given.group
        found = Ground(corpus, "group", group.name) if group else Ground(corpus, "grant")
        if given.corpus_id not in roads or group is None:  # one's own grant says more
            roads[given.corpus_id] = found
    for corpus in known.values():
        if corpus.owner_id == user.pk:
            roads[corpus.pk] = Ground(corpus, "owner")
    return [roads.get(pk, Ground(known.get(pk), "")) for pk in model.closure]


@dataclass(frozen=True)
class Access:
    """One person's row in the access grid of a model page: which corpora they may read."""

    user: User
    may: bool
    missing: list[Corpus]


@dataclass(frozen=True)
class Reader:
    """One person of the tenant and the ids of every corpus that they may read."""

    user: User
    corpora: frozenset[UUID]

    def may_read_all(self, closure: Iterable[UUID]) -> bool:
        wanted = set(closure)
        return bool(wanted) and wanted <= self.corpora


def readers(owners: Mapping[UUID, UUID] | None = None) -> list[Reader]:
    """Everybody of the tenant in scope with what they may read now, in the order of their names.

    What `Corpus.readable_by` says of each, in four queries for all of them.
    owners  of every corpus of the tenant, where the caller has asked already
    """
    members = Membership.objects.filter(tenant=current_tenant_id()).select_related("user")
    members = members.filter(user__is_active=True).order_by("user__name", "user__email")
    readable: dict[UUID, set[UUID]] = {member.user_id: set() for member in members}
    for corpus, owner in owners.items() if owners else Corpus.objects.values_list("id", "owner"):
        readable.setdefault(owner, set()).add(corpus)
    groups: dict[UUID, list[UUID]] = {}
    for group, user in GroupMember.objects.values_list("group", "user"):
        groups.setdefault(group, []).append(user)
    given = CorpusGrant.objects.filter(right__in=READING)
    for corpus, user, group in given.values_list("corpus", "user", "group"):
        for reader in [user] if user else groups.get(group, []):
            readable.setdefault(reader, set()).add(corpus)
    return [Reader(member.user, frozenset(readable[member.user_id])) for member in members]


def audience(composition: Composition) -> list[Access]:
    """Every person of the tenant, whether they may use it now, and which corpora they lack."""
    known = corpora(composition)
    is_ready = composition.state == Composition.State.READY
    return [
        Access(
            reader.user,
            is_ready and reader.may_read_all(composition.closure),
            [corpus for corpus in known if corpus.pk not in reader.corpora],
        )
        for reader in readers()
    ]


def corpora(composition: Composition | Augmenter) -> list[Corpus]:
    """The corpora of the closure that still exist, for the page; the check needs no rows."""
    return list(Corpus.objects.filter(id__in=composition.closure).order_by("name"))
