"""The whole reproduction: parents, compositions, questions, table. Two trainings side by side.

At this size threads within a step gain nothing; two processes with a thread each gain all of it.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from calm_engine.errors import InputError
from calm_engine.evaluation.asking import Asker, Column
from calm_engine.modeling import CalmForCausalLM
from calm_engine.process import die_with_parent, threads
from calm_engine.reproduce.bridges import Length, bridge_courses, compose
from calm_engine.reproduce.course import Course
from calm_engine.reproduce.key_value import Question, make_keys, questions
from calm_engine.reproduce.language import make_tokenizer
from calm_engine.reproduce.parents import Shape, anchor_course, augmenter_courses, newborn
from calm_engine.reproduce.table import ANCHOR, AUGMENTER, COMPOSED, RANDOM, Cell, Table, Wanted
from calm_engine.specs import Progress

Tell = Callable[[Progress], None]

AT_ONCE = 100  # questions in a batch
MOST = 16  # tokens of an answer
STRANGER = "stranger"  # an augmenter of random weights
WHAT = "reproduction.txt"  # in the output folder: the form and the seed of its models


@dataclass(frozen=True)
class Form:
    """How large the task and the models are, and what the table must then show."""

    keys: int
    operands: int
    anchor: Shape
    augmenter: Shape
    bridges: Length
    questions: int
    wanted: Wanted


FULL = Form(
    keys=4000,
    operands=3,
    anchor=Shape(width=128, layers=6, heads=4, steps=16000, peak=1.5e-3),
    augmenter=Shape(width=128, layers=4, heads=4, steps=13000, peak=2e-3),
    bridges=Length(handing=2500, saying=2000),
    questions=500,
    wanted=Wanted(key_value=90.0, substitution=95.0, lost=1.0, parents=2.0, random=5.0),
)
QUICK = Form(
    keys=800,
    operands=2,
    anchor=Shape(width=128, layers=4, heads=4, steps=3500, peak=1.5e-3),
    augmenter=Shape(width=128, layers=4, heads=4, steps=2000, peak=2e-3),
    bridges=Length(handing=1000, saying=600),
    questions=200,
    wanted=Wanted(key_value=75.0, substitution=85.0, lost=3.0, parents=2.0, random=5.0),
)


def reproduce(form: Form, seed: int, output: Path | None, tell: Tell) -> Table:
    """Train parents and compositions, ask every question of every model, and fill the table.

    output   folder for the four models, kept; None: they are thrown away. Begun again with the same
             form and seed, each training goes on from its newest checkpoint
    tell     hears of progress, here and in the trainings' own processes: it must be picklable
    Raises InputError("output.exists") when something else stands in the output folder.
    """
    with _folder(output, f"{form}, seed {seed}\n") as root:
        _side_by_side([_train_anchor, _train_augmenter], form, seed, root, tell)
        _side_by_side([_train_composition, _train_random], form, seed, root, tell)
        torch.set_num_threads(threads())
        return Table(list(_cells(form, seed, root, tell)))


@contextmanager
def _folder(output: Path | None, what: str) -> Iterator[Path]:
    """Where the models go: the output, once it says what it holds, or a passing folder."""
    if output is None:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
        return
    label = output / WHAT
    is_empty = not output.exists() or not any(output.iterdir())
    if not is_empty and (not label.exists() or label.read_text(encoding="utf-8") != what):
        raise InputError(
            "output.exists", "something else is in the output folder", path=output.name
        )
    output.mkdir(parents=True, exist_ok=True)
    label.write_text(what, encoding="utf-8")
    yield output


Training = Callable[[Form, int, Path, Tell], None]


def _side_by_side(
    trainings: Sequence[Training], form: Form, seed: int, root: Path, tell: Tell
) -> None:
    """Run trainings in processes of their own, as many at once as there are cores."""
    with ProcessPoolExecutor(
        max_workers=min(len(trainings), threads()),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(os.getpid(),),
    ) as pool:
        for future in [pool.submit(one, form, seed, root, tell) for one in trainings]:
            future.result()


def _begin(parent: int) -> None:
    """End with whoever started us, however that ends; one thread."""
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    torch.set_num_threads(1)


# -- the trainings ---------------------------------------------------------------------------------


def _train_anchor(form: Form, seed: int, root: Path, tell: Tell) -> None:
    _take([anchor_course(form.anchor, seed, form.operands)], _at(root, ANCHOR), tell)


def _train_augmenter(form: Form, seed: int, root: Path, tell: Tell) -> None:
    keys = make_keys(seed, form.keys).all
    courses = augmenter_courses(form.augmenter, seed, keys, form.operands)
    _take(courses, _at(root, AUGMENTER), tell)


def _train_composition(form: Form, seed: int, root: Path, tell: Tell) -> None:
    _train_bridges(form, seed, root, tell, COMPOSED)


def _train_random(form: Form, seed: int, root: Path, tell: Tell) -> None:
    """The same on an augmenter that knows nothing: what that scores, knowledge did not do."""
    stranger = newborn(form.augmenter, make_tokenizer(), seed + 2)
    stranger.save_pretrained(_below(root, RANDOM))
    _train_bridges(form, seed, root, tell, RANDOM)


def _train_bridges(form: Form, seed: int, root: Path, tell: Tell, name: str) -> None:
    anchor, below = _at(root, ANCHOR), _below(root, name)
    model = compose(anchor, below, layers=form.augmenter.layers, seed=seed)
    keys = make_keys(seed, form.keys).seen
    courses = bridge_courses(name, model, form.bridges, seed, keys, form.operands)
    _take(courses, _at(root, name), tell)


def _below(root: Path, name: str) -> Path:
    """The augmenter of a composition."""
    return _at(root, STRANGER) if name == RANDOM else _at(root, AUGMENTER)


def _at(root: Path, name: str) -> Path:
    return root / name.replace(" ", "-")


def _take(courses: Sequence[Course], folder: Path, tell: Tell) -> None:
    """One course after another of one model, which is then kept, if it is not there already."""
    if folder.exists():
        return
    work = folder.with_name(f"{folder.name}.steps")
    for number, course in enumerate(courses):
        for progress in course.taken(work / str(number)):
            tell(progress)
    aside = folder.with_name(f"{folder.name}.part")
    courses[-1].model.save_pretrained(aside)
    make_tokenizer().save_pretrained(aside)
    aside.rename(folder)
    shutil.rmtree(work)


# -- the questions ---------------------------------------------------------------------------------


def _cells(form: Form, seed: int, root: Path, tell: Tell) -> Iterator[Cell]:
    asked = questions(seed, form.questions, make_keys(seed, form.keys).held_out, form.operands)
    for name in (AUGMENTER, ANCHOR, COMPOSED, RANDOM):
        model = _load(root, name)
        for task, rows in asked.items():
            tell(Progress("questions", message=f"{task}, {name}"))
            yield Cell(task, name, sum(_are_right(model, rows)), len(rows))


def _load(root: Path, name: str) -> PreTrainedModel:
    if name not in (COMPOSED, RANDOM):
        make: Any = AutoModelForCausalLM  # untyped there
        model: PreTrainedModel = make.from_pretrained(_at(root, name), local_files_only=True).eval()
        return model
    augmenters = [_below(root, name)]
    return CalmForCausalLM.from_pretrained(
        _at(root, name), anchor=root / ANCHOR, augmenters=augmenters
    )


def _are_right(model: PreTrainedModel, rows: Sequence[Question]) -> Iterator[bool]:
    tokenizer = make_tokenizer()
    asker = Asker(
        Column("", model),
        tokenizer,
        prefix=[],
        ends=frozenset([tokenizer.eos_token_id]),
        most=MOST,
    )
    for start in range(0, len(rows), AT_ONCE):
        part = rows[start : start + AT_ONCE]
        answers = asker.ask([tokenizer(one.prompt)["input_ids"] for one in part])
        yield from (one.is_answered_by(text) for one, text in zip(part, answers, strict=True))
