"""Requests that arrive together: tokens a second of all, and the wait for the first token.

Rounds of the composition and of its bare anchor take turns, so that a busy minute meets both.
"""

from __future__ import annotations

import itertools
import json
import queue
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch

from calm_engine.bench.figures import ratio
from calm_engine.errors import EngineError
from calm_engine.families import read_tokenizer
from calm_engine.generation import Piece, Sampling
from calm_engine.modeling import CalmForCausalLM
from calm_engine.process import threads
from calm_engine.serving.batching import Batcher
from calm_engine.serving.line import Loaded, Ticket

AT_ONCE = (1, 8, 32)
JUDGED = 8  # answers at once, whose wait is judged, and which stand beside one after the other
PROMPT, SAID = 64, 32  # tokens
ROUNDS = 5
SIDES = ("together", "one_by_one")


@dataclass(frozen=True)
class Burst:
    """What a burst took: tokens a second in all, and seconds until each request's first token."""

    rate: float
    first: Sequence[float]


Play = Callable[[int], Burst]


def beside(together: Play, alone: Play) -> dict[str, float]:
    """Of the composition, in parts of the bare anchor's: rate_1, rate_8, rate_32, and wait.

    And seconds: what the composition takes for as many answers as are judged.
    """
    told: dict[str, float] = {}
    for count in AT_ONCE:
        rounds = [(together(count), alone(count)) for _ in range(ROUNDS + 1)][1:]
        rates = [[pair[at].rate for pair in rounds] for at in (0, 1)]
        told[f"rate_{count}"] = ratio(*rates)
        if count == JUDGED:
            waits = [[wait for pair in rounds for wait in pair[at].first] for at in (0, 1)]
            ours, bare = (quantiles(each, n=20)[-1] for each in waits)
            told |= {"wait": ours / bare, "seconds": count * SAID / median(rates[0])}
    return told


def one_side(side: str, folder: Path, device: torch.device) -> dict[str, float]:
    """What `beside` tells of the torch engine, or the seconds of one answer after the other."""
    torch.set_num_threads(threads())
    return _together(folder, device) if side == "together" else _one_by_one(folder, device)


def _together(folder: Path, device: torch.device) -> dict[str, float]:
    def load() -> dict[str, Loaded]:  # on the model's thread: no other one may play
        return {"": Loaded(_model(folder, device), read_tokenizer(folder))}

    line = Batcher(load, rows=max(AT_ONCE))
    line.start()
    try:
        return beside(*(_on_torch(line, gate) for gate in (1.0, 0.0)))
    finally:
        line.stop()


def _model(folder: Path, device: torch.device) -> CalmForCausalLM:
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    model: Any = CalmForCausalLM.from_pretrained(folder, dtype=dtype)
    return model.to(device).train(mode=False)  # type: ignore[no-any-return]  # untyped there


@torch.inference_mode()
def _one_by_one(folder: Path, device: torch.device) -> dict[str, float]:
    model: Any = _model(folder, device)  # `generate` says nothing of its types
    how: dict[str, Any] = {"do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    took = []
    for _ in range(3):
        began = time.monotonic()
        for prompt in _prompts(JUDGED):
            model.generate(torch.tensor([prompt], device=device), max_new_tokens=SAID, **how)
        took.append(time.monotonic() - began)
    return {"seconds": median(took[1:])}


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

    wait_for(line)
    return play


def wait_for(line: Batcher) -> None:
    """Until it may be asked. Raises what kept it from loading."""
    while line.state == "loading":
        time.sleep(0.1)
    if line.failure is not None:
        raise line.failure


def on_vllm(folder: Path) -> dict[str, float]:
    """What `beside` tells of vLLM. `folder`: a composition with its anchor in it."""
    return beside(*(_vllm(one) for one in (folder, folder / "anchor")))


def _vllm(folder: Path) -> Play:
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


if __name__ == "__main__":
    print(json.dumps(one_side(sys.argv[1], Path(sys.argv[2]), torch.device(sys.argv[3]))))
