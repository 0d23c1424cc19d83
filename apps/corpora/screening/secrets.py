"""Keys and passwords by the forms that their issuers publish."""

from __future__ import annotations

import re
from collections.abc import Iterator

Span = tuple[str, int, int]  # kind, start, end

Marks = tuple[str, ...]

# Beside each pattern the words of which one stands in whatever it fits: looking for words costs a
# hundredth of looking for a pattern, and most texts have none.
PRIVATE: tuple[Marks, re.Pattern[str]] = (
    ("PRIVATE KEY",),
    re.compile(
        r"-----BEGIN (?:[A-Z]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"
        r"[\s\S]{0,8000}?-----END (?:[A-Z]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"
    ),
)
ACCESS: list[tuple[Marks, re.Pattern[str]]] = [
    (("AKIA", "ASIA"), re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b")),  # Amazon
    (
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"),  # GitHub
        re.compile(r"\bgh[pousr]_[A-Za-z0-9]{36,255}\b"),
    ),
    (("github_pat_",), re.compile(r"\bgithub_pat_\w{22,255}\b")),
    (("glpat-",), re.compile(r"\bglpat-[\w-]{20,64}")),  # GitLab
    (("xox",), re.compile(r"\bxox[abeoprs]-[\w-]{10,255}")),  # Slack
    (("AIza",), re.compile(r"\bAIza[\w-]{35}\b")),  # Google
    (("sk-",), re.compile(r"\bsk-(?:[a-z]+-)?[\w-]{32,255}\b")),
    (("sk_live_",), re.compile(r"\bsk_live_[0-9A-Za-z]{24,255}\b")),  # Stripe
    # JSON web token
    ((".eyJ",), re.compile(r"\beyJ[\w-]{10,2000}\.eyJ[\w-]{10,4000}\.[\w-]{10,2000}")),
]
# A name that says what it is, a sign, a value. Placeholders such as <password> are none.
NAMED: tuple[Marks, re.Pattern[str]] = (
    ("passw", "passphrase", "kennwort", "secret", "key", "token"),  # casefolded
    re.compile(
        r"(?i)\b(?:pass(?:word|wd|phrase)|passwort|kennwort|secret|api[_-]?key|access[_-]?token)"
        r"[\"']?\s{0,3}[:=]\s{0,3}[\"']?(?P<value>[^\s\"'<>{}\[\]$|*]{6,200})"
    ),
)
IN_ADDRESS: tuple[Marks, re.Pattern[str]] = (
    ("://",),
    re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://[^\s:/@]{1,60}:(?P<value>[^\s:/@<>{}$]{3,100})@"),
)


def spans(text: str) -> Iterator[Span]:
    for match in fitting(text, *PRIVATE):
        yield "private_key", match.start(), match.end()
    for marks, pattern in ACCESS:
        for match in fitting(text, marks, pattern):
            yield "access_key", match.start(), match.end()
    for match in fitting(text, *NAMED):
        if looks_drawn(match["value"]):
            yield "password", *match.span("value")
    for match in fitting(text, *IN_ADDRESS):
        yield "password", *match.span("value")


def fitting(text: str, marks: Marks, pattern: re.Pattern[str]) -> Iterator[re.Match[str]]:
    """Where the pattern fits, if one of its marks stands in the text at all."""
    among = text.casefold() if pattern.flags & re.IGNORECASE else text
    if any(mark in among for mark in marks):
        yield from pattern.finditer(text)


def looks_drawn(value: str) -> bool:
    """Whether this is no word of a sentence: a digit or a sign in it, or both cases."""
    plain = value.rstrip(".,;)")
    return len(plain) >= 6 and (
        any(not c.isalpha() for c in plain)
        or (plain != plain.lower() and plain[1:] != plain[1:].lower())
    )
