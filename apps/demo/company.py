"""A company of some size, as rows alone: what each list of the site shows when it is long.

Nothing here was read, trained or answered: rows have the shape of such rows, and made-up numbers.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.utils import timezone

from apps.accounts.models import User
from apps.audit.actions import record
from apps.chat.models import Conversation, Message
from apps.chat.models import Role as Voice
from apps.chat.models import State as Said
from apps.corpora.actions import create_corpus
from apps.corpora.models import (
    Corpus,
    Document,
    Example,
    Flag,
    ItemState,
    Passage,
    Snapshot,
    Upload,
    UploadItem,
)
from apps.demo import corpora_measuring
from apps.demo.crowd import digest
from apps.evaluation.models import COLUMNS, SLICES, QuestionSet, Report
from apps.registry.models import Alias, Anchor, Augmenter, Composition, CompositionPart
from apps.runs.models import Run, RunMetric
from apps.runs.states import Kind, State
from apps.tenants.models import Membership, Role, Tenant
from counterpoint.storage import blobs

DOCUMENTS, RUNS, MESSAGES = 100_000, 1_000, 100_000
PEOPLE, CORPORA, FAMILIES, VERSIONS = 500, 40, 100, 3
TURNS = 10  # questions of one conversation, each with its answer
OWN = 500  # conversations of the curator who looks; the others belong to everybody in turn
UPLOADS, FLAGS, EXAMPLES, METRICS, ACTS = 300, 2_000, 2_000, 2_000, 2_000
TEXT = "# Sheet\n\nThe MX-200 measures from 0 to 40 bar and was designed in Portugal.\n" * 40
ANSWER = (
    "The **MX-200** measures up to *40 bar*.\n\n| Part | Number |\n|---|---|\n| Housing | 4711 |"
)


@dataclass(frozen=True)
class Company:
    """What pages are opened for: one of each kind, and the lists behind them are long."""

    corpus: Corpus
    upload: Upload
    document: Document
    snapshot: Snapshot
    run: Run
    anchor: Anchor
    augmenter: Augmenter
    composition: Composition
    report: Report
    conversation: Conversation
    answer: Message


def gathered(tenant: Tenant, by: User, *, share: float = 1.0) -> Company:
    """Write it all, in the tenant in scope. share: how much of the full size."""
    people = colleagues(tenant, max(5, int(PEOPLE * share)))
    corpora = [create_corpus(f"Corpus {number:02}", by=by) for number in range(CORPORA)]
    corpus, rest = corpora[0], corpora[1:]
    count = int(DOCUMENTS * share)
    corpora_measuring.documents(corpus, count // 2)
    for each in rest:
        corpora_measuring.documents(each, count // 2 // len(rest))
    document = sheet(corpus)
    upload = uploads(corpus, document, by, share)
    marks(corpus, by, share)
    snapshots = frozen(corpora, by, share)
    anchor = Anchor.objects.create(name="Anchor", digest=digest(), imported_by=by)
    made = models(anchor, snapshots[0], corpus, by, share)
    reports = measured(made, by)
    talks = conversations(made[0], by, people, share)
    for number in range(int(ACTS * share)):
        record("bench.act", None, by=by, number=number)
    run = reports[0].run
    curves(run, share)
    return Company(
        corpus,
        upload,
        document,
        snapshots[0],
        run,
        anchor,
        made[0].parts()[0],
        made[0],
        reports[0],
        talks[0],
        talks[0].messages.get(position=2),
    )


def colleagues(tenant: Tenant, count: int) -> list[User]:
    people = User.objects.bulk_create(
        User(email=f"p{number}@bench.example", name=f"Person {number}") for number in range(count)
    )
    Membership.objects.bulk_create(
        Membership(tenant=tenant, user=each, role=Role.EMPLOYEE) for each in people
    )
    return people


def sheet(corpus: Corpus) -> Document:
    """A document that is there, and the passages of many that are not."""
    text = blobs().put("text", io.BytesIO(TEXT.encode()))
    original = blobs().put("original", io.BytesIO(TEXT.encode()))
    row: Document = Document.objects.create(
        corpus=corpus,
        title="mx-200.md",
        path="service/mx-200.md",
        media_type="text/markdown",
        size=len(TEXT),
        original_digest=original.digest,
        text_digest=text.digest,
        tokens=900,
        language="eng",
    )
    cut = range(0, len(TEXT), 500)
    Passage.objects.bulk_create(
        Passage(
            corpus=corpus,
            document=row,
            page=1,
            start=start,
            end=start + len(TEXT[start : start + 500]),
            body=TEXT[start : start + 500],
        )
        for start in cut
    )
    return row


def uploads(corpus: Corpus, document: Document, by: User, share: float) -> Upload:
    rows = Upload.objects.bulk_create(
        Upload(corpus=corpus, by=by) for _ in range(max(2, int(UPLOADS * share)))
    )
    UploadItem.objects.bulk_create(
        UploadItem(
            upload=each,
            path=f"{number}.txt",
            size=200,
            state=ItemState.STORED if number % 9 else ItemState.REJECTED,
            code="" if number % 9 else "pdf.no_text",
            document=document if number % 9 else None,
        )
        for each in rows
        for number in range(100)
    )
    return rows[0]


def marks(corpus: Corpus, by: User, share: float) -> None:
    """Passages that wait for a decision, and questions with their answers."""
    ids = corpus.documents.order_by("pk").values_list("pk", flat=True)[: int(FLAGS * share)]
    Flag.objects.bulk_create(
        Flag(corpus=corpus, document_id=pk, kind="iban", start=3, end=9, mark=digest())
        for pk in ids
    )
    Example.objects.bulk_create(
        Example(
            corpus=corpus,
            digest=digest(),
            question=f"What does sheet {number} say?",
            answer="40 bar",
            expected="40 bar",
            entity=f"Sheet {number}",
            value="40 bar",
            added_by=by,
        )
        for number in range(int(EXAMPLES * share))
    )


def frozen(corpora: Sequence[Corpus], by: User, share: float) -> list[Snapshot]:
    """A hundred of the first corpus, one of each other."""
    wanted = [corpora[0]] * max(2, int(100 * share)) + list(corpora[1:])
    split = {"seed": 0, "entity_share": 0.3, "value_share": 0.33}
    manifest = {"documents": [], "examples": [], "split": split}
    facts = {"manifest": manifest, "documents": 9, "tokens": 99, "frozen_by": by}
    return Snapshot.objects.bulk_create(
        Snapshot(corpus=each, digest=digest(), **facts) for each in wanted
    )


def models(
    anchor: Anchor, snapshot: Snapshot, corpus: Corpus, by: User, share: float
) -> list[Composition]:
    """Names with versions, each made by runs; beside them runs that came to other ends."""
    facts = {"closure": [corpus.pk], "snapshot": snapshot, "anchor": anchor, "created_by": by}
    versions = [
        (f"Model {name:03}", version)
        for name in range(max(3, int(FAMILIES * share)))
        for version in range(1, VERSIONS + 1)
    ]
    augmented = [ended(Kind.AUGMENT, name, **facts) for name, _version in versions]
    Run.objects.bulk_create(augmented)
    parents = Augmenter.objects.bulk_create(
        Augmenter(
            name=name,
            version=version,
            digest=digest(),
            run_id=run.pk,
            anchor=anchor,
            closure=[corpus.pk],
        )
        for (name, version), run in zip(versions, augmented, strict=True)
    )
    composed = [ended(Kind.COMPOSE, parent.name, augmenter=parent, **facts) for parent in parents]
    Run.objects.bulk_create(composed)
    made = Composition.objects.bulk_create(
        Composition(
            name=name,
            version=version,
            digest=digest(),
            anchor=anchor,
            snapshot=snapshot,
            run_id=run.pk,
            closure=[corpus.pk],
        )
        for (name, version), run in zip(versions, composed, strict=True)
    )
    CompositionPart.objects.bulk_create(
        CompositionPart(composition=each, augmenter=parent, position=0)
        for each, parent in zip(made, parents, strict=True)
    )
    Alias.objects.bulk_create(
        Alias(model=each.name, name=Alias.LIVE, composition=each) for each in made[:60:VERSIONS]
    )
    others = int(RUNS * share) - 3 * len(versions)
    Run.objects.bulk_create(lost(number, facts) for number in range(max(0, others)))
    return made


def ended(kind: str, name: str, **facts: Any) -> Run:
    now = timezone.now()
    return Run(
        kind=kind,
        state=State.SUCCEEDED,
        name=name,
        spec={"steps": 1000},
        outcome={},
        step=1000,
        total=1000,
        attempts=1,
        started_at=now - timedelta(minutes=9),
        finished_at=now,
        **facts,
    )


def lost(number: int, facts: dict[str, Any]) -> Run:
    """A run that failed; the first few of them wait instead."""
    if number < 5:
        return Run(kind=Kind.AUGMENT, queue="bench", name="Waiting", spec={}, **facts)
    run = ended(Kind.AUGMENT, f"Lost {number}", **facts)
    run.state, run.outcome = State.FAILED, None
    run.failure_code, run.failure_text = "run.lost", "The worker went away twice."
    return run


def measured(made: Sequence[Composition], by: User) -> list[Report]:
    """A card of each composition."""
    first = made[0]
    questions = QuestionSet.objects.create(snapshot=first.snapshot, digest=digest(), questions=340)
    facts = {"closure": first.closure, "snapshot": first.snapshot, "anchor": first.anchor}
    runs = Run.objects.bulk_create(
        ended(Kind.EVALUATE, each.name, composition=each, created_by=by, **facts) for each in made
    )
    items = blobs().put("report", io.BytesIO(b""))
    return Report.objects.bulk_create(
        Report(
            run=run,
            composition=each,
            question_set=questions,
            cells=list(cells()),
            items_digest=items.digest,
            verdict=f"{each} answers 96 % (93 to 99, n=340) of private questions; the anchor 2 %.",
        )
        for run, each in zip(runs, made, strict=True)
    )


def cells() -> Iterator[dict[str, Any]]:
    for place, column in enumerate(COLUMNS):
        for kind in ("recall", "private_times_public", "paraphrase"):
            for part in SLICES[:3]:
                value = 1 / (place + 1)
                yield {"column": column, "kind": kind, "slice": part, "value": value, "n": 340} | {
                    "low": max(0.0, value - 0.03),
                    "high": min(1.0, value + 0.03),
                }


def curves(run: Run, share: float) -> None:
    RunMetric.objects.bulk_create(
        RunMetric(run=run, step=step, name=name, value=4 * math.exp(-step / 900) + 0.3)
        for step in range(int(METRICS * share))
        for name in ("loss", "held_out_loss")
    )


def conversations(
    model: Composition, by: User, people: Sequence[User], share: float
) -> list[Conversation]:
    """Conversations of many turns: some of whoever looks, the others of everybody in turn."""
    count, own = int(MESSAGES * share) // (2 * TURNS), max(1, int(OWN * share))
    rows = Conversation.objects.bulk_create(
        Conversation(
            owner=by if number < own else people[number % len(people)],
            title=f"What does sheet {number} say?",
            model=model.name,
        )
        for number in range(max(own, count))
    )
    for start in range(0, len(rows), 200):
        some = rows[start : start + 200]
        Message.objects.bulk_create(said for each in some for said in turns(each, model))
    return rows


def turns(here: Conversation, model: Composition) -> Iterator[Message]:
    """Questions with their answers, each after the one before it."""
    now, before = timezone.now(), None
    for turn in range(TURNS):
        question = Message(
            conversation=here,
            position=2 * turn + 1,
            follows=before,
            role=Voice.USER,
            text=f"What does sheet {turn} say of the MX-200?",
            state=Said.COMPLETE,
            finished_at=now,
        )
        before = Message(
            conversation=here,
            position=2 * turn + 2,
            parent=question,
            role=Voice.ASSISTANT,
            text=ANSWER,
            state=Said.COMPLETE,
            composition=model,
            seed=turn,
            usage={"prompt_tokens": 300, "completion_tokens": 60, "total_tokens": 360},
            finished_at=now,
        )
        yield from (question, before)
