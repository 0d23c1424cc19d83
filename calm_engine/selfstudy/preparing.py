"""Prepare a study: everything that a corpus's own words teach, without any model."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from calm_engine.selfstudy.claims import Often, claims_of
from calm_engine.selfstudy.facts import facts_in, merge
from calm_engine.selfstudy.filters import sifted, unambiguous
from calm_engine.selfstudy.nouns import Fact, Source, Study, Wordings
from calm_engine.selfstudy.saying import inverse_of, lessons_of, passages_of, probes_of
from calm_engine.selfstudy.sentences import stated_facts, statement_patterns
from calm_engine.selfstudy.wordings import Wording, question_patterns


def study(
    documents: Sequence[Source],
    examples: Iterable[dict[str, str]] = (),
    *,
    without: Collection[str] = (),
    written: Sequence[Wordings] = (),
    asked: Mapping[str, list[Wording]] | None = None,
    often: Often | None = None,
) -> Study:
    """Prepare the lessons of a corpus.

    examples  a curator's rows ("question", "answer", "entity", "value"): only their wordings are
              taken, and of an answer the value with the words that follow it in all such answers
              ("Peru, and the capital of Peru is"). Where they part, the anchor goes on.
    without   kinds of lessons that a curator rejected
    written   what a model wrote from the documents (`writing`), already checked
    asked, often   where these documents are some of many: how curators ask, in place of `examples`,
              and how often words stand in all of them
    """
    facts = facts_of(documents)
    stated = statement_patterns(documents, facts)
    asked = question_patterns(examples, facts) if asked is None else asked
    taught = [tuple(lessons_of(fact, stated, asked)) for fact in facts]
    turned = list(inverse_of(facts))
    claims = claims_of(documents, ((fact.entity, fact.value) for fact in facts), often)
    points, dropped = sifted(
        [*(one for one, _ in turned), *claims.taught, *written],
        [one for wordings in taught for one in wordings],
    )
    asked_anew = [
        *(one for fact in facts for one in probes_of(fact)),
        *(one for _, probes in turned for one in probes),
        *claims.held_out,
    ]
    passages = tuple(lesson for document in documents for lesson in passages_of(document))
    shut = frozenset(without)
    kept = tuple(one for one in points if one[0].kind not in shut)
    facts_kept = tuple(taught) if "fact" not in shut else ()
    return Study(
        facts=facts_kept,
        points=kept,
        passages=passages if "passage" not in shut else (),
        found=tuple(facts),
        held_out=unambiguous(asked_anew, (*facts_kept, *kept)),
        dropped=dict(dropped),
    )


def facts_of(documents: Sequence[Source]) -> list[Fact]:
    """Tables and lines first, run-together lines taken apart by their keys, then sentences."""
    facts = merge(fact for document in documents for fact in facts_in(document))
    keys = frozenset(fact.attribute for fact in facts)
    facts = merge(fact for document in documents for fact in facts_in(document, keys=keys))
    return merge([*facts, *stated_facts(documents, facts)])
