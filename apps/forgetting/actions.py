"""Forget a document or a corpus: find what learned it, bar it, retrain, replace, destroy, certify.

Each step is a transaction with its line in the log, and can be done twice without harm. Retraining
and promotion are the ordinary roads (teaching, reports); a plan sees when they were gone.
"""

from __future__ import annotations

import base64
import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from apps.audit import holds
from apps.audit.actions import record
from apps.audit.anchors import canonical, public_key, signing_key
from apps.audit.models import Hold
from apps.chat.models import Message
from apps.corpora.models import Corpus, Document, DocumentState, Right, Snapshot
from apps.forgetting.models import ForgetPlan
from apps.registry.actions import quarantine
from apps.registry.models import Alias, Augmenter, AugmenterSnapshot, Composition, Placement
from apps.runs.models import Run
from calm_engine.errors import InputError
from counterpoint import studies
from counterpoint.storage import blobs, run_folder

if TYPE_CHECKING:
    from apps.accounts.models import User


@dataclass(frozen=True)
class Affected:
    """Everything that lineage reaches from what is to be forgotten."""

    snapshots: list[Snapshot]
    augmenters: list[Augmenter]
    compositions: list[Composition]
    runs: list[Run]
    answers: int

    @property
    def live(self) -> list[Composition]:
        """Those that some alias still names."""
        named = set(Alias.objects.values_list("composition_id", flat=True))
        return [each for each in self.compositions if each.pk in named]


def open_plan(corpus: Corpus, document: Document | None, *, by: User, reason: str) -> ForgetPlan:
    """Write the wish down. Raises InputError: "reason.missing", "hold.stands", "forget.right"."""
    if not reason.strip():
        raise InputError("reason.missing")
    if not corpus.may(by, Right.CURATE):
        raise InputError("forget.right", name=corpus.name)
    holds.require_free(Hold.Kind.CORPUS, corpus.pk)
    with transaction.atomic():
        plan: ForgetPlan = ForgetPlan.objects.create(
            corpus=corpus,
            document=document,
            digest=document.original_digest if document else "",
            reason=reason.strip(),
            by=by,
        )
        record("forget.open", plan, by=by, corpus=str(corpus.pk), digest=plan.digest)
    return plan


def affected(plan: ForgetPlan) -> Affected:
    """Asked of lineage as it stands now: what learned it since then is found too."""
    snapshots = [each for each in plan.corpus.snapshots.all() if holds_it(each, plan.digest)]
    learned = AugmenterSnapshot.objects.filter(snapshot__in=snapshots).values("augmenter")
    augmenters = list(Augmenter.objects.filter(pk__in=learned))
    compositions = list(
        (
            Composition.objects.filter(augmenters__in=augmenters)
            | Composition.objects.filter(snapshot__in=snapshots)
        ).distinct()
    )
    runs = list(Run.objects.filter(snapshot__in=snapshots))
    answers = Message.objects.filter(composition__in=compositions).count()
    return Affected(snapshots, augmenters, compositions, runs, answers)


def holds_it(snapshot: Snapshot, digest: str) -> bool:
    """Whether a manifest names the document; a plan for all of a corpus is held by each."""
    rows = snapshot.manifest.get("documents", [])
    return not digest or any(row[0] == digest for row in rows)


def quarantine_now(plan: ForgetPlan, *, by: User) -> int:
    """Bar every version that learned it, and keep it out of the next snapshot; how many versions.

    Needs one person and no approval: it only ever closes.
    """
    with transaction.atomic():
        bars = [each for each in affected(plan).compositions if each.state == "ready"]
        for each in bars:
            quarantine(each, by=by, reason=f"{plan}: {plan.reason}")
        wanted = plan.corpus.documents.all()
        if plan.document_id:
            wanted = wanted.filter(pk=plan.document_id)
        withdrawn = wanted.update(state=DocumentState.WITHDRAWN)
        ForgetPlan.objects.filter(pk=plan.pk, quarantined_at=None).update(quarantined_at=Now())
        record("forget.quarantine", plan, by=by, versions=len(bars), documents=withdrawn)
    plan.refresh_from_db()
    return len(bars)


