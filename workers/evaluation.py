"""One evaluate run -> one report. The questions are those that no bridge has seen."""

from __future__ import annotations

from pathlib import Path

from apps.evaluation.actions import file_report
from apps.registry import artifacts
from apps.runs import actions
from apps.runs.execution import Job, persistently
from apps.runs.models import Run
from apps.tenants.scope import tenant_scope
from calm_engine.specs import EvaluateSpec
from counterpoint.storage import blobs
from workers.places import clear
from workers.training import exported, follow, place_of, understood


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
    }
    with tenant_scope(job.attempt.tenant_id):
        parts = run.composition.parts()
    for number, augmenter in enumerate(parts):
        places[f"{actions.AUGMENTER}/{number}"] = artifacts.path(augmenter)
    spec = understood(EvaluateSpec, job, places)
    outcome = follow(job, "evaluate", spec, place)
    persistently(lambda: file_report(run, outcome))
    clear(place)


def control_folder(run: Run) -> Path | None:
    """Where the control composition of this evaluation lies, if it has one."""
    if run.control_run is None or run.control_run.outcome is None:
        return None
    return blobs().folder("control", run.control_run.outcome["digest"])
