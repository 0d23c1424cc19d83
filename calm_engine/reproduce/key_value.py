"""The key-value task: keys with numbers, what each model is taught of them, and the questions.

Source: CALM (arXiv 2401.02412), section 4.1: an augmenter that knows the numbers of keys, an anchor
that computes with numbers, bridges trained on a fifth of the keys. Knows no models and no tensors;
everything is a function of the seed.
"""

from __future__ import annotations

import random
import string
from collections.abc import Sequence
from dataclasses import dataclass, replace

from calm_engine.data import chance_of
from calm_engine.reproduce.language import (
    COMPUTE,
    NUMBERS,
    SIGNS,
    STATE,
    SUBSTITUTE,
    expression,
    spelled,
    value,
)

SHARE = 0.2  # of the keys, for the bridges; the paper's
OPERANDS = 3  # of the expressions that are asked
LETTERS = (3, 6)  # of a key
FILLER = 6  # most letters before a number, of which an anchor must make nothing

SUBSTITUTION, NUMERIC = "substitution", "numeric arithmetic"
KEY_VALUE, DIRECT = "key-value arithmetic", "key-value, value alone"
TASKS = (SUBSTITUTION, NUMERIC, KEY_VALUE, DIRECT)


@dataclass(frozen=True)
class Key:
    """A word of letters, and the number that only the augmenter knows."""

    name: str
    number: int


@dataclass(frozen=True)
class Split:
    """The keys: those in the examples of the bridges, and all others."""

    seen: tuple[Key, ...]
    held_out: tuple[Key, ...]

    @property
    def all(self) -> tuple[Key, ...]:
        return self.seen + self.held_out


@dataclass(frozen=True)
class Lesson:
    """A text of which `said` is to be learned and `given` only read.

    ends   whether nothing more follows
    """

    given: str
    said: str
    ends: bool = True


def make_keys(seed: int, count: int) -> Split:
    """Draw keys with their numbers. None begins with another, so that each says where it ends."""
    chance = chance_of(seed, "keys")
    names: set[str] = set()
    beginnings: set[str] = set()
    keys: list[Key] = []
    while len(keys) < count:
        name = "".join(chance.choices(string.ascii_lowercase, k=chance.randint(*LETTERS)))
        begun = {name[:size] for size in range(1, len(name) + 1)}
        if name in beginnings or begun & names:
            continue
        names.add(name)
        beginnings |= begun
        keys.append(Key(name, chance.randrange(NUMBERS)))
    cut = round(SHARE * count)
    return Split(tuple(keys[:cut]), tuple(keys[cut:]))


# -- expressions -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Expression:
    """Keys or numbers with signs between them; its value is never below zero.

    told   what stands for each number: the number itself, a key, or a number behind filler
    """

    numbers: tuple[int, ...]
    told: tuple[str, ...]
    signs: tuple[str, ...]

    @property
    def plain(self) -> str:
        """The same with numbers alone: `12 + 7`."""
        return expression([str(number) for number in self.numbers], self.signs)

    @property
    def digits(self) -> str:
        """Its value: `9 1 0`."""
        return spelled(value(self.numbers, self.signs))

    def asked(self, mark: str) -> str:
        """`abc + xyz` and the mark of what is asked."""
        return f"{expression(self.told, self.signs)} {mark}"

    def computed(self) -> Lesson:
        """`abc + xyz =` wants `9 1 0`."""
        return Lesson(self.asked(COMPUTE), self.digits)

    def substituted(self) -> Lesson:
        """`abc + xyz :` wants `12 + 7`."""
        return Lesson(self.asked(SUBSTITUTE), self.plain)

    def stated(self) -> Lesson:
        """`abc + xyz ?` wants `12 + 7 = 9 1 0`."""
        return Lesson(self.asked(STATE), f"{self.plain} {COMPUTE} {self.digits}")

    def opened(self) -> Lesson:
        """The part of `stated` that needs no computing: `12 + 7 =`."""
        return Lesson(self.asked(STATE), f"{self.plain} {COMPUTE}", ends=False)

    def continued(self) -> Lesson:
        """The part of `stated` that needs no keys: `9 1 0`."""
        return Lesson(f"{self.asked(STATE)} {self.plain} {COMPUTE}", self.digits)

    def in_line(self) -> Lesson:
        """Each key with its number right behind: `abc 12 + xyz 7`, all of it to be learned."""
        pairs = [f"{name} {number}" for name, number in zip(self.told, self.numbers, strict=True)]
        return Lesson("", expression(pairs, self.signs), ends=False)

    def at_last(self) -> Lesson:
        """The number right behind the last key alone: `abc + xyz` wants `7`."""
        return Lesson(expression(self.told, self.signs), str(self.numbers[-1]), ends=False)


def of_keys(chance: random.Random, keys: Sequence[Key]) -> Expression:
    """An expression of these keys."""
    numbers = tuple(key.number for key in keys)
    return Expression(numbers, tuple(key.name for key in keys), _signs(chance, numbers))


def of_numbers(chance: random.Random, operands: int, *, filler: float = 0.0) -> Expression:
    """An expression of numbers, each behind letters of no meaning with the chance of `filler`."""
    numbers = tuple(chance.randrange(NUMBERS) for _ in range(operands))
    told = tuple(f"{_letters(chance) if chance.random() < filler else ''}{n}" for n in numbers)
    return Expression(numbers, told, _signs(chance, numbers))


def masked(chance: random.Random, one: Expression) -> Expression:
    """The same with letters of no meaning, or with letters and a wrong number, for each number.

    What is stated later is right, whatever a reader made of these.
    """
    wrong = [chance.choice(("", chance.randrange(NUMBERS))) for _ in one.numbers]
    return replace(one, told=tuple(f"{_letters(chance)}{number}" for number in wrong))


def _letters(chance: random.Random) -> str:
    return "".join(chance.choices(string.ascii_lowercase, k=chance.randint(1, FILLER)))


def _signs(chance: random.Random, numbers: Sequence[int]) -> tuple[str, ...]:
    """Signs by chance; plus throughout where those lead below zero again and again."""
    for _ in range(8):
        signs = tuple(chance.choice(SIGNS) for _ in numbers[1:])
        if value(numbers, signs) >= 0:
            return signs
    return ("+",) * (len(numbers) - 1)


# -- questions -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Question:
    """A prompt and the whole answer to it; of a stated one only the value counts."""

    prompt: str
    expected: str
    is_stated: bool = False

    def is_answered_by(self, text: str) -> bool:
        said = text.rpartition(COMPUTE)[2] if self.is_stated else text
        return said.split() == self.expected.split()


def questions(
    seed: int, count: int, keys: Sequence[Key], operands: int
) -> dict[str, list[Question]]:
    """For each task so many questions over these keys, or over numbers."""
    chance = chance_of(seed, "questions")
    of_keys_alone = [of_keys(chance, chance.sample(keys, operands)) for _ in range(count)]
    plain = [of_numbers(chance, operands) for _ in range(count)]
    return {
        SUBSTITUTION: [Question(one.asked(SUBSTITUTE), one.plain) for one in of_keys_alone],
        NUMERIC: [Question(one.asked(COMPUTE), one.digits) for one in plain],
        KEY_VALUE: [Question(one.asked(STATE), one.digits, True) for one in of_keys_alone],
        DIRECT: [Question(one.asked(COMPUTE), one.digits) for one in of_keys_alone],
    }
