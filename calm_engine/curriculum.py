"""What an augmenter is to be taught, and in which way it is dealt out. Knows no model.

A small corpus goes in rounds, entity by entity (`course`); a large one goes shuffled, from shards
that are prepared first and never held whole (`preparing`, `shuffled`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from calm_engine.course import ROUNDS_OF_TEXT, Course, known_before, plan
from calm_engine.data import Piece, block_of
from calm_engine.families import read_tokenizer
from calm_engine.feeding import Feed, Rounds
from calm_engine.preparing import Preparation, prepare_shards
from calm_engine.process import cores
from calm_engine.ranks import Ranks
from calm_engine.shards import Met, Sample, Shards
from calm_engine.shuffled import Shuffled
from calm_engine.specs import AugmentSpec, Progress
from calm_engine.texts import file_of
from calm_engine.training import work_folder
from calm_engine.vetting import Script, check_census

LOOKED_AT = 160  # documents of a corpus in shards that are asked about
BLOCKS_OF_EACH = 2  # from which its questions come
ASKED_OF_EACH = 3  # questions at most
# Tokens given, and to be said, where a document has no questions; of short ones the same share.
CONTINUED = (32, 8)
LEAST_CONTINUED = 10  # tokens of a piece that can be asked for its end
REPLAY = 0.5  # share of known documents in what an update reads


@dataclass(frozen=True)
class Curriculum:
    """All that is to be taught.

    feed       makes the feed of a batch size
    questions  of a corpus in shards: what is asked of a sample of its documents, each piece with
               the digest of its own
    sampled    that sample, where there is one
    passes     how often the text is met
    figures    of the corpus: facts, passages, tokens, documents
    told       what else is to be told of it: lessons by kind, and why some were left out
    """

    tokenizer: PreTrainedTokenizerBase
    prefix: Sequence[int]
    feed: Callable[[int], Feed]
    passes: int
    figures: dict[str, int]
    questions: Sequence[Piece] = ()
    sampled: Sample | None = None
    told: dict[str, Any] = field(default_factory=dict)
    course: Course | None = None

    @property
    def tokens(self) -> int:
        return self.figures["tokens"]


def curriculum(spec: AugmentSpec, ranks: Ranks) -> Generator[Progress, None, Curriculum]:
    """Read or prepare everything. Raises what `plan` and `prepare_shards` raise, and `vetting`."""
    if is_shuffled(spec):
        return (yield from _from_shards(spec, ranks))
    yield Progress("data", message="finding facts")
    return _in_rounds(plan(spec))


def is_shuffled(spec: AugmentSpec) -> bool:
    """Whether a spec is dealt from shards."""
    file = Path(spec.documents)
    return spec.is_shuffled(file.stat().st_size if file.is_file() else 0)


def _in_rounds(course: Course) -> Curriculum:
    figures = {
        "facts": len(course.study.facts),
        "passages": len(course.study.passages),
        "tokens": course.tokens,
        "documents": course.documents,
    }
    return Curriculum(
        tokenizer=course.tokenizer,
        prefix=course.prefix,
        feed=lambda size: Rounds(course, size),
        passes=course.rounds,
        figures=figures,
        told={
            "kinds": {kind: len(held) for kind, held in course.study.by_kind().items()},
            "dropped": course.study.dropped,
        },
        course=course,
    )


def _from_shards(spec: AugmentSpec, ranks: Ranks) -> Generator[Progress, None, Curriculum]:
    tokenizer = read_tokenizer(spec.tokenizer)
    block = block_of(spec.block, tokenizer)
    files = (spec.documents, *([spec.lessons] if spec.lessons else []))
    shards = yield from _prepared(spec, "corpus", files, block, ranks)
    held = shards.tally
    script = Script(held.text_tokens, held.characters, held.text_bytes)
    check_census(held.tokens, script, shards.census)
    general = None
    if spec.general:
        files = (str(file_of(spec.general, work_folder(spec))),)
        general = yield from _prepared(spec, "general", files, block, ranks)
    passes = spec.passes or ROUNDS_OF_TEXT

    def feed(size: int) -> Feed:
        return Shuffled(
            shards,
            size=size,
            passes=passes,
            seed=spec.seed,
            general=general,
            share=spec.general_share,
            without=spec.forget,
            known=known_before(spec),
            replay=REPLAY,
        )

    figures = {
        "facts": 0,
        "passages": shards.tally.pieces,
        "tokens": shards.tally.tokens,
        "documents": shards.tally.documents,
    }
    sampled = shards.sample(LOOKED_AT, seed=spec.seed)
    questions = [
        piece
        for digest, places in sampled.documents.items()
        for piece in _questions(shards, digest, places)
    ]
    return Curriculum(
        tokenizer, shards.prefix, feed, passes, figures, questions=questions, sampled=sampled
    )


def _prepared(
    spec: AugmentSpec, name: str, files: tuple[str, ...], block: int, ranks: Ranks
) -> Generator[Progress, None, Shards]:
    """Shards in the run's own folder; the first process makes them for all."""
    folder = work_folder(spec) / name
    if ranks.is_first:
        asked = Preparation(files, spec.tokenizer, block)
        for done, total in prepare_shards(asked, folder, workers=spec.workers or cores()):
            yield Progress("data", done, total, "preparing shards")
    ranks.wait()
    return Shards(folder)


def _questions(shards: Shards, digest: str, places: Sequence[Met]) -> list[Piece]:
    """What is asked in chats about a document; where nothing is, how parts of its text go on."""
    pieces = [
        replace(piece, documents=(digest,))
        for one in places
        for piece in shards.of_document(one, most=BLOCKS_OF_EACH)
    ]
    asked = [piece for piece in pieces if piece.is_asked]
    return (asked or [_continued(p) for p in pieces if p.size >= LEAST_CONTINUED])[:ASKED_OF_EACH]


def _continued(piece: Piece) -> Piece:
    """The beginning of a piece of text, whose last tokens are to be said."""
    given, said = CONTINUED
    size = min(piece.size, given + said)
    return replace(piece, ids=piece.ids[:size], first=size - max(1, size * said // (given + said)))
