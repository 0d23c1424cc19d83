"""One question set asked of the composition, its parents and its control; right or wrong, counted.

Knows how to ask greedily in batches and how to score. Knows no training and no verdict: whether the
figures suffice is decided by whoever promotes.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import math
import os
import time
import unicodedata
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from calm_engine import digests
from calm_engine.checkpoints import whole
from calm_engine.costs import costs_of
from calm_engine.data import Example, chance_of, pad_left, question_prompt, read_examples
from calm_engine.errors import Cancelled, EngineError, InputError
from calm_engine.families import decoder_of, read_tokenizer
from calm_engine.generation import end_tokens
from calm_engine.modeling import CalmForCausalLM
from calm_engine.process import stop_requested, threads
from calm_engine.specs import EvaluateSpec, Outcome, Progress

MOST = 48  # questions of one kind and slice
MOST_SEEN = 16  # what was seen in training only shows that training worked
ALL = "all"  # the slice over all slices
Z95 = 1.959964  # two-sided 95 % of the normal distribution

OUTCOME, ITEMS, ANSWERS = "outcome.json", "items.jsonl", "answers.jsonl"


# -- scoring ---------------------------------------------------------------------------------------


def normalised(text: str) -> str:
    """Words in small letters without accents, one space between: what two answers share."""
    bare = unicodedata.normalize("NFKD", text.casefold())
    kept = (sign for sign in bare if not unicodedata.combining(sign))
    return " ".join("".join(sign if sign.isalnum() else " " for sign in kept).split())


def matches(answer: str, expected: str) -> bool:
    """Whether the expected words stand in the answer as whole words, in their order.

    An expected answer of signs alone, such as "%", must stand there as it is.
    """
    wanted = normalised(expected)
    if not wanted:
        return bool(expected.strip()) and expected.strip() in answer
    return f" {wanted} " in f" {normalised(answer)} "


def is_exact(answer: str, expected: str) -> bool:
    """Whether the answer says the expected words and nothing else."""
    return matches(answer, expected) and normalised(answer) == normalised(expected)


def wilson(right: int, asked: int) -> tuple[float, float]:
    """The 95 % interval of a share; honest at 0 and 1. Source: E. B. Wilson, JASA 22 (1927)."""
    share, spread = right / asked, Z95**2 / asked
    middle = (share + spread / 2) / (1 + spread)
    reach = Z95 / (1 + spread) * math.sqrt((share * (1 - share) + spread / 4) / asked)
    # At the ends the formula gives exactly 0 and 1, but for rounding.
    return middle - reach if right else 0.0, middle + reach if right < asked else 1.0


def cells_of(
    questions: Sequence[Example], answers: dict[tuple[str, str], str], columns: Sequence[str]
) -> list[dict[str, Any]]:
    """A cell for each column, kind and slice that was asked, and for each kind over all slices."""
    cells = []
    for column in columns:
        for (kind, name), rows in _grouped(questions).items():
            right = sum(matches(answers[column, row.id], row.expected) for row in rows)
            low, high = wilson(right, len(rows))
            told = {"value": right / len(rows), "n": len(rows), "low": low, "high": high}
            cells.append({"column": column, "kind": kind, "slice": name, **told})
    return cells


def _grouped(questions: Iterable[Example]) -> dict[tuple[str, str], list[Example]]:
    groups: dict[tuple[str, str], list[Example]] = {}
    for row in questions:
        for name in (row.slice, ALL):
            groups.setdefault((row.kind, name), []).append(row)
    return dict(sorted(groups.items()))


# -- questions -------------------------------------------------------------------------------------


def read_questions(path: str | Path) -> list[Example]:
    """The rows of a question set.

    Raises InputError: "questions.empty", "questions.slice" for a row that does not say its slice,
    "questions.twice" when two rows have one id, and what `read_examples` raises.
    """
    try:
        rows = read_examples(path)
    except InputError as error:
        if error.code != "examples.empty":
            raise
        raise InputError("questions.empty", "there is no question to ask", path=str(path)) from None
    astray = [row.id for row in rows if row.slice in ("", ALL)]
    if astray:
        raise InputError(
            "questions.slice", "a question does not say which slice it belongs to", id=astray[0]
        )
    ids = [row.id for row in rows]
    if len(set(ids)) < len(ids):
        twice = sorted({name for name in ids if ids.count(name) > 1})
        raise InputError("questions.twice", "two questions have one id", id=twice[0])
    return rows


def chosen(questions: Sequence[Example], seed: int) -> list[Example]:
    """At most `MOST` questions of each kind and slice, drawn by the seed; in the file's order."""
    kept: set[str] = set()
    for (kind, name), rows in _grouped(questions).items():
        if name != ALL:
            most = MOST_SEEN if name == "seen" else MOST
            ids = sorted(row.id for row in rows)
            chance = chance_of(seed, "questions", kind, name)
            kept.update(chance.sample(ids, min(most, len(ids))))
    return [row for row in questions if row.id in kept]


