"""Pages of runs: the list, watching one, comparing some. A run is shown inside its closure only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async
from django.contrib import messages
from django.db.models import Count
from django.db.models.functions import Now
from django.http import Http404, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from apps.runs import comparison, logs, sharing, wishes
from apps.runs.forms import BranchForm
from apps.runs.models import Notice, Run
from apps.runs.pages import PARTS, facts_of
from apps.runs.standing import Surroundings, standing
from apps.runs.states import ACTIVE, State
from apps.runs.streams import events as stream_of
from apps.runs.streams import may_see
from apps.tenants.access import MemberRequest, fetch, member
from apps.tenants.models import Role
from calm_engine.errors import InputError
from counterpoint.keyset import NEWEST, OLDEST, Order, page_of
from counterpoint.live import sse_response
from counterpoint.wording import sentence

A_PAGE = 50


@require_GET
@member(Role.CURATOR)
def runs(request: MemberRequest) -> HttpResponse:
    """Every run that this person may see, newest first, with counts beside each state."""
    visible = Run.objects.visible_to(request.user)
    state = request.GET.get("state", "")
    shown = visible.filter(state=state) if state in State.values else visible
    many = dict(visible.order_by().values_list("state").annotate(Count("pk")))
    counts = [(value, label, many.get(value, 0)) for value, label in State.choices]
    rows = shown.select_related("snapshot__corpus", "created_by")
    page = page_of(rows, request.GET, *_orders(), size=A_PAGE)
    around = Surroundings.look(of=page)
    curves = comparison.sparklines([row.pk for row in page])
    for row in page:
        row.stands = standing(row, around)
        row.curve = curves.get(row.pk)
    facts = {
        "page": page,
        "state": state,
        "counts": counts,
        "total": sum(many.values()),
        "slots": around.slots,
        "share": around.share,
        "sharing": sharing.in_words(),
        "month_minutes": int(around.share.seconds_in(around.now) // 60),
        "notices": Notice.objects.filter(user=request.user, read_at=None).select_related("run"),
    }
    return render(request, "runs/runs.html", facts)


def _orders() -> tuple[Order, ...]:
    return NEWEST, OLDEST, Order("name", _("name"), ("name", "-created_at", "pk"))


@require_GET
@member(Role.CURATOR)
def run(request: MemberRequest, code: UUID) -> HttpResponse:
    """Watch one run: strip, sentence, progress, curves, samples, device, log, checkpoints."""
    row = fetch(request, Run, code, related=PARTS)
    if row.state not in ACTIVE:  # what waits or works has ended nothing that could be news
        Notice.objects.filter(user=request.user, run=row, read_at=None).update(read_at=Now())
    facts = facts_of(row)
    steps = [saved.step for saved in facts["checkpoints"]]
    form = BranchForm(steps, initial=_branching(request, steps))
    facts |= {"branch_form": form, "log": logs.tail(row, search="")}
    return render(request, "runs/run.html", facts)


def _branching(request: MemberRequest, steps: list[int]) -> dict[str, int]:
    """The checkpoint whose "branch from here" was followed, while it is there."""
    asked = request.GET.get("branch", "")
    return {"step": int(asked)} if asked in map(str, steps) else {}


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
def log(request: MemberRequest, code: UUID) -> HttpResponse:
    """The last lines of the run's own log, or those that hold some words; without script a page.

    With `follow` they come again every few seconds, until the run has ended.
    """
    row = fetch(request, Run, code)
    told = logs.tail(row, search=request.GET.get("search", "")[:100])
    follows = "follow" in request.GET and row.state in ACTIVE
    template = "runs/_log.html" if request.headers.get("HX-Request") else "runs/log.html"
    return render(request, template, {"run": row, "log": told, "follows": follows})


@require_GET
@member(Role.CURATOR)
def compare(request: MemberRequest) -> HttpResponse:
    """Two to five runs side by side: their curves, and only the settings in which they differ."""
    return render(request, "runs/compare.html", comparison.of(_chosen(request)))


def _chosen(request: MemberRequest) -> list[Run]:
    """The runs that are asked for by name, at most five. Raises Http404 unless all may be seen."""
    try:
        codes = [UUID(code) for code in request.GET.getlist("run") if code][: comparison.MOST]
    except ValueError:
        raise Http404("There is no such run here.") from None
    visible = Run.objects.visible_to(request.user).select_related(*PARTS)
    rows = visible.in_bulk(codes)
    if set(codes) - rows.keys():
        raise Http404("There is no such run here.")
    return [rows[code] for code in dict.fromkeys(codes)]


@require_GET
@member(Role.CURATOR)
def curves(request: MemberRequest) -> HttpResponse:
    """One series of several runs, named by their runs, for the chart of a comparison."""
    name = request.GET.get("series", "loss")
    return JsonResponse({"series": comparison.curves(_chosen(request), name)})


@require_GET
@member(Role.CURATOR)
async def events(request: MemberRequest, code: UUID) -> StreamingHttpResponse:
    """Server-sent events of one run: numbers as they come, regions of the page drawn again."""
    tenant_id = request.tenant.pk
    await sync_to_async(may_see)(request, tenant_id, code)  # 404 now, not in the stream
    last = request.headers.get("Last-Event-ID", "")
    return sse_response(stream_of(request, tenant_id, code, int(last) if last.isdigit() else None))


@require_POST
@member(Role.CURATOR)
def stop(request: MemberRequest, code: UUID) -> HttpResponse:
    """Ask a run to stop; the page says "stopped" when the worker has answered."""
    row = fetch(request, Run, code)
    wishes.ask_to_cancel(row, by=request.user)
    return redirect(row)


@require_POST
@member(Role.CURATOR)
def discard(request: MemberRequest, code: UUID) -> HttpResponse:
    """Ask a run to stop, and let its checkpoints go."""
    row = fetch(request, Run, code)
    wishes.ask_to_cancel(row, by=request.user, discard=True)
    return redirect(row)


@require_POST
@member(Role.CURATOR)
def pause(request: MemberRequest, code: UUID) -> HttpResponse:
    """Ask a run to save and let go of its device until somebody lets it go on."""
    row = fetch(request, Run, code)
    return _wished(request, row, lambda: wishes.pause(row, by=request.user))


@require_POST
@member(Role.CURATOR)
def go_on(request: MemberRequest, code: UUID) -> HttpResponse:
    """Let a paused run go on from its checkpoint."""
    row = fetch(request, Run, code)
    return _wished(request, row, lambda: wishes.go_on(row, by=request.user))


@require_POST
@member(Role.CURATOR)
def again(request: MemberRequest, code: UUID) -> HttpResponse:
    """Queue a failed or stopped run again, with the proposed fix when that was asked for."""
    row = fetch(request, Run, code)
    with_fix = "fix" in request.POST
    return _wished(request, row, lambda: wishes.retry(row, by=request.user, with_fix=with_fix))


@require_POST
@member(Role.CURATOR)
def repeat(request: MemberRequest, code: UUID) -> HttpResponse:
    """Queue a new run of exactly the same stored spec."""
    row = fetch(request, Run, code)
    return _wished(request, row, lambda: wishes.repeat(row, by=request.user))


@require_POST
@member(Role.CURATOR)
def branch(request: MemberRequest, code: UUID) -> HttpResponse:
    """Queue a new run that goes on from a checkpoint of this one, with other settings."""
    row = fetch(request, Run, code)
    form = BranchForm(list(row.checkpoints.values_list("step", flat=True)), request.POST)
    if not form.is_valid():
        facts = facts_of(row) | {"branch_form": form, "log": logs.tail(row, search="")}
        return render(request, "runs/run.html", facts, status=422)
    step, asked = form.cleaned_data["step"], form.changes()
    return _wished(request, row, lambda: wishes.branch(row, step, settings=asked, by=request.user))


@require_POST
@member(Role.CURATOR)
def read_notices(request: MemberRequest) -> HttpResponse:
    """Mark this person's notices as read."""
    Notice.objects.filter(user=request.user, read_at=None).update(read_at=Now())
    return redirect("runs:runs")


def _wished(request: MemberRequest, row: Run, wish: Callable[[], Any]) -> HttpResponse:
    """Carry a wish out, and go to the run that it concerns; a refusal is said on the page."""
    try:
        made = wish()
    except InputError as error:
        messages.error(request, sentence(error))
        return redirect(row)
    return redirect(made if isinstance(made, Run) else row)
