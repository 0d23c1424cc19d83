"""Let a model write lessons, each with its passage in the prompt: batched, resumable, kept.

Sources: EntiGraph (arXiv 2409.07431) for relations, Active Reading (arXiv 2508.09494) for many
forms, Physics of Language Models 3.2 (arXiv 2309.14402) for both directions. What was written is
kept by the digests of its passage and of everything else that decides it, so an unchanged document
is never asked about twice; what no document holds any more is dropped from there. Knows no course.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Collection, Generator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from calm_engine.data import question_prompt, read_documents
from calm_engine.digests import weights_digest
from calm_engine.errors import Cancelled
from calm_engine.evaluation.asking import Asker, Column, common_prefix
from calm_engine.families import load_parent, read_tokenizer
from calm_engine.generation import end_tokens
from calm_engine.process import stop_requested
from calm_engine.ranks import Ranks
from calm_engine.selfstudy.checking import checked
from calm_engine.selfstudy.nouns import WRITTEN, Source, Wordings
from calm_engine.selfstudy.prompts import FORMAT, Request, requests_of
from calm_engine.selfstudy.saying import passages_of
from calm_engine.specs import AugmentSpec, Progress
from calm_engine.training import stored_as, work_folder

TOGETHER = 16  # passages asked about in one batch
MOST = 80  # tokens of an answer
SHOWN = 4  # of a batch, shown while it goes on


@dataclass(frozen=True)
class Written:
    """What may be taught of what was written, and what was dropped, by "kind: reason"."""

    wordings: tuple[Wordings, ...]
    dropped: dict[str, int]
    asked: int


class Kept:
    """What was written before, on disk: a line for each passage and kind. Torn lines are none.

    folder   one file for each writer and format lies in it
    """

    def __init__(self, folder: Path, writer: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        settings = json.dumps([FORMAT, MOST, writer])
        self.path = folder / f"{hashlib.sha256(settings.encode()).hexdigest()}.jsonl"
        self.texts: dict[str, str] = {}
        for line in self._lines():
            try:
                row = json.loads(line)
                self.texts[row["key"]] = row["text"]
            except (ValueError, KeyError, TypeError):
                continue  # the line that a crash cut off

    def _lines(self) -> list[str]:
        return self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []

    def keep_only(self, keys: Collection[str]) -> None:
        """Forget what no document holds any more: a document that left leaves here, too."""
        stay = {key: text for key, text in self.texts.items() if key in keys}
        aside = self.path.with_suffix(f".{os.getpid()}")
        self._write(aside, stay, "w")
        aside.replace(self.path)
        self.texts = stay

    def add(self, fresh: dict[str, str]) -> None:
        """On disk before it counts."""
        self._write(self.path, fresh, "a")
        self.texts |= fresh

    @staticmethod
    def _write(path: Path, texts: dict[str, str], mode: str) -> None:
        with path.open(mode, encoding="utf-8") as file:
            for key, text in texts.items():
                file.write(f"\n{json.dumps({'key': key, 'text': text})}")
            file.flush()
            os.fsync(file.fileno())


def requests_for(documents: Iterable[Source]) -> list[Request]:
    """Everything that can be written from these documents, each passage and kind once."""
    found: dict[str, Request] = {}
    for document in documents:
        for passage in passages_of(document):
            for request in requests_of(document, passage.said.strip(), WRITTEN):
                found.setdefault(request.key, request)
    return list(found.values())


def write_lessons(spec: AugmentSpec, ranks: Ranks) -> Generator[Progress, None, None]:
    """Have everything written that was not written before; only then is the writer loaded.

    The first process writes, the others wait for it. Raises Cancelled between two batches, what
    was written until then is kept; what reading the documents and loading the writer raise.
    """
    if spec.writes and ranks.is_first:
        writer, documents = Path(spec.tokenizer), read_documents(spec.documents)
        asked = {one.key: one for one in requests_for(documents)}
        kept = Kept(kept_in(spec), weights_digest(writer))
        kept.keep_only(asked)
        every = {key: one for key, one in asked.items() if one.kind not in spec.without}
        left = [(key, one) for key, one in every.items() if key not in kept.texts]
        if left:
            model: Any = load_parent(writer, dtype=stored_as(spec))
            model.to(ranks.device).train(False)
            yield from _write_all(model, read_tokenizer(writer), left, kept, total=len(every))
    if spec.writes:
        ranks.wait()


def written_for(spec: AugmentSpec, documents: Sequence[Source]) -> Written:
    """What was written of these documents, checked; no model is asked."""
    if not spec.writes:
        return Written((), {}, 0)
    kept = texts_kept(spec)
    every = [one for one in requests_for(documents) if one.kind not in spec.without]
    found = [(one, kept[one.key]) for one in every if one.key in kept]
    dropped: Counter[str] = Counter()
    wordings = tuple(checked(found, dropped))
    return Written(wordings, dict(dropped), len(found))


def texts_kept(spec: AugmentSpec) -> dict[str, str]:
    """What was written, by the key of its request; nothing where nothing may be."""
    if not spec.writes:
        return {}
    return Kept(kept_in(spec), weights_digest(Path(spec.tokenizer))).texts


def kept_in(spec: AugmentSpec) -> Path:
    """Where what was written is kept: as told, or in this training's own folder."""
    return Path(spec.study_cache) if spec.study_cache else work_folder(spec) / "written"


def _write_all(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    left: list[tuple[str, Request]],
    kept: Kept,
    *,
    total: int,
) -> Generator[Progress, None, None]:
    """Equal lengths together: little padding, and little waiting for the longest."""
    prompts = {key: question_prompt(tokenizer, one.prompt) for key, one in left}
    prefix = common_prefix(list(prompts.values()))
    ends = end_tokens(model, tokenizer)
    asker = Asker(Column("writer", model), tokenizer, prefix=prefix, ends=ends, most=MOST)
    left = sorted(left, key=lambda one: len(prompts[one[0]]))
    began, done = time.monotonic(), total - len(left)
    for start in range(0, len(left), TOGETHER):
        if stop_requested():
            raise Cancelled(written=done + start, of=total)
        part = left[start : start + TOGETHER]
        texts = asker.ask([prompts[key] for key, _ in part])
        kept.add({key: text for (key, _), text in zip(part, texts, strict=True)})
        fresh = start + len(part)
        rate = (time.monotonic() - began) / fresh
        yield Progress(
            "study",
            done + fresh,
            total,
            message="writing questions and notes",
            samples=tuple(
                {"question": one.kind, "expected": one.passage[:200], "answer": text}
                for (_, one), text in list(zip(part, texts, strict=True))[:SHOWN]
            ),
            eta_seconds=rate * (len(left) - fresh),
        )
