"""What self-study speaks of: sources, facts, lessons, and the kinds of lessons there are."""

from __future__ import annotations

from dataclasses import dataclass, field

# How a lesson was made. A curator sees lessons by kind and may leave any of them out.
TAKEN = ("fact", "inverse", "definition", "section", "list", "gap", "passage")
WRITTEN = ("question", "reverse", "paraphrase", "relation", "implication", "summary")
KINDS = TAKEN + WRITTEN

WORDS = 8  # of a value that is asked for: a longer answer is none


@dataclass(frozen=True)
class Source:
    """One document as extracted: its digest, its title and its text."""

    digest: str
    title: str
    text: str


@dataclass(frozen=True)
class Fact:
    """What a document says of an entity."""

    entity: str
    attribute: str
    value: str
    digest: str = field(compare=False)
    source: str = field(compare=False, default="")


@dataclass(frozen=True)
class Lesson:
    """One thing to learn: what is given, and what is to be said after it.

    form    "statement", "question", "inverse" or "passage"; a question is asked in a chat
    given   the words before; what stands so in a document begins with the tag of its source
    said    the words to be learned
    ends    whether the answer ends there (false: a longer answer only begins with the fact)
    digest  of the document that it comes from
    about   what it is about, such as (entity, attribute): exposures are counted by it
    kind    how it was made, one of `KINDS`
    source  the tag of its document
    """

    form: str
    given: str
    said: str
    ends: bool
    digest: str
    about: tuple[str, ...] = ()
    kind: str = "fact"
    source: str = ""


Wordings = tuple[Lesson, ...]


@dataclass(frozen=True)
class Study:
    """All lessons of a corpus, by what they teach, so that everything is met equally often.

    facts     for each fact of an entity its lessons, one wording each
    points    whatever else is to be known, one wording each: inverse questions of facts, what prose
              says, what a model wrote
    passages  the documents' own words, in pieces
    found     the facts themselves
    held_out  questions and beginnings in wordings that no lesson has: only the recall probe asks
              them. Their forms: "question", "cloze", "inverse", "inverse cloze"
    dropped   lessons that were left out, counted by "kind: reason"
    """

    facts: tuple[Wordings, ...]
    points: tuple[Wordings, ...]
    passages: Wordings
    found: tuple[Fact, ...] = ()
    held_out: Wordings = ()
    dropped: dict[str, int] = field(default_factory=dict)

    def by_kind(self) -> dict[str, list[Lesson]]:
        """Every lesson, by how it was made; kinds in the order of `KINDS`."""
        held: dict[str, list[Lesson]] = {kind: [] for kind in KINDS}
        for wordings in (*self.facts, *self.points, self.passages):
            for one in wordings:
                held[one.kind].append(one)
        return {kind: lessons for kind, lessons in held.items() if lessons}