# -- asking ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    """Who is asked: a model, and for a composition how far and which parts it lets in.

    gate        one for all augmenters, or one for each
    tokenizer   None: the anchor's, in which everybody else is asked
    """

    name: str
    model: Any
    gate: float | tuple[float, ...] = 1.0
    bridges: bool = True
    output: bool = True
    tokenizer: PreTrainedTokenizerBase | None = None

    def feed(
        self, ids: Tensor, mask: Tensor, cache: Any, *, is_first: bool = False
    ) -> tuple[Tensor, Any]:
        """The next token's logits, (batch, vocabulary), and the cache with these tokens in it.

        ids    (batch, time)
        mask   (batch, seen + time), 0 on padding
        """
        held: dict[str, Any] = {"past_key_values": cache, "use_cache": True, "logits_to_keep": 1}
        if isinstance(self.model, CalmForCausalLM):
            self.model.set_parts(bridges=self.bridges, output=self.output)
            # Once begun, the composition's cache knows its padding, and may have dropped some.
            told = mask if is_first else None
            out = self.model(input_ids=ids, attention_mask=told, gate=self.gate, **held)
            self.model.set_parts()
        else:
            positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
            out = self.model(input_ids=ids, attention_mask=mask, position_ids=positions, **held)
        return out.logits[:, -1], out.past_key_values


class Asker:
    """Asks one column greedily. What all prompts begin with is read once."""

    def __init__(
        self,
        column: Column,
        tokenizer: PreTrainedTokenizerBase,
        *,
        prefix: Sequence[int],
        ends: frozenset[int],
        most: int,
    ) -> None:
        self.column, self.tokenizer = column, tokenizer
        self.prefix = [] if _slides(column.model) else list(prefix)
        self.ends, self.most = ends, most
        pad = tokenizer.pad_token_id
        self.pad = pad if isinstance(pad, int) else min(ends, default=0)
        self._read: Any = None

    @torch.inference_mode()
    def ask(self, prompts: Sequence[Sequence[int]]) -> list[str]:
        """Answer prompts that begin with the prefix and go on; rows leave as they end."""
        device = self.column.model.device
        rest = [prompt[len(self.prefix) :] for prompt in prompts]
        ids, mask = (one.to(device) for one in pad_left(rest, pad=self.pad))
        mask = torch.cat((mask.new_ones(len(rest), len(self.prefix)), mask), dim=1)
        cache, is_first = self._begun(len(rest)), True
        said: list[list[int]] = [[] for _ in rest]
        rows = list(range(len(rest)))  # which answer each row of the batch is
        for _ in range(self.most):
            logits, cache = self.column.feed(ids, mask, cache, is_first=is_first)
            is_first = False
            tokens = logits.argmax(-1).tolist()
            going = [spot for spot, token in enumerate(tokens) if token not in self.ends]
            for spot in going:
                said[rows[spot]].append(tokens[spot])
            if not going:
                break
            if len(going) < len(rows):
                index = torch.tensor(going, device=device)
                cache.batch_select_indices(index)
                mask, rows = mask[index], [rows[spot] for spot in going]
            ids = torch.tensor([[tokens[spot]] for spot in going], device=device)
            mask = torch.cat((mask, mask.new_ones(len(going), 1)), dim=1)
        return [str(self.tokenizer.decode(one, skip_special_tokens=True)).strip() for one in said]

    def _begun(self, rows: int) -> Any:
        """A cache that has read the prefix, for so many rows; None without a prefix."""
        if not self.prefix:
            return None
        if self._read is None:
            ids = torch.tensor([self.prefix], device=self.column.model.device)
            _, self._read = self.column.feed(ids, torch.ones_like(ids), None, is_first=True)
        cache = copy.deepcopy(self._read)
        cache.batch_repeat_interleave(rows)
        return cache


def _slides(model: Any) -> bool:
    """Whether a layer attends to a sliding window: it counts padding behind a prefix as tokens."""
    is_together = isinstance(model, CalmForCausalLM)
    parts = (model.streams.top, *model.streams.below) if is_together else (decoder_of(model),)
    return any(kind != "full_attention" for part in parts for kind in part.kinds)


def common_prefix(prompts: Sequence[Sequence[int]]) -> list[int]:
    """The tokens that all prompts begin with; every prompt has at least one more."""
    ordered = sorted(list(prompt) for prompt in prompts)
    first, last = ordered[0], ordered[-1]  # what these share, all share
    most = min(len(prompt) for prompt in prompts) - 1
    same = 0
    while same < most and first[same] == last[same]:
        same += 1
    return first[:same]


# -- the verb --------------------------------------------------------------------------------------


def evaluate(
    spec: EvaluateSpec, *, attribution: bool = False
) -> Generator[Progress, None, Outcome]:
    """Ask everyone everything; begun again with the same parents and questions it goes on.

    attribution   also ask the composition by its bridges alone and by its output path alone
    Raises what `read_questions` and loading the models raise, InputError "device.missing" and
    "output.exists", and `Cancelled` between two batches when the process was asked to stop.
    """
    every = read_questions(spec.questions)
    parents = _parents(spec)
    work = _key(spec, parents, attribution)
    if (done := _finished(spec, work)) is not None:
        return done
    torch.set_num_threads(threads(spec.threads))
    yield Progress("load", message="reading the models")
    columns, tokenizer = _columns(spec, attribution)
    questions = chosen(every, spec.seed)
    with Answers(_partial(spec), work) as answers:
        yield from _ask(spec, columns, tokenizer, questions, answers)
        said = dict(answers.said)
    names = [column.name for column in columns]
    facts = _facts(spec, cells_of(questions, said, names), asked=len(questions), of=len(every))
    facts["costs"] = dataclasses.asdict(costs_of(columns[0].model))
    items = [_item(row, said, names) for row in questions]
    outcome = _publish(Path(spec.output), work, parents, facts, items)
    _partial(spec).unlink(missing_ok=True)
    return outcome


def _ask(
    spec: EvaluateSpec,
    columns: Sequence[Column],
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[Example],
    answers: Answers,
) -> Iterator[Progress]:
    total, fresh, began = len(questions) * len(columns), 0, time.monotonic()
    for column in columns:
        words = column.tokenizer or tokenizer
        prompts = {row.id: question_prompt(words, row.question) for row in questions}
        prefix = common_prefix(list(prompts.values()))
        ends = end_tokens(column.model if column.tokenizer else columns[0].model, words)
        asker = Asker(column, words, prefix=prefix, ends=ends, most=spec.max_new_tokens)
        left = [row for row in questions if (column.name, row.id) not in answers.said]
        left.sort(key=lambda row: len(prompts[row.id]))  # equal lengths together: little padding
        for start in range(0, len(left), spec.batch_size):
            if stop_requested():
                raise Cancelled(answered=len(answers.said), of=total)
            batch = left[start : start + spec.batch_size]
            texts = asker.ask([prompts[row.id] for row in batch])
            answers.add(column.name, [row.id for row in batch], texts)
            fresh += len(batch)
            step = sum(1 for name, key in answers.said if key in prompts)
            rate = (time.monotonic() - began) / fresh
            yield Progress(
                "evaluate",
                step,
                total,
                message=column.name,
                metrics=_so_far(column.name, questions, answers),
                samples=(_sample(batch[0], texts[0]),),
                eta_seconds=rate * (total - step),
            )


def _so_far(column: str, questions: Sequence[Example], answers: Answers) -> dict[str, float]:
    said = [(row, answers.said.get((column, row.id))) for row in questions]
    marks = [matches(text, row.expected) for row, text in said if text is not None]
    return {f"{column}/right": sum(marks) / len(marks)}


def _sample(row: Example, text: str) -> dict[str, str]:
    return {"question": row.question, "expected": row.expected, "answer": text}


def _columns(spec: EvaluateSpec, attribution: bool) -> tuple[list[Column], PreTrainedTokenizerBase]:
    """Load each parent once and say who is asked, in the order of the report."""
    if spec.device == "cuda" and not torch.cuda.is_available():
        raise InputError("device.missing", "no such device here", device=spec.device)
    device = "cuda" if spec.device != "cpu" and torch.cuda.is_available() else "cpu"
    together = CalmForCausalLM.from_pretrained(
        spec.composition, anchor=spec.anchor, augmenters=spec.augmenters, device_map=device
    )
    columns = [Column("composition", together)]
    if attribution:
        columns += [
            Column("bridges_only", together, output=False),
            Column("output_only", together, bridges=False),
        ]
    if spec.random:
        # Its augmenter of random weights lies inside its own folder; the anchor is the same one.
        control = CalmForCausalLM.from_pretrained(
            spec.random, anchor=together.anchor, device_map=device
        )
        columns.append(Column("random", control))
    alignments = together.streams.alignments
    for index, (augmenter, alignment) in enumerate(
        zip(together.augmenters, alignments, strict=True)
    ):
        words = None if alignment is None else alignment.augmenter
        name = f"augmenter_{index}" if index else "augmenter"
        columns.append(Column(name, augmenter, tokenizer=words))
    if len(together.augmenters) > 1:
        # What their company costs each of them: bridges trained apart have never met.
        columns += [_only(together, index) for index in range(len(together.augmenters))]
    columns.append(Column("anchor", together, gate=0.0))
    return columns, read_tokenizer(spec.anchor)


def _only(together: CalmForCausalLM, index: int) -> Column:
    """The composition with one of its augmenters let in and the others shut out."""
    gates = tuple(float(at == index) for at in range(len(together.augmenters)))
    return Column(f"only_augmenter_{index}", together, gate=gates)


# -- what is kept ----------------------------------------------------------------------------------


class Answers:
    """The answers given so far, in a file that survives a crash: a line for each, each once.

    said   text by column and question
    """

    def __init__(self, path: Path, key: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.said: dict[tuple[str, str], str] = {}
        self._file: IO[bytes] = path.open("r+b" if path.exists() else "w+b")
        if not self._resume(key):
            self.said.clear()
            self._file.seek(0)
            self._file.truncate()
            self._write([{"key": key}])

    def __enter__(self) -> Answers:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, column: str, ids: Sequence[str], texts: Sequence[str]) -> None:
        """Keep a batch; it is on the disk when this returns."""
        new = [(name, text) for name, text in zip(ids, texts, strict=True)]
        self._write([{"column": column, "id": name, "text": text} for name, text in new])
        self.said |= {(column, name): text for name, text in new}

    def _resume(self, key: str) -> bool:
        """Take over what the file holds, up to a torn line; False when it is other work's."""
        end = 0
        for line in self._file:
            try:
                told = json.loads(line) if line.endswith(b"\n") else None
            except ValueError:
                told = None
            if told is None or (end == 0 and told.get("key") != key):
                break
            if end:
                self.said.setdefault((told["column"], told["id"]), told["text"])
            end += len(line)
        self._file.seek(end)
        self._file.truncate()
        return end > 0

    def _write(self, rows: Sequence[dict[str, str]]) -> None:
        self._file.write("".join(json.dumps(row) + "\n" for row in rows).encode())
        self._file.flush()
        os.fsync(self._file.fileno())


