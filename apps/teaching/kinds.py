"""What a snapshot would teach, by kind, before anything is trained: kinds can be left out.

Looks at the first documents only: enough to judge a kind by, quick enough for a page. The run
itself reads all of them. What a model writes is not here: it is written, and shown, by the run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from apps.corpora import manifests
from apps.corpora.models import Snapshot
from calm_engine.errors import EngineError
from calm_engine.selfstudy import WRITTEN, Lesson, Source, study
from counterpoint.storage import blobs

DOCUMENTS, CHARACTERS = 12, 20_000  # looked at, and read of each
SHOWN, LONGEST = 3, 160  # samples of a kind, and characters of each side

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
WRITTEN_CHOICES = [(kind, LABELS[kind]) for kind in WRITTEN]


@dataclass(frozen=True)
class Shown:
    """A kind of lessons, how many of it the documents looked at give, and some of them."""

    kind: str
    label: str | Promise
    count: int
    samples: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Looked:
    """What the first documents give, and about how many facts stand in all of them."""

    kinds: tuple[Shown, ...] = ()
    facts: int = 0


def look_into(snapshot: Snapshot) -> Looked:
    """Study the snapshot's first documents. Quotes them: for their readers only."""
    sources = list(_sources(snapshot))
    found = study(sources)
    shown = (
        Shown(kind, LABELS[kind], len(lessons), tuple(map(_sample, _some(lessons))))
        for kind, lessons in found.by_kind().items()
    )
    facts = len(found.found) * snapshot.documents // max(1, len(sources))
    return Looked(tuple(shown), facts)


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
