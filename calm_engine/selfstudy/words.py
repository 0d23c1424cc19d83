"""Small changes of words that every part of self-study shares."""

from __future__ import annotations

import re


def tag_of(title: str) -> str:
    """The tag of a source: its title on one short line."""
    return " ".join(title.split())[:40] or "untitled"


def lowered(name: str) -> str:
    """An attribute inside a sentence: lower case, but for abbreviations."""
    head, *rest = name.split(" ")
    first = head if len(head) > 1 and head.isupper() else head[:1].lower() + head[1:]
    return " ".join((first, *rest))


def is_or_are(name: str) -> str:
    """The verb that an attribute wants: "are" where its last word looks like many things."""
    last = name.split()[-1]  # an abbreviation stays one thing
    is_many = last[-2:].islower() and last.endswith("s") and not last.endswith(("ss", "us", "is"))
    return "are" if is_many else "is"


def plain(text: str) -> str:
    """Words in small letters with one space between: what two wordings share."""
    return " ".join(re.findall(r"\w+", text.lower()))


def clean(text: str) -> str:
    """One line without the marks of Markdown around it."""
    return " ".join(text.replace("\\", "").split()).strip("*_`# ").strip()
