"""Pages of sharing: who shall see it, the board of all one's shares, and what somebody is shown."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.chat import sharing
from apps.chat.keeping_views import readable
from apps.chat.models import Share
from apps.tenants.access import MemberRequest, fetch, member
from apps.tenants.models import Group
from calm_engine.errors import InputError
from calm_engine.wording import sentence

SHOWN = 50


@require_http_methods(["GET", "POST"])
@member()
def share(request: MemberRequest, code: UUID) -> HttpResponse:
    """Choose who sees everything up to this answer; at once the board says who cannot open it."""
    answer = readable(request, code)
    told = request.POST
    refusal = ""
    if request.method == "POST":
        days = told.get("days", "30")
        try:
            sharing.share(
                answer,
                by=request.user,
                people=told.get("people", "").replace(";", ",").split(","),
                groups=told.getlist("groups"),
                everybody=bool(told.get("everybody")),
                days=int(days) if days in {str(each) for each in sharing.DAYS} else 30,
            )
        except InputError as error:
            refusal = sentence(error)
        else:
            messages.success(request, _("Shared. Whoever opens it needs the rights themselves."))
            return redirect("chat:shares")
    facts = {
        "answer": answer,
        "here": answer.conversation,
        "groups": Group.objects.all()[:200],
        "refusal": refusal,
        "people": told.get("people", ""),
        "days": sharing.DAYS,
    }
    return render(request, "chat/share.html", facts, status=400 if refusal else 200)


@require_safe
@member()
def shares(request: MemberRequest) -> HttpResponse:
    """What one shows others, and what others show."""
    rows = Share.objects.visible_to(request.user).select_related("conversation__owner", "upto")
    mine = rows.filter(conversation__owner=request.user)[:SHOWN]
    facts = {
        "mine": [(row, sharing.barred(row) if row.is_open else []) for row in mine],
        "others": rows.exclude(conversation__owner=request.user)[:SHOWN],
    }
    return render(request, "chat/shares.html", facts)


@require_safe
@member()
def shared(request: MemberRequest, code: UUID) -> HttpResponse:
    """What somebody shows, to whoever may use all that answered in it."""
    row = fetch(request, Share, code)
    facts: dict[str, Any] = {"share": row}
    try:
        facts |= {"lines": sharing.opened(row, request.user)}
    except InputError as error:
        facts |= {"refusal": sentence(error)}
    return render(request, "chat/shared.html", facts)


@require_POST
@member()
def unshare(request: MemberRequest, code: UUID) -> HttpResponse:
    """Take a share of one's own back."""
    row = fetch(request, Share, code)
    if row.conversation.owner_id != request.user.pk:
        raise Http404("Not a share of yours.")
    sharing.revoke(row, by=request.user)
    messages.success(request, _("Nobody can open it any more."))
    return redirect("chat:shares")
