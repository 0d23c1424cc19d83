"""One training of the reproduction: what may move, the loss of a step, and the steps. Any model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from calm_engine import checkpoints
from calm_engine.data import Padded, encode, pad_right
from calm_engine.loop import Schedule, steps
from calm_engine.optimizers import Named, optimizer_of
from calm_engine.reproduce.key_value import Lesson
from calm_engine.specs import Progress

NEWS = 100  # steps between two lines of progress
KEPT = 500  # steps between two checkpoints


@dataclass(frozen=True)
class Course:
    """A model and how it learns.

    name      of the stage, in the lines of progress
    loss_at   the loss of a step, a function of the step's number alone
    decay     of the weights
    """

    name: str
    model: PreTrainedModel
    named: Named
    loss_at: Callable[[int], Tensor]
    schedule: Schedule
    decay: float = 0.01

    def taken(self, work: Path) -> Iterator[Progress]:
        """Take all steps and tell how it goes; what `work` holds of them is not taken again.

        Raises what `loop.steps` and `checkpoints.save` raise.
        """
        optimizer = optimizer_of(self.named, decay=self.decay)
        start = self._resumed(work, optimizer)
        self.model.train()
        told = 0.0

        def losses_at(step: int) -> Iterator[Tensor]:
            yield self.loss_at(step)

        for step in steps(self.named, optimizer, losses_at, self.schedule, start=start):
            told += step.loss / NEWS
            if step.step % NEWS == 0:
                yield Progress(self.name, step.step, self.schedule.steps, metrics={"loss": told})
                told = 0.0
            if step.step % KEPT == 0 or step.step == self.schedule.steps:
                kept = checkpoints.pack(self.named, optimizer)
                checkpoints.save(work, step.step, kept, {}, keep=1)
        self.model.train(mode=False)

    def _resumed(self, work: Path, optimizer: Optimizer) -> int:
        """Put the newest checkpoint back; the steps that it had taken."""
        found = checkpoints.newest(work)
        if found is None:
            return 0
        checkpoints.unpack(found.tensors, self.named, optimizer)
        return found.step


def batch_of(lessons: Sequence[Lesson], tokenizer: PreTrainedTokenizerBase) -> Padded:
    """Lessons as tokens, padded on the right, where no causal model sees it."""
    end: Any = tokenizer.eos_token_id
    pad: Any = tokenizer.pad_token_id
    rows = []
    for one in lessons:
        given = encode(tokenizer, one.given)
        said = [*encode(tokenizer, one.said), *([end] if one.ends else [])]
        rows.append(([*given, *said], len(given)))
    return pad_right(rows, pad=pad)
