"""The list of a corpus's documents: filters from the address, pages by key, counts that stay quick.

A page is found by the last row of the one before it, so the thousandth costs what the first does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import Q, QuerySet

from apps.corpora.models import Corpus, Document, DocumentState

PAGE = 50
COUNTED = 1000  # rows counted out; beyond it a count says "more than"


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
            language=str(told.get("language", ""))[:8].replace("\0", ""),
            name=str(told.get("q", ""))[:200].replace("\0", "").strip(),
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


@dataclass(frozen=True)
class Page:
    """Some documents in the order of their paths, and the keys of the pages around them."""

    rows: list[Document] = field(default_factory=list)
    before: UUID | None = None
    after: UUID | None = None


def page_of(rows: QuerySet[Document], *, after: str = "", before: str = "") -> Page:
    """The page behind the document `after`, or the one before `before`; else the first."""
    edge = _edge(after or before)
    rows = rows.order_by("sorting", "pk")
    if edge is None:
        shown = list(rows[: PAGE + 1])
        return Page(shown[:PAGE], None, shown[PAGE - 1].pk if len(shown) > PAGE else None)
    if after:
        behind = Q(sorting__gt=edge.sorting) | Q(sorting=edge.sorting, pk__gt=edge.pk)
        # The first half lets the index find its place; the second keeps ties apart.
        shown = list(rows.filter(sorting__gte=edge.sorting).filter(behind)[: PAGE + 1])
        first = shown[0].pk if shown else None
        return Page(shown[:PAGE], first, shown[PAGE - 1].pk if len(shown) > PAGE else None)
    ahead = Q(sorting__lt=edge.sorting) | Q(sorting=edge.sorting, pk__lt=edge.pk)
    back = rows.filter(sorting__lte=edge.sorting).filter(ahead).order_by("-sorting", "-pk")
    shown = list(back[: PAGE + 1])
    more, shown = len(shown) > PAGE, shown[:PAGE][::-1]
    return Page(shown, shown[0].pk if more else None, shown[-1].pk if shown else None)


def _edge(key: str) -> Document | None:
    try:
        return Document.objects.filter(pk=UUID(key)).only("sorting").first() if key else None
    except ValueError:
        return None


def counted(*many: QuerySet[Any]) -> list[int]:
    """How many rows each of these has, up to one more than COUNTED; one question for all."""
    parts: list[str] = []
    values: list[Any] = []
    for rows in many:
        try:
            sql, given = rows.order_by().values("pk")[: COUNTED + 1].query.sql_with_params()
        except EmptyResultSet:  # nothing can be in it
            parts.append("0")
        else:
            parts.append(f"(SELECT COUNT(*) FROM ({sql}) AS rows)")  # noqa: S608  Django's own words
            values += given
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(parts)}", values)
        return list(cursor.fetchone())


def said(count: int) -> str:
    """A count for people: beyond COUNTED it says so."""
    return f"{COUNTED:,}+" if count > COUNTED else f"{count:,}"


def counts(corpus: Corpus) -> list[tuple[str, str, str]]:
    """(state, its words, how many documents) for every state that any document is in."""
    every = Document.objects.filter(corpus=corpus)
    told = counted(*(every.filter(state=state) for state in DocumentState))
    return [
        (state.value, str(state.label), said(count))
        for state, count in zip(DocumentState, told, strict=True)
        if count
    ]
