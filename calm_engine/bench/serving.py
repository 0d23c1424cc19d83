"""Many answers at once on either engine, beside the bare anchor on the same engine.

A burst is so many requests that arrive together; what is told is tokens a second, and the wait for
the first token. Rounds of both models take turns, so that a busy minute meets both.
"""

from __future__ import annotations

import itertools
import queue
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch

from calm_engine.bench import blocks, sharing
from calm_engine.bench.figures import ratio
from calm_engine.bench.models import load_anchor, new_composition, size
from calm_engine.errors import EngineError
from calm_engine.families import read_tokenizer
from calm_engine.figures import Figure
from calm_engine.generation import Piece, Sampling
from calm_engine.modeling import CalmForCausalLM
from calm_engine.serving.batching import Batcher
from calm_engine.serving.line import Loaded, Ticket

AT_ONCE = (1, 8, 32)
PROMPT, SAID = 64, 32  # tokens
ROUNDS = 5
OF_CEILING, BESIDE_ONE, WAIT = 0.95, 3.0, 1.3


@dataclass(frozen=True)
class Burst:
    """What a burst took: tokens a second in all, and seconds until each request's first token."""

    rate: float
    first: Sequence[float]


Play = Callable[[int], Burst]


def measure(folder: Path, scratch: Path, device: torch.device) -> Iterator[Figure]:
    """What a second composition costs, the torch engine, and vLLM where it is installed."""
    yield from sharing.measure(folder, scratch)
    anchor = load_anchor(folder, device)
    yield from blocks.measure(anchor.config, device)
    model = new_composition(anchor)
    ceiling = size(anchor) / size(model)
    yield Figure("serving.ceiling", ceiling, "ratio", "the anchor's bytes among all that are read")
    line = Batcher(lambda: {"": Loaded(model, read_tokenizer(folder))}, rows=max(AT_ONCE))
    line.start()
    try:
        together, alone = (_on_torch(line, gate) for gate in (1.0, 0.0))
        yield from _beside("torch", together, alone, ceiling)
        yield _beside_one_by_one(model, together)
    finally:
        line.stop()
    if find_spec("vllm") is not None:
        whole = scratch / "together"
        model.save_pretrained(whole, tokenizer=read_tokenizer(folder), self_contained=True)
        with_bridges, bare = (_on_vllm(one) for one in (whole, whole / "anchor"))
        yield from _beside("vllm", with_bridges, bare, ceiling)


def _beside(engine: str, together: Play, alone: Play, ceiling: float) -> Iterator[Figure]:
    for count in AT_ONCE:
        rounds = [(alone(count), together(count)) for _ in range(ROUNDS + 1)][1:]
        found = ratio([two.rate for _, two in rounds], [one.rate for one, _ in rounds])
        name = f"serving.{engine}.at_once_{count}"
        yield Figure(name, found, "ratio", "tokens a second of the bare anchor, same engine")
        yield Figure(
            f"{name}.of_ceiling", found / ceiling, "ratio", "weight-byte ceiling", OF_CEILING, True
        )
        if count == 8:
            waits = [[wait for pair in rounds for wait in pair[at].first] for at in (0, 1)]
            bare, ours = (quantiles(each, n=20)[-1] for each in waits)
            told = "the bare anchor's wait for the first token, p95 at 8"
            yield Figure(f"serving.{engine}.first_token", ours / bare, "ratio", told, WAIT, False)


def _beside_one_by_one(model: CalmForCausalLM, together: Play) -> Figure:
    """Eight answers at once beside eight calls of `generate`, one after the other."""

    def one_by_one() -> float:
        began = time.monotonic()
        for prompt in _prompts(8):
            _write(model, prompt)
        return 8 * SAID / (time.monotonic() - began)

    one_by_one()
    rounds = [(together(8).rate, one_by_one()) for _ in range(3)]
    found = median(at_once / singly for at_once, singly in rounds)
    told = "tokens a second of one `generate` after the other"
    return Figure("serving.torch.beside_one_by_one", found, "times", told, BESIDE_ONE, True)


@torch.inference_mode()
def _write(model: Any, prompt: Sequence[int]) -> None:  # `generate` says nothing of its types
    how: dict[str, Any] = {"do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    ids = torch.tensor([list(prompt)], device=model.device)
    model.generate(ids, max_new_tokens=SAID, **how)


def _prompts(count: int) -> list[list[int]]:
    """Prompts that share nothing: a prefix cache has no part in this."""
    source = torch.Generator().manual_seed(next(_SEEDS))
    return torch.randint(1000, 40_000, (count, PROMPT), generator=source).tolist()


_SEEDS = itertools.count()


def _on_torch(line: Batcher, gate: float) -> Play:
    how = Sampling(max_new_tokens=SAID, temperature=0.0, gate=gate)

    def play(count: int) -> Burst:
        told: queue.Queue[tuple[int, float, Piece]] = queue.Queue()
        began = time.monotonic()
        for at, prompt in enumerate(_prompts(count)):

            def hear(piece: Piece | EngineError, at: int = at) -> None:
                if isinstance(piece, EngineError):
                    raise piece
                told.put((at, time.monotonic() - began, piece))

            line.submit(Ticket(tuple(prompt), how, deliver=hear))
        first: dict[int, float] = {}
        left, drawn = count, 0
        while left:
            at, when, piece = told.get(timeout=300)
            first.setdefault(at, when)
            if piece.finish is not None:
                left, drawn = left - 1, drawn + piece.drawn
        return Burst(drawn / (time.monotonic() - began), list(first.values()))

    _wait(line)
    return play


def _wait(line: Batcher) -> None:
    while line.state == "loading":
        time.sleep(0.1)
    if line.failure is not None:
        raise line.failure


def _on_vllm(folder: Path) -> Play:
    # vLLM is not in every environment.
    from vllm import SamplingParams  # noqa: PLC0415
    from vllm.engine.arg_utils import EngineArgs  # noqa: PLC0415
    from vllm.v1.engine.llm_engine import LLMEngine  # noqa: PLC0415

    told = EngineArgs(
        model=str(folder),
        dtype="float32" if not torch.cuda.is_available() else "bfloat16",
        max_model_len=512,
        max_num_seqs=max(AT_ONCE),
        kv_cache_memory_bytes=1 << 30,
        skip_tokenizer_init=True,
        disable_log_stats=True,
    )
    engine = LLMEngine.from_engine_args(told)
    how = SamplingParams(temperature=0, max_tokens=SAID, ignore_eos=True, detokenize=False)

    def play(count: int) -> Burst:
        began = time.monotonic()
        for prompt in _prompts(count):
            engine.add_request(str(next(_SEEDS)), {"prompt_token_ids": prompt}, how)
        first: dict[str, float] = {}
        while engine.has_unfinished_requests():
            for output in engine.step():
                first.setdefault(output.request_id, time.monotonic() - began)
        return Burst(count * SAID / (time.monotonic() - began), list(first.values()))

    return play
