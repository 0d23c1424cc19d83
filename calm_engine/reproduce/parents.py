"""The two parents and their courses: one learns to compute, the other learns keys by heart.

Knows no bridges, no questions and no table.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from calm_engine.data import IGNORED, chance_of
from calm_engine.loop import Schedule
from calm_engine.reproduce.course import Course, batch_of
from calm_engine.reproduce.key_value import Key, Lesson, masked, of_keys, of_numbers
from calm_engine.reproduce.language import letters_of, make_tokenizer

SPREAD = 0.06  # of the first weights: at 0.02 the first hundreds of steps brought nothing
WARMUP = 100

# The first share of the anchor's steps: two numbers at most, no letters, no noise. With noise and
# wrong numbers to be passed over from the first step on, its loss hardly moved below 0.46
# (docs/benchmarks/key-value.md).
EARLY = 0.2
NOISE = 0.9  # at most, on its embeddings, in shares of their root mean square; it grows to the end
FILLED = 0.5  # share of its later expressions that have letters in front of half of their numbers

# Of thousands of keys met at once the augmenter learned nothing in 5,000 steps; of these few it
# learns within hundreds how a key is told from another, and then takes in more and more.
FEW = 600
GROWING = (
    0.1,
    0.6,
)  # from which to which share of its steps, settling left out, their number grows
GROWN = 200  # how many come at a time

# In the second half of its steps the augmenter settles: noise on its last states, in shares of
# their root mean square, and a decay of its weights. What it does not say it then forgets, and the
# states of keys with one number become alike, so that what is learned of some holds for the others.
SETTLING = 1 / 2
BLUR = 3.0
DECAY = 0.5
LETTER = 0.1  # weight of a letter in its loss; without any it would not know where a key ends


@dataclass(frozen=True)
class Shape:
    """How large a model is and how long it learns."""

    width: int
    layers: int
    heads: int
    steps: int
    peak: float
    batch: int = 32


def newborn(shape: Shape, tokenizer: PreTrainedTokenizerBase, seed: int) -> LlamaForCausalLM:
    """A Llama-shaped model of random weights."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.width,
        intermediate_size=3 * shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        initializer_range=SPREAD,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    make: Any = LlamaForCausalLM  # untyped there
    model: LlamaForCausalLM = make(config)
    return model


def _blurred(states: Tensor, share: float, seed: int, step: int) -> Tensor:
    """States with noise added, in shares of their root mean square."""
    source = torch.Generator().manual_seed(1_000_003 * seed + step)
    noise = torch.randn(states.shape, generator=source)
    return states + share * states.detach().pow(2).mean().sqrt() * noise


# -- the anchor ------------------------------------------------------------------------------------


def anchor_lesson(chance: random.Random, operands: int, *, early: bool) -> Lesson:
    """An expression of numbers to compute, to tell again, or to tell again and compute."""
    if early:
        one = of_numbers(chance, chance.randint(1, min(2, operands)))
        return one.stated() if chance.random() < 0.1 else one.computed()
    # The longest take longest to learn: more than half are as long as can be.
    count = operands if chance.random() < 0.4 else chance.randint(1, operands)
    one = of_numbers(chance, count, filler=0.5 if chance.random() < FILLED else 0.0)
    kind = chance.random()
    if kind < 0.1:
        return one.substituted()
    if kind < 0.2:
        return one.stated()
    if kind < 0.35:
        return masked(chance, one).continued()
    return one.computed()


def anchor_course(shape: Shape, seed: int, operands: int) -> Course:
    """Expressions of up to so many numbers. No key is ever met, only letters without meaning."""
    tokenizer = make_tokenizer()
    model = newborn(shape, tokenizer, seed)

    def loss_at(step: int) -> Tensor:
        chance = chance_of(seed, "anchor", step)
        early = step < EARLY * shape.steps
        lessons = [anchor_lesson(chance, operands, early=early) for _ in range(shape.batch)]
        batch = batch_of(lessons, tokenizer)
        noise = 0.0 if early else NOISE * chance.random() * step / shape.steps
        seen = _blurred(model.model.embed_tokens(batch.ids), noise, seed, step)
        states = model.model(inputs_embeds=seen, use_cache=False).last_hidden_state
        is_said = batch.labels[:, 1:] != IGNORED
        logits = model.lm_head(states[:, :-1][is_said])
        return functional.cross_entropy(logits, batch.labels[:, 1:][is_said])

    schedule = Schedule(shape.steps, shape.peak, warmup=WARMUP)
    return Course("anchor", model, list(model.named_parameters()), loss_at, schedule)


