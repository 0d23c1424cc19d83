"""What an augmenter is to be taught, and in which way it is dealt out. Knows no model.

A small corpus goes in rounds, entity by entity (`course`); a large one goes shuffled, from shards
of its text and of its lessons that are prepared first and never held whole (`studying`,
`preparing`, `shuffled`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from calm_engine.course import ROUNDS_OF_TEXT, TEXT_BESIDE_POINTS, Course, known_before, plan
from calm_engine.data import Asked, Piece, block_of, piece_of, read_examples
from calm_engine.errors import InputError
from calm_engine.families import read_tokenizer
from calm_engine.feeding import Feed, Rounds
from calm_engine.hearing import headers_of
from calm_engine.preparing import Preparation, prepare_shards
from calm_engine.process import cores
from calm_engine.ranks import Ranks
from calm_engine.recall import chosen
from calm_engine.selfstudy import KINDS, Lesson
from calm_engine.selfstudy.writing import texts_kept
from calm_engine.shards import Met, Shards
from calm_engine.shuffled import Shuffled
from calm_engine.specs import STUDIED, AugmentSpec, Progress
from calm_engine.studying import Studied, Studying, probes_about, studied, study_apart
from calm_engine.texts import file_of
from calm_engine.training import work_folder
from calm_engine.vetting import Script, check_census

LOOKED_AT = 160  # documents of a corpus in shards that are asked about
BLOCKS_OF_EACH = 2  # from which its questions come
ASKED_OF_EACH = 3  # questions at most
# Tokens given, and to be said, where a document has no questions; of short ones the same share.
CONTINUED = (32, 8)
LEAST = 10  # tokens of a piece that can be asked for its end
SHOWN_AS = {"corpus": "shards", "lessons": "lessons", "general": "general text"}
REPLAY = 0.5  # share of known documents in what an update reads


@dataclass(frozen=True)
class Curriculum:
    """All that is to be taught.

    feed       makes the feed of a batch size
    asked      of a corpus in shards: what is asked about a sample of its documents
    exposures  how often what stands in the text is met, at least: as text, told and asked
    figures    of the corpus: facts, passages, tokens, documents
    told       what else is to be told of it: lessons by kind, and why some were left out
    """

    tokenizer: PreTrainedTokenizerBase
    prefix: Sequence[int]
    feed: Callable[[int], Feed]
    exposures: int
    figures: dict[str, int]
    asked: Sequence[Asked] = ()
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
        exposures=course.rounds,
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
    files = (spec.documents, *([spec.lessons_file] if spec.lessons_file else []))
    place = yield from _prepared(spec, "corpus", files, block, ranks)
    corpus = Shards(place)
    held = corpus.tally
    script = Script(held.text_tokens, held.characters, held.text_bytes)
    check_census(held.tokens, script, corpus.census)
    found = yield from _studied(spec, ranks)
    shards = yield from _with_lessons(spec, place, found, block, ranks)
    general = yield from _general(spec, block, ranks)
    is_studied = found is not None and bool(found.kinds)
    passes = spec.passes or (TEXT_BESIDE_POINTS if is_studied else ROUNDS_OF_TEXT)
    met = passes * ROUNDS_OF_TEXT // TEXT_BESIDE_POINTS if is_studied else passes

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
            headers=headers_of(tokenizer),
        )

    figures = {
        "facts": found.facts if found else 0,
        "passages": held.pieces,
        "tokens": held.tokens,
        "documents": held.documents,
    }
    told = {"kinds": found.kinds, "dropped": found.dropped} if found else {}
    asked = list(_asked(corpus, found, tokenizer, seed=spec.seed))
    return Curriculum(tokenizer, shards.prefix, feed, met, figures, asked=asked, told=told)


def _studied(spec: AugmentSpec, ranks: Ranks) -> Generator[Progress, None, Studied | None]:
    """The lessons of a large corpus; None where none are to be found, or all kinds rejected."""
    if spec.lessons != STUDIED or set(KINDS) <= {*spec.without, "passage"}:
        return None
    folder = work_folder(spec) / "study"
    if ranks.is_first:
        rows = read_examples(spec.examples) if spec.examples else []
        asked = Studying(
            spec.documents, tuple(one.as_row() for one in rows), spec.without, texts_kept(spec)
        )
        for done, total in study_apart(asked, folder, workers=spec.workers or cores()):
            yield Progress("data", done, total, "studying documents")
    ranks.wait()
    return studied(folder)


def _with_lessons(
    spec: AugmentSpec, corpus: Path, found: Studied | None, block: int, ranks: Ranks
) -> Generator[Progress, None, Shards]:
    """The documents' words and their lessons; no words where somebody rejected them.

    Raises InputError("augment.nothing").
    """
    # Lessons that were given lie in one place with the words, and are dealt with them.
    folders = [corpus] if spec.lessons_file or "passage" not in spec.without else []
    if found is not None and found.kinds:
        files = (str(found.lessons),)
        folders.append((yield from _prepared(spec, "lessons", files, block, ranks)))
    if not folders:
        raise InputError("augment.nothing", "every kind of lesson was rejected")
    return Shards(*folders)


def _general(
    spec: AugmentSpec, block: int, ranks: Ranks
) -> Generator[Progress, None, Shards | None]:
    """Public text, where the spec names some."""
    if spec.general is None:
        return None
    files = (str(file_of(spec.general, work_folder(spec))),)
    return Shards((yield from _prepared(spec, "general", files, block, ranks)))


def _prepared(
    spec: AugmentSpec, name: str, files: tuple[str, ...], block: int, ranks: Ranks
) -> Generator[Progress, None, Path]:
    """Shards in the run's own folder; the first process makes them for all."""
    folder = work_folder(spec) / name
    if ranks.is_first:
        asked = Preparation(files, spec.tokenizer, block)
        for done, total in prepare_shards(asked, folder, workers=spec.workers or cores()):
            yield Progress("data", done, total, f"preparing {SHOWN_AS[name]}")
    ranks.wait()
    return folder


