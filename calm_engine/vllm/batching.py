"""The line before a composition that vLLM plays: our tickets in, its tokens out as our pieces.

Knows vLLM's engine and no HTTP. Text, stop strings and ends are ours (`generation.Answer`), so an
answer is cut the same on either engine; a seed draws other words here than on torch.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

from transformers import GenerationConfig
from vllm import SamplingParams
from vllm.config import StructuredOutputsConfig
from vllm.engine.arg_utils import EngineArgs
from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams
from vllm.v1.engine.llm_engine import LLMEngine

from calm_engine.errors import EngineError, InternalError
from calm_engine.families import read_tokenizer
from calm_engine.generation import Answer, Piece, Scored, end_tokens
from calm_engine.parents import read_composition
from calm_engine.serving.line import Line, Loaded, Ticket
from calm_engine.vllm.requests import NAME

WATCH_SECONDS = 1.0  # between two looks at whether vLLM's processes live
# Nothing is told to anybody, and its own log keeps no prompts.
QUIET = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_LOGGING_LEVEL": "WARNING"}


@dataclass(frozen=True)
class Played:
    """What vLLM is given to play.

    key       of the only model here
    parents   the anchor's folder, then each augmenter's
    cache_gb  GiB for keys and values; None: what vLLM finds free
    """

    key: str
    composition: str
    parents: Sequence[str]
    fingerprint: str = ""
    cache_gb: float | None = None


class _Row:
    """An answer under way: what has come of it so far."""

    def __init__(self, ticket: Ticket, answer: Answer) -> None:
        self.ticket = ticket
        self.answer = answer

    @property
    def is_over(self) -> bool:
        return self.ticket.cancelled or self.answer.finish is not None


class PagedBatcher(Line[Ticket, Mapping[str, Loaded]]):
    """vLLM's scheduler, driven step by step from the model thread."""

    can_judge = False

    def __init__(self, played: Played, **how: Any) -> None:
        super().__init__(**how)
        self._played = played
        self._rows: dict[str, _Row] = {}
        self._names = map(str, itertools.count())

    def _run(self) -> None:
        os.environ |= QUIET
        threading.Thread(target=self._watch, name="watch", daemon=True).start()
        with _together(self._played) as folder:
            self._folder = folder
            super()._run()

    def _watch(self) -> None:
        """Notice when vLLM's own processes have ended: its client may wait for them for ever."""
        has_begun = False
        while not self._is_stopping and self.failure is None:
            lives = bool(multiprocessing.active_children())
            if has_begun and not lives and not self._is_stopping:
                self.fail(InternalError("vllm.ended"))
            has_begun = has_begun or lives
            time.sleep(WATCH_SECONDS)

    def _open(self) -> Mapping[str, Loaded]:
        try:
            return self._loaded()
        except EngineError:
            raise
        except Exception as error:
            raise InternalError("vllm.start", why=_why(error)) from error

    def _loaded(self) -> Mapping[str, Loaded]:
        config = read_composition(self._folder)
        room = self._played.cache_gb
        self._engine = LLMEngine.from_engine_args(
            EngineArgs(
                model=str(self._folder),
                # The grammars' words; text is ours.
                structured_outputs_config=StructuredOutputsConfig(
                    backend="guidance", disable_any_whitespace=True
                ),
                dtype=str((config.anchor_config or {}).get("dtype") or "auto"),
                max_num_seqs=self._most,
                kv_cache_memory_bytes=None if room is None else int(room * 2**30),
                disable_log_stats=True,
            )
        )
        tokenizer = read_tokenizer(self._folder)
        told = SimpleNamespace(config=config, generation_config=_settings(self._folder))
        self._ends = end_tokens(told, tokenizer)
        return {self._played.key: Loaded(told, tokenizer, self._played.fingerprint)}

    def _turn(self, models: Mapping[str, Loaded]) -> None:
        loaded = models[self._played.key]
        self._leave()
        while len(self._rows) < self._most and (ticket := self._next()) is not None:
            self._begin(ticket, loaded)
        if not self._rows:
            return
        with self.meters.step.time():
            told = self._engine.step()
        for output in told:
            self._hear(output, loaded)

    def _leave(self) -> None:
        """Rows that are over go: in vLLM too, where it has not noticed by itself."""
        gone = [name for name, row in self._rows.items() if row.is_over]
        if gone:
            self._engine.abort_request(gone)
        for name in gone:
            del self._rows[name]
        self._forget_cancelled()

    def _begin(self, ticket: Ticket, loaded: Loaded) -> None:
        name = next(self._names)
        prompt: Any = {"prompt_token_ids": list(ticket.prompt)}
        self._engine.add_request(name, prompt, _params(ticket, self._ends))
        self._rows[name] = _Row(ticket, Answer(loaded.tokenizer, ticket.sampling, self._ends))
        self.meters.prompt_tokens.inc(len(ticket.prompt))

    def _hear(self, output: Any, loaded: Loaded) -> None:
        """Hand on what one request got in this step."""
        row = self._rows.get(output.request_id)
        if row is None or row.is_over:
            return
        (said,) = output.outputs
        if not row.answer.tokens and said.token_ids:
            self.meters.first_token.observe(time.monotonic() - row.ticket.asked)
        count = len(said.token_ids)
        for at, token in enumerate(said.token_ids):
            scored = said.logprobs and _scored(
                token, said.logprobs[at], loaded.tokenizer, row.ticket.sampling.top_logprobs or 0
            )
            is_last = output.finished and at == count - 1
            self._deliver(row, row.answer.add(token, scored or None, is_last=is_last))
            if row.answer.finish is not None:
                return

    def _deliver(self, row: _Row, piece: Piece) -> None:
        self.meters.drawn_tokens.inc()
        if not row.ticket.cancelled:
            row.ticket.deliver(piece)

    def _current(self) -> list[Ticket]:
        return [row.ticket for row in self._rows.values()]

    def _begun(self) -> list[Ticket]:
        tickets = [row.ticket for row in self._rows.values() if not row.is_over]
        self._rows.clear()
        self._engine.engine_core.shutdown()
        return tickets


