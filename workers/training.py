"""One augment run -> one augmenter. Knows where things lie; the engine knows how to train."""

from __future__ import annotations

import json
import shutil
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar, cast

from django.conf import settings

from apps.corpora.actions import SnapshotFiles, export_snapshot
from apps.registry import artifacts
from apps.runs import actions, starts
from apps.runs.execution import Job, persistently
from apps.runs.models import Run
from apps.runs.states import Kind
from apps.tenants.scope import tenant_scope
from calm_engine import digests
from calm_engine.errors import InputError
from calm_engine.specs import AugmentSpec, Outcome, Progress, Spec, TrainSpec, TrialSpec
from counterpoint.shelves import STUDIES, shelf_of
from counterpoint.storage import run_folder, run_folder_of
from workers import devices
from workers.launch import Child
from workers.packing import packed
from workers.places import Place, clear, clear_but_milestones, located, private
from workers.processes import cores

S = TypeVar("S", bound=Spec)


def augment(job: Job) -> None:
    """Turn one training run into one augmenter. A second attempt resumes from the checkpoint."""
    place = place_of(job)
    spec = _asked(job, place, AugmentSpec)
    begin_at_branch(job, place, spec)
    tenant_id, documents = job.attempt.tenant_id, Path(spec.documents)
    try:
        with studied(job, place), packed(tenant_id, job.run, documents, spec, place.shards):
            outcome = follow(job, "augment", spec, place)
    finally:  # they quote documents, and are made again sooner than trained on
        for folder in place.studied:
            shutil.rmtree(folder, ignore_errors=True)
    persistently(lambda: actions.finish_augment(job.run, outcome))
    clear_but_milestones(place)


def estimate(job: Job) -> None:
    """Take a few steps of such trainings on this device, and keep what they cost."""
    place = place_of(job)
    with studied(job, place):
        outcome = follow(job, "estimate", _asked(job, place, TrialSpec), place)
    device = devices.look().name
    persistently(lambda: actions.finish_estimate(job.run, outcome, device=device))
    clear(place)


def _asked(job: Job, place: Place, kind: type[S]) -> S:
    """What the engine is asked to train, with the snapshot's files laid out for it."""
    files, more = begun(job, place)
    places = more | {
        actions.OUTPUT: place.output,
        actions.WORK: place.work,
        actions.ANCHOR: artifacts.path(job.run.anchor),
        actions.DOCUMENTS: files.documents,
        actions.EXAMPLES: files.bridge_examples,
        actions.HELD_OUT: held_out_of(files),
        actions.STUDY: place.study,
    }
    # Of a training that went on from another nothing is forgotten from the middle (`runs.starts`).
    milestones = 0 if job.run.asked.get("previous") else settings.RUN_MILESTONES
    return understood(
        kind,
        job,
        places,
        keep_checkpoints=settings.RUN_KEEP_CHECKPOINTS,
        milestones=milestones,
    )


def begun(job: Job, place: Place) -> tuple[SnapshotFiles, dict[str, Path | str | None]]:
    """The documents that are dealt, and what a training begins with, laid out.

    A training that forgets is dealt what the one before it was dealt, with gaps: it needs the words
    of what it forgets to leave exactly them out, and to ask of them at its end.
    """
    run, more = job.run, dict[str, Path | str | None]()
    if run.base is not None:
        more[starts.BASE] = artifacts.path(run.base)
    if run.augmenter is None:
        return exported(job, place), more
    more[starts.PREVIOUS] = artifacts.path(run.augmenter)
    with tenant_scope(job.attempt.tenant_id):
        if run.asked.get("forget"):
            return export_snapshot(starts.dealt_to(run), private(place.data)), more
        known = export_snapshot(starts.taught_to(run.augmenter), private(place.data / "previous"))
    more[starts.PREVIOUS_DOCUMENTS] = known.documents
    return exported(job, place), more


