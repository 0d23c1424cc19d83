"""Forget a document, a corpus or a person: bar what learned it, replace, destroy, certify.

Each step is a transaction with its line in the log, and can be done twice without harm. Retraining
and promotion are the ordinary roads (teaching, reports); a plan sees when they were gone.
"""

from __future__ import annotations

import base64
import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from apps.audit import holds
from apps.audit.actions import record
from apps.audit.anchors import canonical, public_key, signing_key
from apps.audit.models import Hold
from apps.corpora.actions import deleting
from apps.corpora.models import Corpus, Document, DocumentState, Passage, Right
from apps.forgetting import persons, quotes
from apps.forgetting.lineage import (
    Affected,
    affected,
    corpora_of,
    documents_of,
    is_barred,
    twins,
)
from apps.forgetting.models import ForgetPlan
from apps.forgetting.retraining import proof, retrainings
from apps.registry.actions import quarantine
from apps.registry.models import Composition, Placement
from apps.runs.wishes import ask_to_cancel
from calm_engine.errors import InputError
from counterpoint import shelves
from counterpoint.storage import blobs, run_folder_of

if TYPE_CHECKING:
    from apps.accounts.models import User

NOT_COVERED = (
    "Backups from before, until they lapse. Copies taken out of this site. Names of documents in "
    "manifests of older snapshots and in the audit log, which nobody can change. What people and "
    "models that never learned it said of it in words of their own, or in fewer than eight of its "
    "words in a row; and, unless a whole corpus is forgotten, examples."
)


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


def quarantine_now(plan: ForgetPlan, *, by: User) -> int:
    """Bar every version that learned it, and keep it out of the next snapshot; how many versions.

    What is learning it now, or waits to, is stopped without a checkpoint. Needs one person and no
    approval: it only ever closes.
    """
    with transaction.atomic():
        bars = [each for each in affected(plan).compositions if each.state == "ready"]
        for each in bars:
            quarantine(each, by=by, reason=f"{plan}: {plan.reason}")
        for run in affected(plan).learning:
            ask_to_cancel(run, by=by, discard=True)
        wanted = documents_of(plan)
        withdrawn = wanted.update(state=DocumentState.WITHDRAWN, withdrawn_at=Now())
        ForgetPlan.objects.filter(pk=plan.pk, quarantined_at=None).update(quarantined_at=Now())
        record("forget.quarantine", plan, by=by, versions=len(bars), documents=withdrawn)
    plan.refresh_from_db()
    return len(bars)


def destroy(plan: ForgetPlan, *, by: User) -> None:
    """Delete weights, texts, rows and quotes for ever, once nothing of them is live any more.

    Raises InputError: "hold.stands", "forget.order", "forget.undecided", "forget.live" naming what
    still is.
    """
    require_free(plan)
    found = affected(plan)
    if not is_barred(plan, found):
        raise InputError("forget.order")
    persons.require_decided(plan)
    if still := found.live:
        raise InputError("forget.live", names=", ".join(str(each) for each in still))
    # A training that is to leave the documents out still reads them.
    still_read = [each.run for each in retrainings(plan, found) if each.is_learning and each.run]
    if learning := [*found.learning, *still_read]:
        raise InputError("forget.live", names=", ".join(str(each) for each in learning))
    said = quotes.quoting(plan, found)
    quotes.require_free(found, said)
    if Placement.objects.filter(composition__in=found.compositions).exists():
        raise InputError("forget.live", names="a model server that is still running")
    gone = {
        "augmenter": [each.digest for each in found.augmenters],
        "composition": [each.digest for each in found.compositions],
        **quotes.files(found),
        **texts_of(plan),
    }
    for kind, digests in gone.items():
        for digest in digests:
            blobs().delete(kind, digest)
    for run in found.runs:
        # Its checkpoints are weights too.
        shutil.rmtree(run_folder_of(run.pk), ignore_errors=True)
        run.checkpoints.all().delete()
    for corpus in corpora_of(plan):
        for shelf in shelves.EVERY:
            shelf.drop(corpus)  # it quotes the documents; the next training makes it anew
    with transaction.atomic():
        struck = quotes.strike(plan, said)  # while the words are there to be looked for
        rows = deleting.drop_words(documents_of(plan)) | quotes.drop(plan, found)
        rows |= {"quotes": struck}
        for name, count in (persons.drop_person(plan) if plan.person_id else {}).items():
            rows[name] = rows.get(name, 0) + count
        plan.destroyed, plan.rows, plan.destroyed_at = gone, rows, timezone.now()
        plan.person_name = ""
        plan.save(update_fields=["destroyed", "rows", "destroyed_at", "person_name"])
        counts: dict[str, Any] = {kind: len(digests) for kind, digests in gone.items()}
        record("forget.destroy", plan, by=by, runs=len(found.runs), rows=rows, **counts)


