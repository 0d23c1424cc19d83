"""A model that learns from packed rows. Knows no corpus, no course and no step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from calm_engine.capacity import MUON_MOST
from calm_engine.data import Packed
from calm_engine.families import decoder_of
from calm_engine.specs import AugmentSpec
from calm_engine.words import Candidates, loss_over


def turned_by(spec: AugmentSpec, student: Student) -> frozenset[str]:
    """Names of what Muon moves, as `named_parameters` of the student's model tells them: the
    matrices between states, not the words' own. None of them where AdamW moves everything."""
    is_new = spec.base is None and spec.previous is None
    is_small = sum(one.numel() for one in student.parameters()) <= MUON_MOST
    if spec.optimizer == "adamw" or (spec.optimizer == "auto" and not (is_new and is_small)):
        return frozenset()
    inner = {
        parameter
        for layer in decoder_of(student.model).layers
        for parameter in layer.parameters()
        if parameter.ndim == 2
    }
    return frozenset(name for name, each in student.model.named_parameters() if each in inner)


class Student(nn.Module):
    """A decoder and the loss of what it is to say, in one forward pass.

    One pass, because sharded weights are whole only inside of it.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model: Any = model  # transformers types its own classes' attributes as modules

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.parameters()).device

    def forward(self, batch: Packed, among: Candidates) -> Tensor:
        """Mean cross-entropy in nats over the batch's wanted tokens."""
        hidden = self._hidden(batch)
        return loss_over(hidden, self.model.lm_head.weight, batch.wanted, among)

    @torch.no_grad()
    def logits(self, batch: Packed) -> Tensor:
        """(said, vocabulary) over every token, where something is to be said."""
        told: Tensor = self.model.lm_head(self._hidden(batch))
        return told

    def _hidden(self, batch: Packed) -> Tensor:
        """Last states where something is to be said: (said, width)."""
        out = self.model.base_model(
            input_ids=batch.ids.to(self.device),
            position_ids=batch.positions.to(self.device),
            attention_mask=batch.mask.to(self.device),
            use_cache=False,
        )
        states: Tensor = out.last_hidden_state[batch.saying.to(self.device)]
        return states
