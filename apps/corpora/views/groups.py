"""Pages of groups: who belongs to each, and letting somebody in or out."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from apps.corpora import groups as verbs
from apps.corpora.models import CorpusGrant
from apps.tenants.access import MemberRequest, fetch, member
from apps.tenants.models import Group, GroupMember, Role
from apps.tenants.typed import sought, typed
from calm_engine.errors import InputError
from counterpoint.keyset import Order, page_of
from counterpoint.wording import sentence

PAGE = 25  # groups
MEMBERS = 200  # shown of one group


@require_http_methods(["GET", "POST"])
@member(Role.CURATOR)
def groups(request: MemberRequest) -> HttpResponse:
    """Every group with its members and how many corpora it reads; a form to open one."""
    if request.method == "POST":
        name = typed(request, "name")
        return done(request, lambda: verbs.open_group(name, by=request.user), _("It is open."))
    wanted = sought(request)
    rows = Group.objects.filter(name__icontains=wanted)
    page = page_of(rows, request.GET, Order("name", "", ("name", "pk")), size=PAGE)
    shown = page.rows
    people: dict[UUID, list[GroupMember]] = {each.pk: [] for each in shown}
    members = GroupMember.objects.filter(group__in=shown).select_related("user")
    for row in members.order_by("user__name", "user__email"):
        people[row.group_id].append(row)
    grants = CorpusGrant.objects.filter(group__in=shown).values_list("group", "corpus").distinct()
    reads = [group for group, _corpus in grants]
    kept = verbs.kept(shown)
    facts = [
        (
            each,
            people[each.pk][:MEMBERS],
            len(people[each.pk]),
            reads.count(each.pk),
            each.pk in kept,
        )
        for each in shown
    ]
    return render(request, "corpora/groups.html", {"page": page, "groups": facts, "wanted": wanted})


@require_POST
@member(Role.CURATOR)
def add(request: MemberRequest, code: UUID) -> HttpResponse:
    """Let somebody into a group."""
    group, address = fetch(request, Group, code), typed(request, "address")
    return done(
        request,
        lambda: verbs.add_member(group, address, request.tenant, by=request.user),
        _("They belong to it now, and read what it may read."),
    )


@require_POST
@member(Role.CURATOR)
def drop(request: MemberRequest, code: UUID) -> HttpResponse:
    """Take somebody out of a group."""
    row = fetch(request, GroupMember, code, related=("group",))
    said = _("They belong to it no more.")
    return done(request, lambda: verbs.drop_member(row, by=request.user), said)


@require_POST
@member(Role.CURATOR)
def close(request: MemberRequest, code: UUID) -> HttpResponse:
    """Close a group with all that was granted to it."""
    group = fetch(request, Group, code)
    said = _("The group is gone, with what was granted to it.")
    return done(request, lambda: verbs.close_group(group, by=request.user), said)


def done(request: MemberRequest, act: Callable[[], object], said: str) -> HttpResponse:
    try:
        act()
    except InputError as error:
        messages.error(request, sentence(error))
    else:
        messages.success(request, said)
    return redirect("corpora:groups")
