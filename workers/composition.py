"""One compose run -> one composition, or one control. The engine knows how to train bridges."""

from __future__ import annotations

from django.conf import settings

from apps.registry import artifacts
from apps.runs import actions
from apps.runs.execution import Job, persistently
from calm_engine.specs import ComposeSpec
from workers.places import clear
from workers.training import begin_at_branch, exported, follow, held_out_of, place_of, understood


def compose(job: Job) -> None:
    """Turn one compose run into bridges between its anchor and its augmenter."""
    assert job.run.augmenter is not None
    place = place_of(job)
    files = exported(job, place)
    places = {
        actions.OUTPUT: place.output,
        actions.WORK: place.work,
        actions.ANCHOR: artifacts.path(job.run.anchor),
        actions.AUGMENTER: artifacts.path(job.run.augmenter),
        actions.DOCUMENTS: files.documents,
        actions.EXAMPLES: files.bridge_examples,
        actions.HELD_OUT: held_out_of(files),
    }
    spec = understood(ComposeSpec, job, places, keep_checkpoints=settings.RUN_KEEP_CHECKPOINTS)
    begin_at_branch(job, place, spec)
    outcome = follow(job, "compose", spec, place)
    persistently(lambda: actions.finish_compose(job.run, outcome))
    clear(place)
