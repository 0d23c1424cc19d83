"""What people would try first: look passages up, put them before the question. The rival of a card.

Passages are ranked by their words (BM25) and, where an encoder is given, also by its vectors; two
rankings become one by the places that a passage has in them. Exact search: no index approximates.
Sources: S. Robertson, H. Zaragoza, The Probabilistic Relevance Framework (2009); reciprocal rank
fusion: G. Cormack et al., SIGIR 2009.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import bm25s

from calm_engine.embedding import Embedder
from calm_engine.errors import InputError
from calm_engine.selfstudy import Source
from calm_engine.selfstudy.saying import passages_of

SIZES = (1, 2, 4)  # how many passages are tried
CANDIDATES = 50  # of each ranking
DAMPED = 60  # of reciprocal rank fusion


class Library:
    """The passages of some documents, to be looked up.

    embedder   folder of an encoder; None: passages are found by their words alone
    Raises InputError("documents.empty") when there is no passage, what `Embedder` raises.
    """

    def __init__(self, documents: Iterable[Source], embedder: str | Path | None = None) -> None:
        found = (f"{one.given}{one.said}" for each in documents for one in passages_of(each))
        self.passages = list(dict.fromkeys(found))
        if not self.passages:
            raise InputError("documents.empty", "no document holds any text")
        self._found: dict[str, list[int]] = {}  # ranked passages by question
        self._words = bm25s.BM25()
        self._words.index(_tokens(self.passages), show_progress=False)
        self._embedder = Embedder(embedder) if embedder else None
        self._vectors = self._embedder.encode(self.passages) if self._embedder else None

    def find(self, question: str, most: int) -> list[str]:
        """The best passages for a question, best first; each question is looked up once."""
        if question not in self._found:
            self._found[question] = self._ranked(question)
        return [self.passages[at] for at in self._found[question][:most]]

    def _ranked(self, question: str) -> list[int]:
        rankings = [self._by_words(question)]
        if self._embedder is not None and self._vectors is not None:
            near = self._vectors @ self._embedder.encode([question])[0]
            rankings.append(near.topk(min(CANDIDATES, len(near))).indices.tolist())
        scores: dict[int, float] = {}
        for ranking in rankings:
            for place, at in enumerate(ranking):
                scores[at] = scores.get(at, 0.0) + 1 / (DAMPED + place)
        return sorted(scores, key=lambda at: (-scores[at], at))

    def _by_words(self, question: str) -> list[int]:
        tokens = _tokens([question])
        if not tokens.vocab:
            return []
        most = min(CANDIDATES, len(self.passages))
        found, scores = self._words.retrieve(tokens, k=most, show_progress=False)
        rows = zip(found[0].tolist(), scores[0].tolist(), strict=True)
        return [at for at, score in rows if score > 0]


def _tokens(texts: Sequence[str]) -> Any:
    return bm25s.tokenize(list(texts), stopwords=None, show_progress=False)
