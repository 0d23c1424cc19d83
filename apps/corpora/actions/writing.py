"""Writes questions with their answers from what a corpus's documents state, by rules alone.

Looks at so many documents as a page can wait for: bridges need some hundred things to learn from,
not all of them. Knows no model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from apps.corpora.actions.access import must
from apps.corpora.actions.questions import ExampleReceipt, add_examples
from apps.corpora.models import Corpus, Document, Right
from calm_engine.errors import EngineError, InputError
from calm_engine.selfstudy import Source
from calm_engine.selfstudy.tasks import tasks_of
from counterpoint.storage import blobs

if TYPE_CHECKING:
    from apps.accounts.models import User

READ, OF_EACH = 400_000, 60_000  # characters in all and of one document: seconds, not minutes
UNANSWERABLE = 0.2  # questions about nobody for each thing, where they are wanted


@dataclass(frozen=True)
class Written:
    """What was written.

    kinds     questions of each kind
    dropped   what was left out, by reason
    read, of  documents looked at, and in all
    """

    receipt: ExampleReceipt
    kinds: dict[str, int]
    dropped: dict[str, int]
    read: int
    of: int


def write_examples(corpus: Corpus, *, refusals: bool = False, by: User) -> Written:
    """Write them and add them as a curator's own; what is known already is not added twice.

    refusals   also ask about things that no document names, and answer that nobody knows
    Raises InputError("examples.nothing") where no document looked at states a fact.
    """
    must(corpus, by, Right.CURATE)
    documents = list(_some(corpus))
    told = tasks_of(documents, unanswerable=UNANSWERABLE if refusals else 0.0)
    if not told.rows:
        raise InputError("examples.nothing", read=len(documents))
    receipt = add_examples(corpus, told.rows, by=by)
    count = corpus.documents.ready().count()
    return Written(receipt, told.by_kind(), told.dropped, len(documents), count)


def _some(corpus: Corpus) -> Iterator[Source]:
    """Documents as models learn them, in an order that has nothing to do with their words."""
    left = READ
    for row in corpus.documents.ready().order_by("original_digest").iterator(chunk_size=100):
        if left <= 0:
            return
        text = _text(row)
        left -= len(text)
        yield Source(row.original_digest, row.title, text)


def _text(row: Document) -> str:
    try:
        with blobs().open("text", row.training_digest) as file:
            return file.read(OF_EACH).decode(errors="ignore")
    except EngineError:
        return ""  # a lost file is the doctor's to tell
