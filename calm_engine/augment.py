"""Train a small model on documents, with the anchor's tokenizer: from a spec to a whole folder.

Puts together what others make: a curriculum, a model that begins or goes on, a feed and the loop.
Knows no bridges and no tenants.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from calm_engine import canaries, exposures
from calm_engine.capacity import propose, rate_for, rows_for
from calm_engine.checkpoints import whole_tensor
from calm_engine.curriculum import Curriculum, curriculum
from calm_engine.data import Asked
from calm_engine.digests import weights_digest
from calm_engine.families import check_folder, decoder_of, load_parent
from calm_engine.feeding import Feed
from calm_engine.loop import Schedule
from calm_engine.outcomes import Outcomes
from calm_engine.probing import Asking
from calm_engine.ranks import Ranks
from calm_engine.recall import keep, keep_sampled, look, look_at
from calm_engine.selfstudy.writing import write_lessons
from calm_engine.shuffled import Shuffled
from calm_engine.specs import AugmentSpec, Outcome, Progress
from calm_engine.starting import begun
from calm_engine.student import Student, turned_by
from calm_engine.texts import digest_of
from calm_engine.training import (
    Branch,
    Job,
    Prepared,
    Probe,
    Written,
    arithmetic,
    carry_out,
    finished,
    prepare,
)


def augment(spec: AugmentSpec) -> Generator[Progress, None, Outcome]:
    """Train an augmenter; its folder appears when it is whole.

    Raises InputError: "documents.empty", "augment.nothing" when there is nothing to learn, what
    reading the files raises, what `starting`, `vetting` and `fitting` refuse;
    InternalError("train.nan"); Cancelled when asked to stop.
    """
    if done := finished(spec):
        return done
    ranks = prepare(spec)
    made = yield from prepared(spec, ranks)
    return (yield from carry_out(spec, "augmenter", made, ranks))


def prepared(spec: AugmentSpec, ranks: Ranks) -> Generator[Progress, None, Prepared]:
    """A model and everything it is to learn. Raises what `augment` raises."""
    check_folder(spec.tokenizer)
    yield from write_lessons(spec, ranks)
    taught = yield from curriculum(spec, ranks)
    size = propose(tokens=taught.tokens, facts=taught.figures["facts"], exposures=taught.exposures)
    student = Student(begun(spec, taught.tokenizer, size.shape))
    parameters = sum(p.numel() for p in student.parameters())
    nn.Module.to(student, ranks.device)
    feed = taught.feed(spec.batch_size or rows_for(parameters))
    feed.limit = decoder_of(student.model).limit
    if spec.shard_model:
        ranks.shard_trained(student, list(decoder_of(student.model).layers), also="logits")
    asking = Asking(student, taught.tokenizer, taught.prefix)
    outcomes = Outcomes.of(spec, taught, asking)
    job = _job(spec, taught, feed, student, asking, ranks)
    held: dict[str, Tensor] = {}
    taken = [job.schedule.steps]

    def closing(steps: int) -> dict[str, float]:
        taken[0] = steps
        if job.is_sharded:  # every process gives its part, and the first will write the whole
            held.update((name, whole_tensor(one)) for name, one in job.named)
        return outcomes.told()

    def write(folder: Path) -> Written:
        student.model.save_pretrained(folder, state_dict=held or None)
        taught.tokenizer.save_pretrained(folder)
        exposures.write(folder, feed.exposures(taken[0]))
        # What is asked now is asked by the first process alone, so of a model that is whole.
        known = Student(load_parent(folder)) if job.is_sharded else student
        nn.Module.to(known, ranks.device)
        known.train(False)
        if taught.course is None:
            whole = Asking(known, taught.tokenizer, taught.prefix)
            of = taught.figures["documents"] - len(spec.forget)
            return keep_sampled(whole, _remembered(taught, spec), of, folder)
        if spec.canaries:
            canaries.write(folder, canaries.canaries(spec.seed, spec.canaries))
        return keep(known, taught.course, folder)

    facts = {
        "parameters": parameters,
        **taught.figures,
        **taught.told,
        "steps": job.schedule.steps,
        "size": "as it was" if spec.base or spec.previous else size.why,
        **outcomes.facts,
    }
    parents = _parents(spec)
    if spec.general:
        facts["general"] = {"name": Path(spec.general).name, "digest": parents["general"]}
    return Prepared(job, write, parents, facts, closing)


def _remembered(taught: Curriculum, spec: AugmentSpec) -> list[Asked]:
    """What is asked at the end: nothing of what is left out."""
    return [one for one in taught.asked if one.lesson.digest not in spec.forget]


def _parents(spec: AugmentSpec) -> dict[str, str]:
    """Digests of what it came from."""
    roles = {"tokenizer": spec.tokenizer, "base": spec.base, "previous": spec.previous}
    told = {role: weights_digest(folder) for role, folder in roles.items() if folder}
    return told | ({"general": digest_of(spec.general)} if spec.general else {})


def _job(
    spec: AugmentSpec,
    taught: Curriculum,
    feed: Feed,
    student: Student,
    asking: Asking,
    ranks: Ranks,
) -> Job:
    def losses_at(step: int) -> Iterator[Tensor]:
        batch = feed.batch(step, ranks, spec.gradient_accumulation_steps)
        for part, weight in batch.parts:
            with arithmetic(spec, ranks):
                loss = student(part, batch.among)
            yield loss * weight

    def trial(rows: int) -> Tensor:
        found = (feed.rows(0) * 2)[:rows]
        with arithmetic(spec, ranks):
            loss: Tensor = student(feed.collated(found), feed.among(0, found))
        return loss

    def probe(step: int) -> Probe:
        passes = float(next(iter(feed.cursor(max(0, step - 1)).values())) + 1)
        if taught.course is None:
            told = look_at(asking, taught.asked, seed=spec.seed)
        else:
            told = look(student, taught.course)
        return Probe(told.metrics | {"exposures": passes}, told.samples)

    student.train()
    steps = spec.steps or feed.steps
    parameters = sum(p.numel() for p in student.parameters())
    peak = spec.learning_rate or rate_for(parameters, onwards=bool(spec.base or spec.previous))
    warmup = min(20, max(1, steps // 10))
    return Job(
        list(student.model.named_parameters()),
        losses_at,
        Schedule(steps, peak, warmup=warmup, form=spec.schedule),
        probe,
        tokens_at=feed.tokens,
        cursor_at=feed.cursor,
        is_milestone=_milestones(spec, feed),
        branch=_branch(spec, feed),
        trial=trial,
        rows=spec.batch_size or rows_for(parameters),
        is_sharded=spec.shard_model and ranks.count > 1,
        known_by="known",
        matrices=turned_by(spec, student),
        patience=_patience(spec, feed),
    )


def _patience(spec: AugmentSpec, feed: Feed) -> int:
    """Looks without a rise after which it winds up; of a shuffled corpus never less than a pass:
    within one, recall stands still until a document that is asked about comes round again."""
    if spec.steps or not spec.patience:
        return 0
    looks = -(-feed.in_pass // spec.checkpoint_every) if isinstance(feed, Shuffled) else 0
    return max(spec.patience, looks)


def _milestones(spec: AugmentSpec, feed: Feed) -> Any:
    """Steps of the first pass, evenly apart, whose checkpoints stay."""
    if not (spec.milestones and isinstance(feed, Shuffled)):
        return lambda _step: False
    kept = {feed.in_first * n // spec.milestones for n in range(1, spec.milestones + 1)}
    return lambda step: step in kept


def _branch(spec: AugmentSpec, feed: Feed) -> Branch | None:
    """The training that is to forget, up to the step that first met what is forgotten.

    What is dealt in rounds is met in the first of them, and lessons are found in all documents
    together: there is nothing to go on from, and the training begins anew without the document.
    """
    if not (spec.history and isinstance(feed, Shuffled)):
        return None
    whole = replace(spec, forget=(), before=None, history=None)
    return Branch(Path(spec.history), whole.digest_of_work(), feed.first_step(spec.forget))
