"""Personal data: a pattern proposes, a check digit or a library of number plans confirms.

Addresses, names and free descriptions are not looked for: without a language model they cannot be
told from the words of any manual, and a queue of false alarms is one that nobody works.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import phonenumbers
from stdnum import iban, luhn
from stdnum.ch import ssn as swiss
from stdnum.de import idnr as german
from stdnum.es import dni, nie
from stdnum.fi import hetu as finnish
from stdnum.fr import nir as french
from stdnum.it import codicefiscale as italian
from stdnum.us import ssn as american

Span = tuple[str, int, int]  # kind, start, end

EMAIL = re.compile(
    r"(?<![\w.+-])[A-Za-z0-9][\w.+-]{0,63}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+\b"
)
PHONE = re.compile(r"(?<![\w+])\+\d[\d ().\-/]{6,22}\d(?!\d)")
IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b")
CARD = re.compile(r"(?<![\w.-])[3-6]\d{3}[ -]?\d{4,6}[ -]?\d{4,5}(?:[ -]?\d{1,4})?(?![\w-])")
# Numbers without letters pass a check digit by chance one time in ten: a word must stand near.
NATIONAL: list[tuple[re.Pattern[str], Callable[[str], bool], re.Pattern[str] | None]] = [
    (re.compile(r"\b[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z]\b"), italian.is_valid, None),
    (re.compile(r"\b\d{8}-?[A-Z]\b"), dni.is_valid, None),
    (re.compile(r"\b[XYZ]-?\d{7}-?[A-Z]\b"), nie.is_valid, None),
    (re.compile(r"\b\d{6}[-+A]\d{3}[0-9A-Y]\b"), finnish.is_valid, None),
    (re.compile(r"\b756\.\d{4}\.\d{4}\.\d{2}\b"), swiss.is_valid, None),
    (
        re.compile(r"\b[12] ?\d{2} ?\d{2} ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2}\b"),
        french.is_valid,
        None,
    ),
    (
        re.compile(r"\b\d{3}-\d{2}-\d{4}\b"),
        american.is_valid,
        re.compile(r"social|ssn|security", re.IGNORECASE),
    ),
    (
        re.compile(r"\b\d{2} ?\d{3} ?\d{3} ?\d{3}\b"),
        german.is_valid,
        re.compile(r"steuer|idnr|identifikation|tax", re.IGNORECASE),
    ),
]
# Whatever fits a pattern above has two digits side by side and is shorter than this: ten patterns
# that go through every letter cost more than all else that is asked of most texts.
DIGITS, WIDE = re.compile(r"\d\d+"), 48
NEAR = 60  # characters before a number in which its word must stand


def spans(text: str) -> Iterator[Span]:
    """What identifies a person first, then what reaches one."""
    numbered = list(stretches(text))
    for match in fitting(IBAN, text, numbered):
        if (end := longest_iban(match)) is not None:
            yield "iban", match.start(), end
    for match in fitting(CARD, text, numbered):
        digits = re.sub(r"\D", "", match[0])
        if 13 <= len(digits) <= 19 and len(set(digits)) > 1 and luhn.is_valid(digits):
            yield "card", match.start(), match.end()
    for pattern, is_valid, word in NATIONAL:
        for match in fitting(pattern, text, numbered):
            near = text[max(0, match.start() - NEAR) : match.start()]
            if is_valid(match[0]) and (word is None or word.search(near)):
                yield "national_id", match.start(), match.end()
    if "@" in text:
        yield from (("email", *match.span()) for match in EMAIL.finditer(text))
    if "+" in text:
        yield from (
            ("phone", *match.span()) for match in PHONE.finditer(text) if is_phone(match[0])
        )


def stretches(text: str) -> Iterator[tuple[int, int]]:
    """Where numbers may be, as (start, end): around every two digits, none of them touching."""
    start, end = 0, -1
    for match in DIGITS.finditer(text):
        if end < match.start() - WIDE:
            if end > 0:
                yield start, end
            start = max(0, match.start() - WIDE)
        end = match.end() + WIDE
    if end > 0:
        yield start, end


def fitting(
    pattern: re.Pattern[str], text: str, stretches: list[tuple[int, int]]
) -> Iterator[re.Match[str]]:
    """Where the pattern fits in these stretches."""
    for start, end in stretches:
        yield from pattern.finditer(text, start, end)


def longest_iban(match: re.Match[str]) -> int | None:
    """Where the account number ends: words in capitals behind it fit the pattern too."""
    said = match[0]
    while len(said) >= 15:
        if iban.is_valid(said):
            return match.start() + len(said)
        said = said[:-1].rstrip()
    return None


def is_phone(said: str) -> bool:
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(said))
    except phonenumbers.NumberParseException:
        return False
