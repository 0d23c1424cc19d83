"""Asks one column greedily in batches. Knows no scores and no files."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from calm_engine.data import Example, pad_left
from calm_engine.evaluation.kinds import family
from calm_engine.families import decoder_of
from calm_engine.modeling import CalmForCausalLM


@dataclass(frozen=True)
class Column:
    """Who is asked: a model, and for a composition how far and which parts it lets in.

    gate        one for all augmenters, or one for each
    tokenizer   None: the anchor's, in which everybody else is asked
    reads       passages that are put before each question
    skips       families of kinds of questions that it is not asked
    """

    name: str
    model: Any
    gate: float | tuple[float, ...] = 1.0
    bridges: bool = True
    output: bool = True
    tokenizer: PreTrainedTokenizerBase | None = None
    reads: int = 0
    skips: frozenset[str] = frozenset()

    def is_asked(self, row: Example) -> bool:
        return family(row.kind) not in self.skips

    def feed(
        self, ids: Tensor, mask: Tensor, cache: Any, *, is_first: bool = False
    ) -> tuple[Tensor, Any]:
        """The next token's logits, (batch, vocabulary), and the cache with these tokens in it.

        ids    (batch, time)
        mask   (batch, seen + time), 0 on padding
        """
        held: dict[str, Any] = {"past_key_values": cache, "use_cache": True, "logits_to_keep": 1}
        if isinstance(self.model, CalmForCausalLM):
            self.model.set_parts(bridges=self.bridges, output=self.output)
            # Once begun, the composition's cache knows its padding, and may have dropped some.
            told = mask if is_first else None
            out = self.model(input_ids=ids, attention_mask=told, gate=self.gate, **held)
            self.model.set_parts()
        else:
            positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
            out = self.model(input_ids=ids, attention_mask=mask, position_ids=positions, **held)
        return out.logits[:, -1], out.past_key_values


class Asker:
    """Asks one column greedily. What all prompts begin with is read once."""

    def __init__(
        self,
        column: Column,
        tokenizer: PreTrainedTokenizerBase,
        *,
        prefix: Sequence[int],
        ends: frozenset[int],
        most: int,
    ) -> None:
        self.column, self.tokenizer = column, tokenizer
        self.prefix = [] if _slides(column.model) else list(prefix)
        self.ends, self.most = ends, most
        pad = tokenizer.pad_token_id
        self.pad = pad if isinstance(pad, int) else min(ends, default=0)
        self._read: Any = None

    @torch.inference_mode()
    def ask(self, prompts: Sequence[Sequence[int]]) -> list[str]:
        """Answer prompts that begin with the prefix and go on; rows leave as they end."""
        device = self.column.model.device
        rest = [prompt[len(self.prefix) :] for prompt in prompts]
        ids, mask = (one.to(device) for one in pad_left(rest, pad=self.pad))
        mask = torch.cat((mask.new_ones(len(rest), len(self.prefix)), mask), dim=1)
        cache, is_first = self._begun(len(rest)), True
        said: list[list[int]] = [[] for _ in rest]
        rows = list(range(len(rest)))  # which answer each row of the batch is
        for _ in range(self.most):
            logits, cache = self.column.feed(ids, mask, cache, is_first=is_first)
            is_first = False
            tokens = logits.argmax(-1).tolist()
            going = [spot for spot, token in enumerate(tokens) if token not in self.ends]
            for spot in going:
                said[rows[spot]].append(tokens[spot])
            if not going:
                break
            if len(going) < len(rows):
                index = torch.tensor(going, device=device)
                cache.batch_select_indices(index)
                mask, rows = mask[index], [rows[spot] for spot in going]
            ids = torch.tensor([[tokens[spot]] for spot in going], device=device)
            mask = torch.cat((mask, mask.new_ones(len(going), 1)), dim=1)
        return [str(self.tokenizer.decode(one, skip_special_tokens=True)).strip() for one in said]

    def _begun(self, rows: int) -> Any:
        """A cache that has read the prefix, for so many rows; None without a prefix."""
        if not self.prefix:
            return None
        if self._read is None:
            ids = torch.tensor([self.prefix], device=self.column.model.device)
            _, self._read = self.column.feed(ids, torch.ones_like(ids), None, is_first=True)
        cache = copy.deepcopy(self._read)
        cache.batch_repeat_interleave(rows)
        return cache


def _slides(model: Any) -> bool:
    """Whether a layer attends to a sliding window: it counts padding behind a prefix as tokens."""
    is_together = isinstance(model, CalmForCausalLM)
    parts = (model.streams.top, *model.streams.below) if is_together else (decoder_of(model),)
    return any(kind != "full_attention" for part in parts for kind in part.kinds)


def common_prefix(prompts: Sequence[Sequence[int]]) -> list[int]:
    """The tokens that all prompts begin with; every prompt has at least one more."""
    ordered = sorted(list(prompt) for prompt in prompts)
    first, last = ordered[0], ordered[-1]  # what these share, all share
    most = min(len(prompt) for prompt in prompts) - 1
    same = 0
    while same < most and first[same] == last[same]:
        same += 1
    return first[:same]
