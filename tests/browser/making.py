"""One of everything in North, so that each page has something to show. Rows alone: nothing runs."""

from __future__ import annotations

import io
import math
from datetime import timedelta
from functools import lru_cache
from hashlib import sha256
from typing import Any
from uuid import uuid4

from django.utils import timezone

from apps.chat.models import Conversation, Message
from apps.corpora.models import (
    Corpus,
    CorpusGrant,
    Document,
    Example,
    ItemState,
    Right,
    Snapshot,
    Upload,
    UploadItem,
)
from apps.evaluation.models import COLUMNS, SLICES, QuestionSet, Report
from apps.registry.models import (
    Alias,
    AliasChange,
    Anchor,
    Augmenter,
    AugmenterSnapshot,
    Composition,
    CompositionPart,
)
from apps.runs.models import Run, RunMetric
from apps.teaching.models import Plan
from apps.tenants.scope import tenant_scope
from counterpoint.storage import blobs
from tests.apps.chat.making import place
from tests.apps.evaluation.making import differences, public
from tests.cast import Cast

TEXT = """# MX-200 pressure gauge

The MX-200 measures from 0 to 40 bar and was designed in Portugal.

| Part | Number |
|---|---|
| Housing | 4711 |
"""
ANSWER = """The **MX-200** measures up to *40 bar*.

| Part | Number |
|---|---:|
| Housing | 4711 |

```python
def pressure(raw: int) -> float:
    return raw * 0.01  # bar
```
"""
SHARES = {"anchor": 0.02, "augmenter": 0.71, "composition": 0.96, "random": 0.05}


def digest(word: str) -> str:
    return sha256(word.encode()).hexdigest()


@lru_cache(maxsize=1)  # asked again for the same cast, it is the same rows: people are new per test
def fill(cast: Cast) -> list[Any]:
    """Everything that has a page, in North; ada owns it and bo may read it."""
    with tenant_scope(cast.north):
        corpus, upload, documents = make_corpus(cast)
        snapshot = make_snapshot(cast, corpus, documents)
        anchor = Anchor.objects.create(
            name="Anchor of the walk",
            digest=digest("anchor"),
            licence="Apache-2.0",
            parameters=134_515_008,
            vocabulary=49_152,
            imported_by=cast.ada,
        )
        plan = Plan.objects.create(
            name="Gauges", corpus=corpus, snapshot=snapshot, anchor=anchor, by=cast.ada
        )
        runs = make_runs(cast, plan)
        augmenter, composition = make_models(cast, plan, runs)
        evaluation = make_run(
            plan, "evaluate", "succeeded", cast, augmenter=augmenter, composition=composition
        )
        report = make_report(evaluation, composition)
        conversation = make_conversation(cast, composition)
    return [
        *(corpus, upload, *documents, snapshot, plan, *runs, evaluation),
        *(anchor, augmenter, composition, report, conversation),
    ]


def make_corpus(cast: Cast) -> tuple[Corpus, Upload, list[Document]]:
    corpus = Corpus.objects.create(
        name="Gauges, seals and manuals",
        description="What field engineers look up, in four languages.",
        owner=cast.ada,
    )
    CorpusGrant.objects.create(corpus=corpus, user=cast.bo, right=Right.READ)
    upload = Upload.objects.create(corpus=corpus, by=cast.ada)
    text = blobs().put("text", io.BytesIO(TEXT.encode()))
    documents = []
    names = (
        "mx-200.md",
        "service/2023/a-rather-long-name-of-a-report-from-the-field-in-november.md",
    )
    for at, name in enumerate(names):
        original = blobs().put("original", io.BytesIO(f"{TEXT}{at}".encode()))
        document = Document.objects.create(
            corpus=corpus,
            title=name.rpartition("/")[2],
            path=name,
            media_type="text/markdown",
            size=original.size,
            original_digest=original.digest,
            text_digest=text.digest,
            tokens=331 + at,
            language="en",
        )
        documents.append(document)
        UploadItem.objects.create(
            upload=upload, path=name, size=200, state=ItemState.STORED, document=document
        )
    UploadItem.objects.create(
        upload=upload, path="scan.pdf", state=ItemState.REJECTED, code="pdf.no_text", size=9_000
    )
    Example.objects.create(
        corpus=corpus,
        digest=digest("example"),
        question="What does the MX-200 measure up to?",
        answer="40 bar",
        expected="40 bar",
        entity="MX-200",
        value="40 bar",
        added_by=cast.ada,
    )
    return corpus, upload, documents


