"""The audit log: list, filters, export. Reading it whole is itself a line in it."""

from __future__ import annotations

import json
from itertools import islice
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db.models import Q, QuerySet
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from apps.audit import approvals as wishes
from apps.audit.actions import faults, record
from apps.audit.forms import FilterForm
from apps.audit.models import Approval, AuditEvent
from apps.tenants.access import MemberRequest, fetch, member
from apps.tenants.models import Role
from calm_engine.errors import InputError
from counterpoint.counting import counted, said
from counterpoint.keyset import Order, page_of
from counterpoint.wording import sentence

READERS = (Role.AUDITOR, Role.CURATOR)
PAGE = 50
EXPORT = 100_000  # lines in one export; the page says when there are more


@require_safe
@member(role=READERS)
def listing(request: MemberRequest) -> HttpResponse:
    """Who did what, newest first."""
    form = FilterForm(request.GET)
    lines = narrowed(form)
    chosen = {name: value for name, value in request.GET.items() if name in form.fields and value}
    page = {
        "form": form,
        "page": page_of(lines, request.GET, *_orders(), size=PAGE),
        "count": said(*counted(lines)),
        "chosen": chosen,
        "actions": AuditEvent.objects.order_by("action")
        .values_list("action", flat=True)
        .distinct(),
    }
    return render(request, "audit/list.html", page)


def _orders() -> tuple[Order, ...]:
    return Order("new", _("newest"), ("-sequence",)), Order("old", _("oldest"), ("sequence",))


@require_POST
@member(role=READERS)
def export(request: MemberRequest) -> HttpResponse:
    """The filtered lines as JSON lines, oldest first, each with its place in the chain."""
    form = FilterForm(request.POST)
    lines = narrowed(form).order_by("sequence")
    told = "".join(
        json.dumps(
            line.as_json() | {"previous": line.previous, "digest": line.digest, "seal": line.seal},
            sort_keys=True,
        )
        + "\n"
        for line in islice(lines.iterator(chunk_size=1000), EXPORT)
    )
    record("audit.export", None, by=request.user, lines=told.count("\n"))
    name = f"audit-{request.tenant.slug}-{timezone.now():%Y%m%d-%H%M%S}.jsonl"
    return HttpResponse(
        told,
        content_type="application/jsonl; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


@require_POST
@member(role=READERS)
def verify(request: MemberRequest) -> HttpResponse:
    """Walk the chain and show what is wrong with it, or how much of it is whole."""
    found = list(islice(faults(), 20))
    count = AuditEvent.objects.count()
    record("audit.verify", None, by=request.user, lines=count, faults=len(found))
    page = {"faults": found, "count": count, "now": timezone.now()}
    return render(request, "audit/verified.html", page)


@require_safe
@member(role=READERS)
def approvals(request: MemberRequest) -> HttpResponse:
    """Wishes that wait for a second person, and what became of the others."""
    rows: Any = Approval.objects.select_related("asked_by", "decided_by")
    waiting = rows.filter(granted=None)
    newest = Order("new", "", ("-asked_at", "pk"))
    decided = page_of(rows.exclude(granted=None), request.GET, newest, size=PAGE)
    return render(request, "audit/approvals.html", {"waiting": waiting, "page": decided})


@require_POST
@member(role=READERS)
def decide(request: MemberRequest, code: UUID) -> HttpResponse:
    """Grant or refuse somebody else's wish."""
    wish = fetch(request, Approval, code)
    verdict = "grant" if request.POST.get("verdict") == "grant" else "refuse"
    try:
        wishes.decide(wish, verdict, by=request.user)
    except InputError as error:
        messages.error(request, sentence(error))
    else:
        said = _("Granted.") if verdict == "grant" else _("Refused.")
        messages.success(request, said)
    return redirect("audit:approvals")


def narrowed(form: FilterForm) -> QuerySet[Any]:
    """The lines that the filters leave; a filter that makes no sense filters nothing."""
    form.is_valid()
    told = form.cleaned_data
    lines: QuerySet[Any] = AuditEvent.objects.select_related("by").order_by("-sequence")
    if told.get("action"):
        lines = lines.filter(action=told["action"])
    if person := told.get("person"):
        lines = lines.filter(Q(by__name__icontains=person) | Q(by__email__iexact=person))
    if told.get("since"):
        lines = lines.filter(at__date__gte=told["since"])
    if told.get("until"):
        lines = lines.filter(at__date__lte=told["until"])
    return lines
