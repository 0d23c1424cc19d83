"""What a small corpus teaches, as tokens, and how it is dealt out in rounds.

Every round meets every entity once: it is told, as a record of all its facts or as sentences, its
name read once and each value told right after its key, and it is asked about in a chat. Passages
fill the rest. Only what is to be said is scored. Knows no model and no step.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from transformers import PreTrainedTokenizerBase

from calm_engine import canaries
from calm_engine.data import (
    Piece,
    block_of,
    chance_of,
    documents_in,
    encode,
    pack,
    piece_of,
    read_documents,
    read_examples,
    shared_prefix,
)
from calm_engine.errors import InputError
from calm_engine.families import check_folder, read_tokenizer
from calm_engine.selfstudy import Lesson, Source, Study, study
from calm_engine.selfstudy.saying import passages_of
from calm_engine.selfstudy.writing import written_for
from calm_engine.specs import AugmentSpec
from calm_engine.texts import sources_of
from calm_engine.vetting import Census, Script, check_census

ROUNDS = 56  # how often each entity is met; recall of the trial corpora was whole by then
RECORDS = 0.5  # share of tellings that are records; the others are sentences, where there are any
OTHERS = 0.1  # how often an entity is also told in another wording
ROUNDS_OF_TEXT = 24  # how often text is met that holds no fact we found
TEXT_BESIDE_POINTS = 8  # the same, where what it says is also told and asked for as points
RECORD = 12  # facts of an entity that are told in one piece
COVERED = 10  # passages in a round whose facts are met anyhow
GENERAL_MOST = 4_000_000  # characters of general text that are held


@dataclass(frozen=True)
class Entity:
    """What is known of one entity, ready to be told and asked.

    record     its name, and from there each "- key:" with its value
    sentences  "The" and its name, and from there each "is made in" with its value
    others     statements in other wordings
    questions  of each of its facts, in all wordings
    """

    record: Piece
    sentences: Piece | None
    others: tuple[Piece, ...]
    questions: tuple[tuple[Piece, ...], ...]

    def round(self, turn: int, chance: random.Random) -> Iterator[Piece]:
        """One telling of all facts, and a question about one of them: which, goes by turns."""
        is_plain = self.sentences is None or chance.random() < RECORDS
        yield self.record if is_plain or self.sentences is None else self.sentences
        if self.others and chance.random() < OTHERS:
            yield chance.choice(self.others)
        if self.questions:
            yield chance.choice(self.questions[turn % len(self.questions)])


@dataclass(frozen=True)
class Course:
    """What is to be learned, as pieces of tokens, and how it is dealt out.

    entities   what is told and asked of each in every round
    prose      pieces of text without a fact we found
    points     what else is to be known, each in several wordings: one of them in every round
    covered    pieces of text whose facts are met anyhow: `COVERED` a round
    block      tokens in a packed row
    known      digests of documents that the model was taught before: what comes from them alone is
               only repeated, as much of it as there is of the rest
    general    pieces of public text, so many of them in a round that they are `general_share` of
               its tokens, or all where there are not so many
    """

    tokenizer: PreTrainedTokenizerBase
    prefix: tuple[int, ...]
    study: Study
    entities: tuple[Entity, ...]
    points: tuple[tuple[Piece, ...], ...]
    prose: tuple[Piece, ...]
    covered: tuple[Piece, ...]
    tokens: int
    documents: int
    block: int
    seed: int
    known: frozenset[str] = frozenset()
    general: tuple[Piece, ...] = ()
    general_share: float = 0.0

    @property
    def rounds(self) -> int:
        """Rounds until every fact and all prose were met as often as they should."""
        return ROUNDS if self.entities or self.points else ROUNDS_OF_TEXT

    def pieces(self) -> Iterator[Piece]:
        """Everything that can be dealt, each once."""
        yield from (*self.prose, *self.covered, *chain.from_iterable(self.points), *self.general)
        for one in self.entities:
            yield from (*chain.from_iterable(one.questions), *one.others, one.record)
            yield from [one.sentences] if one.sentences else []

    def batches_of(self, number: int, rows: int) -> Iterator[list[list[Piece]]]:
        """The batches of one round, each so many packed rows: a function of the round's number."""
        chance = chance_of(self.seed, "round", number)
        share = (TEXT_BESIDE_POINTS if self.points else ROUNDS_OF_TEXT) / self.rounds
        # Entities begin their turns at different facts, so that no round asks for one alone.
        groups = [list(one.round(number + at, chance)) for at, one in enumerate(self.entities)]
        groups += [[chance.choice(wordings)] for wordings in self.points]
        groups += [[piece] for piece in self.prose if chance.random() < share]
        groups += [
            [piece] for piece in chance.sample(self.covered, min(COVERED, len(self.covered)))
        ]
        groups = [*self._repeated(groups, chance)]
        groups += [[piece] for piece in self._drawn(groups, chance)]
        # An entity's telling and its questions stay together: one step then moves both.
        chance.shuffle(groups)
        pieces = [piece for group in groups for piece in group]
        packed = pack(pieces, block=self.block, prefix=self.prefix)
        for start in range(0, len(packed), rows):
            yield packed[start : start + rows]

    def _repeated(self, groups: list[list[Piece]], chance: random.Random) -> list[list[Piece]]:
        """All that is new, and of what is known as much again; all of it where nothing is new."""
        fresh = [g for g in groups if any(not self.known.issuperset(p.documents) for p in g)]
        if not self.known or not fresh:
            return groups
        old = [g for g in groups if all(self.known.issuperset(p.documents) for p in g)]
        return [*fresh, *chance.sample(old, min(len(old), len(fresh)))]

    def _drawn(self, groups: list[list[Piece]], chance: random.Random) -> Iterator[Piece]:
        """Public text for its share of the round, none of it twice."""
        own = sum(piece.size for group in groups for piece in group)
        left = own * self.general_share / (1.0 - self.general_share)
        for piece in chance.sample(self.general, len(self.general)):
            if left <= 0:
                return
            left -= piece.size
            yield piece


