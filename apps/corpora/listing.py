"""The list of a corpus's documents: filters from the address, and counts beside each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Q, QuerySet

from apps.corpora.models import Corpus, Document, DocumentState
from apps.tenants.typed import storable, to_find
from counterpoint.counting import COUNTED, counted, said


@dataclass(frozen=True)
class Wanted:
    """What a person looks for among documents; empty means all of it."""

    state: str = ""
    language: str = ""
    name: str = ""

    @classmethod
    def from_query(cls, told: Mapping[str, Any]) -> Wanted:
        state = str(told.get("state", ""))
        return cls(
            state=state if state in DocumentState.values else "",
            language=storable(str(told.get("language", ""))[:8]),
            name=to_find(told.get("q", "")),
        )

    def of(self, corpus: Corpus) -> QuerySet[Document]:
        rows: QuerySet[Document] = Document.objects.filter(corpus=corpus)
        if self.state:
            rows = rows.filter(state=self.state)
        else:  # what was deleted has no name left to be looked for
            rows = rows.exclude(state=DocumentState.DELETED)
        if self.language:
            rows = rows.filter(language=self.language)
        if self.name:
            rows = rows.filter(Q(title__icontains=self.name) | Q(path__icontains=self.name))
        return rows

    @property
    def is_all(self) -> bool:
        return self == Wanted()


def narrowed(corpus: Corpus, wanted: Wanted) -> tuple[QuerySet[Document], str]:
    """The documents that are looked for, and how many there are.

    Letters of a name are sought in every document; the few that have them are then known by id.
    """
    rows = wanted.of(corpus)
    if not wanted.name:
        return rows, said(*counted(rows))
    keys = list(rows.order_by().values_list("pk", flat=True)[: COUNTED + 1])
    few = rows.model.objects.filter(pk__in=keys) if len(keys) <= COUNTED else rows
    return few, said(len(keys))


def counts(corpus: Corpus) -> list[tuple[str, str, str]]:
    """(state, its words, how many documents) for every state that any document is in."""
    every = Document.objects.filter(corpus=corpus)
    told = counted(*(every.filter(state=state) for state in DocumentState))
    return [
        (state.value, str(state.label), said(count))
        for state, count in zip(DocumentState, told, strict=True)
        if count
    ]
