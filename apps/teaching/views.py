"""Pages of teaching: start a plan on one page, then watch its strip until it is through."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from asgiref.sync import sync_to_async
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.accounts.models import User
from apps.corpora.models import Corpus, Snapshot
from apps.evaluation.models import Report
from apps.registry.closure import Reader, readers
from apps.registry.models import Anchor
from apps.runs import pipeline
from apps.runs.actions import bridge_examples
from apps.runs.models import Run
from apps.runs.standing import Surroundings
from apps.runs.starts import Start
from apps.runs.states import Cause, State
from apps.teaching import beginnings
from apps.teaching.actions import start_plan
from apps.teaching.beginnings import NONE, Beginning
from apps.teaching.forms import PLANS, PlanForm
from apps.teaching.kinds import CHOICES, Looked, look_into
from apps.teaching.models import Plan
from apps.teaching.planning import Forecast, forecast
from apps.teaching.presets import PRESETS, STANDARD, is_sized, settings_of
from apps.teaching.sizes import PROPOSED, Sizes, sizes_for
from apps.teaching.trying import Trial, newest, trial_of, try_out
from apps.tenants.access import MemberRequest, fetch, member
from apps.tenants.models import Role
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from counterpoint.database import current_tenant_id
from counterpoint.live import HEARTBEAT, apart, sse, sse_response
from counterpoint.wording import sentence

LOOK_SECONDS = 2.0  # a plan hops from run to run: its rows are looked at, not one run's topic
BEAT_SECONDS = 15.0
REGIONS = ("strip", "runs")
MENDED_BY_PEOPLE = (Cause.MEMORY, Cause.DISK, Cause.DATA, Cause.NAN)  # trying again changes nothing
LOOK = {"queued": "off", "running": "busy", "succeeded": "ok", "failed": "bad", "cancelled": "warn"}


@dataclass(frozen=True)
class Blocker:
    """What stands in the way of starting, and where it is mended."""

    text: str
    href: str
    action: str


@require_http_methods(["GET", "POST"])
@member(Role.CURATOR)
def start(request: MemberRequest) -> HttpResponse:
    """Choose a snapshot, an anchor and a name; at once who may use the result, and what lacks."""
    wanted = request.GET.get("snapshot")
    form = PlanForm(request.POST or None, by=request.user)
    chosen = _chosen(request, form, wanted)
    asked = _asked(request, form)
    if chosen is not None:
        form.initial = asked | {"snapshot": chosen.pk, "name": chosen.corpus.name}
    anchor = _anchor(form, request.GET.get("anchor"))
    choice = _choice(request, form, chosen, anchor)
    settings = choice.settings(asked)
    trial, ahead = _reckoned(chosen, anchor, settings, choice.begin.start)
    barred = blockers(chosen, anchor, ahead, trial)
    if request.method == "POST" and form.is_valid():
        plan = _begun(form, settings, barred, choice.begin.start, by=request.user)
        if plan is not None:
            return redirect(plan)
    facts = {
        "begin": choice.begin,
        "beginnings": choice.offered,
        "sizes": None if choice.is_sized(asked["preset"]) else choice.sizes,
        "size": choice.size,
        "form": form,
        "presets": PRESETS.values(),
        "chosen": chosen,
        "chosen_code": str(chosen.pk) if chosen else "",
        "people": _audience(chosen),
        "numbers": _numbers(chosen),
        "blockers": barred,
        "forecast": ahead,
        "trial": trial,
        "kinds": choice.looked.kinds,
        "written": choice.looked.written,
        "without": asked["without"],
        "advanced": asked["follows"] or asked["sieve"] or asked["judge"],
        "plans": _plans(form),
    }
    return render(request, "teaching/start.html", facts)


@require_POST
@member(Role.CURATOR)
def dry_run(request: MemberRequest) -> HttpResponse:
    """Queue two steps of each sort on the real device, and go back to the page that shows them."""
    form = PlanForm(request.POST, by=request.user)
    asked = _asked(request, form)
    back = reverse("teaching:start")
    form.full_clean()  # a name may still be missing
    snapshot, anchor = form.cleaned_data.get("snapshot"), form.cleaned_data.get("anchor")
    if snapshot is None or anchor is None:
        messages.error(request, _("Choose a snapshot and an anchor first."))
        return redirect(back)
    choice = _choice(request, form, snapshot, anchor)
    try:
        start = choice.begin.start
        try_out(snapshot, anchor, choice.settings(asked), start, by=request.user)
    except InputError as error:
        messages.error(request, sentence(error))
    chosen = {"snapshot": snapshot.pk, "anchor": anchor.pk, "preset": asked["preset"]}
    chosen |= {"begin": choice.begin.value, "size": choice.size}
    more = {name: "on" for name in SWITCHES if asked[name]}
    more |= {"judge": asked["judge"]} if asked["judge"] else {}
    words = urlencode(chosen | more | {"without": asked["without"]}, doseq=True)
    return redirect(f"{back}?{words}")


SWITCHES = ("writes", "rivals", "general", "follows", "sieve")


def _asked(request: MemberRequest, form: PlanForm) -> dict[str, Any]:
    """What `settings_of` wants, from whichever way it came.

    At first the rivals are asked too, and general text is mixed in.
    """
    told = request.POST or request.GET
    known = {kind for kind, _label in CHOICES}
    switched = {name: bool(told.get(name)) for name in SWITCHES}
    judges = {str(row.pk) for row in form.anchors}
    return {
        "preset": PRESETS.get(told.get("preset", ""), STANDARD).name,
        "without": [kind for kind in told.getlist("without") if kind in known],
        "judge": told.get("judge", "") if told.get("judge", "") in judges else "",
        **switched,
        "rivals": switched["rivals"] or "preset" not in told,
        "general": switched["general"] or "preset" not in told,
    }


@dataclass(frozen=True)
class Choice:
    """What the augmenter begins as and how large it is, of what is offered."""

    offered: list[Beginning]
    begin: Beginning
    looked: Looked
    sizes: Sizes | None
    size: str

    def is_sized(self, preset: str) -> bool:
        """Whether the size is settled already: by the model that goes on, or by the preset."""
        return self.begin.start.goes_on or is_sized(preset)

    def settings(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The plan's settings."""
        shape = self.sizes.shape_of(self.size) if self.sizes else None
        return settings_of(**asked, goes_on=self.begin.start.goes_on, shape=shape)


