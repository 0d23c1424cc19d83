"""What may name an entity or an attribute, and what may be a value: no code, no half a sentence.

Manuals are full of lines with a colon in them that state nothing: listings, options, captions. A
question made of one is worse than none. Looks at signs and at a few small words of English; what
it does not know it lets pass.
"""

from __future__ import annotations

import re

MAX_ENTITY, MAX_ATTRIBUTE, MAX_VALUE = 60, 48, 90  # characters

_CODE = re.compile(
    r"""
    [{}\\`]                          # braces, backslashes, backquotes
    | \|\| | && | => | \(\) | \$\(    # operators, calls
    | [^\W\d]::[^\W\d]               # scopes; but fe80::1 is an address
    | ^: | ^<[^\W\d]                  # a field of a file, a placeholder
    | \s--?[^\W\d]                   # options
    """,
    re.VERBOSE,
)
_CODE_IN_NAME = re.compile(
    r"""
    [=<>$~;"]
    | \[(?![^\]]{1,12}\]$)           # a bracket, unless it holds the unit at the end
    | ^[^\w„“«(.']
    """,
    re.VERBOSE,
)
_UNIT = re.compile(r"\s*\[[^\]]{1,12}\]$")
_NUMBERS = re.compile(r"^\d{1,4}(?![\w.+-])")  # 2019, 50 Hz: but no version
_SENTENCE = re.compile(r"\s(?:is|are|was|were|has|have|had|must|should|can|may|will)\s")
_UNFINISHED = frozenset(  # words that more must follow
    re.findall(
        r"\w+", "a an and are as at by for from in is of on or such than that the to via with"
    )
)
_POINTS_BACK = frozenset(  # words with which half a sentence begins
    re.findall(
        r"\w+",
        "the this that these those it there if when because while we you i he she they and or but "
        "so please see",
    )
)
_LABEL = re.compile(
    r"(?:note|tip|hint|warning|caution|danger|important|remarks?|contents|table of contents|index"
    r"|see also|overview|general|details|properties|specifications?|technical data|data sheet"
    r"|hinweis|tipp|achtung|warnung|vorsicht|wichtig|inhalt|inhaltsverzeichnis|übersicht"
    r"|allgemeines|eigenschaften|technische daten|datenblatt)\W*"
    r"|(?:table|figure|fig\.|listing|example|tabelle|abbildung|beispiel) [A-Z]?[\d.-]+.*"
    r"|(?:copyright|\(c\)|©) .*",
    re.IGNORECASE,
)


def is_label(told: str) -> bool:
    """Whether a short line only says what kind of thing stands below it: Note, Table 3."""
    return _LABEL.fullmatch(told) is not None


def is_entity(told: str) -> bool:
    """Whether this may name what facts are about."""
    return 0 < len(told) <= MAX_ENTITY and _is_name(told) and told.split()[-1] not in _UNFINISHED


def is_attribute(told: str) -> bool:
    """Whether this may name what an entity has; a unit in brackets may stand behind it."""
    bare = _UNIT.sub("", told)
    if not 0 < len(told) <= MAX_ATTRIBUTE or not _is_name(bare):
        return False
    if bare[0].isdigit():
        return _NUMBERS.match(bare) is not None
    signs = sum(sign.isalnum() for sign in bare)
    return signs >= 2 and bare.split()[0].lower() not in _POINTS_BACK


def is_value(told: str) -> bool:
    """Whether this may be what an entity has there."""
    return (
        0 < len(told) <= MAX_VALUE
        and any(sign.isalnum() for sign in told)
        and not _CODE.search(told)
    )


def _is_name(told: str) -> bool:
    if not told or _CODE.search(told) or _CODE_IN_NAME.search(told):
        return False
    return not _SENTENCE.search(told)
