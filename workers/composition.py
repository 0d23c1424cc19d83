"""One compose run -> one composition, or one control. The engine knows how to train bridges."""

from __future__ import annotations

from apps.registry import artifacts
from apps.runs import actions
from apps.runs.execution import Job, persistently
from calm_engine.specs import ComposeSpec
from workers.launch import clear, located
from workers.training import exported, follow, place_of, threads


def compose(job: Job) -> None:
    """Turn one compose run into bridges between its anchor and its augmenter."""
    assert job.run.augmenter is not None
    place = place_of(job)
    files = exported(job, place)
    spec = located(
        job.run.spec,
        {
            actions.OUTPUT: place.output,
            actions.WORK: place.work,
            actions.ANCHOR: artifacts.path(job.run.anchor),
            actions.AUGMENTER: artifacts.path(job.run.augmenter),
            actions.EXAMPLES: files.bridge_examples,
            actions.HELD_OUT: files.held_out if files.held_out.stat().st_size else None,
        },
    )
    outcome = follow(job, "compose", ComposeSpec.from_dict(spec | {"threads": threads()}), place)
    persistently(lambda: actions.finish_compose(job.run, outcome))
    clear(place)