def _choice(
    request: MemberRequest, form: PlanForm, snapshot: Snapshot | None, anchor: Anchor | None
) -> Choice:
    """As asked for or sent; what is not offered is refused on the form, and else proposed."""
    told = request.POST or request.GET
    size = told.get("size", PROPOSED)
    if snapshot is None or anchor is None:
        return Choice([], Beginning(NONE, ""), Looked(), None, size)
    offered = beginnings.offer(snapshot, anchor, form.anchors, by=request.user)
    wanted = beginnings.chosen(offered, told.get("begin", ""))
    if wanted is None and form.is_bound and form.is_valid():
        form.add_error(None, _("Choose again what it begins with: that is no longer offered."))
    looked = look_into(snapshot) if _is_readable(form, snapshot) else Looked()
    sizes = sizes_for(snapshot, anchor, looked.facts)
    return Choice(offered, wanted or offered[0], looked, sizes, size)


def _begun(
    form: PlanForm, settings: dict[str, Any], barred: list[Blocker], start: Start, *, by: User
) -> Plan | None:
    """Start the plan; what stands in its way is said on the form, and nothing is started."""
    for each in barred:
        form.add_error(None, each.text)
    if barred:
        return None
    asked = form.cleaned_data
    try:
        return start_plan(
            asked["snapshot"], asked["anchor"], asked["name"], by, settings=settings, start=start
        )
    except InputError as error:
        form.add_error(None, sentence(error))
        return None


def _plans(form: PlanForm) -> list[dict[str, Any]]:
    """The newest plans of what may be taught: id, name and when."""
    every = [told for row in form.offered for told in row.told]
    newest = sorted(every, key=lambda told: str(told["at"]), reverse=True)[:PLANS]
    return [told | {"at": datetime.fromisoformat(told["at"])} for told in newest]


def _chosen(request: MemberRequest, form: PlanForm, wanted: str | None) -> Snapshot | None:
    """The snapshot asked for, else the one sent, else the newest that may be taught."""
    if wanted:
        visible = fetch(request, Snapshot, wanted)
        return next((row for row in form.offered if row.pk == visible.pk), None)
    if form.is_bound and form.is_valid():
        sent: Snapshot = form.cleaned_data["snapshot"]
        return sent
    return next(iter(form.offered), None)


def _anchor(form: PlanForm, wanted: str | None) -> Anchor | None:
    """The anchor asked for or sent, else the first: what the plan is reckoned with."""
    asked = wanted or form.data.get("anchor", "")
    every: list[Anchor] = form.anchors
    return next((row for row in every if str(row.pk) == asked), next(iter(every), None))


def _is_readable(form: PlanForm, snapshot: Snapshot) -> bool:
    """Samples quote the corpus: who may curate it may not always read it."""
    return any(row.pk == snapshot.pk and row.may_read for row in form.offered)


def _reckoned(
    chosen: Snapshot | None, anchor: Anchor | None, settings: dict[str, Any], start: Start
) -> tuple[Trial | None, Forecast | None]:
    """The newest dry run of these choices, and what they will need."""
    if chosen is None or anchor is None:
        return None, None
    tried = newest(chosen, anchor, settings, start)
    around = Surroundings.look(of=[tried] if tried else ())
    trial = trial_of(tried, around) if tried else None
    measured = trial.measured if trial else None
    return trial, forecast(chosen, anchor, settings, around, measured, start)


def _audience(snapshot: Snapshot | None) -> list[Reader]:
    """Who will be able to use what is made: whoever may read each corpus, as things stand."""
    if snapshot is None:
        return []
    return [reader for reader in readers() if reader.may_read_all(snapshot.closure)]


