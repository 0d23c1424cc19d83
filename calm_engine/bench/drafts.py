"""Answers about what an augmenter knows, with its drafts, beside the anchor alone."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from calm_engine import api
from calm_engine.bench import corpus
from calm_engine.bench.figures import ratio
from calm_engine.data import question_prompt
from calm_engine.drafting import Drafting, generate_drafted
from calm_engine.errors import EngineError
from calm_engine.figures import Figure
from calm_engine.generation import Piece, Sampling
from calm_engine.serving.batching import Batcher
from calm_engine.serving.line import Loaded, Ticket
from calm_engine.specs import ComposeSpec

ASKED, SAID = 8, 24  # questions, and tokens of an answer at most
DRAFTED = (2, 4, 6)


def measure(spec: ComposeSpec, device: torch.device) -> Iterator[Figure]:
    """Tokens a second for several lengths of draft; the composition must have been trained."""
    model, tokenizer = api.load(spec.output, spec.anchor, list(spec.augmenters))
    torch.nn.Module.to(model, device)
    prompts = [
        torch.tensor([question_prompt(tokenizer, corpus.question(name))], device=device)
        for name in list(corpus.MADE)[:ASKED]
    ]
    whole: Any = model
    for tokens in DRAFTED:
        ours, theirs, proposed, accepted = [], [], 0, 0
        for ids in (prompts[0], *prompts):  # the first warms up
            began = time.monotonic()
            told = generate_drafted(whole, ids, max_new_tokens=SAID, draft_tokens=tokens)
            ours.append((time.monotonic() - began) / len(told.tokens))
            theirs.append(_alone(whole.anchor, ids, len(told.tokens)))
            proposed, accepted = proposed + told.proposed, accepted + told.accepted
        against = "tokens per second of the anchor alone, in-domain answers"
        name = f"drafting.{tokens}"
        is_default = tokens == 4
        bar = 1.0 if is_default else None
        yield Figure(name, ratio(theirs[1:], ours[1:]), "ratio", against, bar, is_default)
        yield Figure(f"{name}.acceptance", accepted / max(1, proposed), "share", "tokens drafted")
    yield _served(model, tokenizer, [tuple(ids[0].tolist()) for ids in prompts])


def _served(model: Any, tokenizer: Any, prompts: Sequence[tuple[int, ...]]) -> Figure:
    """The same questions one after the other through the model server's own batch."""
    line = Batcher(lambda: {"": Loaded(model, tokenizer)}, drafting=Drafting())
    line.start()
    try:
        taken = [
            {gate: _told(line, prompt, gate) for gate in (1.0, 0.0)}
            for prompt in (prompts[0], *prompts)  # the first warms up
        ][1:]
    finally:
        line.stop()
    found = ratio([each[0.0] for each in taken], [each[1.0] for each in taken])
    against = "tokens per second of the bare anchor, same server, in-domain answers"
    return Figure("drafting.served", found, "ratio", against, 1.0, True)


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
