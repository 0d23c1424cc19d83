"""Reports that nobody measured, with the numbers a test wants."""

from __future__ import annotations

from uuid import uuid4

from apps.evaluation.actions import file_report, start_evaluate
from apps.evaluation.models import Report
from apps.registry.models import Composition
from apps.runs import claims
from apps.runs.models import Run
from calm_engine.digests import write_manifest
from calm_engine.specs import Outcome
from counterpoint.storage import run_folder
from tests.cast import Cast

GOOD = {"anchor": 0.0, "augmenter": 0.4, "composition": 0.95, "random": 0.05}


def cells(kind: str, values: dict[str, float], *, n: int = 60) -> list[dict[str, object]]:
    """A row of cells, with an interval of ten points to either side."""
    return [
        {"column": column, "kind": kind, "slice": part, "value": value, "n": n}
        | {"low": max(0.0, value - 0.1), "high": min(1.0, value + 0.1)}
        for column, value in values.items()
        for part in ("unseen_entity", "unseen_value")
    ]


def file(composition: Composition, rows: list[dict[str, object]], cast: Cast) -> Report:
    """Run and report as a worker would leave them. In North's scope."""
    run = start_evaluate(composition, by=cast.ada)
    attempt = claims.claim("gpu", "this worker")
    assert attempt is not None
    assert attempt.run_id == run.pk
    folder = run_folder(run.pk) / "output"
    folder.mkdir()
    (folder / "items.jsonl").write_text(f'{{"id": "{uuid4()}"}}\n')
    facts = {"cells": rows, "items": "items.jsonl"}
    outcome = Outcome("report", str(folder), write_manifest(folder), facts=facts)
    return file_report(Run.objects.get(pk=run.pk), outcome)
