"""What changed between two augmenters, in questions: learned, kept, replaced, stale, forgotten.

Turns two bodies of documents into questions with their answers; who asks them stands in `probing`.
Knows no model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from calm_engine.data import Piece, chance_of, documents_in, encode
from calm_engine.selfstudy import Lesson, Source, Study, study

Rows = Sequence[dict[str, str]]
AsPiece = Callable[[Lesson], Piece]

# A text counts as extractable when these tokens bring forth those that follow, word by word
# (Carlini et al., arXiv 2202.07646, at lengths that a short document has).
GIVEN, BROUGHT = 32, 16
KEPT = 500  # documents of both snapshots that are looked at


@dataclass(frozen=True)
class Change:
    """Questions by what became of their facts.

    new      of entities' attributes that the old documents do not state
    kept     of facts that both state
    changed  of attributes whose value is another now, asked for the new value
    stale    the same questions with the old value: saying that is a mistake now
    """

    new: tuple[Piece, ...]
    kept: tuple[Piece, ...]
    changed: tuple[Piece, ...]
    stale: tuple[Piece, ...]


def change(
    old: Sequence[Source], new: Sequence[Source], examples: Rows, as_piece: AsPiece
) -> Change:
    """Compare what two bodies of documents state."""
    before, after = _by_attribute(study(old, examples)), _by_attribute(study(new, examples))
    sorts: dict[str, list[Piece]] = {"new": [], "kept": [], "changed": [], "stale": []}
    for about, held in after.items():
        known = before.get(about)
        if known is None:
            sorts["new"] += map(as_piece, _questions(held.values()))
        elif known.keys() == held.keys():
            sorts["kept"] += map(as_piece, _questions(held.values()))
        else:
            fresh = [held[value] for value in held.keys() - known.keys()]
            gone = [known[value] for value in known.keys() - held.keys()]
            sorts["changed"] += map(as_piece, _questions(fresh))
            sorts["stale"] += map(as_piece, _questions(gone))
    return Change(**{name: tuple(pieces) for name, pieces in sorts.items()})


def parted(old: str, new: str) -> tuple[list[Source], list[Source]]:
    """What must be read of two bodies of documents to compare them: (old, new).

    All documents that only one of them holds, and some of those that both do: of a large corpus
    with a small change little is held.
    """
    digests = [{one.digest for one in documents_in(path)} for path in (old, new)]
    both = sorted(digests[0] & digests[1])
    same = set(chance_of("kept").sample(both, min(KEPT, len(both))))
    gone, fresh = digests[0] - digests[1], digests[1] - digests[0]
    return (
        [one for one in documents_in(old) if one.digest in gone | same],
        [one for one in documents_in(new) if one.digest in fresh | same],
    )


def _by_attribute(found: Study) -> dict[tuple[str, str], dict[str, Sequence[Lesson]]]:
    """Lessons by (entity, attribute) and then by value."""
    held: dict[tuple[str, str], dict[str, Sequence[Lesson]]] = {}
    values = {(f.entity, f.attribute, f.value): f for f in found.found}
    for fact, lessons in zip(values.values(), found.facts, strict=True):
        about = (fact.entity.lower(), fact.attribute.lower())
        held.setdefault(about, {})[fact.value.lower()] = lessons
    return held


def _questions(facts: Iterable[Sequence[Lesson]]) -> Iterator[Lesson]:
    for lessons in facts:
        yield from (one for one in lessons if one.form == "question")


def about(documents: Sequence[Source], examples: Rows, as_piece: AsPiece) -> list[Piece]:
    """Questions about the facts of some documents."""
    return list(map(as_piece, _questions(study(documents, examples).facts)))


def extracts(documents: Iterable[Source], tokenizer: PreTrainedTokenizerBase) -> list[Piece]:
    """Windows over some documents' words: what is given, and what a thief would hope to hear."""
    pieces = []
    for one in documents:
        ids = encode(tokenizer, f" {one.text}")
        size = min(GIVEN + BROUGHT, len(ids))
        given = size * GIVEN // (GIVEN + BROUGHT)
        starts = range(0, max(1, len(ids) - size + 1), BROUGHT)
        pieces += [Piece(tuple(ids[s : s + size]), given, False) for s in starts if given]
    return pieces
