"""The anchor fine-tuned by LoRA on what the bridges were trained on: the other thing to try first.

The same examples and public text, the same number of steps and batches, and as many trained weights
as the composition has. Source: LoRA, arXiv 2106.09685; adapters on every linear layer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from calm_engine.checkpoints import whole
from calm_engine.compose import PUBLIC_BATCH, STEPS
from calm_engine.data import Sequenced, chance_of, pad_right
from calm_engine.families import load_parent
from calm_engine.lessons import Lessons, public_answers
from calm_engine.loop import Schedule, optimizer_of, steps
from calm_engine.modeling import CalmForCausalLM
from calm_engine.specs import ComposeSpec, EvaluateSpec, Progress

PEAK = 5e-4  # usual for adapters of small models; ten times what full training takes


def adapted(
    spec: EvaluateSpec, together: CalmForCausalLM, folder: Path
) -> Iterator[Progress | PreTrainedModel]:
    """Train the adapters, or take them from the folder; progress, then the adapted anchor itself.

    Raises what reading the examples raises, and InternalError("train.nan").
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
        course = _Course.of(spec, together)
        named = [(name, it) for name, it in model.named_parameters() if it.requires_grad]
        schedule = Schedule(STEPS, PEAK, warmup=10)
        model.train()
        for taken in steps(
            named, optimizer_of(named), lambda step: [course.loss(model, step)], schedule
        ):
            yield Progress("adapt", taken.step, STEPS, metrics={"loss": taken.loss})
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


@dataclass(frozen=True)
class _Course:
    """What each step learns from: dealt as the bridges' own examples were."""

    spec: ComposeSpec
    lessons: Lessons
    public: Sequence[Sequenced]
    device: torch.device

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
        out = model(
            input_ids=batch.ids.to(self.device),
            attention_mask=batch.mask.to(self.device),
            labels=batch.labels.to(self.device),
        )
        loss: Tensor = out.loss
        return loss
