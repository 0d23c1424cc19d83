"""Questions made of what prose says: how sentences go on, what sections are about, what lists hold.

Manuals state few facts in tables; most of what they say stands in sentences. Takes what `claims`
finds, one wording forwards and one back. Knows no model.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from calm_engine.selfstudy.claims import claims_of
from calm_engine.selfstudy.filters import sifted
from calm_engine.selfstudy.nouns import WORDS, Fact, Source, Wordings

DEFINITION, SECTION, LIST = "definition", "section", "list"
PROSE = (DEFINITION, SECTION, LIST)
MOST = 300  # of each kind asked about: more teach a bridge nothing new
SUBJECT = 120  # characters by which a list is known, whose subject has no name

Row = dict[str, str]


def retold(
    documents: Sequence[Source], facts: Sequence[Fact], chance: random.Random
) -> tuple[list[Row], int]:
    """The questions, and how much is asked nothing, since a question has several answers.

    facts   found in the same documents: a sentence that repeats one says nothing more
    """
    told = claims_of(documents, ((fact.entity, fact.value) for fact in facts))
    found = [one for one in told.taught if one[0].kind in PROSE]
    kept, _ = sifted(found)
    lost = {one[0].about for one in found} - {one[0].about for one in kept}
    rows: list[Row] = []
    for kind in PROSE:
        of_kind = [one for one in kept if one[0].kind == kind]
        for wordings in chance.sample(of_kind, min(MOST, len(of_kind))):
            rows += _asked(wordings, chance)
    return rows, len(lost)


def _asked(wordings: Wordings, chance: random.Random) -> Iterator[Row]:
    """One question forwards and one back, where there are any; both are about one subject."""
    ways = [[one for one in wordings if one.form == form] for form in ("question", "inverse")]
    chosen = [chance.choice(way) for way in ways if way]
    named = next((one.said for one in chosen if one.form == "inverse"), "")
    for one in chosen:
        answer = one.said.strip()
        yield {
            "question": one.given,
            "answer": answer,
            "expected": answer,
            "entity": named or one.given[:SUBJECT],
            "value": answer if one.form == "question" and len(answer.split()) <= WORDS else "",
            "kind": one.kind,
        }
