"""Train a small model on documents, with the anchor's tokenizer: from nothing to a folder.

Puts together what others make: a course, a newborn model, a feed and the loop of training. Knows
no bridges and no tenants.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from calm_engine import capacity
from calm_engine.course import Course, plan
from calm_engine.data import end_of_answer
from calm_engine.digests import weights_digest
from calm_engine.feeding import Feed, Rounds
from calm_engine.loop import Schedule
from calm_engine.ranks import Ranks
from calm_engine.recall import keep, look
from calm_engine.selfstudy.writing import write_lessons
from calm_engine.specs import AugmentSpec, Outcome, Progress
from calm_engine.student import Student
from calm_engine.training import (
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
    reading the files raises; InternalError("train.nan"); Cancelled when asked to stop.
    """
    if done := finished(spec):
        return done
    ranks = prepare(spec)
    made = yield from prepared(spec, ranks)
    return (yield from carry_out(spec, "augmenter", made, ranks))


def prepared(spec: AugmentSpec, ranks: Ranks) -> Generator[Progress, None, Prepared]:
    """A newborn model and everything it is to learn. Raises what `augment` raises."""
    yield from write_lessons(spec, ranks)
    yield Progress("data", message="finding facts")
    course = plan(spec)
    model = newborn(spec, course.tokenizer, tokens=course.tokens)
    parameters = sum(p.numel() for p in model.parameters())
    student = Student(model)
    nn.Module.to(student, ranks.device)
    feed = Rounds(course, spec.batch_size or capacity.rows_for(parameters))
    job = _job(spec, course, feed, student, ranks)

    def write(folder: Path) -> Written:
        model.save_pretrained(folder)
        course.tokenizer.save_pretrained(folder)
        student.train(False)
        return keep(student, course, folder)

    facts = {
        "parameters": parameters,
        "facts": len(course.study.facts),
        "passages": len(course.study.passages),
        "kinds": {kind: len(told) for kind, told in course.study.by_kind().items()},
        "dropped": course.study.dropped,
        "tokens": course.tokens,
        "steps": job.schedule.steps,
        "documents": course.documents,
    }
    return Prepared(job, write, {"tokenizer": weights_digest(spec.tokenizer)}, facts)


def newborn(
    spec: AugmentSpec, tokenizer: PreTrainedTokenizerBase, *, tokens: int
) -> LlamaForCausalLM:
    """A Llama-shaped model of random weights, sized by the corpus where the spec is silent."""
    shape = capacity.shape_for(tokens)
    width, layers = spec.width or shape.width, spec.layers or shape.layers
    heads = spec.heads or (shape.heads if width % shape.heads == 0 else 1)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=max(16, width * 8 // 3 // 16 * 16),
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads // 2 if heads % 2 == 0 else heads,
        max_position_embeddings=8192,
        rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=end_of_answer(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
    )
    make: Any = LlamaForCausalLM  # untyped there
    model: LlamaForCausalLM = make(config)
    return model


def _job(spec: AugmentSpec, course: Course, feed: Feed, student: Student, ranks: Ranks) -> Job:
    def losses_at(step: int) -> Iterator[Tensor]:
        batch = feed.batch(step, ranks, spec.gradient_accumulation_steps)
        for part in batch.parts:
            with arithmetic(spec, ranks):
                loss = student(part, batch.among)
            yield loss * (len(part.wanted) / batch.said)

    def probe(step: int) -> Probe:
        student.train(False)
        told = look(student, course)
        student.train()
        rounds = float(feed.cursor(max(0, step - 1)).get("round", 0) + 1)
        return Probe(told.metrics | {"exposures": rounds}, told.samples)

    student.train()
    steps = spec.steps or feed.steps
    parameters = sum(p.numel() for p in student.parameters())
    peak = spec.learning_rate or capacity.rate_for(parameters)
    schedule = Schedule(steps, peak, warmup=min(20, max(1, steps // 10)))
    return Job(
        list(student.model.named_parameters()),
        losses_at,
        schedule,
        probe,
        known_by="known",
        patience=0 if spec.steps else spec.patience,
    )
