"""Training once more without what is to be forgotten, and the proof of it: asked before and after.

It is exact, not unlearning: the new model goes on from a checkpoint that had not met the documents
yet, or begins anew. The ordinary road of teaching carries it out; a plan sees what it came to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from apps.corpora import actions as corpora
from apps.corpora import manifests
from apps.corpora.models import Document, DocumentState, Snapshot
from apps.forgetting.lineage import Affected, affected, documents_of, is_barred
from apps.forgetting.models import ForgetPlan
from apps.registry.learned import Line, forgetting_of
from apps.registry.models import Augmenter
from apps.runs.actions import FOLDERS
from apps.runs.models import Run
from apps.runs.starts import Start, maker_of, taught_to
from apps.runs.states import ACTIVE, Kind, State
from apps.teaching.actions import start_plan
from apps.teaching.models import Plan
from calm_engine.errors import InputError
from counterpoint.storage import blobs

if TYPE_CHECKING:
    from apps.accounts.models import User

NOT_AGAIN = FOLDERS | {"forget"}  # of a spec, what the new run settles itself


@dataclass(frozen=True)
class Retraining:
    """One model that is trained again: the road that teaches it, and what its training came to.

    run    its first run; None until it is queued
    lines  what is still known of the documents, now and before; empty until it is done
    """

    plan: Plan
    run: Run | None
    lines: list[Line]

    @property
    def is_learning(self) -> bool:
        """Whether it still reads the documents that are to be forgotten, to leave them out."""
        return self.run is None or self.run.state in ACTIVE


def retrain(plan: ForgetPlan, *, by: User) -> list[Plan]:
    """Teach the newest version of each model again, as it was taught, without the documents.

    Raises InputError: "forget.order" before all that learned it is barred, "forget.whole" where a
    whole corpus goes, "forget.untaught" when nothing was taught; what starting a plan raises.
    """
    found = affected(plan)
    if not is_barred(plan, found) or plan.destroyed_at is not None:
        raise InputError("forget.order")
    if not plan.digest and not plan.person_id:
        raise InputError("forget.whole")
    latest = [each for each in newest(found.augmenters) if blobs().exists("augmenter", each.digest)]
    if not latest:
        raise InputError("forget.untaught")
    begun = {each.plan.earlier_id for each in retrainings(plan, found)}
    return [_again(plan, each, by) for each in latest if each.pk not in begun]


def newest(augmenters: Iterable[Augmenter]) -> list[Augmenter]:
    """Of each name the newest version."""
    ordered = sorted(augmenters, key=lambda each: each.version)
    return list({each.name: each for each in ordered}.values())


def retrainings(plan: ForgetPlan, found: Affected) -> list[Retraining]:
    """What was started for this plan, newest first."""
    rows = Plan.objects.filter(earlier__in=found.augmenters, created_at__gte=plan.created_at)
    begun = list(rows.exclude(forget=[]).select_related("snapshot", "earlier"))
    runs = Run.objects.filter(plan__in=[each.pk for each in begun], kind=Kind.AUGMENT)
    latest = {run.plan: run for run in runs.order_by("created_at")}
    return [Retraining(each, latest.get(each.pk), _lines(latest.get(each.pk))) for each in begun]


def proof(plan: ForgetPlan, found: Affected) -> list[dict[str, Any]]:
    """For the certificate: of each model that was trained again, how, and what it still knows."""
    return [
        {
            "model": each.plan.name,
            "instead_of": each.plan.earlier.digest if each.plan.earlier else "",
            "snapshot": each.plan.snapshot.digest,
            "from_step": each.run.branch_step or 0,
            "asked": {
                line.name: {"questions": line.asked, "before": line.before, "now": line.now}
                for line in each.lines
            },
        }
        for each in retrainings(plan, found)
        if each.run is not None and each.run.state == State.SUCCEEDED
    ]


def _lines(run: Run | None) -> list[Line]:
    told = (run.outcome if run else None) or {}
    return forgetting_of(told.get("metrics", {}), told.get("facts", {}))


def _again(plan: ForgetPlan, augmenter: Augmenter, by: User) -> Plan:
    source, whole = maker_of(augmenter), taught_to(augmenter)
    going = _going(plan, whole)
    if not going:
        # It knew them from before it was brought up to date; its own snapshot holds none of them.
        return start_plan(whole, augmenter.anchor, augmenter.name, by, settings=_settings(source))
    rest = corpora.freeze_without(whole, going, by=by)
    base = source.base if source is not None else None
    return start_plan(
        rest,
        augmenter.anchor,
        augmenter.name,
        by,
        settings=_settings(source),
        start=Start(base=base, before=augmenter, forget=tuple(sorted(going))),
    )


def _going(plan: ForgetPlan, whole: Snapshot) -> set[str]:
    """Digests of what the snapshot names and the new model must not meet: what is to be forgotten,
    and what was withdrawn or left out since, which would come back otherwise."""
    wanted = set(documents_of(plan).values_list("original_digest", flat=True))
    here = Document.objects.filter(corpus__in=whole.closure)
    staying = set(here.ready().values_list("original_digest", flat=True))
    away = here.exclude(state=DocumentState.DELETED).exclude(original_digest__in=staying)
    wanted |= set(away.values_list("original_digest", flat=True))
    return {each.original for each in manifests.entries(whole) if each.original in wanted}


def _settings(source: Run | None) -> dict[str, Any]:
    """As it was taught, but for what it began with."""
    if source is None:
        return {}
    taught = Plan.objects.filter(pk=source.plan).first() if source.plan else None
    others: Mapping[str, Any] = taught.settings if taught is not None else {}
    own = {name: value for name, value in source.asked.items() if name not in NOT_AGAIN}
    return {**others, str(Kind.AUGMENT): own}
