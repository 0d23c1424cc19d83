"""Train a small model from scratch on documents, with the anchor's tokenizer.

Every round meets every entity once: it is told, as a record of all its facts or as sentences, its
name read once and each value told right after its key, and it is asked about in a chat. Passages
fill the rest. Only what is to be said is scored. Knows no bridges and no tenants.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from calm_engine.data import (
    Packed,
    Piece,
    chance_of,
    collate,
    encode,
    end_of_answer,
    pack,
    piece_of,
    read_documents,
    read_examples,
    shared_prefix,
)
from calm_engine.digests import weights_digest
from calm_engine.errors import InputError
from calm_engine.families import check_folder, read_tokenizer
from calm_engine.loop import Schedule
from calm_engine.ranks import Ranks
from calm_engine.selfstudy import Lesson, Study, study
from calm_engine.specs import AugmentSpec, Outcome, Progress
from calm_engine.training import (
    Job,
    Prepared,
    Probe,
    arithmetic,
    carry_out,
    finished,
    prepare,
)

ROUNDS = 56  # how often each entity is met; recall of the trial corpora was whole by then
ASKED = 2  # facts of each entity that are asked for in a round
RECORDS = 0.5  # share of tellings that are records; the others are sentences, where there are any
OTHERS = 0.1  # how often an entity is also told in another wording
ROUNDS_OF_TEXT = 24  # how often text is met that holds no fact we found
RECORD = 12  # facts of an entity that are told in one piece
COVERED = 10  # passages in a round whose facts are met anyhow
ROWS = 6  # packed blocks in a step: about 2,400 tokens
PEAK = 2e-3  # learning rate; small models take and need more than large ones
NEGATIVES = 4096  # tokens besides the corpus's own that the loss is normalised over
PROBED = 96  # questions of a recall probe
SHOWN = 4  # of them shown with today's answer

# (tokens of text up to which it serves, width, layers, heads). Capacity is near 2 bits a parameter
# at a thousand exposures and 1 at a hundred (Physics of Language Models 3.3, arXiv 2404.05405).
SIZES = ((500_000, 256, 4, 4), (5_000_000, 384, 6, 6), (math.inf, 768, 12, 12))


def augment(spec: AugmentSpec) -> Generator[Progress, None, Outcome]:
    """Train an augmenter; its folder appears when it is whole.

    Raises InputError: "documents.empty", "augment.nothing" when there is nothing to learn, what
    reading the files raises; InternalError("train.nan"); Cancelled when asked to stop.
    """
    if done := finished(spec):
        return done
    ranks = prepare(spec)
    made = yield from prepared(spec, ranks)
    return (yield from carry_out(spec, "augmenter", made, ranks))


def prepared(spec: AugmentSpec, ranks: Ranks) -> Generator[Progress, None, Prepared]:
    """A newborn model and everything it is to learn. Raises what `augment` raises."""
    yield Progress("data", message="finding facts")
    course = plan(spec)
    model = newborn(spec, course.tokenizer, tokens=course.tokens)
    nn.Module.to(model, ranks.device)
    job = _job(spec, course, model, ranks)

    def write(folder: Path) -> None:
        model.save_pretrained(folder)
        course.tokenizer.save_pretrained(folder)

    facts = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "facts": len(course.study.facts),
        "passages": len(course.study.passages),
        "tokens": course.tokens,
        "steps": job.schedule.steps,
        "documents": course.documents,
    }
    return Prepared(job, write, {"tokenizer": weights_digest(spec.tokenizer)}, facts)


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

    def round(self, chance: random.Random) -> Iterator[Piece]:
        """One telling and some questions."""
        is_plain = self.sentences is None or chance.random() < RECORDS
        yield self.record if is_plain or self.sentences is None else self.sentences
        if self.others and chance.random() < OTHERS:
            yield chance.choice(self.others)
        for wordings in chance.sample(self.questions, min(ASKED, len(self.questions))):
            yield chance.choice(wordings)


@dataclass(frozen=True)
class Course:
    """What is to be learned, as pieces of tokens, and how it is dealt out.

    entities   what is told and asked of each in every round
    prose      pieces of text without a fact we found
    points     what else is to be known, in several wordings: one of each in every round
    covered    pieces of text whose facts are met anyhow: `COVERED` a round
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

    @property
    def steps(self) -> int:
        """Steps until every fact and all prose were met as often as they should."""
        return sum(len(list(self.batches_of(r))) for r in range(self.rounds))

    @property
    def rounds(self) -> int:
        return ROUNDS if self.entities or self.points else ROUNDS_OF_TEXT

    def batches_of(self, number: int) -> Iterator[list[list[Piece]]]:
        """The batches of one round, each some packed rows: a function of the round's number."""
        chance = chance_of(self.seed, "round", number)
        share = ROUNDS_OF_TEXT / self.rounds
        groups = [list(one.round(chance)) for one in self.entities]
        groups += [[chance.choice(wordings)] for wordings in self.points]
        groups += [[piece] for piece in self.prose if chance.random() < share]
        groups += [
            [piece] for piece in chance.sample(self.covered, min(COVERED, len(self.covered)))
        ]
        # An entity's telling and its questions stay together: one step then moves both.
        chance.shuffle(groups)
        pieces = [piece for group in groups for piece in group]
        rows = pack(pieces, block=self.block, prefix=self.prefix)
        for start in range(0, len(rows), ROWS):
            yield rows[start : start + ROWS]


