"""Sampling, stop rules and text, one token at a time. Knows no batch, no HTTP and no folder.

The model server and `calm generate` both use it, so a seed gives the same words in either.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from calm_engine.errors import InputError

if TYPE_CHECKING:
    from calm_engine.grammar import Held
    from calm_engine.influence import Judged

# An unfinished character of UTF-8 is at most three bytes, each of them shown as this sign.
BROKEN = "\ufffd"
# Above this many candidates, sorting the whole vocabulary costs more than the model's own step.
CANDIDATES = 1024
# Tokens looked at together. Text has settled long before; only noise never does.
WINDOW = 64


@dataclass(frozen=True)
class Sampling:
    """How one answer is drawn.

    temperature     0 takes the likeliest token; else logits are divided by it
    top_p           share of the probability kept, in (0, 1]
    seed            None: another answer each time
    stop            strings that end the answer; none of them is ever shown
    top_logprobs    None: no log-probabilities; n: those of the n likeliest tokens as well
    gate            0 is the anchor alone, 1 the composition as it was trained
    """

    max_new_tokens: int = 256
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    top_logprobs: int | None = None
    gate: float = 1.0


@dataclass(frozen=True)
class Scored:
    """A token and its natural log-probability before temperature."""

    text: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Piece:
    """What one step adds to an answer.

    text     whole characters only, never part of a stop string; often empty
    drawn    tokens drawn so far, the one that ends the answer counted too
    tokens   scored tokens whose text has now been shown; empty unless they were asked for
    finish   None while it goes on, else "stop" or "length"
    judged   on the last piece, where it was asked for: see `influence`
    """

    text: str = ""
    drawn: int = 0
    tokens: tuple[Scored, ...] = ()
    finish: str | None = None
    judged: Judged | None = None


def choose(logits: Tensor, *, temperature: float, top_p: float, draw: float) -> int:
    """Return the next token from one row of logits, (vocabulary,), and a draw in [0, 1).

    The draw walks the cumulative distribution, so that device and batch have no say in it.
    """
    if temperature == 0.0:
        return int(logits.argmax())
    weights = torch.softmax(logits.double() / temperature, dim=-1)
    if top_p < 1.0:
        weights, tokens = _nucleus(weights, top_p)
    else:
        tokens = torch.arange(weights.numel(), device=weights.device)
    reach = weights.cumsum(0)
    spot = int(torch.searchsorted(reach, draw * reach[-1], right=True))
    return int(tokens[min(spot, tokens.numel() - 1)])


def _nucleus(weights: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """The fewest likeliest tokens that hold `top_p`: their weights and ids, likeliest first."""
    ordered, tokens = weights.topk(min(CANDIDATES, weights.numel()))
    if float(ordered.sum()) < top_p:
        ordered, tokens = weights.sort(descending=True)
    keep = int((ordered.cumsum(0) < top_p).sum()) + 1
    return ordered[:keep], tokens[:keep]


class Chooser:
    """Tokens by one row's own luck: the nth depends on its logits and on the nth draw alone.

    So one may ask what a coming token would be, and nothing that is drawn later changes.
    """

    def __init__(self, sampling: Sampling) -> None:
        self._how = sampling
        # Python's generator and not torch's: one small state a row, the same on every device.
        self._draws = random.Random(sampling.seed)  # noqa: S311 sampling, no secret
        self._coming: deque[float] = deque()

    def take(self, logits: Tensor) -> int:
        """The next token, from one row of logits, (vocabulary,)."""
        token = self.guess(logits, 0)
        self._coming.popleft()
        return token

    def guess(self, logits: Tensor, ahead: int) -> int:
        """What `take` would give for these logits after `ahead` other tokens."""
        while len(self._coming) <= ahead:
            self._coming.append(self._draws.random())
        how, draw = self._how, self._coming[ahead]
        return choose(logits, temperature=how.temperature, top_p=how.top_p, draw=draw)


def score(logits: Tensor, token: int, tokenizer: Any, top: int) -> Scored:
    """The log-probability of `token` under one row of logits, and of the `top` likeliest."""
    logprobs = torch.log_softmax(logits.float(), dim=-1)
    best = logprobs.topk(top) if top else None
    listed = zip(best.indices.tolist(), best.values.tolist(), strict=True) if best else ()
    return Scored(
        text=tokenizer.decode([token]),
        logprob=float(logprobs[token]),
        top=tuple((tokenizer.decode([other]), value) for other, value in listed),
    )


class Words:
    """Turn tokens into text as they come: no half characters, nothing of a stop string.

    Decodes a short window, from a few tokens back to the newest, since a token's text may
    depend on its neighbours; what was shown is never taken back.
    """

    def __init__(self, tokenizer: Any, stop: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._stop = tuple(stop)
        self._ids: list[int] = []
        self._start = 0  # where the window begins
        self._settled = 0  # up to here tokens ended on a whole character
        self._known = ""  # the window's text that was already taken over
        self._held = ""  # taken over, but perhaps the beginning of a stop string
        self.length = 0  # characters taken over so far, shown or held
        self.stopped = False

    def add(self, token: int) -> str:
        """Take one more token and return the text that may be shown now."""
        self._ids.append(token)
        return self._show(self._fresh())

    def end(self) -> str:
        """Return what was held back, an unfinished character left out."""
        shown = self._show(self._fresh())
        rest, self._held = self._held, ""
        return shown + rest

    def _fresh(self) -> str:
        text = self._decode()
        whole = text.rstrip(BROKEN) if len(self._ids) - self._start <= WINDOW else text
        stable = whole if len(text) - len(whole) <= 3 else text[:-3]
        if not stable.startswith(self._known):
            return ""  # a neighbour changed it: wait for the token that settles it
        fresh, self._known = stable[len(self._known) :], stable
        self.length += len(fresh)
        if fresh and stable == text:
            self._start, self._settled = self._settled, len(self._ids)
            self._known = self._decode()
        return fresh

    def _decode(self) -> str:
        text: str = self._tokenizer.decode(
            self._ids[self._start :],
            skip_special_tokens=True,
            clean_up_tokenization_spaces=False,
        )
        return text

    def _show(self, fresh: str) -> str:
        text = self._held + fresh
        hits = [spot for spot in (text.find(stop) for stop in self._stop) if spot >= 0]
        if hits:
            self.stopped, self._held = True, ""
            return text[: min(hits)]
        keep = max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a beginning of `stop`, shorter than it."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)


@dataclass
class Answer:
    """One answer under way: draws tokens, watches its stop rules. Ignorant of caches.

    ends   ids that end an answer, such as <|im_end|>
    held   what it is held to; None: it may say anything
    """

    tokenizer: Any
    sampling: Sampling
    ends: frozenset[int]
    held: Held | None = None
    tokens: list[int] = field(default_factory=list)
    finish: str | None = None

    def __post_init__(self) -> None:
        self._words = Words(self.tokenizer, self.sampling.stop)
        self.chooser = Chooser(self.sampling)
        self._scored: list[tuple[int, Scored]] = []
        self._shown = 0

    def take(self, logits: Tensor, *, is_last: bool = False) -> Piece:
        """Draw the next token from one row of logits, (vocabulary,), and say what it adds.

        is_last   no model could read on after it
        """
        token = self.chooser.take(logits if self.held is None else self.held.allowed(logits))
        top = self.sampling.top_logprobs
        scored = None if top is None else score(logits, token, self.tokenizer, top)
        return self.add(token, scored, is_last=is_last)

    def add(self, token: int, scored: Scored | None = None, *, is_last: bool = False) -> Piece:
        """Take a token that was drawn elsewhere, and say what it adds."""
        self.tokens.append(token)
        if token in self.ends:
            return self._close("stop", self._words.end())
        if self.held is not None:
            self.held.take(token)
        if scored is not None:
            self._scored.append((self._words.length, scored))
        text = self._words.add(token)
        if self._words.stopped:
            return self._close("stop", text)
        if self.held is not None and self.held.is_whole:
            return self._close("stop", text + self._words.end())
        is_last |= self.held is not None and self.held.is_lost
        if is_last or len(self.tokens) >= self.sampling.max_new_tokens:
            return self._close("length", text + self._words.end())
        return self._piece(text)

    def _close(self, finish: str, text: str) -> Piece:
        self.finish = "stop" if self._words.stopped else finish
        # At an end that no stop string made, tokens without text of their own count as well.
        self._shown += 0 if self._words.stopped else 1
        return self._piece(text)

    def _piece(self, text: str) -> Piece:
        self._shown += len(text)
        ready = tuple(scored for begin, scored in self._scored if begin < self._shown)
        del self._scored[: len(ready)]
        return Piece(text, len(self.tokens), ready, self.finish)


def end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """Every id that ends an answer, from the generation settings and the tokenizer, if any."""
    settings = getattr(model, "generation_config", None)
    found = [getattr(one, "eos_token_id", None) for one in (settings, tokenizer)]
    ids = [token for item in found for token in (item if isinstance(item, list) else [item])]
    return frozenset(token for token in ids if token is not None)


def steps(model: Any, prompt: Sequence[int], gate: float) -> Generator[Tensor, int, None]:
    """Yield the next token's logits, (vocabulary,), on the CPU; be sent the token that was chosen.

    prompt   token ids, at least one
    """
    fresh: list[int] = list(prompt)
    cache: Any = None
    while True:
        out = model(
            input_ids=torch.tensor([fresh], device=model.device),
            past_key_values=cache,
            use_cache=True,
            gate=gate,
            logits_to_keep=1,
        )
        cache = out.past_key_values
        fresh = [(yield out.logits[0, -1].float().cpu())]


def pieces(row: Answer, source: Generator[Tensor, int, None]) -> Iterator[Piece]:
    """Yield an answer piece by piece, its logits coming from a generator such as `steps`."""
    logits = next(source)
    while True:
        yield row.take(logits)
        if row.finish is not None:
            return
        logits = source.send(row.tokens[-1])


def room_for(model: Any, prompt: Sequence[int]) -> int:
    """Positions that the prompt leaves; the model may be any decoder. Raises as `answer` does."""
    limit, words = int(model.config.max_position_embeddings), int(model.config.vocab_size)
    if len(prompt) >= limit:
        raise InputError(
            "sequence.too_long",
            "the prompt leaves no position for an answer",
            tokens=len(prompt),
            limit=limit,
        )
    strange = [token for token in prompt if not 0 <= token < words]
    if strange:
        raise InputError(
            "input.tokens",
            "a token id lies outside the vocabulary",
            token=strange[0],
            vocabulary=words,
        )
    return limit - len(prompt)


@torch.inference_mode()
def answer(
    model: Any, tokenizer: Any, prompt: Sequence[int], sampling: Sampling
) -> Generator[Piece, None, tuple[int, ...]]:
    """Yield one answer piece by piece, and return its tokens; stop iterating to cancel.

    prompt   token ids, at least one

    Where the model's positions end the answer does so too. Raises InputError: "sequence.too_long"
    for a prompt that leaves no position for a word, "input.tokens" for ids that no word has.
    """
    room = room_for(model, prompt)
    how = replace(sampling, max_new_tokens=min(sampling.max_new_tokens, room))
    row = Answer(tokenizer, how, end_tokens(model, tokenizer))
    yield from pieces(row, steps(model, prompt, sampling.gate))
    return tuple(row.tokens)
