"""Tasks of lm_eval from a local folder: what a composition keeps of its anchor's skills.

lm_eval asks and judges by its own rules. Each of its questions becomes one mark, right or wrong, so
that shares, intervals and paired differences are counted as of everything else. A task that does
not say right or wrong of each question is left out, and so are all where lm_eval is not installed;
the card says so. Knows no figures.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping, Sequence
from importlib.util import find_spec
from numbers import Real
from pathlib import Path
from typing import Any

from calm_engine.data import Example
from calm_engine.errors import Cancelled, InputError
from calm_engine.evaluation.counting import ANCHOR, COMPOSITION
from calm_engine.evaluation.kinds import LM_EVAL, PUBLIC
from calm_engine.evaluation.rounds import Rounds
from calm_engine.families import read_tokenizer
from calm_engine.process import stop_requested
from calm_engine.specs import Progress

MOST = 100  # questions of a task, its first ones
RIGHT, WRONG = "right", "wrong"
STAGE = "lm_eval"
MISSING, UNMARKED = "missing", "unmarked"  # why a task has no row

Said = Mapping[tuple[str, str], str]


def asked_of_tasks(rounds: Rounds, cache: Path) -> Generator[Progress, None, dict[str, str]]:
    """Ask composition and anchor all tasks of the folder; why any of them has no row, by its name.

    What a column has answered whole is not asked again.

    cache   where lm_eval may keep the questions while it reads them
    Raises InputError("tasks.folder") where a task cannot be read or there is none, and Cancelled
    between two tasks.
    """
    if rounds.spec.tasks is None:
        return {}
    if find_spec("lm_eval") is None:
        return {LM_EVAL: MISSING}
    tasks = tasks_in(rounds.spec.tasks, cache)
    models = {COMPOSITION: rounds.together, ANCHOR: rounds.together.anchor}
    asked = [(column, name) for name in tasks for column in models]
    why_not: dict[str, str] = {}
    for step, (column, name) in enumerate(asked):
        if stop_requested():
            raise Cancelled(answered=len(rounds.answers.said), of=rounds.total)
        if not _is_known(rounds.answers.said, column, name):
            marks = _marks(models[column], tasks[name], rounds.spec.anchor, rounds.spec.batch_size)
            if marks is None:
                why_not[_kind(name)] = UNMARKED
            else:
                ids = [f"{_kind(name)}:{at}/{len(marks)}" for at in range(len(marks))]
                rounds.answers.add(column, ids, [RIGHT if mark else WRONG for mark in marks])
        yield Progress(STAGE, step + 1, len(asked), message=f"{column}: {name}")
    return why_not


def rows_of(said: Said) -> list[Example]:
    """A row for each question of a task that anybody answered: its answer is a mark already."""
    names = dict.fromkeys(name for _, name in said if name.startswith(f"{LM_EVAL}:"))
    return [
        Example(name, "", RIGHT, RIGHT, name.rpartition(":")[0], slice=PUBLIC) for name in names
    ]


def tasks_in(folder: str | Path, cache: Path) -> dict[str, Any]:
    """lm_eval's tasks of this folder and no others, by name. Raises InputError("tasks.folder")."""
    from datasets import config  # noqa: PLC0415  loads slowly, and may be missing
    from lm_eval.tasks import TaskManager  # noqa: PLC0415  likewise

    config.HF_DATASETS_CACHE = cache  # else it would stay on the machine
    logging.getLogger("lm_eval").setLevel(logging.ERROR)  # what it says of tasks, we say
    try:
        manager = TaskManager(include_path=str(folder), include_defaults=False)
        found: dict[str, Any] = manager.load(sorted(manager.all_subtasks))["tasks"]
    except Exception as error:  # whatever a file that somebody wrote makes its reader raise
        raise InputError("tasks.folder", str(error), path=str(folder), why=str(error)) from error
    if not found:
        raise InputError("tasks.folder", "there is no task", path=str(folder), why="there is none")
    return found


def _kind(name: str) -> str:
    return f"{LM_EVAL}:{name}"


def _is_known(said: Said, column: str, name: str) -> bool:
    """Whether this column has answered the whole task: each id says how many there are."""
    begun = f"{_kind(name)}:"
    ids = [one for who, one in said if who == column and one.startswith(begun)]
    return bool(ids) and len(ids) == int(ids[0].rpartition("/")[2])


def _marks(model: Any, task: Any, anchor: str, batch: int) -> list[bool] | None:
    """Whether each question was answered rightly, by the task's first measure that says so."""
    from lm_eval import simple_evaluate  # noqa: PLC0415
    from lm_eval.models.huggingface import HFLM  # noqa: PLC0415

    asked = HFLM(pretrained=model, tokenizer=read_tokenizer(anchor), batch_size=batch)
    told = simple_evaluate(model=asked, tasks=[task], limit=MOST, bootstrap_iters=0)
    ((_, samples),) = told["samples"].items()
    return marks_of(samples)


def marks_of(samples: Sequence[Mapping[str, Any]]) -> list[bool] | None:
    """Of lm_eval's samples of one task; None where no measure is 0 or 1 for each question.

    Where a task filters answers in several ways, the first counts.
    """
    first: dict[int, Mapping[str, Any]] = {}
    for sample in samples:
        first.setdefault(sample["doc_id"], sample)
    rows = [first[at] for at in sorted(first)]
    for measure in rows[0]["metrics"] if rows else ():
        values = [row.get(measure) for row in rows]
        if all(isinstance(value, Real) and value in (0, 1) for value in values):
            return [bool(value) for value in values]
    return None
