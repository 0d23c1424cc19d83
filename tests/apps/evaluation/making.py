"""Reports that nobody measured, with the numbers a test wants."""

from __future__ import annotations

from uuid import uuid4

from apps.evaluation.actions import file_report, start_evaluate
from apps.evaluation.models import Report
from apps.registry.models import Composition
from apps.runs import claims
from apps.runs.models import Run
from calm_engine.digests import write_manifest
from calm_engine.evaluation.card import verdict_of
from calm_engine.specs import Outcome
from counterpoint.storage import run_folder
from tests.apps.registry.making import make_augmenter, make_composition
from tests.apps.runs.making import make_anchor, make_snapshot
from tests.cast import Cast

GOOD = {"anchor": 0.0, "augmenter": 0.4, "composition": 0.95, "random": 0.05}


def make_model(cast: Cast) -> Composition:
    snapshot = make_snapshot(cast.ada)
    augmenter = make_augmenter([snapshot], anchor=make_anchor(cast.ada))
    return make_composition([augmenter], snapshot=snapshot)


def cells(kind: str, values: dict[str, float], *, n: int = 60) -> list[dict[str, object]]:
    """A row of cells, with an interval of ten points to either side."""
    return [
        {"column": column, "kind": kind, "slice": part, "value": value, "n": n}
        | {"low": max(0.0, value - 0.1), "high": min(1.0, value + 0.1)}
        for column, value in values.items()
        for part in ("unseen_entity", "unseen_value")
    ]


def public(ours: float, theirs: float) -> list[dict[str, object]]:
    """What both answer of public questions."""
    told = cells("general", {"composition": ours, "anchor": theirs}, n=100)
    return [row | {"slice": "public"} for row in told if row["slice"] == "unseen_entity"]


def differences(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """The composition against each other column, with an interval of ten points to either side."""
    ours = {(row["kind"], row["slice"]): row for row in rows if row["column"] == "composition"}
    found = []
    for row in rows:
        mine = ours.get((row["kind"], row["slice"]))
        if mine is not None and row is not mine:
            value = float(str(mine["value"])) - float(str(row["value"]))
            found.append(row | {"value": value, "low": value - 0.1, "high": value + 0.1})
    return found


def file(composition: Composition, rows: list[dict[str, object]], cast: Cast) -> Report:
    """Run and report as a worker would leave them. In North's scope."""
    run = start_evaluate(composition, by=cast.ada)
    attempt = claims.claim("gpu", "this worker")
    assert attempt is not None
    assert attempt.run_id == run.pk
    folder = run_folder(run.pk) / "output"
    folder.mkdir()
    (folder / "items.jsonl").write_text(f'{{"id": "{uuid4()}"}}\n')
    facts = {"cells": rows, "differences": differences(rows), "items": "items.jsonl"}
    facts["verdict"] = verdict_of(facts)
    outcome = Outcome("report", str(folder), write_manifest(folder), facts=facts)
    return file_report(Run.objects.get(pk=run.pk), outcome)
