"""The anchor fine-tuned by LoRA, as many weights as the composition trains: the other thing to try.

Once on what the bridges were trained on, with as many steps and batches; once on all that the
augmenter is taught, for `READ` steps. Adapters sit on every linear layer. Source: arXiv 2106.09685.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from calm_engine.checkpoints import whole
from calm_engine.curriculum import curriculum
from calm_engine.data import Padded, Piece, Sequenced, chance_of, pad_right
from calm_engine.decks import PUBLIC_BATCH, STEPS
from calm_engine.families import load_parent
from calm_engine.feeding import Feed
from calm_engine.lessons import Lessons, public_answers
from calm_engine.loop import Schedule, steps
from calm_engine.modeling import CalmForCausalLM
from calm_engine.optimizers import optimizer_of
from calm_engine.ranks import Ranks
from calm_engine.specs import AugmentSpec, ComposeSpec, EvaluateSpec, Progress

READ = 120  # steps over all that the augmenter is taught, a packed row of it in each
HEAPS = 4  # of sequences of like length in a step: little padding
PEAK = 5e-4  # usual for adapters of small models; ten times what full training takes


class Taught(Protocol):
    """What the adapters learn from: the loss of each of so many steps, in nats."""

    @property
    def steps(self) -> int: ...

    def loss(self, model: Any, step: int) -> Tensor: ...


Teaching = Callable[[EvaluateSpec, CalmForCausalLM, Path], Generator[Progress, None, Taught]]


def adapted(
    spec: EvaluateSpec, together: CalmForCausalLM, folder: Path, teaching: Teaching
) -> Iterator[Progress | PreTrainedModel]:
    """Train the adapters, or take them from the folder; progress, then the adapted anchor itself.

    teaching   `with_examples` or `with_documents`
    Raises what the teaching raises, and InternalError("train.nan").
    """
    import peft  # noqa: PLC0415  loads slowly, and few cards have this column

    torch.manual_seed(spec.seed)
    if not folder.exists():
        anchor = _anchor(spec, together)
        trained = sum(one.numel() for _, one in together.trainable_parameters())
        told = peft.LoraConfig(
            r=rank_for(anchor, trained), target_modules="all-linear", task_type="CAUSAL_LM"
        )
        model: Any = peft.get_peft_model(anchor, told)
        course = yield from teaching(spec, together, folder)
        named = [(name, it) for name, it in model.named_parameters() if it.requires_grad]
        schedule = Schedule(course.steps, PEAK, warmup=10)
        model.train()
        for taken in steps(
            named, optimizer_of(named), lambda step: [course.loss(model, step)], schedule
        ):
            yield Progress("adapt", taken.step, course.steps, metrics={"loss": taken.loss})
        with whole(folder) as aside:
            model.save_pretrained(aside)
    loaded: Any = peft.PeftModel.from_pretrained(_anchor(spec, together), folder)
    yield loaded.merge_and_unload().eval()


def _anchor(spec: EvaluateSpec, together: CalmForCausalLM) -> PreTrainedModel:
    """A copy of its own: adapters are put into the layers, and the composition keeps its anchor."""
    loaded: Any = load_parent(spec.anchor)
    moved: PreTrainedModel = loaded.to(together.device)
    return moved


def rank_for(anchor: Any, trained: int) -> int:
    """The rank at which adapters on all linear layers have about so many weights; at least 1."""
    head = anchor.get_output_embeddings()
    each = sum(
        sum(module.weight.shape)
        for module in anchor.modules()
        if isinstance(module, (nn.Linear, Conv1D)) and module is not head
    )
    return max(1, round(trained / each))


def with_examples(
    spec: EvaluateSpec, together: CalmForCausalLM, _folder: Path
) -> Generator[Progress, None, Taught]:
    """What the bridges were trained on. Raises what reading the examples raises."""
    yield Progress("adapt", message="reading the examples")
    return _Course.of(spec, together)


def with_documents(
    spec: EvaluateSpec, together: CalmForCausalLM, folder: Path
) -> Generator[Progress, None, Taught]:
    """All that an augmenter is taught of the documents. Raises what `curriculum` raises."""
    told = AugmentSpec(
        output=str(folder),
        work=str(folder.with_name(f"{folder.name}.work")),
        tokenizer=spec.anchor,
        documents=str(spec.documents),
        examples=spec.examples,
        seed=spec.seed,
        device=spec.device,
    )
    taught = yield from curriculum(told, Ranks.here(spec.device))
    return _Reading(taught.feed(1), together.device)


@dataclass(frozen=True)
class _Reading:
    """Each step a packed row of the augmenter's curriculum, taken apart into plain sequences."""

    feed: Feed
    device: torch.device

    @property
    def steps(self) -> int:
        return min(READ, self.feed.steps)

    def loss(self, model: Any, step: int) -> Tensor:
        row = [piece for row in self.feed.rows(step) for piece in row]
        prefix = list(self.feed.prefix)
        told = sorted((one for piece in row for one in sequences_of(piece, prefix)), key=_size)
        said = sum(len(ids) - first for ids, first in told)
        loss = torch.zeros((), device=self.device)
        for heap in heaps(told, HEAPS):
            share = sum(len(ids) - first for ids, first in heap) / said
            loss = loss + share * _loss(model, pad_right(heap, pad=self.feed.pad), self.device)
        return loss