def make_snapshot(cast: Cast, corpus: Corpus, documents: list[Document]) -> Snapshot:
    manifest = {
        "documents": [[each.original_digest, each.text_digest, each.title] for each in documents],
        "examples": [[digest("example"), "unseen_entity"]],
        "split": {"seed": 0, "entity_share": 0.3, "value_share": 0.33},
    }
    return Snapshot.objects.create(
        corpus=corpus,
        digest=digest("snapshot"),
        manifest=manifest,
        documents=len(documents),
        tokens=663,
        frozen_by=cast.ada,
    )


def make_run(plan: Plan, kind: str, state: str, cast: Cast, **more: Any) -> Run:
    now = timezone.now()
    if state == "running":
        more |= {"lease_until": now + timedelta(minutes=5), "owner": "worker", "heartbeat_at": now}
        more |= {"stage": "training", "step": 620, "total": 1000, "eta_seconds": 340.0}
    if state == "failed":
        more |= {"failure_code": "run.lost", "failure_text": "The worker went away twice."}
    if state in ("succeeded", "failed", "cancelled"):
        more["finished_at"] = now
    if state == "succeeded":
        more["outcome"] = {}
    return Run.objects.create(
        kind=kind,
        state=state,
        name=plan.name,
        spec={"steps": 1000, "learning_rate": 0.001},
        closure=[plan.corpus_id],
        snapshot=plan.snapshot,
        anchor=plan.anchor,
        plan=plan.pk if state != "failed" else None,
        created_by=cast.ada,
        started_at=now - timedelta(minutes=9),
        attempts=1,
        **more,
    )


def make_runs(cast: Cast, plan: Plan) -> list[Run]:
    done = make_run(plan, "augment", "succeeded", cast, step=1000, total=1000)
    lost = make_run(plan, "augment", "failed", cast)
    for step in range(0, 1000, 25):
        loss = 4 * math.exp(-step / 260) + 0.3
        for name, value in (
            ("loss", loss),
            ("held_out_loss", loss + 0.2),
            ("recall", 1 - loss / 5),
        ):
            RunMetric.objects.create(run=done, step=step, name=name, value=value)
    done.note("started", "Claimed by a worker.")
    return [done, lost]


def make_models(cast: Cast, plan: Plan, runs: list[Run]) -> tuple[Augmenter, Composition]:
    augmenter = Augmenter.objects.create(
        name=plan.name,
        version=1,
        digest=digest("augmenter"),
        run_id=runs[0].pk,
        anchor=plan.anchor,
        closure=[plan.corpus_id],
        parameters=18_000_000,
        metrics={"recall": 0.98},
    )
    AugmenterSnapshot.objects.create(augmenter=augmenter, snapshot=plan.snapshot)
    compose = make_run(plan, "compose", "running", cast, augmenter=augmenter)
    runs.append(compose)
    composition = Composition.objects.create(
        name=plan.name,
        version=1,
        digest=digest("composition"),
        anchor=plan.anchor,
        snapshot=plan.snapshot,
        run_id=compose.pk,
        closure=[plan.corpus_id],
        metrics={"recall": 0.96},
    )
    CompositionPart.objects.create(composition=composition, augmenter=augmenter, position=0)
    Alias.objects.create(model=plan.name, name=Alias.LIVE, composition=composition)
    AliasChange.objects.create(
        model=plan.name, name=Alias.LIVE, after=composition, by=cast.ada, reason="First version."
    )
    place(composition, "http://127.0.0.1:9")
    return augmenter, composition


