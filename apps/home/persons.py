"""One person as access has it: the corpora they may read and why, the models they may use or not.

Access alone is looked at: nothing they wrote, nor what whoever looks may not read themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db.models import OuterRef, Subquery
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from apps.corpora.models import Corpus, CorpusGrant
from apps.registry.closure import READING, lacking
from apps.registry.models import Composition
from apps.tenants.access import MemberRequest, member
from apps.tenants.models import Group, Membership, Role
from counterpoint.keyset import Order, page_of

if TYPE_CHECKING:
    from apps.accounts.models import User

A_PAGE = 50  # models
CORPORA = 200
BY_NAME = Order("name", "", ("name", "-version", "pk"))


@dataclass(frozen=True)
class Reach:
    """One model: whether they may use it, and the corpora that they lack."""

    model: Composition
    may: bool
    missing: Sequence[Corpus]


@require_safe
@member(Role.CURATOR)
def person(request: MemberRequest, code: UUID) -> HttpResponse:
    """What this person may read and use now, as it would be answered to them."""
    rows = Membership.objects.of(request.tenant).select_related("user")
    theirs = rows.filter(pk=code).first()
    if theirs is None:
        raise Http404("No such person.")
    models = Composition.objects.visible_to(request.user)
    page = page_of(models, request.GET, BY_NAME, size=A_PAGE)
    every = Corpus.objects.readable_by(theirs.user)
    shown = readable(theirs.user, request.user)
    facts = {
        "theirs": theirs,
        "groups": Group.objects.filter(members=theirs.user),
        "corpora": shown,
        "hidden": every.count() - len(shown) if len(shown) < CORPORA else 0,
        "page": page,
        "reaches": reaches(theirs.user, page.rows),
    }
    return render(request, "home/person.html", facts)


def readable(user: User, looker: User) -> list[Any]:
    """The corpora that both may read, with the road that leads this person there."""
    grants = CorpusGrant.objects.filter(corpus=OuterRef("pk"), right__in=READING)
    own, grouped = grants.filter(user=user), grants.filter(group__members=user)
    rows: Any = Corpus.objects.readable_by(user).filter(pk__in=known_to(looker))
    return list(
        rows.annotate(
            granted=Subquery(own.values("right")[:1]),
            by_group=Subquery(grouped.values("group__name")[:1]),
        ).order_by("name")[:CORPORA]
    )


def known_to(looker: User) -> Any:
    return Corpus.objects.readable_by(looker).order_by().values("pk")


def reaches(user: User, models: Sequence[Composition]) -> list[Reach]:
    """Of each of these models; two queries for all of them."""
    usable = Composition.objects.usable_by(user).filter(pk__in=[each.pk for each in models])
    may = set(usable.values_list("pk", flat=True))
    missing = lacking(user, models)
    return [Reach(each, each.pk in may, missing[each.pk]) for each in models]