def destroy(plan: ForgetPlan, *, by: User) -> None:
    """Delete weights, checkpoints and texts for ever, once nothing of them is live any more.

    Raises InputError: "hold.stands", "forget.order", "forget.live" naming what still is.
    """
    holds.require_free(Hold.Kind.CORPUS, plan.corpus_id)
    if plan.quarantined_at is None:
        raise InputError("forget.order")
    found = affected(plan)
    if still := found.live:
        raise InputError("forget.live", names=", ".join(str(each) for each in still))
    if Placement.objects.filter(composition__in=found.compositions).exists():
        raise InputError("forget.live", names="a model server that is still running")
    gone = {
        "augmenter": [each.digest for each in found.augmenters],
        "composition": [each.digest for each in found.compositions],
        **texts_of(plan),
    }
    for kind, digests in gone.items():
        for digest in digests:
            blobs().delete(kind, digest)
    for run in found.runs:
        shutil.rmtree(run_folder(run.pk), ignore_errors=True)  # its checkpoints are weights too
    studies.drop(plan.corpus_id)  # it quotes the documents; the next training writes it anew
    with transaction.atomic():
        plan.destroyed, plan.destroyed_at = gone, timezone.now()
        plan.save(update_fields=["destroyed", "destroyed_at"])
        counts: dict[str, Any] = {kind: len(digests) for kind, digests in gone.items()}
        record("forget.destroy", plan, by=by, runs=len(found.runs), **counts)


def texts_of(plan: ForgetPlan) -> dict[str, list[str]]:
    """Files of the forgotten documents that no other document still names."""
    going = plan.corpus.documents.all()
    if plan.document_id:
        going = going.filter(pk=plan.document_id)
    staying = Document.objects.exclude(pk__in=going.values("pk"))
    found: dict[str, list[str]] = {}
    for kind, column in (("original", "original_digest"), ("text", "text_digest")):
        wanted = set(going.values_list(column, flat=True))
        kept = set(staying.filter(**{f"{column}__in": wanted}).values_list(column, flat=True))
        found[kind] = sorted(wanted - kept)
    return found


def certify(plan: ForgetPlan, *, by: User) -> str:
    """What was done, signed by this installation. Raises InputError("forget.order").

    Says what it does not cover: backups from before lapse by themselves, and no copy taken out of
    this installation is known to it.
    """
    if plan.destroyed_at is None:
        raise InputError("forget.order")
    found = affected(plan)
    told: dict[str, Any] = {
        "plan": str(plan.pk),
        "tenant": str(plan.tenant_id),
        "corpus": str(plan.corpus_id),
        "document": plan.digest,
        "reason": plan.reason,
        "snapshots": [each.digest for each in found.snapshots],
        "destroyed": plan.destroyed,
        "destroyed_at": plan.destroyed_at.isoformat(timespec="seconds"),
        "left": left(plan, found),
        "replaced_by": [each.digest for each in replacements(plan, found)],
        "not_covered": "backups from before, until they lapse; copies taken out of this site",
        "at": timezone.now().isoformat(timespec="seconds"),
        "by": str(by.pk),
        "key": public_key(),
    }
    signed = base64.b64encode(signing_key().sign(canonical(told))).decode()
    with transaction.atomic():
        plan.certificate = json.dumps(told | {"signature": signed}, sort_keys=True, indent=2)
        plan.save(update_fields=["certificate"])
        record("forget.certify", plan, by=by, left=len(told["left"]))
    return plan.certificate


def left(plan: ForgetPlan, found: Affected) -> list[str]:
    """Digests of what should be gone and is still on this machine: looked for, not remembered."""
    here = []
    for kind, rows in (("augmenter", found.augmenters), ("composition", found.compositions)):
        here += [each.digest for each in rows if blobs().exists(kind, each.digest)]
    for kind in ("original", "text"):
        here += [each for each in plan.destroyed.get(kind, []) if blobs().exists(kind, each)]
    return here


def replacements(plan: ForgetPlan, found: Affected) -> list[Composition]:
    """Versions of the same names that learned the corpus without it."""
    names = {each.name for each in found.compositions}
    gone = {each.pk for each in found.compositions}
    later = Composition.objects.filter(name__in=names, created_at__gt=plan.created_at)
    return [each for each in later if each.pk not in gone]


@dataclass(frozen=True)
class Step:
    """One step of a plan as the page shows it."""

    name: str
    state: str
    word: str


def steps(plan: ForgetPlan, found: Affected) -> list[Step]:
    """Where the plan stands, from rows as they are."""
    newer = replacements(plan, found)
    reported = any(each.reports.exists() for each in newer)
    needs_none = not found.compositions
    facts = [
        ("Quarantine", plan.quarantined_at is not None, f"{len(found.compositions)} versions"),
        ("Retrain without it", bool(newer) or needs_none, f"{len(newer)} new versions"),
        ("Test", reported or needs_none, "a report on the new version"),
        ("Replace", not found.live, "no name points at what learned it"),
        ("Destroy", plan.destroyed_at is not None, "weights, checkpoints, texts"),
        ("Certificate", bool(plan.certificate), "signed"),
    ]
    return [Step(name, "done" if is_done else "waiting", word) for name, is_done, word in facts]


def corpus_of(code: UUID | str, by: User) -> Corpus | None:
    """A corpus that this person may curate."""
    found: Corpus | None = Corpus.objects.curatable_by(by).filter(pk=code).first()
    return found
