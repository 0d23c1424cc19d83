"""Which sequences each step of a composition's training learns from, and in what way.

A function of the spec and the step's number alone, so that a resumed run is dealt what a run that
never stopped is dealt. Knows no loss.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from calm_engine.data import Padded, Sequenced, chance_of, pad_right
from calm_engine.evaluation.retrieval import Library
from calm_engine.frozen import FrozenStates
from calm_engine.lessons import Lessons, anchors_answers, public_answers
from calm_engine.modeling import CalmForCausalLM
from calm_engine.specs import ComposeSpec
from calm_engine.streams import Frozen
from calm_engine.surroundings import surrounded, surrounded_public

STEPS = 120  # of 16 examples; in the trials unseen values were answered after 80
PUBLIC_BATCH, SURROUNDED_BATCH = 8, 4
PARTS = 2  # of a batch behind others, one in memory at a time: its rows are some times as long

# The kinds of steps.
ALL_ON, BRIDGES_OFF, PUBLIC = "all parts on", "bridges off", "public text"
SURROUNDED, SURROUNDED_OFF = "behind others", "behind others, bridges off"
PUBLIC_SURROUNDED = "public text behind others"
OFF = frozenset({BRIDGES_OFF, SURROUNDED_OFF})
LIKE_THE_ANCHOR = frozenset({PUBLIC, PUBLIC_SURROUNDED})


@dataclass(frozen=True)
class Deck:
    """Sequences to deal batches from, and their frozen states where those are kept."""

    sequences: Sequence[Sequenced]
    kept: FrozenStates | None = None

    def batch(self, chosen: Sequence[int], *, pad: int) -> tuple[Padded, Frozen | None]:
        """These sequences, padded on the right, and their frozen states if they are kept."""
        frozen = None if self.kept is None else self.kept.batch(chosen)
        return pad_right([self.sequences[at] for at in chosen], pad=pad), frozen

    def targets(self, chosen: Sequence[int]) -> int:
        """Tokens that are to be said."""
        return sum(len(self.sequences[at][0]) - self.sequences[at][1] for at in chosen)

    def some(self, count: int, chance: random.Random) -> list[int]:
        """So many places, or all."""
        every = range(len(self.sequences))
        return chance.sample(every, min(count, len(every)))


@dataclass(frozen=True)
class Dealt:
    """The kind of a step, and which sequences of its deck it learns from, in how many parts."""

    kind: str
    chosen: list[int]
    parts: int = 1


@dataclass(frozen=True)
class Decks:
    """What there is to learn from.

    examples    as they stand
    surrounded  some of them behind other turns and passages: long, met about once, never kept
    public      public questions with the bare anchor's answers
    public_surrounded   some of them behind other turns and passages, met about twice
    dropout     share of the examples' batches with the bridges off
    """

    spec: ComposeSpec
    lessons: Lessons
    examples: Deck
    surrounded: Deck
    public: Deck
    public_surrounded: Deck
    dropout: float

    @classmethod
    def of(
        cls,
        spec: ComposeSpec,
        model: CalmForCausalLM,
        lessons: Lessons,
        library: Library | None,
        folder: Path,
    ) -> Decks:
        """Everything that will be dealt; the anchor is asked for its public answers now.

        folder  where frozen states are kept
        """
        steps = spec.steps or STEPS
        turns = steps * spec.general_share
        most = PUBLIC_BATCH * max(1, math.ceil(turns))
        public = public_answers(model, lessons.tokenizer, most=most, seed=spec.seed)
        most = SURROUNDED_BATCH * math.ceil((steps - turns) * spec.surrounded_share)
        behind = surrounded(lessons, library, most=most, limit=model.streams.limit)
        # Whole batches: a process without a row would keep the others of a sharded anchor waiting.
        most = SURROUNDED_BATCH * math.ceil(turns * spec.surrounded_share / 2)
        prompts = surrounded_public(lessons, library, most=most, limit=model.streams.limit)
        said = anchors_answers(model, lessons.tokenizer, prompts, at_once=SURROUNDED_BATCH)
        decks, room = [], spec.kept_bytes
        for name, sequences in (("examples", lessons.sequences), ("public", public)):
            kept = FrozenStates(model, lessons.prefix, sequences, folder / name, pad=lessons.end)
            is_used_again = steps * spec.batch_size >= 2 * len(sequences)
            # Two tokenizers meet anew in each batch: what was read belongs to its padding.
            is_worth = is_used_again and kept.size <= room and not model.config.own_tokenizers
            room -= kept.size if is_worth else 0
            decks.append(Deck(sequences, kept if is_worth else None))
        examples, asked = decks
        dropout = model.config.spec.dropout
        return cls(spec, lessons, examples, Deck(behind), asked, Deck(said), dropout)

    @property
    def steps(self) -> int:
        return self.spec.steps or STEPS

    @property
    def kept(self) -> list[FrozenStates]:
        return [deck.kept for deck in (self.examples, self.public) if deck.kept is not None]

    def dealt(self, step: int) -> Dealt:
        """What a step learns from."""
        chance = chance_of(self.spec.seed, "kind", step)
        is_public = chance.random() < self.spec.general_share
        is_off = chance.random() < self.dropout
        is_behind = chance.random() < self.spec.surrounded_share
        if is_public and is_behind and self.public_surrounded.sequences:
            chosen = self.public_surrounded.some(SURROUNDED_BATCH, chance)
            return Dealt(PUBLIC_SURROUNDED, chosen, PARTS)
        if is_public:
            return Dealt(PUBLIC, self.public.some(PUBLIC_BATCH, chance))
        if is_behind:
            chosen = self.surrounded.some(SURROUNDED_BATCH, chance)
            return Dealt(SURROUNDED_OFF if is_off else SURROUNDED, chosen, PARTS)
        chosen = self.lessons.turn(step, self.spec.batch_size)
        return Dealt(BRIDGES_OFF if is_off else ALL_ON, chosen)

    def behind(self, dealt: Dealt) -> Deck:
        """The deck that it was dealt from."""
        decks = {PUBLIC: self.public, PUBLIC_SURROUNDED: self.public_surrounded}
        decks |= dict.fromkeys((SURROUNDED, SURROUNDED_OFF), self.surrounded)
        return decks.get(dealt.kind, self.examples)
