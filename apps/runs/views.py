"""Pages of runs: the list, and watching one. What a run quotes is shown inside its closure only."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import Http404, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from apps.registry.models import Augmenter, Composition
from apps.runs import actions, pipeline, sentences
from apps.runs.models import Run
from apps.runs.states import State
from apps.tenants.access import MemberRequest, fetch, member
from apps.tenants.models import Role
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from calm_engine.wording import sentence
from counterpoint.database import current_tenant_id
from counterpoint.live import HEARTBEAT, listen, sse, sse_response

REGIONS = ("strip", "status", "actions", "samples", "story")
REGION_SECONDS = 1.0  # a page is drawn again at most this often
LOOK = {"queued": "off", "running": "busy", "succeeded": "ok", "failed": "bad", "cancelled": "warn"}


@require_GET
@member(Role.CURATOR)
def runs(request: MemberRequest) -> HttpResponse:
    """Every run that this person may see, newest first, with counts beside each state."""
    visible = Run.objects.visible_to(request.user)
    state = request.GET.get("state", "")
    shown = visible.filter(state=state) if state in State.values else visible
    counts = [(value, label, visible.filter(state=value).count()) for value, label in State.choices]
    page = Paginator(shown.select_related("snapshot__corpus", "created_by"), 50).get_page(
        request.GET.get("page")
    )
    for row in page:
        row.look = LOOK[row.state]
    facts = {"page": page, "state": state, "counts": counts, "total": visible.count()}
    return render(request, "runs/runs.html", facts)


@require_GET
@member(Role.CURATOR)
def run(request: MemberRequest, code: UUID) -> HttpResponse:
    """Watch one run: strip, sentence, progress, loss, samples, story."""
    return render(request, "runs/run.html", facts_of(fetch(request, Run, code)))


def facts_of(row: Run) -> dict[str, Any]:
    """What the run page and each of its regions show."""
    now = timezone.now()
    losses = list(row.metrics.filter(name="loss").order_by("step").values_list("value", flat=True))
    waiting = Run.objects.filter(state=State.QUEUED, queue=row.queue, created_at__lt=row.created_at)
    ahead = waiting.count() if row.state == State.QUEUED else 0
    return {
        "run": row,
        "look": LOOK[row.state],
        "sentence": sentences.sentence(row, now=now, losses=losses, ahead=ahead),
        "left": sentences.left(row, now) if row.state == State.RUNNING else "",
        "steps": pipeline.of_plan(row.plan) if row.plan else pipeline.strip([row]),
        "story": row.events.order_by("-at", "-id")[:50],
        "last_loss": losses[-1] if losses else None,
        "made": made_by(row),
    }


def made_by(row: Run) -> Any:
    """What came out of a run: an augmenter, a composition or a report; None before that."""
    if row.state != State.SUCCEEDED:
        return None
    for model in (Augmenter, Composition):
        found = model.objects.filter(run_id=row.pk).first()
        if found is not None:
            return found
    return row.reports.first()


@require_GET
@member(Role.CURATOR)
def metrics(request: MemberRequest, code: UUID) -> HttpResponse:
    """The numbers of a run as series of [step, value], for the chart and its table."""
    row = fetch(request, Run, code)
    series: dict[str, list[list[float]]] = defaultdict(list)
    for name, step, value in row.metrics.order_by("step").values_list("name", "step", "value"):
        series[name].append([step, value])
    return JsonResponse({"series": series})


@require_GET
@member(Role.CURATOR)
async def events(request: MemberRequest, code: UUID) -> StreamingHttpResponse:
    """Server-sent events of one run: numbers as they come, regions of the page drawn again."""
    tenant_id = request.tenant.pk
    await sync_to_async(_regions)(request, tenant_id, code)  # 404 now, not in the stream
    return sse_response(_events(request, tenant_id, code))


async def _events(request: MemberRequest, tenant_id: UUID, code: UUID) -> AsyncIterator[bytes]:
    with suppress(Http404, PermissionDenied):  # a right that was taken ends the stream
        async for event in _watch(request, tenant_id, code):
            yield event


async def _watch(request: MemberRequest, tenant_id: UUID, code: UUID) -> AsyncIterator[bytes]:
    current_tenant_id.set(tenant_id)  # this stream's own context: the request's has ended
    draw = sync_to_async(_regions)
    for event in await draw(request, tenant_id, code):
        yield event
    drawn = time.monotonic()
    async for news in listen(f"run:{code}"):
        if news is None:
            yield HEARTBEAT
        elif news.get("rows"):
            yield sse("metrics", {"rows": news["rows"]})
        is_due = time.monotonic() - drawn >= REGION_SECONDS
        if is_due or (news is not None and "state" in news):
            # Through the same check as the page, each time.
            for event in await draw(request, tenant_id, code):
                yield event
            drawn = time.monotonic()


def _regions(request: MemberRequest, tenant_id: UUID, code: UUID) -> list[bytes]:
    """Each region of the page as it is now. Raises Http404 when this person may not see it."""
    with tenant_scope(tenant_id):
        facts = facts_of(fetch(request, Run, code))
        return [
            sse(
                "region",
                {
                    "id": f"run-{name}",
                    "html": render_to_string(f"runs/_{name}.html", facts, request=request),
                },
            )
            for name in REGIONS
        ]


@require_POST
@member(Role.CURATOR)
def stop(request: MemberRequest, code: UUID) -> HttpResponse:
    """Ask a run to stop; the page says "stopped" when the worker has answered."""
    row = fetch(request, Run, code)
    actions.ask_to_cancel(row, by=request.user)
    return redirect(row)


@require_POST
@member(Role.CURATOR)
def again(request: MemberRequest, code: UUID) -> HttpResponse:
    """Queue a failed or stopped run again, from its last checkpoint."""
    row = fetch(request, Run, code)
    try:
        actions.retry(row, by=request.user)
    except InputError as error:
        messages.error(request, sentence(error))
    return redirect(row)
