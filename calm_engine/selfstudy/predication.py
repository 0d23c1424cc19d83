"""English sentences parted into what they speak of and what they say of it. Knows no document.

Made for questions: a subject must tell by itself what is meant, and what is said must be whole, or
there is nothing. Looks at signs and small words, so of other languages it finds next to nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from calm_engine.selfstudy.names import is_unfinished
from calm_engine.selfstudy.words import plain

SHORTEST, LONGEST = 3, 12  # words of what is said of a subject
SUBJECT = 6  # words of a subject at most

# Behind a word that is as often a noun none of these stands: the lists are, the control of.
_LINK = re.compile(
    r" (?P<link>(?:must|should|may|can|shall|will)(?: not)?(?: be)?|cannot(?: be)?"
    r"|(?:is|are|was|were|has|have)(?: not)?"
    r"|(?:means?|contains?|specif(?:y|ies)|describes?|lists|includes?|provides?|defines?|requires?"
    r"|stores?|controls?|returns?|consists? of|refers? to)"
    r"(?! (?:is|are|was|were|has|have|can|may|must|should|shall|will|of|for|in|on|and|or)\b)) "
)
_WORDS_NO_SUBJECT_BEGINS_WITH = """
    it its this that these those they there here he she we you i what which who whose when where why
    how if for in on at as by of to from with without because while since after before however also
    and or but so then thus such some any all each every no one another both other others most many
    few several note see please unless although though once until even whether whenever given
    assuming maybe perhaps sometimes usually generally typically normally often rarely consequently
    therefore hence otherwise instead moreover furthermore finally technically yet only again anyone
    neither be do make put keep focus
"""
_WORDS_OF_A_CLAUSE = """
    that which who whom whose where when if there latter former
"""
_WORDS_NO_SUBJECT_ENDS_WITH = """
    to not might would could does do did it you they we i he she also no never longer only
    necessarily already now then always
"""
_FIRST_NEVER = frozenset(_WORDS_NO_SUBJECT_BEGINS_WITH.split())
_NEVER = frozenset(_WORDS_OF_A_CLAUSE.split())
_LAST_NEVER = frozenset(_WORDS_NO_SUBJECT_ENDS_WITH.split())
# A comma before a number belongs to a date, a colon before two strokes to an address.
_CUT = re.compile(
    r"\s*(?:,(?!\s?\d)|:(?!//)|[;(]|\s[\u2013\u2014-]\s"
    r"|\s(?P<clause>which|because|if|when|where|unless|but|so that)\s)"
)


@dataclass(frozen=True)
class Predication:
    """What a sentence says of what.

    rest   all that follows the link;  said  of it the part up to its first clause
    """

    subject: str
    link: str
    rest: str
    said: str


def predication_of(sentence: str) -> Predication | None:
    """ "X is ...", "X must ...", if both sides can stand by themselves."""
    match = _LINK.search(sentence)
    if match is None:
        return None
    subject, rest = sentence[: match.start()], sentence[match.end() :]
    said = shortened(rest)
    if not said or not _names_something(subject):
        return None
    return Predication(subject, match["link"], rest, said)


def _names_something(subject: str) -> bool:
    words = plain(subject).split()
    return (
        1 <= len(words) <= SUBJECT
        and words[0] not in _FIRST_NEVER
        and words[-1] not in _LAST_NEVER
        and not _NEVER.intersection(words)
        and not re.search(r"[,;:]", subject)
        and not is_unfinished(subject)
        and _is_paired(subject)
    )


def shortened(told: str) -> str:
    """What is said up to the first clause, if it is whole, and neither too short nor too long."""
    rest = told.rstrip(".! ")
    for cut in _CUT.finditer(rest):
        before = rest[: cut.start()]
        is_short = len(before.split()) < SHORTEST
        if is_short and cut["clause"]:  # what is said stands in the clause
            return ""
        if not is_short and _is_whole(before):
            rest = before
            break
    return rest if SHORTEST <= len(rest.split()) <= LONGEST and _is_whole(rest) else ""


def _is_whole(told: str) -> bool:
    return _is_paired(told) and not is_unfinished(told)


def _is_paired(told: str) -> bool:
    """Whether quotes and brackets that open also close."""
    pairs = (("(", ")"), ("[", "]"), ("\u201c", "\u201d"))
    return told.count('"') % 2 == 0 and all(told.count(a) == told.count(b) for a, b in pairs)
