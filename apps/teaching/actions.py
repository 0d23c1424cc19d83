"""Verbs of teaching: start a plan, and queue its next run when the one before is done.

A plan keeps no progress of its own: what is done is read from its runs, so that going on twice, or
after a crash, starts nothing twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog
from django.core.exceptions import PermissionDenied
from django.db import connection, transaction
from django.utils.translation import gettext

from apps.accounts import quotas
from apps.audit.actions import record
from apps.corpora.models import Snapshot
from apps.evaluation.actions import question_set, start_evaluate
from apps.registry.models import Anchor, Augmenter, Composition
from apps.runs.actions import bridge_examples, start_augment, start_compose
from apps.runs.models import Run
from apps.runs.starts import NOTHING, Start
from apps.runs.states import Control, Kind, State
from apps.teaching.models import Plan
from apps.teaching.planning import need_of
from calm_engine.errors import EngineError, InputError
from counterpoint.wording import sentence

if TYPE_CHECKING:
    from apps.accounts.models import User

log = structlog.get_logger(__name__)

Step = tuple[Kind, Control]
STEPS: tuple[Step, ...] = (
    (Kind.AUGMENT, Control.NONE),
    (Kind.COMPOSE, Control.NONE),
    (Kind.COMPOSE, Control.RANDOM),
    (Kind.EVALUATE, Control.NONE),
)


def start_plan(
    snapshot: Snapshot,
    anchor: Anchor,
    name: str,
    by: User,
    *,
    settings: Mapping[str, Any] | None = None,
    start: Start = NOTHING,
) -> Plan:
    """Open a plan and queue its first run. The name becomes the model's name.

    settings   {"augment": {...}, "compose": {...}, "evaluate": {...}}: fields of the engine's specs
    start      what its augmenter begins as
    Asked twice, as by a second click, the same plan is given back while it still waits or works.
    Refused now rather than an hour later: InputError("corpus.empty"), ("snapshot.examples"),
    ("snapshot.questions"), ("quota.used"); PermissionDenied without the right to curate the corpus.
    """
    if not Snapshot.objects.curatable_by(by).filter(pk=snapshot.pk).exists():
        words = gettext("Teaching needs the right to curate %(names)s.")
        raise PermissionDenied(words % {"names": snapshot.names})
    if not snapshot.documents:
        raise InputError("corpus.empty")
    quotas.require(by, quotas.Kind.GPU_MINUTES)
    if not bridge_examples(snapshot):
        raise InputError("snapshot.examples")
    name = name.strip() or snapshot.names
    with transaction.atomic():
        question_set(snapshot)
        choices = {
            "name": name,
            "snapshot": snapshot,
            "anchor": anchor,
            "settings": dict(settings or {}),
            "base": start.base,
            "earlier": start.earlier,
            "forget": list(start.forget),
        }
        twin = _twin(choices)
        if twin is not None:
            return twin
        plan = Plan.objects.create(corpus=snapshot.corpus, by=by, **choices)
        record("plan.start", plan, by=by, snapshot=str(snapshot.pk), anchor=str(anchor.pk))
        advance(plan)
    return plan


def _twin(choices: Mapping[str, Any]) -> Plan | None:
    """The plan of exactly these choices whose first run waits or works; the second start waits."""
    with connection.cursor() as cursor:
        lock = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 13))"
        cursor.execute(lock, [str(choices["snapshot"].pk)])
    same = Plan.objects.filter(**choices)
    active = Run.objects.active().filter(plan__isnull=False).values("plan")
    found: Plan | None = same.filter(pk__in=active).first()
    return found


def advance(plan: Plan) -> Run | None:
    """Queue the first step that is not done; None while one works, has failed, or all are done."""
    with transaction.atomic():
        Plan.objects.select_for_update().get(pk=plan.pk)  # one at a time: no step starts twice
        latest = runs_of(plan)
        for step in STEPS:
            run = latest.get(step)
            if run is None:
                return _start(plan, step, latest)
            if run.state != State.SUCCEEDED:
                return None
    return None


def go_on(plan_id: UUID) -> Run | None:
    """Advance a plan for a worker: a refusal is written where people look, not raised."""
    plan = Plan.objects.filter(pk=plan_id).first()
    if plan is None:
        return None
    try:
        with transaction.atomic():
            return advance(plan)
    except (EngineError, PermissionDenied) as error:
        words = sentence(error) if isinstance(error, EngineError) else str(error)
        log.warning("plan.stuck", plan=str(plan_id), error=type(error).__name__)
        last = Run.objects.of_plan(plan_id).last()
        if last is not None and not last.events.filter(kind="plan", text=words).exists():
            last.note("plan", words)
    return None


def runs_of(plan: Plan) -> dict[Step, Run]:
    """The newest run of each step of this plan."""
    rows = Run.objects.of_plan(plan.pk).select_related("augmenter", "composition")
    return {(Kind(run.kind), Control(run.control)): run for run in rows}


def start_of(plan: Plan) -> Start:
    """What the plan's augmenter begins as."""
    if plan.forget:
        return Start(base=plan.base, before=plan.earlier, forget=tuple(plan.forget))
    return Start(base=plan.base, previous=plan.earlier)


def _start(plan: Plan, step: Step, done: Mapping[Step, Run]) -> Run:
    kind, control = step
    settings = plan.settings.get(str(kind), {})
    start = start_of(plan)
    needs = need_of(kind, plan.snapshot, plan.anchor, plan.settings, start).certain
    if kind is Kind.AUGMENT:
        return start_augment(
            plan.snapshot,
            anchor=plan.anchor,
            settings=settings,
            start=start,
            by=plan.by,
            name=plan.name,
            plan=plan.pk,
            device_bytes=needs,
        )
    if kind is Kind.COMPOSE:
        augmenter = Augmenter.objects.get(run_id=done[Kind.AUGMENT, Control.NONE].pk)
        return start_compose(
            plan.anchor,
            augmenter,
            plan.snapshot,
            control=control,
            settings=settings,
            by=plan.by,
            name=plan.name,
            plan=plan.pk,
            device_bytes=needs,
        )
    return start_evaluate(
        Composition.objects.get(run_id=done[Kind.COMPOSE, Control.NONE].pk),
        control_run=done[Kind.COMPOSE, Control.RANDOM],
        settings=settings,
        by=plan.by,
        plan=plan.pk,
    )


def left_behind() -> list[Plan]:
    """Plans whose last run is done and whose next was never queued: a worker died in between."""
    return [plan for plan in Plan.objects.all() if _is_left_behind(plan)]


def _is_left_behind(plan: Plan) -> bool:
    latest = runs_of(plan)
    done = all(run.state == State.SUCCEEDED for run in latest.values())
    return done and len(latest) < len(STEPS)