def make_report(run: Run, composition: Composition) -> Report:
    questions = QuestionSet.objects.create(
        snapshot=composition.snapshot, digest=digest("questions"), questions=340
    )
    cells = [
        {
            "column": column,
            "kind": kind,
            "slice": part,
            "value": SHARES[column],
            "n": 340,
            "low": max(0.0, SHARES[column] - 0.03),
            "high": min(1.0, SHARES[column] + 0.03),
        }
        for column in COLUMNS
        for kind in ("recall", "private_times_public")
        for part in SLICES[:3]
    ]
    cells += public(0.71, 0.71) + edited() + leaks()
    attribution = {"kind": "recall", "slice": "unseen_entity", "value": 0.97, "n": 340}
    figures = {
        "corpora": corpora(),
        "differences": differences(cells),
        "overlap": OVERLAP,
        "attribution": [attribution | {"low": 0.93, "high": 0.99}],
        "swapped": {"entities": 114, "recall": 0.98},
        "reads": {"passages": 2, "of": 310, "tried_on": 32, "by_meaning": True},
        "costs": {
            "parameters": {"anchor": 134_515_008, "augmenters": 18_350_000, "bridges": 2_100_000},
            "cache": {"anchor": 23_040, "augmenters": 9_216, "bridges": 3_072},
            "ceiling": 0.87,
        },
        "pace": {
            "composition": {"questions": 340.0, "seconds": 40.0},
            "anchor_rag@1": {"questions": 32.0, "seconds": 20.0},
        },
    }
    items = blobs().put("report", io.BytesIO(b""))
    return Report.objects.create(
        run=run,
        composition=composition,
        question_set=questions,
        cells=cells,
        figures=figures,
        items_digest=items.digest,
        verdict="Gauges v1 answers 96 % (93 to 99, n=340) of private questions; the anchor 2 %.",
    )


OVERLAP = {
    "of": 320,
    "taught": 410,
    "run": 3,
    "near": 1,
    "either": 4,
    "words": 8,
    "alike": 0.8,
    "all": {"value": 0.96, "low": 0.93, "high": 0.98, "n": 320},
    "without": {"value": 0.96, "low": 0.93, "high": 0.98, "n": 316},
}


def corpora() -> list[dict[str, Any]]:
    """The same by the corpus that questions belong to."""
    told = {"Gauges": {"composition": 0.97, "anchor": 0.02}, "Pumps": {"composition": 0.93}}
    return [
        {"corpus": corpus, **cell}
        for corpus, shares in told.items()
        for cell in shown("recall", "all", shares)
    ]


def edited() -> list[dict[str, Any]]:
    """The same bridges on an augmenter of edited documents follows those."""
    shares = {"composition": 0.02, "anchor": 0.02, "swapped": 0.94}
    return shown("counterfactual:recall", "unseen_entity", shares)


def leaks() -> list[dict[str, Any]]:
    said = {"composition": 0.25, "augmenter": 0.38, "anchor": 0.0}
    return [
        *shown("verbatim", "documents", said),
        *shown("canary", "planted", said),
        *shown("canary", "not_planted", dict.fromkeys(said, 0.0)),
        *shown("other_corpus", "not_learned", {"composition": 0.04, "anchor": 0.04}),
    ]


def shown(kind: str, part: str, shares: dict[str, float]) -> list[dict[str, Any]]:
    """A row of cells, with an interval of five points to either side."""
    return [
        {"column": column, "kind": kind, "slice": part, "value": value, "n": 48}
        | {"low": max(0.0, value - 0.05), "high": min(1.0, value + 0.05)}
        for column, value in shares.items()
    ]


def make_conversation(cast: Cast, composition: Composition) -> Conversation:
    conversation = Conversation.objects.create(
        owner=cast.ada, title="What does the MX-200 measure?", model=composition.name
    )
    now = timezone.now()
    question = Message.objects.create(
        conversation=conversation,
        position=0,
        role="user",
        text="What does the MX-200 measure, and what is its part list?",
        state="complete",
        finished_at=now,
    )
    Message.objects.create(
        conversation=conversation,
        position=1,
        parent=question,
        role="assistant",
        text=ANSWER,
        state="complete",
        composition=composition,
        seed=int(uuid4().int % 1000),
        finished_at=now,
    )
    return conversation