def require_free(plan: ForgetPlan) -> None:
    """Raises InputError("hold.stands") while the person, or a corpus that it touches, is held."""
    if plan.person_id:
        holds.require_free(Hold.Kind.PERSON, plan.person_id)
    for corpus in corpora_of(plan):
        holds.require_free(Hold.Kind.CORPUS, corpus)


def texts_of(plan: ForgetPlan) -> dict[str, list[str]]:
    """Files of the forgotten documents that no other document still names."""
    return deleting.only_theirs(documents_of(plan))


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
        "corpus": str(plan.corpus_id or ""),
        "document": plan.digest,
        "person": str(plan.person_id or ""),
        "documents": sorted(documents_of(plan).values_list("original_digest", flat=True)),
        "reason": plan.reason,
        "snapshots": [each.digest for each in found.snapshots],
        "destroyed": plan.destroyed,
        "rows": plan.rows,
        "destroyed_at": plan.destroyed_at.isoformat(timespec="seconds"),
        "left": left(plan, found),
        "replaced_by": [each.digest for each in replacements(plan, found)],
        "trained_without_it": proof(plan, found),
        "same_text_left": sorted(twins(plan).values_list("original_digest", flat=True)),
        "answers_left": found.answers,
        "answers_are": "kept, shut to everybody" if quotes.are_kept() else "destroyed",
        "not_covered": NOT_COVERED,
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
    """Digests and rows of what should be gone and is still here: looked for, not remembered."""
    here = []
    for kind, rows in (("augmenter", found.augmenters), ("composition", found.compositions)):
        here += [each.digest for each in rows if blobs().exists(kind, each.digest)]
    for kind in ("original", "text", "report", "control"):
        here += [each for each in plan.destroyed.get(kind, []) if blobs().exists(kind, each)]
    chosen = list(documents_of(plan).values_list("pk", flat=True))
    here += [str(each) for each in Passage.objects.filter(document__in=chosen).values_list("pk")]
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
    undecided = plan.mentions.filter(verdict="open").count() if plan.person_id else 0
    facts = [
        *([("Confirm documents", undecided == 0, f"{undecided} undecided")] * bool(plan.person_id)),
        ("Quarantine", is_barred(plan, found), f"{len(found.compositions)} versions"),
        ("Retrain without it", bool(newer) or needs_none, f"{len(newer)} new versions"),
        ("Test", reported or needs_none, "a report on the new version"),
        ("Replace", not found.live, "no name points at what learned it"),
        ("Destroy", plan.destroyed_at is not None, "weights, checkpoints, texts, quotes"),
        ("Certificate", bool(plan.certificate), "signed"),
    ]
    return [Step(name, "done" if is_done else "waiting", word) for name, is_done, word in facts]


def may_act(plan: ForgetPlan, by: User) -> bool:
    """Whether this person may curate every corpus that the plan touches."""
    touched = corpora_of(plan)
    return Corpus.objects.curatable_by(by).filter(pk__in=touched).count() == len(touched)
