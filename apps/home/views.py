"""The front door: for a curator where each corpus stands, for everybody else what may be asked."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from apps.audit.models import Approval
from apps.chat import history, picker
from apps.home.standing import standings
from apps.registry.models import Anchor
from apps.runs.models import Run
from apps.tenants.access import MemberRequest, member
from apps.tenants.models import Role

RECENT = 6  # conversations
RUNNING = 5


@require_safe
@member()
def home(request: MemberRequest) -> HttpResponse:
    """One page for each kind of work; at most twelve queries."""
    facts = {"recent": recent(request), "waiting": waiting(request)}
    if request.membership.may(Role.CURATOR):
        return render(request, "home/curator.html", facts | of_a_curator(request))
    offered = picker.offer(request.user, request.tenant)
    return render(request, "home/employee.html", facts | offered)


def of_a_curator(request: MemberRequest) -> dict[str, Any]:
    stands, has_more = standings(request.user)
    running = Run.objects.visible_to(request.user).active().order_by("-created_at")
    return {
        "standings": stands,
        "has_more": has_more,
        "running": running[:RUNNING],
        "has_anchor": Anchor.objects.exists(),
    }


def recent(request: MemberRequest) -> list[history.Entry]:
    return history.entries(list(history.begun(request.user)[:RECENT]), request.user)


def waiting(request: MemberRequest) -> int:
    """Wishes of others that this person could decide."""
    if not request.membership.may(Role.CURATOR, Role.AUDITOR):
        return 0
    return Approval.objects.filter(granted=None).exclude(asked_by=request.user).count()
