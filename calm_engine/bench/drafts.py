"""Answers about what an augmenter knows, with its drafts, beside the anchor alone."""

from __future__ import annotations

import json
import queue
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from calm_engine import api
from calm_engine.bench import corpus
from calm_engine.bench.apart import in_a_process
from calm_engine.bench.bursts import wait_for
from calm_engine.bench.figures import ratio
from calm_engine.data import question_prompt
from calm_engine.drafting import Drafting, generate_drafted
from calm_engine.errors import EngineError
from calm_engine.families import read_tokenizer
from calm_engine.figures import Figure
from calm_engine.generation import Piece, Sampling
from calm_engine.process import threads
from calm_engine.serving.batching import Batcher
from calm_engine.serving.line import Loaded, Ticket
from calm_engine.specs import ComposeSpec

ASKED, SAID = 8, 24  # questions, and tokens of an answer at most
DRAFTED = (2, 4, 6)
SIDES = ("generate", "served")


def measure(spec: ComposeSpec, device: torch.device) -> Iterator[Figure]:
    """Tokens a second for several lengths of draft; the composition must have been trained."""
    words = (device.type, spec.output, spec.anchor, *spec.augmenters)
    told = {side: in_a_process("calm_engine.bench.drafts", side, *words) for side in SIDES}
    for tokens in DRAFTED:
        found = told["generate"]
        against = "tokens per second of the anchor alone, in-domain answers"
        name, is_default = f"drafting.{tokens}", tokens == 4
        bar = 1.0 if is_default else None
        yield Figure(name, found[f"{tokens}"], "ratio", against, bar, is_default)
        accepted = found[f"{tokens}.accepted"]
        yield Figure(f"{name}.acceptance", accepted, "share", "tokens drafted")
    against = "tokens per second of the bare anchor, same server, in-domain answers"
    yield Figure("drafting.served", told["served"]["rate"], "ratio", against, 1.0, True)


def one_side(side: str, device: torch.device, folders: Sequence[Path]) -> dict[str, float]:
    """The figures of `generate` or of the model server: each plays on one thread of its own.

    folders   the composition, its anchor and its augmenters
    """
    torch.set_num_threads(threads())
    return (_generated if side == "generate" else _served)(device, folders)


def _loaded(device: torch.device, folders: Sequence[Path]) -> tuple[Any, Any]:
    composition, anchor, *augmenters = folders
    model, tokenizer = api.load(composition, anchor, augmenters)
    torch.nn.Module.to(model, device)
    return model, tokenizer


def _prompts(tokenizer: Any) -> list[tuple[int, ...]]:
    """The questions, the first of them twice: it warms up."""
    asked = [corpus.question(name) for name in list(corpus.MADE)[:ASKED]]
    return [tuple(question_prompt(tokenizer, each)) for each in (asked[0], *asked)]


def _generated(device: torch.device, folders: Sequence[Path]) -> dict[str, float]:
    """For each length of draft the rate beside the anchor's, and the share that was accepted."""
    model, tokenizer = _loaded(device, folders)
    told: dict[str, float] = {}
    for tokens in DRAFTED:
        ours, theirs, proposed, accepted = [], [], 0, 0
        for prompt in _prompts(tokenizer):
            ids = torch.tensor([prompt], device=device)
            began = time.monotonic()
            found = generate_drafted(model, ids, max_new_tokens=SAID, draft_tokens=tokens)
            ours.append((time.monotonic() - began) / len(found.tokens))
            theirs.append(_alone(model.anchor, ids, len(found.tokens)))
            proposed, accepted = proposed + found.proposed, accepted + found.accepted
        told[f"{tokens}"] = ratio(theirs[1:], ours[1:])
        told[f"{tokens}.accepted"] = accepted / max(1, proposed)
    return told


def _served(device: torch.device, folders: Sequence[Path]) -> dict[str, float]:
    """The same questions one after the other through the model server's own batch."""
    line = Batcher(lambda: {"": Loaded(*_loaded(device, folders))}, drafting=Drafting())
    line.start()
    try:
        wait_for(line)
        taken = [
            {gate: _told(line, prompt, gate) for gate in (1.0, 0.0)}
            for prompt in _prompts(read_tokenizer(folders[1]))
        ][1:]
    finally:
        line.stop()
    return {"rate": ratio([each[0.0] for each in taken], [each[1.0] for each in taken])}


def _told(line: Batcher, prompt: tuple[int, ...], gate: float) -> float:
    """Seconds for a token of one answer, from its first one on."""
    arrived: queue.Queue[tuple[float, Piece]] = queue.Queue()

    def hear(piece: Piece | EngineError) -> None:
        if isinstance(piece, EngineError):
            raise piece
        arrived.put((time.monotonic(), piece))

    how = Sampling(max_new_tokens=SAID, temperature=0.0, gate=gate)
    line.submit(Ticket(prompt, how, deliver=hear))
    first, piece = arrived.get(timeout=300)
    last = first
    while piece.finish is None:
        last, piece = arrived.get(timeout=300)
    return (last - first) / max(1, piece.drawn - 1)


def _alone(anchor: Any, ids: torch.Tensor, tokens: int) -> float:
    """Seconds for a token of plain `generate`, as many of them."""
    began = time.monotonic()
    told = {"do_sample": False, "max_new_tokens": tokens, "min_new_tokens": tokens}
    anchor.generate(ids, pad_token_id=0, **told)
    return (time.monotonic() - began) / tokens


if __name__ == "__main__":
    side, kind, *rest = sys.argv[1:]
    print(json.dumps(one_side(side, torch.device(kind), [Path(each) for each in rest])))
