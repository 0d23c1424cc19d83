"""Keys and passwords by the forms that their issuers publish."""

from __future__ import annotations

import re
from collections.abc import Iterator

Span = tuple[str, int, int]  # kind, start, end

PRIVATE = re.compile(
    r"-----BEGIN (?:[A-Z]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"
    r"[\s\S]{0,8000}?-----END (?:[A-Z]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"
)
ACCESS = [
    re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),  # Amazon
    re.compile(r"\bgh[pousr]_[A-Za-z0-9]{36,255}\b"),  # GitHub
    re.compile(r"\bgithub_pat_\w{22,255}\b"),
    re.compile(r"\bglpat-[\w-]{20,64}"),  # GitLab
    re.compile(r"\bxox[abeoprs]-[\w-]{10,255}"),  # Slack
    re.compile(r"\bAIza[\w-]{35}\b"),  # Google
    re.compile(r"\bsk-(?:[a-z]+-)?[\w-]{32,255}\b"),
    re.compile(r"\bsk_live_[0-9A-Za-z]{24,255}\b"),  # Stripe
    re.compile(r"\beyJ[\w-]{10,2000}\.eyJ[\w-]{10,4000}\.[\w-]{10,2000}"),  # JSON web token
]
# A name that says what it is, a sign, a value. Placeholders such as <password> are none.
NAMED = re.compile(
    r"(?i)\b(?:pass(?:word|wd|phrase)|passwort|kennwort|secret|api[_-]?key|access[_-]?token)"
    r"[\"']?\s{0,3}[:=]\s{0,3}[\"']?(?P<value>[^\s\"'<>{}\[\]$|*]{6,200})"
)
IN_ADDRESS = re.compile(
    r"\b[a-z][a-z0-9+.-]{1,20}://[^\s:/@]{1,60}:(?P<value>[^\s:/@<>{}$]{3,100})@"
)


def spans(text: str) -> Iterator[Span]:
    for match in PRIVATE.finditer(text):
        yield "private_key", match.start(), match.end()
    for pattern in ACCESS:
        for match in pattern.finditer(text):
            yield "access_key", match.start(), match.end()
    for match in NAMED.finditer(text):
        if looks_drawn(match["value"]):
            yield "password", *match.span("value")
    for match in IN_ADDRESS.finditer(text):
        yield "password", *match.span("value")


def looks_drawn(value: str) -> bool:
    """Whether this is no word of a sentence: a digit or a sign in it, or both cases."""
    plain = value.rstrip(".,;)")
    return len(plain) >= 6 and (
        any(not c.isalpha() for c in plain)
        or (plain != plain.lower() and plain[1:] != plain[1:].lower())
    )
