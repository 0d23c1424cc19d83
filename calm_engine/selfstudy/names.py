"""What may name an entity or an attribute, and what may be a value: no code, no half a sentence.

Manuals are full of lines with a colon in them that state nothing: listings, options, captions. A
question made of one is worse than none. Looks at signs and at a few small words of English, German,
French, Spanish and Italian; what it does not know it lets pass. Words of one language that name
things in another (die, hat, Los Angeles) are not among them.
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
_VERBS = """
    is are was were has have had must should can may will
    ist sind waren wird werden wurde wurden haben muss müssen kann können soll sollte darf dürfen
    est sont était étaient doit doivent peut peuvent
    es está están fue debe deben puede pueden tiene tienen
    è sono deve devono può possono viene vengono
"""
_SENTENCE = re.compile(rf"\s(?:{'|'.join(_VERBS.split())})\s")
_MORE_FOLLOWS = """
    a an and are as at between by for from in into is of on onto or such than that the their to via
    which who whose with within your
    und oder der das den dem des ein eine einem einen einer für mit von vom zu zum zur bei beim aus
    auf im als wie ist sind nach über unter durch ohne
    et ou le la les des du au aux un une de pour avec dans sur que qui est sont
    el los las del para por en es
    il lo gli di della dei delle da nel nella che
"""
_POINTS_BACK = """
    the this that these those it there if when because while we you i he she they and or but so
    please see
    der das diese dieser dieses diesem diesen es wenn falls weil während wir ihr sie und oder aber
    bitte siehe hier dort dann damit dabei
    cette ces il elle ils elles quand nous vous mais donc voir si
    este esta estos estas cuando nosotros usted pero véase
    questo questa questi queste quando noi voi ma vedi
"""
_UNFINISHED = frozenset(_MORE_FOLLOWS.split())
_HALF = frozenset(_POINTS_BACK.split())  # with these half a sentence begins
_LABEL = re.compile(
    r"(?:note|tip|hint|warning|caution|danger|important|remarks?|contents|table of contents|index"
    r"|see also|overview|general|details|properties|specifications?|technical data|data sheet"
    r"|hinweis|tipp|achtung|warnung|vorsicht|wichtig|inhalt|inhaltsverzeichnis|übersicht"
    r"|allgemeines|eigenschaften|technische daten|datenblatt"
    r"|remarque|attention|avertissement|sommaire|nota|advertencia|aviso|atención|índice"
    r"|attenzione|avvertenza|indice)\W*"
    r"|(?:table|figure|fig\.|listing|example|tabelle|abbildung|beispiel|tableau|exemple|figura|tabla"
    r"|ejemplo|tabella|esempio) [A-Z]?[\d.-]+.*"
    r"|(?:copyright|\(c\)|©) .*",
    re.IGNORECASE,
)


def is_label(told: str) -> bool:
    """Whether a short line only says what kind of thing stands below it: Note, Table 3."""
    return _LABEL.fullmatch(told) is not None


def is_entity(told: str) -> bool:
    """Whether this may name what facts are about."""
    return 0 < len(told) <= MAX_ENTITY and _is_name(told) and not is_unfinished(told)


def is_unfinished(told: str) -> bool:
    """Whether more has to follow: the manner in."""
    return told.split()[-1] in _UNFINISHED


def is_attribute(told: str) -> bool:
    """Whether this may name what an entity has; a unit in brackets may stand behind it."""
    bare = _UNIT.sub("", told)
    if not 0 < len(told) <= MAX_ATTRIBUTE or not _is_name(bare):
        return False
    if bare[0].isdigit():
        return _NUMBERS.match(bare) is not None
    signs = sum(sign.isalnum() for sign in bare)
    return signs >= 2 and not _begins_half_a_sentence(bare.split()[0])


def _begins_half_a_sentence(word: str) -> bool:
    is_short_form = len(word) > 1 and word.isupper()  # the IT of a department
    return not is_short_form and word.lower() in _HALF


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
