"""What an evaluation is given besides: a corpus that nobody learned, and what finds passages."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from apps.corpora import actions as corpora
from apps.corpora.models import Right
from apps.evaluation.actions import judge_of, start_evaluate, stranger_of
from apps.registry.models import Composition
from apps.runs.models import Run
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from tests.apps.evaluation.making import make_model
from tests.apps.registry.embedding import make_embedder
from tests.apps.runs.making import make_corpus, make_snapshot
from tests.cast import Cast

READS = {"columns": ["anchor_rag"]}


def started(cast: Cast, model: Composition, **settings: object) -> Run:
    return start_evaluate(model, by=cast.ada, settings=settings)


def test_questions_come_from_the_newest_snapshot_that_was_not_learned(cast: Cast) -> None:
    with tenant_scope(cast.north):
        model = make_model(cast)
        assert started(cast, model).spec["strangers"] is None
        make_snapshot(cast.ada, "Older")
        newest = make_snapshot(cast.ada, "Newest")
        run = started(cast, model)
        assert run.spec["strangers"] == f"@strangers/{newest.pk}"
        assert stranger_of(run) == newest


def test_a_corpus_that_the_starter_may_not_read_is_never_asked_about(cast: Cast) -> None:
    with tenant_scope(cast.north):
        model = make_model(cast)
        corpora.grant(model.snapshot.corpus, cast.bo, Right.READ, by=cast.ada)
        make_snapshot(cast.ada, "Secret")
        assert start_evaluate(model, by=None).spec["strangers"] is None
        run = start_evaluate(model, by=cast.bo)
        assert run.spec["strangers"] is None
        assert stranger_of(run) is None


def test_who_lost_the_right_while_the_run_waited_asks_nothing(cast: Cast) -> None:
    with tenant_scope(cast.north):
        model = make_model(cast)
        corpus = make_corpus(cast.ada, "Lent")
        corpora.grant(model.snapshot.corpus, cast.bo, Right.READ, by=cast.ada)
        given = corpora.grant(corpus, cast.bo, Right.READ, by=cast.ada)
        snapshot = corpora.freeze(corpus, by=cast.ada)
        run = start_evaluate(model, by=cast.bo)
        assert stranger_of(run) == snapshot
        corpora.revoke(given, by=cast.ada)
        assert stranger_of(run) is None


def test_a_model_of_the_registry_may_judge_and_one_that_is_gone_may_not(cast: Cast) -> None:
    with tenant_scope(cast.north):
        model = make_model(cast)
        assert judge_of(started(cast, model)) is None
        run = started(cast, model, judge=str(model.anchor.pk))
        assert run.spec["judge"] == f"@judge/{model.anchor.pk}"
        assert judge_of(run) == model.anchor
        with pytest.raises(InputError, match=r"judge\.missing"):
            started(cast, model, judge=str(uuid4()))
        run.spec["judge"] = f"@judge/{uuid4()}"
        with pytest.raises(InputError, match=r"judge\.missing"):
            judge_of(run)


def test_tasks_are_asked_where_the_site_names_a_folder_of_them(cast: Cast, settings: Any) -> None:
    with tenant_scope(cast.north):
        model = make_model(cast)
        assert started(cast, model).spec["tasks"] is None
        settings.EVALUATION_TASKS = "/srv/tasks"
        assert started(cast, model).spec["tasks"] == "@tasks"


def test_whoever_reads_finds_by_meaning_where_an_embedder_is_in_use(
    cast: Cast, tmp_path: Path
) -> None:
    with tenant_scope(cast.north):
        model = make_model(cast)
        assert started(cast, model, **READS).spec["embedder"] is None
    make_embedder(cast.north, tmp_path / "embedder")
    with tenant_scope(cast.north):
        assert started(cast, model, **READS).spec["embedder"] == "@embedder"
        assert started(cast, model).spec["embedder"] is None