def _partial(spec: EvaluateSpec) -> Path:
    output = Path(spec.output)
    return output.with_name(f"{output.name}.work") / ANSWERS


def _key(spec: EvaluateSpec, parents: dict[str, str], attribution: bool) -> str:
    """SHA-256 of what decides the answers: contents rather than paths, no sizes of batches."""
    told = {
        "parents": parents,
        "questions": digests.file_digest(Path(spec.questions)),
        "rest": [spec.max_new_tokens, spec.seed, attribution],
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _parents(spec: EvaluateSpec) -> dict[str, str]:
    folders = {"composition": spec.composition, "anchor": spec.anchor}
    folders |= {f"augmenter_{i}": folder for i, folder in enumerate(spec.augmenters)}
    folders |= {"random": spec.random} if spec.random else {}
    return {role: digests.weights_digest(folder) for role, folder in folders.items()}


def _finished(spec: EvaluateSpec, key: str) -> Outcome | None:
    """The outcome of this very work, if it stands there whole: nobody is asked again."""
    output = Path(spec.output)
    if not output.exists():
        return None
    try:
        digests.verify(output)
        told = json.loads((output / OUTCOME).read_text(encoding="utf-8"))
        if told.pop("key") == key:
            digest = digests.folder_digest(output)
            return Outcome.from_dict(told | {"folder": str(output), "digest": digest})
    except (EngineError, OSError, ValueError, KeyError):
        pass
    raise InputError("output.exists", "something else is in the output folder", path=output.name)


def _facts(
    spec: EvaluateSpec, cells: list[dict[str, Any]], *, asked: int, of: int
) -> dict[str, Any]:
    return {
        "cells": cells,
        "items": ITEMS,
        "max_new_tokens": spec.max_new_tokens,
        "questions": asked,
        "asked": asked,
        "of": of,
        "most": {"seen": MOST_SEEN, "other": MOST},
        "seed": spec.seed,
    }


def _publish(
    output: Path,
    key: str,
    parents: dict[str, str],
    facts: dict[str, Any],
    items: Sequence[dict[str, Any]],
) -> Outcome:
    """Write the report's folder whole."""
    metrics = {f"{c['column']}/{c['kind']}/{c['slice']}": float(c["value"]) for c in facts["cells"]}
    told = {"kind": "report", "parents": parents, "metrics": metrics, "facts": facts}
    with whole(output) as aside:
        lines = [json.dumps(item, sort_keys=True) for item in items]
        (aside / ITEMS).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        text = json.dumps(told | {"key": key}, indent=2, sort_keys=True)
        (aside / OUTCOME).write_text(text + "\n", encoding="utf-8")
    digest = digests.folder_digest(output)
    return Outcome.from_dict(told | {"folder": str(output), "digest": digest})


def _item(row: Example, said: dict[tuple[str, str], str], columns: Sequence[str]) -> dict[str, Any]:
    """One question with everyone's answer."""
    answers = {}
    for column in columns:
        text = said[column, row.id]
        is_right, exact = matches(text, row.expected), is_exact(text, row.expected)
        answers[column] = {"text": text, "right": is_right, "exact": exact}
    return dataclasses.asdict(row) | {"answers": answers}