def refuse_unreadable(run: Run) -> None:
    """Raises InputError("run.spec") for a spec that another release wrote and ours cannot read."""
    try:
        actions.SPECS[Kind(run.kind)].from_dict(run.asked)
    except InputError as error:
        raise InputError(
            "run.spec",
            "The run's settings were written by another release, and this one cannot read them "
            f"({error.message or error.code}). Start it anew.",
        ) from error


def understood(
    kind: type[S], job: Job, places: Mapping[str, Path | str | None], **more: object
) -> S:
    """The run's spec with its folders as they are here."""
    return kind.from_dict(located(job.run.asked, places) | {"threads": threads(), **more})


def begin_at_branch(job: Job, place: Place, spec: TrainSpec) -> None:
    """Lay the chosen checkpoint of the source where this run looks for its own, under its spec.

    Raises InputError("run.checkpoint") when it is no longer there or no longer whole.
    """
    run = job.run
    if run.branch_step is None or any(True for _ in place.checkpoints()):
        return
    with tenant_scope(job.attempt.tenant_id):
        source = Place(run_folder_of(str(run.source_id))).checkpoint(run.branch_step)
    if run.asked.get("forget") and not source.is_dir():
        with tenant_scope(job.attempt.tenant_id):
            run.note("resumed", "Its checkpoint is on another machine or gone; it begins anew")
        return  # as exact, and longer
    aside = place.work / ".branch"
    shutil.rmtree(aside, ignore_errors=True)
    try:
        digests.verify(source)
        shutil.copytree(source, aside)
    except (InputError, OSError) as error:
        raise InputError("run.checkpoint") from error
    state = aside / "state.json"
    facts = json.loads(state.read_text(encoding="utf-8")) | {"spec": spec.digest_of_work()}
    state.write_text(json.dumps(facts), encoding="utf-8")
    digests.write_manifest(aside)
    aside.rename(place.checkpoint(run.branch_step))


def held_out_of(files: SnapshotFiles) -> Path | None:
    """The questions that are kept back; None where there is none."""
    return files.held_out if files.held_out.stat().st_size else None


def place_of(job: Job) -> Place:
    """This run's own folder; checkpoints stay there between attempts."""
    return Place(Path(run_folder(job.run.pk)))


def exported(job: Job, place: Place) -> SnapshotFiles:
    """The snapshot as JSON lines inside the run's folder."""
    with tenant_scope(job.attempt.tenant_id):
        return export_snapshot(job.run.snapshot, private(place.data))


def threads() -> int:
    """Threads for the engine: the accelerator queue runs one at a time, so all cores."""
    return cores()


def follow(job: Job, verb: str, spec: Spec, place: Place) -> Outcome:
    """Run the engine's verb in a child of its own and keep its news in the row."""
    try:
        with Child(verb, spec, place, epoch=job.attempt.epoch, threads=threads()) as child:
            return job.follow(_with_checkpoints(job, place, child.news(lambda: job.wish)))
    finally:  # the words of documents lie plain no longer than an attempt takes
        shutil.rmtree(place.data, ignore_errors=True)


@contextmanager
def studied(job: Job, place: Place) -> Iterator[None]:
    """What was written of the corpora before, plain for this attempt alone; then sealed again."""
    shelf = shelf_of(job.run.snapshot.closure)
    with tenant_scope(job.attempt.tenant_id):
        STUDIES.bring(shelf, place.study)
    try:
        yield
    finally:
        with tenant_scope(job.attempt.tenant_id):
            STUDIES.keep(shelf, place.study)


def _with_checkpoints(
    job: Job, place: Place, news: Generator[Progress, None, Outcome]
) -> Generator[Progress, None, Outcome]:
    """The same news; whenever the checkpoints on disk have changed, they are written down."""
    known: set[str] = set()

    def look() -> None:
        names = {each.name for each in place.work.iterdir()} if place.work.is_dir() else set()
        if names != known:
            found = sorted(place.checkpoints(), key=lambda saved: saved.step)
            job.keep_checkpoints(map(vars, found))
            known.clear()
            known.update(names)

    try:
        while True:
            progress = next(news)
            yield progress
            look()
    except StopIteration as end:
        return cast("Outcome", end.value)
    finally:
        look()  # what it saved last, when it was asked to go