# -- the augmenter ---------------------------------------------------------------------------------


class Deck:
    """Deals keys: every one once before any comes again, in an order of chance."""

    def __init__(self, keys: Sequence[Key], seed: int) -> None:
        self.keys, self.seed = keys, seed

    def hand(self, number: int, size: int) -> list[Key]:
        """The `number`-th hand of so many keys, a function of its number alone."""
        turn, place = divmod(number * size, len(self.keys))
        order = self._order(turn) + self._order(turn + 1)
        return [self.keys[at] for at in order[place : place + size]]

    def _order(self, turn: int) -> list[int]:
        order = list(range(len(self.keys)))
        chance_of(self.seed, "deck", turn).shuffle(order)
        return order


def met(step: int, steps: int, keys: int) -> int:
    """How many of its keys the augmenter has met by a step: few, then more and more, then all."""
    begin, end = (share * steps for share in GROWING)
    share = min(1.0, max(0.0, (step - begin) / (end - begin)))
    few = min(FEW, keys)
    return min(keys, few + round(share * (keys - few) / GROWN) * GROWN) if share < 1 else keys


def augmenter_lesson(chance: random.Random, keys: Sequence[Key]) -> Lesson:
    """Keys with their numbers right behind them, or an expression of keys told in numbers."""
    one = of_keys(chance, keys)
    forms = (one.in_line, one.in_line, one.at_last, one.substituted, one.opened)
    return chance.choice(forms)()


def augmenter_courses(
    shape: Shape, seed: int, keys: Sequence[Key], operands: int
) -> tuple[Course, Course]:
    """All keys, told in line and in expressions; nothing is ever computed. Learn, then settle."""
    model = newborn(shape, make_tokenizer(), seed + 1)
    settling = round(SETTLING * shape.steps)
    learning = shape.steps - settling
    return (
        _keys_course("augmenter", model, shape, learning, seed, keys, operands),
        _keys_course("settling", model, shape, settling, seed + 1, keys, operands, blur=BLUR),
    )


def _keys_course(
    name: str,
    model: LlamaForCausalLM,
    shape: Shape,
    steps: int,
    seed: int,
    keys: Sequence[Key],
    operands: int,
    *,
    blur: float = 0.0,
) -> Course:
    tokenizer = make_tokenizer()
    letters = torch.zeros(len(tokenizer), dtype=torch.bool)
    letters[letters_of(tokenizer)] = True

    def loss_at(step: int) -> Tensor:
        chance = chance_of(seed, name, step)
        known = len(keys) if blur else met(step, steps, len(keys))
        dealt = Deck(keys[:known], seed).hand(step, shape.batch * operands)
        lessons = []
        for row in range(shape.batch):
            hand = dealt[row * operands : (row + 1) * operands]
            lessons.append(augmenter_lesson(chance, hand[: chance.randint(1, operands)]))
        batch = batch_of(lessons, tokenizer)
        wanted = batch.labels[:, 1:]
        is_said = wanted != IGNORED
        states = model.model(input_ids=batch.ids, use_cache=False).last_hidden_state
        logits = model.lm_head(_blurred(states, blur, seed, step)[:, :-1][is_said])
        losses = functional.cross_entropy(logits, wanted[is_said], reduction="none")
        weights = torch.where(letters[wanted[is_said]], LETTER, 1.0)
        return (losses * weights).sum() / weights.sum()

    schedule = Schedule(steps, shape.peak, warmup=WARMUP)
    decay = DECAY if blur else 0.01
    return Course(name, model, list(model.named_parameters()), loss_at, schedule, decay)
