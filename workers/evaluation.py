"""One evaluate run -> one report. The questions are those that no bridge has seen."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings

from apps.corpora.actions import export_snapshot
from apps.evaluation.actions import file_report, judge_of, stranger_of
from apps.registry import artifacts, embedders
from apps.runs import actions
from apps.runs.execution import Job, persistently
from apps.runs.models import Run
from apps.tenants.scope import tenant_scope
from calm_engine.specs import EvaluateSpec
from counterpoint.storage import blobs
from workers.places import Place, clear, private
from workers.training import exported, follow, held_out_of, place_of, understood


def evaluate(job: Job) -> None:
    """Ask the held-out questions of the composition, its parents and its control."""
    run = job.run
    assert run.composition is not None
    place = place_of(job)
    files = exported(job, place)
    places: dict[str, Path | str | None] = {
        actions.OUTPUT: place.output,
        actions.ANCHOR: artifacts.path(run.anchor),
        actions.COMPOSITION: artifacts.path(run.composition),
        actions.QUESTIONS: files.held_out,
        actions.DOCUMENTS: files.documents,
        actions.EXAMPLES: files.bridge_examples,
        actions.CONTROL: control_folder(run),
        actions.TASKS: settings.EVALUATION_TASKS or None,
    }
    with tenant_scope(job.attempt.tenant_id):
        parts = run.composition.parts()
        embedder, judge = embedders.in_use(), judge_of(run)
    places[actions.EMBEDDER] = artifacts.path(embedder) if embedder else None
    if judge is not None:
        places[run.spec["judge"]] = artifacts.path(judge)
    if run.spec.get("strangers"):
        places[run.spec["strangers"]] = strangers(job, place)
    for number, augmenter in enumerate(parts):
        places[f"{actions.AUGMENTER}/{number}"] = artifacts.path(augmenter)
    spec = understood(EvaluateSpec, job, places)
    outcome = follow(job, "evaluate", spec, place)
    persistently(lambda: file_report(run, outcome))
    clear(place)


def strangers(job: Job, place: Place) -> Path | None:
    """Questions of a corpus that the composition never learned, laid out; None without any."""
    with tenant_scope(job.attempt.tenant_id):
        snapshot = stranger_of(job.run)
        if snapshot is None:
            return None
        return held_out_of(export_snapshot(snapshot, private(place.data / "strangers")))


def control_folder(run: Run) -> Path | None:
    """Where the control composition of this evaluation lies, if it has one."""
    if run.control_run is None or run.control_run.outcome is None:
        return None
    return blobs().folder("control", run.control_run.outcome["digest"])
