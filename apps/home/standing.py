"""Where each corpus stands on the way from documents to an answer, and the one next step.

Reads what other apps wrote, in five queries however many corpora there are. Decides nothing: the
page that the step leads to does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db.models import DateTimeField, Exists, OuterRef, Q, Subquery
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast, JSONObject
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from apps.corpora.models import (
    IN_PROGRESS,
    Corpus,
    Document,
    DocumentState,
    Flag,
    FlagState,
    Snapshot,
    UploadItem,
)
from apps.evaluation import gates
from apps.evaluation.models import Report
from apps.registry.models import Composition
from apps.runs.models import Run
from apps.runs.pipeline import Step
from apps.runs.states import Kind, State
from apps.teaching.models import Plan

if TYPE_CHECKING:
    from apps.accounts.models import User

SHOWN = 12  # corpora on the home page; the list holds them all


@dataclass(frozen=True)
class Next:
    """The one thing to do now, and where."""

    text: str
    action: str
    href: str


@dataclass(frozen=True)
class Standing:
    """One corpus: its steps in order, and what comes next."""

    corpus: Corpus
    steps: Sequence[Step]
    next: Next


@dataclass
class Found:
    """What was read of one corpus."""

    corpus: Any  # a Corpus with what `_rows` annotates
    snapshot: UUID | None = None  # its newest
    frozen: int = 0  # documents in that
    plan: Plan | None = None
    runs: list[Run] = field(default_factory=list)
    report: Report | None = None
    gates: list[gates.Gate] = field(default_factory=list)  # of the report
    live: list[Composition] = field(default_factory=list)  # usable ones that learned it


def standings(user: User) -> tuple[list[Standing], bool]:
    """The corpora that this person curates, the newest first; and whether there are more."""
    rows = list(_rows(user)[: SHOWN + 1])
    found = {row.pk: _found(row) for row in rows[:SHOWN]}
    _add_plans(found, user)
    _add_live(found, user)
    return [standing(each) for each in found.values()], len(rows) > SHOWN


def standing(found: Found) -> Standing:
    """The strip, and the first step that is not done."""
    told = [_documents(found), _review(found), _snapshot(found), _teaching(found)]
    told += [_card(found), _live(found)]
    upcoming = next((todo for _step, todo in told if todo is not None), None)
    return Standing(found.corpus, [step for step, _todo in told], upcoming or _chat(found))


def _found(row: Any) -> Found:
    if row.newest is None:
        return Found(row)
    return Found(row, UUID(row.newest["pk"]), row.newest["documents"])


# ---- reading -------------------------------------------------------------------------------------


def _rows(user: User) -> Any:
    of_it = {"corpus": OuterRef("pk")}
    # Of several corpora together the first is named by a column, and the others by a list.
    holding = Q(corpus=OuterRef("pk")) | Q(further__contains=[OuterRef("pk")])
    newest = Snapshot.objects.visible_to(user).filter(holding).order_by("-created_at")
    # One object: three fields would be looked for three times, and who may see them too.
    told = newest.values(told=JSONObject(pk="pk", documents="documents", at="created_at"))[:1]
    ready = Document.objects.filter(**of_it, state=DocumentState.READY)
    reading = UploadItem.objects.filter(upload__corpus=OuterRef("pk"), state__in=IN_PROGRESS)
    frozen_at = Cast(KeyTextTransform("at", OuterRef("newest")), DateTimeField())
    rows: Any = Corpus.objects.curatable_by(user)
    return (
        rows.annotate(
            has_documents=Exists(ready),
            is_reading=Exists(reading),
            is_flagged=Exists(Flag.objects.filter(**of_it, state=FlagState.OPEN)),
            newest=Subquery(told),
        )
        .annotate(has_newer=Exists(ready.filter(created_at__gt=frozen_at)))
        .order_by("-created_at")
    )


def _add_plans(found: dict[UUID, Found], user: User) -> None:
    """The newest plan of each corpus, its runs, and the report that came of it.

    A plan for several corpora is found by the snapshot that is the newest of each of them.
    """
    taught = [each.snapshot for each in found.values()]
    plans = Plan.objects.filter(Q(corpus__in=found) | Q(snapshot__in=taught))
    order = ("corpus_id", "snapshot_id")
    each_newest = plans.order_by(*order, "-created_at").distinct(*order)
    newest: dict[UUID, Plan] = {}
    shared: dict[UUID | None, Plan] = {}
    for plan in sorted(each_newest, key=lambda plan: plan.created_at):
        newest[plan.corpus_id] = shared[plan.snapshot_id] = plan
    by_plan: dict[UUID, list[Found]] = {}
    for pk, each in found.items():
        each.plan = shared.get(each.snapshot) or newest.get(pk)
        if each.plan is not None:
            by_plan.setdefault(each.plan.pk, []).append(each)
    runs = Run.objects.visible_to(user).filter(plan__in=by_plan).order_by("created_at")
    shown = ("tenant", "plan", "kind", "control", "state", "step", "total", "name")
    by_run = {}
    for run in runs.only(*shown):
        by_run[run.pk] = by_plan[run.plan]
        for each in by_run[run.pk]:
            each.runs.append(run)
    reports = Report.objects.visible_to(user).filter(run__in=by_run).order_by("created_at")
    for report in reports.select_related("tenant", "composition"):
        judged = gates.check(report)
        for each in by_run[report.run_id]:
            each.report, each.gates = report, judged


def _add_live(found: dict[UUID, Found], user: User) -> None:
    live = Composition.objects.usable_by(user).live()
    for composition in live.filter(closure__overlap=list(found)):
        for pk in composition.closure:
            if pk in found:
                found[pk].live.append(composition)


# ---- the steps -----------------------------------------------------------------------------------

Told = tuple[Step, Next | None]


def _documents(found: Found) -> Told:
    corpus, name = found.corpus, _("Documents")
    page = corpus.get_absolute_url()
    if corpus.is_reading:
        step = Step(name, "busy", _("being read"), f"{page}?tab=uploads")
        return step, None if corpus.has_documents else Next(
            _("Its files are being read."), _("Watch the upload"), f"{page}?tab=uploads"
        )
    if not corpus.has_documents and not corpus.is_flagged:
        todo = Next(_("It holds no document yet."), _("Add documents"), page)
        return Step(name, "waiting", _("none yet"), page), todo
    return Step(name, "done", _("brought in"), page), None


def _review(found: Found) -> Told:
    corpus, name = found.corpus, _("Review")
    href = reverse("corpora:review", kwargs={"code": corpus.pk})
    if corpus.is_flagged:
        text = _("Something that looks like personal data or a secret waits for your decision.")
        return Step(name, "warn", _("waits for you"), href), Next(text, _("Decide"), href)
    if not corpus.has_documents:
        return Step(name, "waiting", "", ""), None
    return Step(name, "done", _("nothing waits"), href), None


def _snapshot(found: Found) -> Told:
    corpus, name = found.corpus, _("Snapshot")
    if found.snapshot is None:
        href = reverse("corpora:freeze", kwargs={"code": corpus.pk})
        text = _("Freeze what it holds: a model learns from a frozen snapshot and nothing else.")
        return Step(name, "waiting", "", ""), Next(text, _("Freeze a snapshot"), href)
    count = ngettext("%(count)s document", "%(count)s documents", found.frozen)
    href = reverse("corpora:snapshot", kwargs={"code": found.snapshot})
    return Step(name, "done", count % {"count": found.frozen}, href), None


def _teaching(found: Found) -> Told:
    plan, name = found.plan, _("Teaching")
    if plan is None or plan.snapshot_id != found.snapshot:
        href = f"{reverse('teaching:start')}?snapshot={found.snapshot}"
        text = _("Teach a model its newest snapshot.")
        return Step(name, "waiting", "", ""), Next(text, _("Teach it"), href)
    page = plan.get_absolute_url()
    newest = found.runs[-1] if found.runs else None
    if newest is not None and newest.state in (State.FAILED, State.CANCELLED):
        word = _("failed") if newest.state == State.FAILED else _("stopped")
        text = _("The training did not come to its end.")
        href = newest.get_absolute_url()
        return Step(name, "bad", word, page), Next(text, _("See what happened"), href)
    if not _is_through(found):
        word = f"{newest.percent()} %" if newest is not None and newest.total else _("running")
        text = _("A model is learning it. Nothing needs you until the report card is there.")
        return Step(name, "busy", word, page), Next(text, _("Watch the training"), page)
    return Step(name, "done", "", page), None


def _is_through(found: Found) -> bool:
    return found.report is not None or any(
        run.kind == Kind.EVALUATE and run.state == State.SUCCEEDED for run in found.runs
    )


def _card(found: Found) -> Told:
    report, name = found.report, _("Report card")
    if report is None:
        return Step(name, "waiting", "", ""), None
    page = report.get_absolute_url()
    if gates.passed(found.gates):
        return Step(name, "done", _("every gate passed"), page), None
    lost = sum(not gate.is_passed for gate in found.gates)
    word = ngettext("%(count)s gate not passed", "%(count)s gates not passed", lost)
    todo = None
    if not found.live:
        text = _("It may not go live yet: the report card says what it does not know.")
        todo = Next(text, _("Read the card"), page)
    return Step(name, "warn", word % {"count": lost}, page), todo


def _live(found: Found) -> Told:
    report, name = found.report, _("Live")
    own = next((made for made in found.live if report and made.pk == report.composition_id), None)
    served = own or next(iter(found.live), None)
    if report is not None and own is None and _may_go_live(found, report):
        text = _("A new version is ready. Read its report card, then make it live.")
        todo = Next(text, _("Read the card and promote"), report.get_absolute_url())
        word = str(served) if served else ""
        return Step(name, "waiting", word, ""), todo
    if served is None:
        return Step(name, "waiting", "", ""), None
    return Step(name, "done", str(served), served.get_absolute_url()), None


def _may_go_live(found: Found, report: Report) -> bool:
    is_ready = report.composition.state == Composition.State.READY
    return is_ready and gates.passed(found.gates)


def _chat(found: Found) -> Next:
    """Nothing is left to do: ask it something, or freeze what has come since."""
    served = next(iter(found.live), None)
    text = _("Its people may ask it now.")
    if found.corpus.has_newer:
        text = _("Its people may ask it now. What arrived since the snapshot it does not know.")
    name = served.name if served else ""
    return Next(text, _("Chat with it"), reverse("chat:new", query={"model": name}))