def _numbers(snapshot: Snapshot | None) -> dict[str, int]:
    """How much there is to learn, to build the bridges on, and to measure with."""
    if snapshot is None:
        return {}
    bridge = bridge_examples(snapshot)
    every = len(snapshot.manifest.get("examples", []))
    return {"bridge": bridge, "held_out": every - bridge}


def blockers(
    snapshot: Snapshot | None,
    anchor: Anchor | None,
    ahead: Forecast | None = None,
    trial: Trial | None = None,
) -> list[Blocker]:
    """Everything that would be refused, said before it is asked, each with the way to mend it."""
    found = []
    if anchor is None:
        found.append(
            Blocker(
                _("No anchor has been brought in. An administrator does that on the server."),
                reverse("registry:models"),
                _("Models"),
            )
        )
    if snapshot is None:
        text = _("No frozen snapshot of a corpus that you may curate.")
        return [*found, Blocker(text, reverse("corpora:list"), _("Freeze a corpus"))]
    corpus: Corpus = snapshot.corpus
    numbers = _numbers(snapshot)
    if not snapshot.documents:
        found.append(
            Blocker(
                _("The snapshot holds no document."), corpus.get_absolute_url(), _("Add documents")
            )
        )
    if not numbers["bridge"]:
        text = _("The snapshot holds no example that the bridges may learn from.")
        found.append(Blocker(text, corpus.get_absolute_url(), _("Add examples")))
    if not numbers["held_out"]:
        text = _("The snapshot keeps no question back, so nothing could be measured.")
        found.append(Blocker(text, corpus.get_absolute_url(), _("Add examples")))
    if trial is not None and trial.run.cause in MENDED_BY_PEOPLE:
        text = _("The dry run failed: %(why)s") % {"why": trial.run.failure_text}
        found.append(Blocker(text, trial.run.get_absolute_url(), _("The dry run")))
    return found + (_in_the_machine(ahead) if ahead is not None else [])


def _in_the_machine(ahead: Forecast) -> list[Blocker]:
    """What the machines would refuse: memory and disk. What only delays a run is no blocker."""
    runs, words = reverse("runs:runs"), _("Machines")
    found = []
    if ahead.look == "bad":
        text = _("It needs more memory than any machine that listens has.")
        found.append(Blocker(text, runs, words))
    if not ahead.fits_disk:
        found.append(Blocker(_("The disk of the run folders has too little room."), runs, words))
    return found


@require_GET
@member(Role.CURATOR)
def plan(request: MemberRequest, code: UUID) -> HttpResponse:
    """One plan: its strip, its runs, and what came of it."""
    return render(request, "teaching/plan.html", facts_of(fetch(request, Plan, code)))


def facts_of(row: Plan) -> dict[str, Any]:
    """What the plan's page and each of its regions show."""
    runs = list(Run.objects.of_plan(row.pk).select_related("snapshot__corpus"))
    return {
        "plan": row,
        "steps": pipeline.strip(runs),
        "runs": [(run, LOOK[run.state]) for run in runs],
        "report": Report.objects.filter(run__plan=row.pk).first(),
        "stuck": runs[-1].events.filter(kind="plan").last() if runs else None,
        "failed": next((run for run in runs[-1:] if run.state == State.FAILED), None),
    }


@require_GET
@member(Role.CURATOR)
async def events(request: MemberRequest, code: UUID) -> StreamingHttpResponse:
    """Server-sent events of one plan: its regions, drawn again when they have changed."""
    tenant_id = request.tenant.pk
    await sync_to_async(_regions)(request, tenant_id, code)  # 404 now, not in the stream
    return sse_response(_events(request, tenant_id, code))


async def _events(request: MemberRequest, tenant_id: UUID, code: UUID) -> AsyncIterator[bytes]:
    with suppress(Http404, PermissionDenied):  # a right that was taken ends the stream
        async for event in _watch(request, tenant_id, code):
            yield event


async def _watch(request: MemberRequest, tenant_id: UUID, code: UUID) -> AsyncIterator[bytes]:
    current_tenant_id.set(tenant_id)  # this stream's own context: the request's has ended
    shown: dict[str, str] = {}
    beaten = time.monotonic()
    while True:
        # Through the same check as the page, each time.
        drawn = await apart(_regions, request, tenant_id, code)
        for name, html in drawn.items():
            if shown.get(name) != html:
                yield sse("region", {"id": f"plan-{name}", "html": html})
                beaten = time.monotonic()
        shown = drawn
        if time.monotonic() - beaten >= BEAT_SECONDS:
            yield HEARTBEAT
            beaten = time.monotonic()
        await asyncio.sleep(LOOK_SECONDS)


def _regions(request: MemberRequest, tenant_id: UUID, code: UUID) -> dict[str, str]:
    """Each region of the page as it is now. Raises Http404 when this person may not see it."""
    with tenant_scope(tenant_id):
        facts = facts_of(fetch(request, Plan, code))
        return {
            name: render_to_string(f"teaching/_{name}.html", facts, request=request)
            for name in REGIONS
        }