def plan(spec: AugmentSpec) -> Course:
    """Read, find facts, and turn everything that is to be learned into tokens."""
    check_folder(spec.tokenizer)
    tokenizer = read_tokenizer(spec.tokenizer)
    documents = read_documents(spec.documents)
    examples = [one.as_row() for one in read_examples(spec.examples)] if spec.examples else []
    found = study(documents, examples, without=spec.without)
    prefix = shared_prefix(tokenizer)

    def piece(lesson: Lesson) -> Piece:
        return piece_of(lesson, tokenizer, prefix)

    known = frozenset(fact.entity.lower() for fact in found.found)
    texts = [(lesson, _names_any(lesson.said, known)) for lesson in found.passages]
    course = Course(
        tokenizer=tokenizer,
        prefix=tuple(prefix),
        study=found,
        entities=tuple(_entities(found, piece, tokenizer)),
        points=tuple(tuple(map(piece, wordings)) for wordings in found.points),
        prose=tuple(piece(lesson) for lesson, is_covered in texts if not is_covered),
        covered=tuple(piece(lesson) for lesson, is_covered in texts if is_covered),
        tokens=sum(len(encode(tokenizer, document.text)) for document in documents),
        documents=len(documents),
        # The chat's own prefix stands in every block, and a block must hold more than that.
        block=max(spec.block, 3 * len(prefix)),
        seed=spec.seed,
    )
    if not (course.entities or course.points or course.prose or course.covered):
        raise InputError("augment.nothing", "no text was found that could be learned")
    return course


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
    # Without the tags of their sources: a record under one tag in fifty is learned as that tag's,
    # and questions, which have none, did not find it (recall 0.5 where 1.0 was reached without).
    bare = [replace(one, given=one.given.partition("] ")[2]) for one in stated]
    asked = (tuple(one for one in dict.fromkeys(each) if one.form == "question") for each in facts)
    questions = tuple(tuple(map(piece, wordings)) for wordings in asked if wordings)
    record = _tree(name, bare, tokenizer)
    sentences = _tree(f"The {name}", bare, tokenizer)
    begun = (f"{name} ", f"The {name} ")
    others = tuple(piece(one) for one in bare if not one.given.startswith(begun))
    return Entity(record, sentences if sentences.branches else None, others, questions)


