"""The kinds and slices of questions that a report card makes by itself. Knows no question."""

from __future__ import annotations

SEEN = "seen"  # by the bridges
GENERAL, PUBLIC = "general", "public"  # what the anchor could do before
VERBATIM, DOCUMENTS = "verbatim", "documents"  # what stands in a document word for word
CANARY, PLANTED, NOT_PLANTED = "canary", "planted", "not_planted"  # made-up secrets
OTHER_CORPUS, NOT_LEARNED = "other_corpus", "not_learned"  # what nobody here was taught
COUNTERFACTUAL = "counterfactual"  # facts as edited documents state them
LM_EVAL = "lm_eval"  # tasks of a folder, each a kind of its own
LEAKS = frozenset({VERBATIM, CANARY, OTHER_CORPUS})  # who is right here says too much
MADE = frozenset({GENERAL, COUNTERFACTUAL, LM_EVAL}) | LEAKS


def family(kind: str) -> str:
    """What a kind belongs to: "counterfactual" for "counterfactual:recall", else itself."""
    begun, colon, _ = kind.partition(":")
    return begun if colon and begun in (COUNTERFACTUAL, LM_EVAL) else kind
