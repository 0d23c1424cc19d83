"""Pages of shared conversations: giving, withdrawing, and reading what others share."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from apps.chat import sharing
from apps.chat.models import Conversation, Share
from apps.chat.tree import way
from apps.tenants.access import MemberRequest, fetch, member
from apps.tenants.typed import typed
from calm_engine.errors import InputError
from counterpoint.wording import sentence


@require_POST
@member()
def share(request: MemberRequest, code: UUID) -> HttpResponse:
    """Let a colleague or a group read one's own conversation."""
    here = fetch(request, Conversation, code)
    try:
        made = sharing.share(here, typed(request, "whom"), by=request.user)
    except InputError as error:
        messages.error(request, sentence(error))
    else:
        messages.success(request, _("Shared with %(name)s.") % {"name": made.reader})
    return redirect(here)


@require_POST
@member()
def withdraw(request: MemberRequest, code: UUID) -> HttpResponse:
    """End a share of one's own."""
    mine = sharing.of_mine(request.user).filter(pk=code).first()
    if mine is None:
        raise Http404("No such share.")
    here = mine.conversation
    sharing.withdraw(mine, by=request.user)
    messages.success(request, _("It is shared no more."))
    return redirect(here)


@require_safe
@member()
def shared_with_me(request: MemberRequest) -> HttpResponse:
    """What colleagues share with this person, as far as they may read it now."""
    return render(request, "chat/shares.html", {"shares": sharing.with_me(request.user)})


@require_safe
@member()
def shared(request: MemberRequest, code: UUID) -> HttpResponse:
    """A colleague's conversation, to be read: the way that its newest message lies on."""
    row = fetch(request, Share, code)
    said = list(row.conversation.messages.select_related("composition").order_by("position"))
    shown = [spot.message for spot in way(said)]
    facts = {"share": row, "here": row.conversation, "messages_said": shown}
    return render(request, "chat/shared.html", facts)
