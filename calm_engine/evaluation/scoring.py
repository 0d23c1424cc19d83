"""Whether an answer is right, by rules that a person could apply. Knows no model and no column.

Where a JSON object or a table is expected, the answer must hold one that says the same. Else in
this order: the expected words stand in the answer; the expected number does; an expected answer of
many words is met by most of them. Nothing here asks another model.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

LONG = 6  # words from which on an expected answer is a text, not a name
ENOUGH = 0.8  # token F1 that counts as the same text
WORDS = (
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
)
_MINUS = "\N{MINUS SIGN}"
# A run of letters and digits; before a digit the sign of a number that nothing runs into.
_WORD = re.compile(rf"(?:(?<![\w{_MINUS}-])[{_MINUS}-](?=\d))?[^\W_]+")
_RULE = re.compile(r"[\s|:-]+")
NUMBER = re.compile(r"[-+]?\d[\d.,\u00a0\u202f']*")


@dataclass(frozen=True)
class Score:
    """How one answer was judged.

    by    the rule that found it right: "object", "table", "words", "number", "overlap"; "" for a
          wrong one
    exact whether the answer says the expected words and nothing else
    """

    is_right: bool
    exact: bool
    by: str


def scored(answer: str, expected: str) -> Score:
    """Judge an answer by the first rule that holds."""
    for form, held_in in FORMS.items():
        if (wanted := held_in(expected)) is not None:
            is_right = held_in(answer) == wanted
            is_same = answer.strip() == expected.strip()
            return Score(is_right, is_right and is_same, form * is_right)
    exact = is_exact(answer, expected)
    rules = (("words", matches), ("number", same_number), ("overlap", same_text))
    by = next((name for name, holds in rules if holds(answer, expected)), "")
    return Score(bool(by), exact, by)


def judged(
    said: Mapping[tuple[str, str], str], expected: Mapping[str, str]
) -> dict[tuple[str, str], bool]:
    """Whether each answer is right, both by column and question; expected by question."""
    return {at: scored(text, expected[at[1]]).is_right for at, text in said.items()}


def normalised(text: str) -> str:
    """Words in small letters without accents, one space between: what two answers share.

    A number below zero keeps its sign; a dash between two numbers or before a word is none.
    """
    bare = unicodedata.normalize("NFKD", text.casefold())
    kept = "".join(sign for sign in bare if not unicodedata.combining(sign))
    return " ".join(_WORD.findall(kept)).replace(_MINUS, "-")


def matches(answer: str, expected: str) -> bool:
    """Whether the expected words stand in the answer as whole words, in their order.

    An expected answer of signs alone, such as "%", must stand there as it is.
    """
    wanted = normalised(expected)
    if not wanted:
        return bool(expected.strip()) and expected.strip() in answer
    return f" {wanted} " in f" {normalised(answer)} "


def is_exact(answer: str, expected: str) -> bool:
    """Whether the answer says the expected words and nothing else."""
    return matches(answer, expected) and normalised(answer) == normalised(expected)


def same_number(answer: str, expected: str) -> bool:
    """Whether a number of the answer is the expected one at the precision in which it is given.

    "1,250" is 1250; 3.142 is the expected 3.14; six is 6. Of an expected text with a unit the words
    must stand in the answer too.
    """
    found = NUMBER.fullmatch(expected.strip()) or NUMBER.match(expected.strip())
    if found is None or (wanted := number_of(found.group())) is None:
        return False
    rest = expected.strip()[found.end() :].strip()
    if rest and not matches(answer, rest):
        return False
    half = Decimal(1).scaleb(int(wanted.as_tuple().exponent)) / 2
    said = [number_of(one) for one in NUMBER.findall(answer)]
    said += [Decimal(WORDS.index(one)) for one in normalised(answer).split() if one in WORDS]
    return any(one is not None and abs(one - wanted) < half for one in said)


def number_of(text: str) -> Decimal | None:
    """A number as people write it: with marks between thousands, a point or comma before decimals.

    One comma with three digits behind it stands between thousands, since answers are in English.
    """
    bare = re.sub(r"[\u00a0\u202f']", "", text).rstrip(".,")
    if re.fullmatch(r"[-+]?\d{1,3}(,\d{3})+(\.\d+)?", bare):
        bare = bare.replace(",", "")
    elif re.fullmatch(r"[-+]?\d{1,3}(\.\d{3}){2,}(,\d+)?", bare):
        bare = bare.replace(".", "")
    try:
        return Decimal(bare.replace(",", "."))
    except InvalidOperation:
        return None


def object_in(text: str) -> dict[str, str] | None:
    """The first JSON object that a text holds, its names and values as words; None without one."""
    at = text.find("{")
    if at < 0:
        return None
    try:
        found, _ = json.JSONDecoder().raw_decode(text[at:])
    except (ValueError, RecursionError):
        return None
    return {normalised(name): normalised(str(value)) for name, value in found.items()}


def table_in(text: str) -> list[list[str]] | None:
    """The rows of the first table of a text, their cells as words; None without one.

    Two lines or more, one below the other, with | between their cells; a line of dashes is no row.
    """
    rows: list[list[str]] = []
    for line in text.splitlines():
        if "|" in line:
            rows += [] if _RULE.fullmatch(line) else [_cells(line)]
        elif len(rows) > 1:
            break
        else:
            rows = []
    return rows if len(rows) > 1 else None


def _cells(line: str) -> list[str]:
    cells = line.strip().removeprefix("|").removesuffix("|").split("|")
    return [normalised(cell) or cell.strip() for cell in cells]


# What may be expected in a form of its own, and how it is read.
FORMS: dict[str, Callable[[str], object]] = {"object": object_in, "table": table_in}


def has_form(expected: str) -> bool:
    """Whether only its form and what stands in it can be right: there is nothing to weigh."""
    return any(held_in(expected) is not None for held_in in FORMS.values())


def same_text(answer: str, expected: str) -> bool:
    """Whether an answer shares most of its words with a long expected one."""
    return len(normalised(expected).split()) >= LONG and token_f1(answer, expected) >= ENOUGH


def token_f1(answer: str, expected: str) -> float:
    """The harmonic mean of precision and recall over words, as often as they stand there.

    Source: SQuAD (arXiv 1606.05250), section 6.1.
    """
    said, wanted = (Counter(normalised(text).split()) for text in (answer, expected))
    shared = (said & wanted).total()
    return 2 * shared / (said.total() + wanted.total()) if shared else 0.0
