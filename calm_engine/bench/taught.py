"""Train a small model on a course for so many core-seconds, and look at its recall on the way.

Time is the process's own, so that whatever else runs on the machine has no say in it. Knows courses
and models; writes no checkpoint and no folder.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from calm_engine.capacity import propose, rate_for, rows_for
from calm_engine.course import Course
from calm_engine.feeding import Rounds
from calm_engine.loop import Schedule, steps
from calm_engine.optimizers import optimizer_of
from calm_engine.ranks import ALONE
from calm_engine.recall import ASKED, LOOKED, Recall, ask, chosen
from calm_engine.selfstudy import Lesson
from calm_engine.specs import AugmentSpec
from calm_engine.starting import newborn
from calm_engine.student import Student, turned_by

LOOKS = 8  # in a training
WARMED, TRIED = 4, 12  # steps taken to learn how long one lasts: those that warm up, and others


@dataclass(frozen=True)
class Look:
    """Recall after so many core-seconds of training."""

    seconds: float
    recall: float
    inverse: float


@dataclass(frozen=True)
class Taught:
    """The looks of one training, its last and widest, and what the model is."""

    looks: tuple[Look, ...]
    recall: Recall
    parameters: int
    steps: int
    rounds: int


def train(
    spec: AugmentSpec, course: Course, questions: Sequence[Lesson], *, seconds: float
) -> Taught:
    """Train a newborn model for about so many core-seconds, the rate's fall included."""
    tried = _Training(spec, course, WARMED + TRIED)
    passed = [time.process_time() for _ in tried.steps()]
    each = (passed[-1] - passed[WARMED - 1]) / TRIED
    made = _Training(spec, course, max(2 * LOOKS, int(seconds / each)))
    few = chosen(questions, LOOKED, seed=spec.seed)
    looks, spent = [_look(0.0, made.ask(few))], 0.0
    began = time.process_time()
    for taken in made.steps():
        if taken % max(1, made.schedule.steps // LOOKS) == 0:
            spent += time.process_time() - began
            told = made.ask(few)
            looks.append(_look(spent, told))
            began = time.process_time()
    spent += time.process_time() - began
    told = made.ask(chosen(questions, ASKED, seed=spec.seed))
    looks[-1] = _look(spent, told)  # asked widely, after the last step
    place = made.feed.cursor(made.schedule.steps - 1)
    parameters = sum(one.numel() for one in made.student.parameters())
    return Taught(tuple(looks), told, parameters, made.schedule.steps, place["round"] + 1)


def _look(seconds: float, told: Recall) -> Look:
    shares = told.metrics()
    return Look(seconds, shares.get("recall", 0.0), shares.get("inverse_recall", 0.0))


class _Training:
    """A newborn model, what it reads and how long."""

    def __init__(self, spec: AugmentSpec, course: Course, count: int) -> None:
        self.spec, self.course = spec, course
        facts = len(course.study.facts)
        size = propose(tokens=course.tokens, facts=facts, exposures=course.rounds)
        model = newborn(spec, course.tokenizer, size.shape)
        self.student = Student(model)
        parameters = sum(one.numel() for one in model.parameters())
        self.feed = Rounds(course, rows_for(parameters))
        peak = rate_for(parameters)
        self.schedule = Schedule(count, peak, warmup=min(20, max(1, count // 10)))

    def steps(self) -> Iterator[int]:
        named = list(self.student.model.named_parameters())
        self.student.train()
        optimizer = optimizer_of(named, matrices=turned_by(self.spec, self.student))
        for taken in steps(named, optimizer, self._losses_at, self.schedule):
            yield taken.step

    def _losses_at(self, step: int) -> Iterator[Tensor]:
        batch = self.feed.batch(step, ALONE, 1)
        for part, weight in batch.parts:
            yield self.student(part, batch.among) * weight

    def ask(self, questions: Sequence[Lesson]) -> Recall:
        self.student.train(False)
        told = ask(self.student, questions, self.course.tokenizer, self.course.prefix)
        self.student.train()
        return told
