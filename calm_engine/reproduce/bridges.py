"""The composition and its course: hand the number over, then compute with it. A fifth of the keys.

Knows no questions and no table.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from calm_engine.bridge import rotary_angles
from calm_engine.data import chance_of, encode
from calm_engine.inputs import look
from calm_engine.loop import Schedule
from calm_engine.modeling import CalmForCausalLM
from calm_engine.parents import Parent
from calm_engine.reproduce.course import Course, batch_of
from calm_engine.reproduce.key_value import Expression, Key, Lesson, of_keys, of_numbers
from calm_engine.reproduce.language import make_tokenizer
from calm_engine.reproduce.parents import WARMUP
from calm_engine.specs import BridgeSpec

EMBEDDINGS = -1  # where the bridge joins the anchor, which has read nothing there
# Share of the keys that the bridge hands over. The output gate learns on the others: on the same
# keys it would meet a bridge that is always right, and shut itself where it is not.
HANDED = 0.6
PLAIN = 0.4  # share of the examples without keys, so that computing stays as it was
BATCH = 32  # of whole answers; of states alone, which cost no pass of the anchor, twice as many
HANDING_PEAK, SAYING_PEAK = 5e-3, 2e-3


@dataclass(frozen=True)
class Length:
    """How many steps the bridge learns to hand numbers over, and then the gate to say them."""

    handing: int
    saying: int


def compose(anchor: Parent, augmenter: Parent, *, layers: int, seed: int) -> CalmForCausalLM:
    """Join the last of the augmenter's layers to the anchor's embedding output.

    There the anchor has read nothing yet; behind its first layer it may have.
    """
    torch.manual_seed(seed)
    joined = ((layers - 1, EMBEDDINGS),)
    # What stands at the anchor's embedding output, a letter, cannot tell whether a key ends here.
    spec = BridgeSpec(joined, heads=1, kv_heads=1, head_dim=8, gate_reads="both")
    return CalmForCausalLM.compose(anchor, [augmenter], spec)


def bridge_courses(
    name: str, model: CalmForCausalLM, length: Length, seed: int, keys: Sequence[Key], operands: int
) -> tuple[Course, Course]:
    """Examples over these keys only; what the numbers of all others are, nothing here ever sees.

    First the bridge from states, then the gate from answers, the bridge still held to its states.
    """
    tokenizer, spec = make_tokenizer(), model.config.spec
    cut = round(HANDED * len(keys))
    by_bridge, by_gate = keys[:cut], keys[cut:]

    def drawn(chance: random.Random, some: Sequence[Key], count: int) -> list[Expression]:
        return [example(chance, some, operands) for _ in range(count)]

    def handed(step: int) -> Tensor:
        chance = chance_of(seed, "handing", step)
        return handing_loss(model, drawn(chance, by_bridge, 2 * BATCH), tokenizer)

    def said(step: int) -> Tensor:
        chance = chance_of(seed, "saying", step)
        wanted = [lesson_of(chance, one) for one in drawn(chance, by_gate, BATCH)]
        batch = batch_of(wanted, tokenizer)
        model.bridges.requires_grad_(False)
        model.set_parts(bridges=chance.random() >= spec.dropout)
        loss: Tensor = model(batch.ids, labels=batch.labels).loss
        model.set_parts()
        model.bridges.requires_grad_(True)
        return loss + handing_loss(model, drawn(chance, by_bridge, BATCH), tokenizer)

    every = model.trainable_parameters()
    bridges = [(at, one) for at, one in every if at.startswith("bridges.")]
    return (
        Course(name, model, bridges, handed, Schedule(length.handing, HANDING_PEAK, WARMUP)),
        Course(name, model, every, said, Schedule(length.saying, SAYING_PEAK, WARMUP)),
    )


def example(chance: random.Random, keys: Sequence[Key], operands: int) -> Expression:
    """An expression of keys, or of numbers with and without letters of no meaning."""
    count = chance.randint(1, operands)
    if chance.random() < PLAIN:
        return of_numbers(chance, count, filler=chance.choice((0.0, 0.5)))
    return of_keys(chance, chance.sample(keys, count))


def lesson_of(chance: random.Random, one: Expression) -> Lesson:
    """The numbers, or the numbers and then the value; of plain numbers the value alone as well."""
    is_plain = not any(told.isalpha() for told in one.told)
    if is_plain and chance.random() < 0.5:
        return one.computed()
    return one.substituted() if chance.random() < 0.5 else one.stated()


def handing_loss(
    model: CalmForCausalLM, drawn: Sequence[Expression], tokenizer: PreTrainedTokenizerFast
) -> Tensor:
    """How far the anchor's stream is, behind the bridge, from what it would be had it read numbers.

    Where a key ends the number's own state is wanted, elsewhere the state as it was. Mean squares,
    in shares of the stream's power, of the ends and of all other places.
    """
    batch = batch_of([one.stated() for one in drawn], tokenizer)
    wanted, is_end = batch.ids.clone(), torch.zeros_like(batch.ids, dtype=torch.bool)
    for row, one in enumerate(drawn):
        for place, number in ends_of_keys(one):
            (wanted[row, place],) = encode(tokenizer, str(number))
            is_end[row, place] = True
    streams = model.streams
    inputs = look(batch.ids, None, None, None, limit=streams.limit)
    with torch.no_grad():
        before = streams.top.embed(inputs.ids, inputs.positions)
        target = streams.top.embed(wanted, inputs.positions)
    (joint,) = streams.joints_at(EMBEDDINGS)
    bridge = streams.bridge(joint)
    angles = rotary_angles(inputs.positions, bridge.heads.width)
    read = streams.read(inputs)[joint.augmenter].states[joint.below]
    behind: Tensor = bridge(before, read, None, angles=angles)
    wide = (behind - target).pow(2).mean(-1) / bridge.scale.pow(2)
    elsewhere = ~is_end & (batch.mask == 1)
    at_ends = wide[is_end].sum() / max(1, int(is_end.sum()))
    return wide[elsewhere].mean() + at_ends


def ends_of_keys(one: Expression) -> Iterator[tuple[int, int]]:
    """The place of each key's last letter among the tokens of the expression, and its number."""
    at = 0
    for told, number in zip(one.told, one.numbers, strict=True):
        if told.isalpha():
            yield at + len(told) - 1, number
        # A letter is one token, a number is one, and so is the sign behind both.
        letters = told.rstrip("0123456789")
        at += len(letters) + (letters != told) + 1