def sequences_of(piece: Piece, prefix: Sequence[int]) -> Iterator[Sequenced]:
    """A piece as plain sequences, each with the index of its first token to be said.

    prefix   what stands before a piece that is asked in a chat
    """
    lead = [*prefix, *piece.ids] if piece.is_asked else list(piece.ids)
    before = len(lead) - len(piece.ids)
    if piece.first < len(piece.ids):
        yield lead, before + piece.first
    for ids, first in piece.branches:
        yield [*lead, *ids], len(lead) + first


def heaps(rows: Sequence[Sequenced], count: int) -> Iterator[Sequence[Sequenced]]:
    """The rows in at most so many runs, each about as long as any other."""
    size = max(1, -(-len(rows) // count))
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _size(row: Sequenced) -> int:
    return len(row[0])


def _loss(model: Any, batch: Padded, device: torch.device) -> Tensor:
    """Cross-entropy of what is to be said, in nats."""
    out = model(
        input_ids=batch.ids.to(device),
        attention_mask=batch.mask.to(device),
        labels=batch.labels.to(device),
    )
    loss: Tensor = out.loss
    return loss


@dataclass(frozen=True)
class _Course:
    """What each step learns from: dealt as the bridges' own examples were."""

    spec: ComposeSpec
    lessons: Lessons
    public: Sequence[Sequenced]
    device: torch.device

    @property
    def steps(self) -> int:
        return STEPS

    @classmethod
    def of(cls, spec: EvaluateSpec, together: CalmForCausalLM) -> _Course:
        told = ComposeSpec(
            output=spec.output,
            anchor=spec.anchor,
            augmenters=spec.augmenters,
            examples=str(spec.examples),
            seed=spec.seed,
        )
        lessons = Lessons.of(told)
        most = PUBLIC_BATCH * max(1, math.ceil(STEPS * told.general_share))
        public = public_answers(together, lessons.tokenizer, most=most, seed=spec.seed)
        return cls(told, lessons, public, together.device)

    def loss(self, model: Any, step: int) -> Tensor:
        """Cross-entropy of the answers, in nats."""
        chance = chance_of(self.spec.seed, "adapt", step)
        if chance.random() < self.spec.general_share:
            chosen = chance.sample(list(self.public), min(PUBLIC_BATCH, len(self.public)))
        else:
            turn = self.lessons.turn(step, self.spec.batch_size)
            chosen = [self.lessons.sequences[at] for at in turn]
        prefix = list(self.lessons.prefix)
        batch = pad_right(
            [([*prefix, *ids], len(prefix) + first) for ids, first in chosen], pad=self.lessons.end
        )
        return _loss(model, batch, self.device)
