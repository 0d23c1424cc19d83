"""What a detector says, the detectors in their order, and a text with some of it blacked out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from apps.corpora.screening import personal, secrets


class Group(StrEnum):
    """What a policy is set for: ways to reach a person, what identifies one, what opens a door."""

    CONTACT = "contact"
    IDENTITY = "identity"
    SECRET = "secret"  # noqa: S105  a name, not one


class Kind(StrEnum):
    EMAIL = "email"
    PHONE = "phone"
    IBAN = "iban"
    CARD = "card"
    NATIONAL_ID = "national_id"
    PRIVATE_KEY = "private_key"
    ACCESS_KEY = "access_key"
    PASSWORD = "password"  # noqa: S105  a name, not one

    @property
    def group(self) -> Group:
        if self in (Kind.EMAIL, Kind.PHONE):
            return Group.CONTACT
        if self in (Kind.IBAN, Kind.CARD, Kind.NATIONAL_ID):
            return Group.IDENTITY
        return Group.SECRET


@dataclass(frozen=True, order=True)
class Finding:
    """One passage, by its characters in the text: start included, end not."""

    start: int
    end: int
    kind: Kind


def found(text: str) -> list[Finding]:
    """Every finding in the order of the text; where two overlap, the more serious stays."""
    spans = [
        (start, rank, Finding(start, end, Kind(kind)))
        for rank, find in enumerate((secrets.spans, personal.spans))
        for kind, start, end in find(text)
    ]
    kept: list[tuple[int, Finding]] = []
    for _start, rank, one in sorted(spans):
        if not kept or one.start >= kept[-1][1].end:
            kept.append((rank, one))
        elif (rank, -one.end) < (kept[-1][0], -kept[-1][1].end):
            kept[-1] = (rank, one)
    return [one for _rank, one in kept]


def redacted(text: str, findings: Iterable[Finding], cut: Iterable[tuple[int, int]] = ()) -> str:
    """The text with these passages replaced by what they were, in brackets.

    cut  passages (start, end) that are taken out without a trace; findings in them go with them
    """
    marks = {one: f"[{one.kind.value.replace('_', ' ')} redacted]" for one in findings}
    spans = [(start, -end, "") for start, end in cut]
    spans += [(one.start, -one.end, mark) for one, mark in marks.items()]
    parts, at = [], 0
    for start, minus_end, mark in sorted(spans):
        if -minus_end <= at:
            continue
        parts += [text[at:start], mark]  # what begins within another goes on behind it
        at = -minus_end
    return "".join([*parts, text[at:]])