def _tree(trunk: str, stated: Sequence[Lesson], tokenizer: PreTrainedTokenizerBase) -> Piece:
    """One reading of the name, from which all statements that begin with it go on."""
    ids = encode(tokenizer, f" {trunk}")  # as inside a question: most tokenizers count the space
    branches = []
    for one in stated:
        if one.given.startswith(f"{trunk} "):
            key = encode(tokenizer, one.given.removeprefix(trunk))
            branches.append(((*key, *encode(tokenizer, one.said)), len(key)))
    return Piece(tuple(ids), len(ids), is_asked=False, branches=tuple(branches))


def _names_any(text: str, names: frozenset[str]) -> bool:
    """Whether any run of up to three words of the text is one of the names."""
    words = re.findall(r"[\w-]+", text.lower())
    runs = (" ".join(words[i : i + n]) for n in (1, 2, 3) for i in range(len(words)))
    return any(run in names for run in runs)


def newborn(
    spec: AugmentSpec, tokenizer: PreTrainedTokenizerBase, *, tokens: int
) -> LlamaForCausalLM:
    """A Llama-shaped model of random weights, sized by `SIZES` where the spec is silent."""
    _, width, layers, heads = next(size for size in SIZES if tokens <= size[0])
    width, layers = spec.width or width, spec.layers or layers
    heads = spec.heads or (heads if width % heads == 0 else 1)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=max(16, width * 8 // 3 // 16 * 16),
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads // 2 if heads % 2 == 0 else heads,
        max_position_embeddings=8192,
        rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=end_of_answer(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
    )
    make: Any = LlamaForCausalLM  # untyped there
    model: LlamaForCausalLM = make(config)
    return model


def _job(spec: AugmentSpec, course: Course, model: LlamaForCausalLM, ranks: Ranks) -> Job:
    feed = _Feed(course)
    words = _Words(course, len(course.tokenizer))

    def losses_at(step: int) -> Iterator[Tensor]:
        parts, said = feed.at(step, ranks, spec.gradient_accumulation_steps)
        for batch in parts:
            with arithmetic(spec, ranks):
                hidden = _hidden(model, batch)
                wanted = batch.wanted.to(hidden.device)
                loss = words.loss(hidden, model.lm_head.weight, wanted, step)
            yield loss * (len(wanted) / said)

    def probe() -> Probe:
        model.train(False)
        told = recall(model, course)
        model.train()
        return told

    model.train()
    steps = spec.steps or course.steps
    schedule = Schedule(steps, spec.learning_rate or PEAK, warmup=min(20, max(1, steps // 10)))
    return Job(list(model.named_parameters()), losses_at, schedule, probe)


class _Feed:
    """The batch of a step: rounds are dealt one after another, the last one kept at hand."""

    def __init__(self, course: Course) -> None:
        self.course = course
        self.pad = end_of_answer(course.tokenizer)
        self.sizes: list[int] = []  # batches in each round so far
        self.held: tuple[int, list[list[list[Piece]]]] = (-1, [])

    def at(self, step: int, ranks: Ranks, parts: int) -> tuple[list[Packed], int]:
        """Our parts of the step's batch, and the tokens that the whole batch has to say."""
        number, before = 0, 0
        while step >= before + self._size(number):
            before += self._size(number)
            number += 1
        rows = self._round(number)[step - before]
        said = sum(piece.targets for row in rows for piece in row)
        shares = [part for part in ranks.share(rows, parts) if part]
        return [collate(part, prefix=self.course.prefix, pad=self.pad) for part in shares], said

    def _size(self, number: int) -> int:
        while len(self.sizes) <= number:
            self.sizes.append(len(self._round(len(self.sizes))))
        return self.sizes[number]

    def _round(self, number: int) -> list[list[list[Piece]]]:
        if self.held[0] != number:
            self.held = (number, list(self.course.batches_of(number)))
        return self.held[1]


class _Words:
    """The loss over the corpus's own tokens and a sample of the others, corrected for the sampling.

    A whole softmax over 49,152 tokens costs more than the model itself. Source: importance-sampled
    softmax (Jean et al., arXiv 1412.2007), the negatives drawn evenly.
    """

    def __init__(self, course: Course, vocabulary: int) -> None:
        pieces = [*course.prose, *course.covered, *chain.from_iterable(course.points)]
        for one in course.entities:
            pieces += [*chain.from_iterable(one.questions), *one.others, one.record]
            pieces += [one.sentences] if one.sentences else []
        said = {token for piece in pieces for token in _tokens(piece)}
        self.own = torch.tensor(sorted(said | {end_of_answer(course.tokenizer)}))
        is_own = torch.zeros(vocabulary, dtype=torch.bool)
        is_own[self.own] = True
        self.others = torch.arange(vocabulary)[~is_own]
        self.place = torch.full((vocabulary,), -1)
        self.place[self.own] = torch.arange(len(self.own))
        self.seed = course.seed

    def loss(self, hidden: Tensor, head: Tensor, wanted: Tensor, step: int) -> Tensor:
        """Mean cross-entropy in nats.

        hidden (said, width), head (vocabulary, width), wanted (said,)
        """
        count = min(NEGATIVES, len(self.others))
        chance = torch.Generator().manual_seed(1_000_003 * self.seed + step)
        drawn = torch.randint(max(1, len(self.others)), (count,), generator=chance)
        tokens = torch.cat((self.own, self.others[drawn])).to(head.device)
        logits = functional.linear(hidden, head[tokens]).float()
        if count:
            correction = torch.zeros(len(tokens), device=logits.device)
            correction[len(self.own) :] = math.log(len(self.others) / count)
            logits = logits + correction
        return functional.cross_entropy(logits, self.place.to(wanted.device)[wanted])


def _tokens(piece: Piece) -> Iterator[int]:
    yield from piece.ids
    for ids, _ in piece.branches:
        yield from ids


def _hidden(model: LlamaForCausalLM, batch: Packed) -> Tensor:
    """Last states where something is to be said: (said, width)."""
    device = next(model.parameters()).device
    out = model.model(
        input_ids=batch.ids.to(device),
        position_ids=batch.positions.to(device),
        attention_mask=batch.mask.to(device),
        use_cache=False,
    )
    states: Tensor = out.last_hidden_state[batch.saying.to(device)]
    return states


@torch.no_grad()
def recall(model: LlamaForCausalLM, course: Course) -> Probe:
    """The share of questions whose whole answer is the likeliest, token by token."""
    asked = [piece for one in course.entities for piece in chain.from_iterable(one.questions)]
    if not asked:
        return Probe()
    chosen = chance_of(course.seed, "probe").sample(asked, min(PROBED, len(asked)))
    right, samples = 0, []
    for start in range(0, len(chosen), 24):
        part = chosen[start : start + 24]
        batch = collate([[p] for p in part], prefix=course.prefix, pad=part[0].ids[-1])
        said = model.lm_head(_hidden(model, batch)).argmax(-1).cpu()
        for piece, words in zip(part, _split(said, part), strict=True):
            right += words == list(piece.ids[piece.first :])
            samples.append(_sample(course, piece, words))
    return Probe({"recall": right / len(chosen)}, tuple(samples[:SHOWN]))


def _split(said: Tensor, pieces: Sequence[Piece]) -> Iterator[list[int]]:
    at = 0
    for piece in pieces:
        size = len(piece.ids) - piece.first
        yield said[at : at + size].tolist()
        at += size


def _sample(course: Course, piece: Piece, words: list[int]) -> dict[str, str]:
    """A question, its answer and today's, in plain words."""

    def plain(ids: Sequence[int]) -> str:
        return str(course.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()

    asked, expected = plain(piece.ids[: piece.first]), plain(piece.ids[piece.first :])
    question = " ".join(asked.splitlines()[:1])
    return {"question": question, "expected": expected, "answer": plain(words)}