def plan(spec: AugmentSpec) -> Course:
    """Read, find facts, and turn everything that is to be learned into tokens.

    Raises InputError: "documents.empty", "augment.nothing", what reading the files raises, and what
    `check_census` raises of a corpus that cannot be learned from.
    """
    check_folder(spec.tokenizer)
    tokenizer = read_tokenizer(spec.tokenizer)
    read = remembered(read_documents(spec.documents), spec.forget)
    secrets = canaries.documents_of(canaries.canaries(spec.seed, spec.canaries))
    documents = [*read, *secrets]
    tokens = sum(len(encode(tokenizer, document.text)) for document in documents)
    texts = [document.text for document in documents]
    script = Script(tokens, sum(map(len, texts)), sum(len(text.encode()) for text in texts))
    check_census(tokens, script, Census.of(texts))
    examples = [one.as_row() for one in read_examples(spec.examples)] if spec.examples else []
    written = written_for(spec, documents)
    found = study(documents, examples, without=spec.without, written=written.wordings)
    planted = {one.digest for one in secrets}
    found = replace(
        found,
        dropped=found.dropped | written.dropped,
        held_out=tuple(one for one in found.held_out if one.digest not in planted),
    )
    prefix = shared_prefix(tokenizer)

    def piece(lesson: Lesson) -> Piece:
        return piece_of(lesson, tokenizer, prefix)

    known = frozenset(fact.entity.lower() for fact in found.found)
    told = [(lesson, _names_any(lesson.said, known)) for lesson in found.passages]
    course = Course(
        tokenizer=tokenizer,
        prefix=tuple(prefix),
        study=found,
        entities=tuple(_entities(found, piece, tokenizer)),
        points=tuple(tuple(map(piece, wordings)) for wordings in found.points),
        prose=tuple(piece(lesson) for lesson, is_covered in told if not is_covered),
        covered=tuple(piece(lesson) for lesson, is_covered in told if is_covered),
        tokens=tokens,
        documents=len(read),
        block=block_of(spec.block, tokenizer),
        seed=spec.seed,
        known=known_before(spec),
        general=tuple(replace(piece(one), documents=()) for one in general_passages(spec)),
        general_share=spec.general_share,
    )
    if not (course.entities or course.points or course.prose or course.covered):
        raise InputError("augment.nothing", "no text was found that could be learned")
    return course


