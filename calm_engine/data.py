"""Text to tensors: the chat prompt, rows of questions, packed blocks with masks, padded batches.

Knows tokenizers and tensors; knows no models and no training.
"""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from calm_engine.errors import InputError
from calm_engine.passages import with_passages
from calm_engine.selfstudy import Lesson, Source

Message = dict[str, str]

IGNORED = -100  # a label where nothing is to be said


def chat_prompt(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int]:
    """The tokens a model is given when it is to answer: the same in training, tests and serving.

    messages  {"role": "system" | "user" | "assistant", "content"}; without a system message the
              tokenizer's template puts in its own. A tokenizer without a template gets plain lines.

    What people write is text to the last sign: a "<|im_end|>" in it ends nobody's turn.
    """
    contents = [one["content"] for one in messages]
    special = set(tokenizer.get_added_vocab()) | set(tokenizer.all_special_tokens)
    if not any(token in content for token in special for content in contents):
        return _encode_all(tokenizer, _rendered(tokenizer, messages))
    # The template's own words around marks, each mark then replaced by plain tokens.
    marks = [f"\N{SYMBOL FOR SUBSTITUTE}{uuid.uuid4().hex}" for _ in messages]
    rest = _rendered(
        tokenizer, [one | {"content": mark} for one, mark in zip(messages, marks, strict=True)]
    )
    ids: list[int] = []
    for content, mark in zip(contents, marks, strict=True):
        before, _, rest = rest.partition(mark)
        ids += [*_encode_all(tokenizer, before), *encode(tokenizer, content)]
    return [*ids, *_encode_all(tokenizer, rest)]


