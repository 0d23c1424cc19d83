"""Connecting a corpus to places that IT named, synchronising, and what is gone there."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST

from apps.corpora import actions
from apps.corpora.models import Connection, Corpus
from apps.tenants.access import MemberRequest, fetch, member
from apps.tenants.models import Role
from calm_engine.errors import InputError
from counterpoint.wording import sentence


@require_POST
@member(Role.CURATOR)
def connect(request: MemberRequest, code: UUID) -> HttpResponse:
    """Keep a corpus up to date from a place."""
    row = fetch(request, Corpus, code)
    try:
        actions.connect(row, request.POST.get("source", ""), by=request.user)
    except InputError as error:
        messages.error(request, sentence(error))
    return redirect(f"{row.get_absolute_url()}?tab=sources")


@require_POST
@member(Role.CURATOR)
def synchronise(request: MemberRequest, code: UUID) -> HttpResponse:
    """Have a worker look for what is new."""
    row = fetch(request, Connection, code)
    actions.ask_to_synchronise(row, by=request.user)
    return redirect(row)


@require_POST
@member(Role.CURATOR)
def withdraw_gone(request: MemberRequest, code: UUID) -> HttpResponse:
    """Withdraw the documents whose files are gone from the place."""
    row = fetch(request, Connection, code)
    moved = actions.withdraw_gone(row, by=request.user)
    words = ngettext("%(n)d document withdrawn.", "%(n)d documents withdrawn.", moved)
    messages.success(request, words % {"n": moved})
    return redirect(row)


@require_POST
@member(Role.CURATOR)
def disconnect(request: MemberRequest, code: UUID) -> HttpResponse:
    """Know nothing of a place any more; what came from it stays."""
    row = fetch(request, Connection, code)
    actions.disconnect(row, by=request.user)
    messages.success(request, _("Disconnected. The documents that came from it stay."))
    return redirect(f"{row.corpus.get_absolute_url()}?tab=sources")
