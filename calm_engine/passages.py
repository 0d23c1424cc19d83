"""How passages are put before a question: the same words in a report card, a chat and a program."""

from __future__ import annotations

from collections.abc import Sequence

# The question on a line of its own: its tokens are those of a question that stands alone.
QUESTION = "\n\nQuestion:\n"
ASKED = "Answer the question from these passages.\n\n{passages}" + QUESTION + "{question}"


def with_passages(question: str, passages: Sequence[str]) -> str:
    """The question as a model is asked that may read; without passages as it is."""
    if not passages:
        return question
    return ASKED.format(passages="\n\n".join(passages), question=question)
