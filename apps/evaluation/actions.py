"""Verbs of evaluation: ask the held-out questions, file what came of it, let a version go live."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.conf import settings as site
from django.db import transaction

from apps.audit import approvals
from apps.audit.actions import record
from apps.audit.models import Approval
from apps.corpora.models import Corpus, Snapshot
from apps.evaluation import gates
from apps.evaluation.models import QuestionSet, Report, cell_of
from apps.registry import actions as registry
from apps.registry import artifacts, embedders
from apps.registry.closure import can_use
from apps.registry.models import AliasChange, Anchor, Composition
from apps.runs import actions as runs
from apps.runs.endings import hold, succeed
from apps.runs.models import Run
from apps.runs.states import Control, State
from calm_engine.errors import InputError, InternalError
from calm_engine.specs import EvaluateSpec, Outcome

if TYPE_CHECKING:
    from apps.accounts.models import User


# Of the outcome's facts.
COUNTED = (
    "corpora",
    "differences",
    "attribution",
    "overlap",
    "reads",
    "swapped",
    "why_not",
    "judge",
    "command",
    "pace",
    "costs",
)
READERS = {"anchor_rag", "composition_rag"}


def question_set(snapshot: Snapshot) -> QuestionSet:
    """The held-out questions of a snapshot. Raises InputError("snapshot.questions")."""
    asked = [list(row) for row in snapshot.manifest.get("examples", []) if row[1] != "bridge"]
    if not asked:
        raise InputError("snapshot.questions")
    digest = hashlib.sha256(json.dumps(sorted(asked)).encode()).hexdigest()
    found: QuestionSet
    found, _ = QuestionSet.objects.get_or_create(
        snapshot=snapshot, digest=digest, defaults={"questions": len(asked)}
    )
    return found


def start_evaluate(
    composition: Composition,
    *,
    control_run: Run | None = None,
    settings: Mapping[str, Any] | None = None,
    by: User | None,
    plan: UUID | None = None,
) -> Run:
    """Queue the asking of the held-out questions; with a control, its column beside the others.

    settings   fields of `EvaluateSpec` but its folders; as "judge" the id of an anchor, which
               decides long answers that no rule can
    Raises InputError("snapshot.questions"), ("control.mismatch") when the control was not trained
    from the same parents on the same snapshot, or ("judge.missing").
    """
    if control_run is not None:
        _refuse_other_control(composition, control_run)
    parts = range(len(composition.parts()))
    asked = dict(settings or {})
    judge = _judge(asked.pop("judge", None))
    has_embedder = bool(READERS & set(asked.get("columns", ()))) and embedders.in_use() is not None
    stranger = stranger_to(composition, by=by)
    spec = EvaluateSpec.from_dict(
        asked
        | {"output": runs.OUTPUT, "composition": runs.COMPOSITION, "anchor": runs.ANCHOR}
        | {"augmenters": [f"{runs.AUGMENTER}/{number}" for number in parts]}
        | {"questions": runs.QUESTIONS, "random": runs.CONTROL if control_run else None}
        | {"documents": runs.DOCUMENTS, "examples": runs.EXAMPLES}
        | {"embedder": runs.EMBEDDER if has_embedder else None}
        | {"strangers": f"{runs.STRANGERS}/{stranger.pk}" if stranger else None}
        | {"judge": f"{runs.JUDGE}/{judge.pk}" if judge else None}
        | {"tasks": runs.TASKS if site.EVALUATION_TASKS else None}
    )
    with transaction.atomic():
        question_set(composition.snapshot)
        return runs.queue_evaluate(composition, spec, control_run=control_run, by=by, plan=plan)


def judge_of(run: Run) -> Anchor | None:
    """The model that judges in an evaluation. Raises InputError("judge.missing")."""
    return _judge(str(run.spec.get("judge") or "").removeprefix(f"{runs.JUDGE}/"))


def _judge(code: str | None) -> Anchor | None:
    if not code:
        return None
    found: Anchor | None = Anchor.objects.filter(pk=code).first()
    if found is None:
        raise InputError("judge.missing", path=code)
    return found


def stranger_to(composition: Composition, *, by: User | None) -> Snapshot | None:
    """The newest snapshot with questions of corpora that this one never learned and `by` may read.

    They are asked to see that nobody answers; the report keeps counts of them, and no word.
    """
    if by is None:
        return None
    others = Corpus.objects.readable_by(by).exclude(pk__in=composition.closure)
    rows = Snapshot.objects.within(others).order_by("-created_at")
    asking = rows.exclude(manifest__examples=[]).exclude(manifest__examples__isnull=True)
    found: Snapshot | None = asking.first()
    return found


def stranger_of(run: Run) -> Snapshot | None:
    """The snapshot of which a waiting evaluation asks, if it is there and may still be read."""
    told = str(run.spec.get("strangers") or "").removeprefix(f"{runs.STRANGERS}/")
    if not told or run.created_by is None:
        return None
    readable = Corpus.objects.readable_by(run.created_by)
    found: Snapshot | None = Snapshot.objects.within(readable).filter(pk=told).first()
    return found


def _refuse_other_control(composition: Composition, control: Run) -> None:
    fits = (
        control.state == State.SUCCEEDED
        and control.control == Control.RANDOM
        and control.anchor_id == composition.anchor_id
        and control.snapshot_id == composition.snapshot_id
        and control.augmenter_id in {part.pk for part in composition.parts()}
    )
    if not fits:
        raise InputError("control.mismatch")


def file_report(run: Run, outcome: Outcome) -> Report:
    """Store the answers, then write report and end of the run in one transaction."""
    if run.composition is None:
        raise InternalError("report.composition", "an evaluation names its composition")
    # The report quotes questions and passages of what was asked: nobody reads it by less.
    if {*run.snapshot.closure, *run.closure} - set(run.composition.closure):
        raise InternalError("report.closure", run=str(run.pk))
    artifacts.adopt("report", Path(outcome.folder), outcome.digest)
    cells = [cell_of(row) for row in outcome.facts["cells"]]
    with transaction.atomic():
        hold(run)
        report = Report.objects.create(
            run=run,
            composition=run.composition,
            question_set=question_set(run.snapshot),
            cells=[vars(cell) for cell in cells],
            items_digest=outcome.digest,
            items_file=str(outcome.facts.get("items", "")),
            figures={name: outcome.facts[name] for name in COUNTED if name in outcome.facts},
            verdict=str(outcome.facts.get("verdict", "")),
        )
        succeed(run, outcome.to_dict() | {"folder": "", "facts": {}})
        record("report.file", report, by=run.created_by, composition=str(run.composition_id))
    return report


def promote(
    alias: str,
    report: Report,
    *,
    by: User,
    reason: str = "",
    seen: str = registry.SEEN_ANYTHING,
) -> AliasChange | None:
    """Move an alias to the composition of this report, if the gates let it or a reason is given.

    seen   the id of the composition that the page showed under the alias, "" for none
    Raises InputError("gates.failed") naming the gates, ("composition.closure") when `by` may not
    use the composition, "approval.needed" and "approval.closure" where the tenant wants a second
    person, and what `registry.actions.promote` raises.
    """
    if not can_use(by, report.composition):
        raise InputError("composition.closure")
    judged = gates.recorded(report)
    short = [gate["name"] for gate in judged if gate["verdict"] != gates.Verdict.PASSED]
    if short and not reason.strip():
        raise InputError("gates.failed", gates=short)
    with transaction.atomic():
        approved = approvals.spend(Approval.Kind.PROMOTION, report.composition, by=by)
        second = approved.decided_by if approved else None
        if second is not None and not can_use(second, report.composition):
            raise InputError("approval.closure", name=str(report.composition))
        return registry.promote(
            report.composition,
            alias,
            by=by,
            reason=with_second(reason, second),
            gates=judged,
            report_id=report.pk,
            seen=seen,
        )


def with_second(reason: str, second: User | None) -> str:
    """The reason as the history keeps it: with whoever approved it, where two were needed."""
    words = [reason.strip(), f"Approved by {second.name}." if second else ""]
    return " ".join(filter(None, words))
