"""Pages of reports: the list, one report with its gates, its items, and the move to live."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from apps.audit import approvals
from apps.audit.models import Approval
from apps.evaluation import actions, gates
from apps.evaluation.items import Item, card_of, chosen, read, right_in
from apps.evaluation.matrix import ALL, by_corpus, leaks, matrix, named, ordered, paces, weights
from apps.evaluation.models import Report
from apps.evaluation.saying import edited, judge, overlap, reading, tasks
from apps.registry.models import Alias, Composition
from apps.tenants.access import MemberRequest, fetch, member
from apps.tenants.models import Role
from apps.tenants.typed import sought
from calm_engine.errors import InputError
from counterpoint.keyset import NEWEST, Order, page_among, page_of
from counterpoint.wording import sentence

LOOK = {
    gates.Verdict.PASSED: "ok",
    gates.Verdict.FAILED: "bad",
    gates.Verdict.UNMEASURED: "warn",
}
SHOWN = ("all", "wrong", "lost")
FLIPPED = ("gained", "forgot")  # beside the version that is live
A_PAGE = 25


@require_GET
@member()
def reports(request: MemberRequest) -> HttpResponse:
    """Every report whose composition this person may read, newest first."""
    wanted = sought(request)
    rows = Report.objects.visible_to(request.user).select_related("composition", "question_set")
    named = rows.filter(composition__name__icontains=wanted)
    page = page_of(named, request.GET, *_orders(), size=A_PAGE)
    return render(request, "evaluation/reports.html", {"page": page, "wanted": wanted})


def _orders() -> tuple[Order, ...]:
    by_name = ("composition__name", "-composition__version", "-created_at", "pk")
    return NEWEST, Order("name", _("name"), by_name)


@require_GET
@member()
def report(request: MemberRequest, code: UUID) -> HttpResponse:
    """One report: the verdict, the matrix, the gates, and the form that promotes."""
    row = fetch(request, Report, code)
    judged = gates.check(row)
    live = live_of(row)
    facts = {
        "report": row,
        "matrix": matrix(row),
        "corpora": by_corpus(row),
        "leaks": leaks(row),
        "edited": edited(row),
        "overlap": overlap(row),
        "tasks": tasks(row),
        "reading": reading(row),
        "judge": judge(row),
        "weights": weights(row),
        "paces": paces(row),
        "gates": [(gate, LOOK[gate.verdict]) for gate in judged],
        "all_passed": gates.passed(judged),
        "live": live,
        "live_report": report_of_live(row, live),
        "attribution": [
            {**row, "kind": named(row["kind"]), "slice": named(row["slice"])}
            for row in row.figures.get("attribution", [])
            if row["slice"] != ALL
        ],
        "is_live": live is not None and live.composition_id == row.composition_id,
        "is_ready": row.composition.state == Composition.State.READY,
        "is_curator": request.membership.may(Role.CURATOR),
        "four_eyes": approvals.wants_two(Approval.Kind.PROMOTION, request.tenant),
        "approved": approvals.standing(Approval.Kind.PROMOTION, row.composition, by=request.user),
    }
    return render(request, "evaluation/report.html", facts)


@require_GET
@member()
def items(request: MemberRequest, code: UUID) -> HttpResponse:
    """The questions of a report with everybody's answers side by side, page by page."""
    row = fetch(request, Report, code)
    live = report_of_live(row, live_of(row))
    before = right_in(live) if live is not None else None
    offered = SHOWN if before is None else (*SHOWN, *FLIPPED)
    show = request.GET.get("show", "all")
    show = show if show in offered else "all"
    every = read(row)
    lists = {name: chosen(every, name, before) for name in offered}
    page = page_among(list(enumerate(lists[show])), request.GET, lambda pair: pair[:1], size=A_PAGE)
    shown = [item for _number, item in page]
    columns = ordered({answer.column for item in shown for answer in item.answers})
    facts = {
        "report": row,
        "live": live,
        "page": page,
        "show": show,
        "columns": [named(name) for name in columns],
        "counts": [(name, len(found)) for name, found in lists.items()],
        "rows": [told(item, columns) for item in shown],
    }
    return render(request, "evaluation/items.html", facts)


def live_of(row: Report) -> Alias | None:
    """What the name of this report's model means to everybody now."""
    found: Alias | None = Alias.objects.filter(model=row.composition.name, name=Alias.LIVE).first()
    return found


def report_of_live(row: Report, live: Alias | None) -> Report | None:
    """The newest report of the version that is live under this name, if it is another one."""
    if live is None or live.composition_id == row.composition_id:
        return None
    found: Report | None = live.composition.reports.first()
    return found


def told(item: Item, columns: list[str]) -> dict[str, Any]:
    """An item with its kind and slice in words, and an answer or a gap for each column."""
    answers = {answer.column: answer for answer in item.answers}
    places = [(named(name), answers.get(name)) for name in columns]
    return {"item": item, "kind": named(item.kind), "slice": named(item.slice), "places": places}


@require_GET
@member()
def download(request: MemberRequest, code: UUID) -> HttpResponse:
    """The report as JSON: its numbers and gates, and what it was measured on."""
    row = fetch(request, Report, code)
    parts = row.composition
    facts = {
        "report": str(row.pk),
        "created_at": row.created_at.isoformat(),
        "verdict": row.verdict,
        "composition": {
            "name": parts.name,
            "version": parts.version,
            "digest": parts.digest,
            "anchor": parts.anchor.digest,
            "augmenters": [part.digest for part in parts.parts()],
            "snapshot": parts.snapshot.digest,
        },
        "questions": {"count": row.question_set.questions, "digest": row.question_set.digest},
        "items_digest": row.items_digest,
        "cells": row.cells,
        **row.figures,
        "gates": gates.recorded(row),
    }
    answer = JsonResponse(facts, json_dumps_params={"indent": 2})
    answer["Content-Disposition"] = f'attachment; filename="report-{row.pk}.json"'
    return answer


@require_GET
@member()
def card(request: MemberRequest, code: UUID) -> HttpResponse:
    """The report as a page of Markdown, as `calm evaluate` writes it."""
    row = fetch(request, Report, code)
    text = card_of(row)
    if not text:
        raise Http404("The folder of this report is not here.")
    answer = HttpResponse(text, content_type="text/markdown; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="report-{row.pk}.md"'
    return answer


@require_POST
@member(Role.CURATOR)
def promote(request: MemberRequest, code: UUID) -> HttpResponse:
    """Move `live` to the composition of this report, or say which gate stands in the way."""
    row = fetch(request, Report, code)
    try:
        change = actions.promote(
            Alias.LIVE,
            row,
            by=request.user,
            reason=request.POST.get("reason", ""),
            seen=request.POST.get("seen", ""),
        )
    except InputError as error:
        if error.code == "approval.needed":
            return asked_for_a_second(request, row)
        messages.error(request, sentence(error))
        return redirect(f"{row.get_absolute_url()}#promote")
    if change is not None:
        said = _("%(model)s is live now; its server is being started.")
        messages.success(request, said % {"model": row.composition})
    return redirect(row.composition)


def asked_for_a_second(request: MemberRequest, row: Report) -> HttpResponse:
    """Where two are needed, the first click asks; after the approval the second one moves."""
    reason = request.POST.get("reason", "").strip() or row.verdict
    approvals.ask(Approval.Kind.PROMOTION, row.composition, by=request.user, reason=reason)
    said = _("Asked. Somebody else grants it under Approvals; then make it live here.")
    messages.success(request, said)
    return redirect(f"{row.get_absolute_url()}#promote")