def _why(error: Exception) -> str:
    """What vLLM says of its own start, in one line; there is no prompt yet that it could tell."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200]


@contextmanager
def _together(played: Played) -> Iterator[Path]:
    """A folder in which composition and parents lie as in a self-contained one, by links."""
    with TemporaryDirectory(prefix="calm-serve-") as made:
        folder = Path(made)
        for path in Path(played.composition).resolve().iterdir():
            if path.is_file():
                (folder / path.name).symlink_to(path)
        config = read_composition(folder)
        for role, parent in zip(config.roles, played.parents, strict=True):
            (folder / role).symlink_to(Path(parent).resolve())
        yield folder


def _settings(folder: Path) -> GenerationConfig | None:
    if not (folder / "generation_config.json").is_file():
        return None
    return GenerationConfig.from_pretrained(folder, local_files_only=True)


def _params(ticket: Ticket, ends: frozenset[int]) -> SamplingParams:
    how, held = ticket.sampling, ticket.held
    return SamplingParams(
        max_tokens=how.max_new_tokens,
        temperature=how.temperature,
        top_p=how.top_p,
        seed=how.seed,
        logprobs=how.top_logprobs,
        stop_token_ids=sorted(ends),
        ignore_eos=True,  # the ends are told above
        detokenize=False,
        output_kind=RequestOutputKind.DELTA,
        structured_outputs=held and StructuredOutputsParams(json=held.schema),
        extra_args={NAME: how.gate},
    )


def _scored(token: int, told: dict[int, Any], tokenizer: Any, count: int) -> Scored:
    """A token and the `count` likeliest ones in its place; vLLM tells of it besides those."""
    ranked = sorted(told.items(), key=lambda item: int(item[1].rank))
    top = tuple((tokenizer.decode([other]), one.logprob) for other, one in ranked[:count])
    return Scored(tokenizer.decode([token]), told[token].logprob, top)