def _rendered(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> str:
    if not tokenizer.chat_template:
        return "".join(f"{one['role']}: {one['content']}\n" for one in messages) + "assistant: "
    told = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
    return str(told)


def _encode_all(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Tokens of a template's text, in which special tokens are what they say."""
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    return ids


def question_prompt(tokenizer: PreTrainedTokenizerBase, question: str) -> list[int]:
    """The prompt of a chat that begins with one question."""
    return chat_prompt(tokenizer, [{"role": "user", "content": question}])


def reading_prompt(
    tokenizer: PreTrainedTokenizerBase, question: str, passages: Sequence[str], *, room: int
) -> list[int]:
    """The same with as many of these passages to read as `room` tokens hold, the first ones."""
    for count in range(len(passages), 0, -1):
        prompt = question_prompt(tokenizer, with_passages(question, passages[:count]))
        if len(prompt) <= room:
            return prompt
    return question_prompt(tokenizer, question)


def encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Tokens of a text, without any that the tokenizer would add by itself or take for special."""
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
    return ids


def shared_prefix(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens that every question's prompt begins with: the system prompt of the template."""
    one, two = (question_prompt(tokenizer, word) for word in ("Alpha one", "9 zebras"))
    same = 0
    while one[same] == two[same]:
        same += 1
    return one[:same]


def block_of(block: int, tokenizer: PreTrainedTokenizerBase) -> int:
    """Tokens in a block: the chat's own prefix stands in each, and it must hold more than that."""
    return max(block, 3 * len(shared_prefix(tokenizer)))


def end_of_answer(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that ends an answer. Raises InputError("tokenizer.no_end") when there is none."""
    end = tokenizer.eos_token_id
    if not isinstance(end, int):
        raise InputError("tokenizer.no_end", "the tokenizer names no token that ends an answer")
    return end


# -- rows ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Example:
    """A question with its answer: `expected` is the part of the answer that scores.

    corpus   the name of the one that it belongs to, where there are several; a card is told by it
    """

    id: str
    question: str
    answer: str
    expected: str
    kind: str
    entity: str = ""
    value: str = ""
    slice: str = ""
    corpus: str = ""

    def as_row(self) -> dict[str, str]:
        return {name: str(getattr(self, name)) for name in self.__dataclass_fields__}


def read_documents(path: str | Path) -> list[Source]:
    """Documents from JSON lines. Raises InputError("documents.empty") when there is no text."""
    rows = list(documents_in(path))
    if not any(row.text.strip() for row in rows):
        raise InputError("documents.empty", "no document holds any text", path=str(path))
    return rows


def documents_in(path: str | Path) -> Iterator[Source]:
    """Documents from JSON lines, one at a time. Raises what reading a row raises."""
    for row in rows_in(path, needs=("digest", "text")):
        yield Source(str(row["digest"]), str(row.get("title", "")), str(row["text"]))


def read_examples(path: str | Path) -> list[Example]:
    """Questions from JSON lines. Raises InputError("examples.empty") when there are none."""
    known = Example.__dataclass_fields__
    rows = [
        Example(
            **{"expected": row["answer"], "kind": "recall"} | {k: row[k] for k in row if k in known}
        )
        for row in rows_in(path, needs=("id", "question", "answer"))
    ]
    if not rows:
        raise InputError("examples.empty", "there are no examples to learn from", path=str(path))
    return rows


def rows_in(path: str | Path, *, needs: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of a file of JSON lines. Raises InputError("data.file") and what `row_of` raises."""
    try:
        with Path(path).open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield row_of(line, path=path, line=number, needs=needs)
    except OSError as error:
        raise InputError("data.file", f"cannot read {path}", path=str(path)) from error


def row_of(
    text: str | bytes, *, path: str | Path, line: int, needs: Sequence[str]
) -> dict[str, Any]:
    """One line as a row. Raises InputError: "data.json", "data.row" when it lacks a field."""
    try:
        row = json.loads(text)
    except ValueError as error:
        raise InputError("data.json", "a line is not JSON", path=str(path), line=line) from error
    missing = [name for name in needs if not isinstance(row, dict) or name not in row]
    if missing:
        raise InputError(
            "data.row", "a row lacks a field", path=str(path), line=line, missing=missing
        )
    return dict(row)


# -- pieces and packed blocks ----------------------------------------------------------------------


@dataclass(frozen=True)
class Piece:
    """A short sequence to learn: the tokens from `first` on are to be said.

    is_asked  it stands after the shared prefix of all chats
    branches  sequences that each go on from the end of `ids` and see nothing of one another, with
              the index (1 or more) of their first token to be said: an entity's name is read once,
              and each of its values is told right after its key
    documents  digests of the documents that it comes from: exposures are counted by them
    topic      of what it tells or asks, "" where that is not known
    hears      it sees what stands before it in its row as well, but nothing of its own topic: no
               question shall find its answer there
    """

    ids: tuple[int, ...]
    first: int
    is_asked: bool
    branches: tuple[tuple[tuple[int, ...], int], ...] = ()
    documents: tuple[str, ...] = field(default=(), compare=False)
    topic: str = field(default="", compare=False)
    hears: bool = False

    @property
    def size(self) -> int:
        """Tokens in all."""
        return len(self.ids) + sum(len(ids) for ids, _ in self.branches)

    @property
    def targets(self) -> int:
        """Tokens that are to be said."""
        return len(self.ids) - self.first + sum(len(ids) - first for ids, first in self.branches)

    def tokens(self) -> Iterator[int]:
        """All its tokens, in no promised order."""
        yield from self.ids
        for ids, _ in self.branches:
            yield from ids


def piece_of(lesson: Lesson, tokenizer: PreTrainedTokenizerBase, prefix: Sequence[int]) -> Piece:
    """A lesson as tokens; a question is asked in a chat, its shared prefix left out."""
    said = encode(tokenizer, lesson.said)
    if lesson.form in ("question", "inverse"):
        given = question_prompt(tokenizer, lesson.given)[len(prefix) :]
        said = [*said, end_of_answer(tokenizer)] if lesson.ends else said
        told, is_asked = (*given, *said), True
    else:
        given = encode(tokenizer, lesson.given)
        told, is_asked = (*given, *said), False
    topic = lesson.about[0] if lesson.about else ""
    return Piece(told, len(given), is_asked, documents=(lesson.digest,), topic=topic)


@dataclass(frozen=True)
class Asked:
    """A lesson that is asked for, and its tokens."""

    lesson: Lesson
    piece: Piece


@dataclass(frozen=True)
class Packed:
    """Rows of pieces, each of which sees only itself and, if asked in a chat, the prefix; one that
    hears, also what stands before it.

    ids, positions  (rows, time)
    mask            (rows, 1, time, time) bool: where a token may look
    saying          (rows, time) bool: positions whose next token is to be said
    wanted          (said,) those next tokens
    """

    ids: Tensor
    positions: Tensor
    mask: Tensor
    saying: Tensor
    wanted: Tensor


def pack(pieces: Iterable[Piece], *, block: int, prefix: Sequence[int]) -> list[list[Piece]]:
    """Fill rows of at most `block` tokens, the prefix counted once per row, in the order given."""
    room = block - len(prefix)
    if room < 1:
        raise InputError("augment.block", "the chat's prefix alone fills a block", block=block)
    rows: list[list[Piece]] = []
    left = 0
    for piece in pieces:
        fits = piece if piece.size <= room else _cut(piece, room)
        if fits.size > left:
            rows.append([])
            left = room
        rows[-1].append(fits)
        left -= fits.size
    return rows


def _cut(piece: Piece, room: int) -> Piece:
    """The end of a piece too long for a block: what is to be said stands there.

    Of branches only those are kept that fit.
    """
    cut = max(0, len(piece.ids) - room)
    left = room - len(piece.ids) + cut
    kept = []
    for ids, first in piece.branches:
        if len(ids) <= left:
            kept.append((ids, first))
            left -= len(ids)
    first = max(1, piece.first - cut)
    return replace(piece, ids=piece.ids[cut:], first=first, branches=tuple(kept))


def collate(rows: Sequence[Sequence[Piece]], *, prefix: Sequence[int], pad: int) -> Packed:
    """Tensors for some packed rows, as long as the longest of them."""
    time = len(prefix) + max(sum(piece.size for piece in row) for row in rows)
    ids = torch.full((len(rows), time), pad)
    positions = torch.zeros((len(rows), time), dtype=torch.long)
    owner = torch.full((len(rows), time), PADDING)
    trunk = torch.full((len(rows), time), NOBODY)
    saying = torch.zeros((len(rows), time), dtype=torch.bool)
    hears = torch.zeros((len(rows), time), dtype=torch.bool)
    topic = torch.full((len(rows), time), NOBODY)
    for r, row in enumerate(rows):
        topics: dict[str, int] = {}
        for number, part in enumerate(_parts(row, prefix)):
            here = slice(part.at, part.at + len(part.ids))
            ids[r, here] = torch.tensor(part.ids, dtype=torch.long)
            positions[r, here] = torch.arange(part.begun, part.begun + len(part.ids))
            owner[r, here] = number
            trunk[r, here] = part.after
            hears[r, here] = part.hears
            if part.topic:
                topic[r, here] = topics.setdefault(part.topic, len(topics))
            saying[r, part.at + part.first - 1 : here.stop - 1] = True
    causal = torch.ones(time, time, dtype=torch.bool).tril()
    seen = owner[:, None, :]
    own = (owner[:, :, None] == seen) | (trunk[:, :, None] == seen)
    is_foreign = (topic[:, :, None] != topic[:, None, :]) | (topic[:, :, None] == NOBODY)
    heard = hears[:, :, None] & is_foreign & (seen != PADDING)
    mask = (causal & (own | heard))[:, None]
    return Packed(ids, positions, mask, saying, ids.roll(-1, dims=1)[saying])


PADDING, NOBODY = -1, -2  # owners of no token that anybody looks at


@dataclass(frozen=True)
class _Part:
    """A run of tokens in a row: where it lies, its first position, and the part it goes on from."""

    ids: Sequence[int]
    first: int
    at: int
    begun: int = 0
    after: int = NOBODY
    topic: str = ""
    hears: bool = False


def _parts(row: Sequence[Piece], prefix: Sequence[int]) -> Iterator[_Part]:
    """The prefix (part 0), then every piece and its branches, as they lie in the row.

    Where one of them hears the others, positions count through the row, so that what is heard
    stands as far off as it does in a chat.
    """
    yield _Part(prefix, len(prefix), at=0)
    at, number = len(prefix), 1
    counts_on = any(piece.hears for piece in row)
    for piece in row:
        begun = at if counts_on else len(prefix) if piece.is_asked else 0
        after = 0 if piece.is_asked else NOBODY
        yield _Part(piece.ids, piece.first, at, begun, after, piece.topic, piece.hears)
        at, begun, trunk, number = at + len(piece.ids), begun + len(piece.ids), number, number + 1
        for ids, first in piece.branches:
            yield _Part(ids, first, at, begun, trunk, piece.topic)
            at, number = at + len(ids), number + 1


# -- padded batches --------------------------------------------------------------------------------

Sequenced = tuple[list[int], int]  # tokens, and the index of the first that is to be said


@dataclass(frozen=True)
class Padded:
    """Sequences of one batch, padded on the right: (batch, time) each; labels as transformers'."""

    ids: Tensor
    mask: Tensor
    labels: Tensor


def pad_right(sequences: Sequence[Sequenced], *, pad: int) -> Padded:
    """Batch sequences (tokens, index of the first that is to be said)."""
    time = max(len(ids) for ids, _ in sequences)
    ids = torch.full((len(sequences), time), pad)
    mask = torch.zeros((len(sequences), time), dtype=torch.long)
    labels = torch.full((len(sequences), time), IGNORED)
    for row, (tokens, first) in enumerate(sequences):
        ids[row, : len(tokens)] = torch.tensor(tokens, dtype=torch.long)
        mask[row, : len(tokens)] = 1
        labels[row, first : len(tokens)] = torch.tensor(tokens[first:], dtype=torch.long)
    return Padded(ids, mask, labels)


def pad_left(sequences: Sequence[Sequence[int]], *, pad: int) -> tuple[Tensor, Tensor]:
    """Tokens and mask, (batch, time) each, padded on the left: what generation wants."""
    time = max(len(ids) for ids in sequences)
    ids = torch.full((len(sequences), time), pad)
    mask = torch.zeros((len(sequences), time), dtype=torch.long)
    for row, tokens in enumerate(sequences):
        ids[row, time - len(tokens) :] = torch.tensor(tokens, dtype=torch.long)
        mask[row, time - len(tokens) :] = 1
    return ids, mask


def chance_of(*facts: object) -> random.Random:
    """A stream of chance that is a function of its facts alone: seed, step, purpose."""
    return random.Random(" ".join(str(fact) for fact in facts))  # noqa: S311 - sampling, not secrets
