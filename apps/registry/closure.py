"""Who may use a model: whoever may read every corpus that it learned from. Nobody else, ever.

Other products add rights up; this one intersects them (screens.md, rule 4.1). The closure of a row
is the plain list of corpus ids that its lineage reaches, written once when the row is made. What
follows from it is computed whenever it is asked: a deleted corpus stays in the list and denies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db.models import Exists, OuterRef, Subquery

from apps.corpora.models import Corpus, CorpusGrant, Right, Snapshot
from apps.registry.models import Augmenter, Composition
from apps.tenants.models import Membership
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
    return barring_export(model, roads(user, model))


def barring_export(model: Composition | Augmenter, found: Iterable[Road]) -> list[str]:
    """What `not_exportable` says, of the roads that are known already."""
    if not model.closure:  # shut out by a constraint, and again here
        return ["a corpus that is not known"]
    held = {road.corpus.pk: road for road in found}
    gone = ["a corpus that is gone" for each in model.closure if each not in held]
    return sorted(gone + [road.corpus.name for road in held.values() if not road.may_export])


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
class Road:
    """One corpus of a closure that is still there, and what this person has on it.

    is_granted   a grant to read of their own
    group        the name of a group of theirs that may read it, or ""
    """

    corpus: Corpus
    may_export: bool
    is_granted: bool
    group: str


def roads(user: User, model: Composition | Augmenter) -> list[Road]:
    """Every corpus of the closure that still exists, in the order of names; one query."""
    reading = CorpusGrant.objects.filter(corpus=OuterRef("pk"), right__in=READING)
    grouped = reading.filter(group__members=user).values("group__name")[:1]
    rows: Any = Corpus.objects.filter(id__in=model.closure).annotate(
        may_export=Exists(Corpus.objects.exportable_by(user).filter(pk=OuterRef("pk"))),
        is_granted=Exists(reading.filter(user=user)),
        by_group=Subquery(grouped),
    )
    return [
        Road(row, row.may_export, row.is_granted, row.by_group or "")
        for row in rows.order_by("name")
    ]


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


def grounds(user: User, model: Composition | Augmenter, found: Iterable[Road]) -> list[Ground]:
    """For each corpus of the closure, the road by which this person reads it, or none."""
    known = {road.corpus.pk: _ground(user, road) for road in found}
    return [known.get(pk, Ground(None, "")) for pk in model.closure]


def _ground(user: User, road: Road) -> Ground:
    if road.corpus.owner_id == user.pk:
        return Ground(road.corpus, "owner")
    if road.is_granted:  # one's own grant says more
        return Ground(road.corpus, "grant")
    return Ground(road.corpus, "group" if road.group else "", road.group)


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


def readers() -> list[Reader]:
    """Everybody of the tenant in scope with what they may read now, in the order of their names.

    What `Corpus.readable_by` says of each, in two queries for all of them.
    """
    members = Membership.objects.filter(tenant=current_tenant_id(), user__is_active=True)
    named = ("tenant", *(f"user__{name}" for name in ("email", "name", "is_active")))
    members = members.select_related("user").only(*named).order_by("user__name", "user__email")
    readable: dict[UUID, set[UUID]] = {member.user_id: set() for member in members}
    roads = ("id", "owner", "grants__right", "grants__user", "grants__group__memberships__user")
    for corpus, owner, right, person, grouped in Corpus.objects.order_by().values_list(*roads):
        granted = (person, grouped) if right in READING else ()
        for reader in filter(None, (owner, *granted)):
            readable.setdefault(reader, set()).add(corpus)
    return [Reader(member.user, frozenset(readable[member.user_id])) for member in members]


def audiences() -> Callable[[Iterable[UUID]], int]:
    """Counts who may read all of a closure, as things stand; a list has many and few kinds."""
    people = readers()

    @cache
    def count(closure: frozenset[UUID]) -> int:
        return sum(reader.may_read_all(closure) for reader in people)

    return lambda closure: count(frozenset(closure))


@dataclass(frozen=True)
class Audience:
    """Who may use a model now.

    count   people who may
    named   of those who were asked for, the first few, with what they lack
    others  how many more were asked for
    """

    count: int
    named: list[Access]
    others: int


def audience(
    composition: Composition, existing: Sequence[Corpus], wanted: str = "", most: int = 10_000
) -> Audience:
    """How many people of the tenant may use it now, and which corpora each of them lacks.

    existing   the corpora of its closure that are still there
    wanted     letters of the names or addresses that are asked for
    most       how many are named
    """
    is_ready = composition.state == Composition.State.READY
    everybody, letters = readers(), wanted.casefold()
    may = {r.user.pk for r in everybody if is_ready and r.may_read_all(composition.closure)}
    found = [r for r in everybody if letters in f"{r.user.name}\n{r.user.email}".casefold()]
    named = [
        Access(
            reader.user,
            reader.user.pk in may,
            [corpus for corpus in existing if corpus.pk not in reader.corpora],
        )
        for reader in found[:most]
    ]
    return Audience(len(may), named, len(found) - len(named))