def _asked(
    corpus: Shards, found: Studied | None, tokenizer: PreTrainedTokenizerBase, *, seed: int
) -> Iterator[Asked]:
    """What is asked about a sample of documents: held-out questions of their study, else questions
    among the lessons that were given, else how parts of their text go on."""
    sample = corpus.sample(LOOKED_AT, seed=seed)
    probes: dict[str, list[Lesson]] = defaultdict(list)
    for one in probes_about(found.probes, sample) if found else ():
        probes[one.digest].append(one)
    for digest, places in sample.items():
        for lesson in chosen(probes[digest], ASKED_OF_EACH, seed=seed):
            yield Asked(lesson, piece_of(lesson, tokenizer, corpus.prefix))
        if not probes[digest]:
            yield from _continued(corpus, digest, places, tokenizer)


def _continued(
    corpus: Shards, digest: str, places: Sequence[Met], tokenizer: PreTrainedTokenizerBase
) -> Iterator[Asked]:
    """Pieces of a document whose ends are to be said."""
    pieces = [p for one in places for p in corpus.of_document(one, most=BLOCKS_OF_EACH)]
    asked = [piece for piece in pieces if piece.is_asked]
    for piece in (asked or [_begun(p) for p in pieces if p.size >= LEAST])[:ASKED_OF_EACH]:
        form = "question" if piece.is_asked else "cloze"
        decode: Any = tokenizer.decode
        given, said = (
            str(decode(list(ids), skip_special_tokens=True)).strip()
            for ids in (piece.ids[: piece.first], piece.ids[piece.first :])
        )
        yield Asked(Lesson(form, given, said, piece.is_asked, digest), piece)


def _begun(piece: Piece) -> Piece:
    """The beginning of a piece of text, whose last tokens are to be said."""
    given, said = CONTINUED
    size = min(piece.size, given + said)
    return replace(piece, ids=piece.ids[:size], first=size - max(1, size * said // (given + said)))