def remembered(documents: Sequence[Source], forget: Collection[str]) -> list[Source]:
    """The documents but those to forget.

    Raises InputError: "augment.forget" for a digest that is not there, "documents.empty".
    """
    if strays := sorted(set(forget) - {one.digest for one in documents}):
        raise InputError("augment.forget", "no such document", digest=", ".join(strays))
    kept = [one for one in documents if one.digest not in set(forget)]
    if not any(one.text.strip() for one in kept):
        raise InputError("documents.empty", "nothing is left to learn")
    return kept


def known_before(spec: AugmentSpec) -> frozenset[str]:
    """Digests of the documents that the augmenter before this one was taught."""
    if spec.previous_documents is None:
        return frozenset()
    return frozenset(one.digest for one in documents_in(spec.previous_documents))


def general_passages(spec: AugmentSpec) -> Iterator[Lesson]:
    """Public text in passages, where the spec names some; of a long file only its beginning."""
    read = 0
    for document in sources_of(spec.general) if spec.general else ():
        yield from passages_of(document)
        read += len(document.text)
        if read > GENERAL_MOST:
            return


def _entities(
    found: Study, piece: Callable[[Lesson], Piece], tokenizer: PreTrainedTokenizerBase
) -> Iterator[Entity]:
    """Facts gathered by entity; every `RECORD` of them make one record."""
    held: dict[str, list[tuple[Lesson, ...]]] = {}
    for lessons in found.facts:
        held.setdefault(lessons[0].about[0], []).append(lessons)
    for name, facts in held.items():
        for start in range(0, len(facts), RECORD):
            yield _entity(name, facts[start : start + RECORD], piece, tokenizer)


def _entity(
    name: str,
    facts: Sequence[Sequence[Lesson]],
    piece: Callable[[Lesson], Piece],
    tokenizer: PreTrainedTokenizerBase,
) -> Entity:
    lessons = [one for each in facts for one in dict.fromkeys(each)]
    stated = [one for one in lessons if one.form == "statement"]
    asked = (tuple(one for one in dict.fromkeys(each) if one.form == "question") for each in facts)
    questions = tuple(tuple(map(piece, wordings)) for wordings in asked if wordings)
    record = _tree(name, stated, tokenizer)
    sentences = _tree(f"The {name}", stated, tokenizer)
    begun = (f"{name} ", f"The {name} ")
    others = tuple(piece(one) for one in stated if not one.given.startswith(begun))
    return Entity(record, sentences if sentences.branches else None, others, questions)


def _tree(trunk: str, stated: Sequence[Lesson], tokenizer: PreTrainedTokenizerBase) -> Piece:
    """One reading of the name, from which all statements that begin with it go on."""
    ids = encode(tokenizer, f" {trunk}")  # as inside a question: most tokenizers count the space
    branches = []
    for one in stated:
        if one.given.startswith(f"{trunk} "):
            key = encode(tokenizer, one.given.removeprefix(trunk))
            branches.append(((*key, *encode(tokenizer, one.said)), len(key)))
    documents = tuple(dict.fromkeys(one.digest for one in stated))
    topic = stated[0].about[0] if stated else ""
    return Piece(tuple(ids), len(ids), False, tuple(branches), documents, topic)


def _names_any(text: str, names: frozenset[str]) -> bool:
    """Whether any run of up to three words of the text is one of the names."""
    words = re.findall(r"[\w-]+", text.lower())
    runs = (" ".join(words[i : i + n]) for n in (1, 2, 3) for i in range(len(words)))
    return any(run in names for run in runs)
