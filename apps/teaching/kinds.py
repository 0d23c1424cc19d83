"""What a snapshot would teach, by kind, before anything is trained: kinds can be left out.

Looks at the first documents only: enough to judge a kind by, quick enough for a page. The run
itself reads all of them. What a model writes is shown once a training has had it written.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from apps.corpora import manifests
from apps.corpora.models import Snapshot
from calm_engine.errors import EngineError
from calm_engine.selfstudy import WRITTEN, Lesson, Source, study
from calm_engine.selfstudy.checking import checked
from calm_engine.selfstudy.prompts import requests_of
from calm_engine.selfstudy.saying import passages_of
from counterpoint.shelves import STUDIES, shelf_of
from counterpoint.storage import blobs

DOCUMENTS, CHARACTERS = 12, 20_000  # looked at, and read of each
SHOWN, LONGEST = 3, 160  # samples of a kind, and characters of each side
READ = 8 << 20  # bytes of what a model wrote

LABELS: dict[str, str | Promise] = {
    "fact": _("Facts of tables and of lines such as “Key: value”"),
    "inverse": _("The same backwards: from a value to all that have it"),
    "definition": _("Sentences that say what something is, has, must or must not"),
    "section": _("Numbers and titles of sections"),
    "list": _("Lists, by the sentence that leads to them"),
    "gap": _("Sentences with a rare term left out"),
    "passage": _("The documents' own words"),
    # What the anchor writes, where it is asked to.
    "question": _("Questions with their answers"),
    "reverse": _("Questions that describe a thing and ask for its name"),
    "paraphrase": _("The passage in other words"),
    "relation": _("How two things in the passage belong together"),
    "implication": _("What follows from the passage"),
    "summary": _("The passage in one sentence"),
}
CHOICES = list(LABELS.items())


@dataclass(frozen=True)
class Shown:
    """A kind of lessons, how many of it the documents looked at give, and some of them."""

    kind: str
    label: str | Promise
    count: int
    samples: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Looked:
    """What the first documents give, and about how many facts stand in all of them.

    written   what a model wrote of them in earlier trainings, and would be taught from again
    """

    kinds: tuple[Shown, ...] = ()
    facts: int = 0
    written: tuple[Shown, ...] = tuple(Shown(kind, LABELS[kind], 0, ()) for kind in WRITTEN)


def look_into(snapshot: Snapshot) -> Looked:
    """Study the snapshot's first documents. Quotes them: for their readers only."""
    sources = list(_sources(snapshot))
    found = study(sources)
    shown = (
        Shown(kind, LABELS[kind], len(lessons), tuple(map(_sample, _some(lessons))))
        for kind, lessons in found.by_kind().items()
    )
    facts = len(found.found) * snapshot.documents // max(1, len(sources))
    return Looked(tuple(shown), facts, _written_in(snapshot, sources))


def _written_in(snapshot: Snapshot, sources: Sequence[Source]) -> tuple[Shown, ...]:
    """By kind, what a model wrote of these documents and their passages bear out."""
    kept = dict(_kept(snapshot))
    asked = (
        request
        for source in sources
        for passage in passages_of(source)
        for request in requests_of(source, passage.said.strip(), WRITTEN)
    )
    found = [(request, kept[request.key]) for request in asked if request.key in kept]
    held: dict[str, list[Lesson]] = {kind: [] for kind in WRITTEN}
    for (lesson,) in checked(found, Counter()):
        held[lesson.kind].append(lesson)
    return tuple(
        Shown(kind, LABELS[kind], len(lessons), tuple(map(_sample, lessons[:SHOWN])))
        for kind, lessons in held.items()
    )


def _kept(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    """What was written, by what it was written from; a torn line is none."""
    for line in STUDIES.lines(shelf_of(snapshot.closure), READ):
        with suppress(ValueError, KeyError, TypeError):
            row = json.loads(line)
            yield row["key"], row["text"]


def _sources(snapshot: Snapshot) -> Iterator[Source]:
    for entry in islice(manifests.entries(snapshot), DOCUMENTS):
        try:
            with blobs().open("text", entry.training) as file:
                text = file.read(CHARACTERS).decode(errors="ignore")
            yield Source(entry.original, entry.title, text)
        except EngineError:
            continue  # a lost file is the doctor's to tell, and the run's to refuse


def _some(lessons: list[Lesson]) -> list[Lesson]:
    """A few, from all over: questions where there are any, since they show a kind best."""
    asked = [one for one in lessons if one.form in ("question", "inverse")] or lessons
    return asked[:: max(1, len(asked) // SHOWN)][:SHOWN]


def _sample(one: Lesson) -> tuple[str, str]:
    return one.given[:LONGEST], one.said.strip()[:LONGEST]
