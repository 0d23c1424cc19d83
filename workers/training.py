"""One augment run -> one augmenter. Knows where things lie; the engine knows how to train."""

from __future__ import annotations

from pathlib import Path

from apps.corpora.actions import SnapshotFiles, export_snapshot
from apps.registry import artifacts
from apps.runs import actions
from apps.runs.execution import Job, persistently
from apps.tenants.scope import tenant_scope
from calm_engine.specs import AugmentSpec, Outcome, Spec
from counterpoint.storage import run_folder
from workers.launch import Child, Place, clear, cores, located


def augment(job: Job) -> None:
    """Turn one training run into one augmenter. A second attempt resumes from the checkpoint."""
    place = place_of(job)
    files = exported(job, place)
    spec = located(
        job.run.spec,
        {
            actions.OUTPUT: place.output,
            actions.WORK: place.work,
            actions.ANCHOR: artifacts.path(job.run.anchor),
            actions.DOCUMENTS: files.documents,
            actions.EXAMPLES: files.bridge_examples,
        },
    )
    outcome = follow(job, "augment", AugmentSpec.from_dict(spec | {"threads": threads()}), place)
    persistently(lambda: actions.finish_augment(job.run, outcome))
    clear(place)


def place_of(job: Job) -> Place:
    """This run's own folder; checkpoints stay there between attempts."""
    return Place(Path(run_folder(job.run.pk)))


def exported(job: Job, place: Place) -> SnapshotFiles:
    """The snapshot as JSON lines inside the run's folder."""
    folder = place.folder / "data"
    folder.mkdir(parents=True, exist_ok=True)
    with tenant_scope(job.attempt.tenant_id):
        return export_snapshot(job.run.snapshot, folder)


def threads() -> int:
    """Threads for the engine: the accelerator queue runs one at a time, so all cores."""
    return cores()


def follow(job: Job, verb: str, spec: Spec, place: Place) -> Outcome:
    """Run the engine's verb in a child of its own and keep its news in the row."""
    with Child(verb, spec, place, epoch=job.attempt.epoch, threads=threads()) as child:
        return job.follow(child.news(lambda: job.wish))
