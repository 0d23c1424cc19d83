"""The augmenter drafts and the composition verifies: several tokens for one pass of the anchor.

    draft   the augmenter reads the newest token, says the next, reads that, ... up to K tokens
    verify  the anchor reads all of them at once; the augmenter's states are those of the draft
    keep    tokens are taken while they equal the draft; the caches forget the rest
    listen  after a draft that was refused whole the augmenter only guesses the next token, unheard,
            until a guess is right: where it knows nothing, drafts are time lost

Source: speculative decoding (Leviathan et al., arXiv 2211.17192). We differ in how a draft is
judged: the token that the composition draws is compared with the draft, in place of a test of
probabilities. Both are drawn by the same luck, so a seed gives the words that it gives without
drafts, at any temperature. The price is a lower acceptance where the two models differ and the
temperature is high. A pass over several positions may round differently from single steps: where
two tokens are equally likely to the last bits, the words may differ.

Knows no batch: rows would accept different lengths, so it takes one sequence at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from calm_engine.cache import CalmCache
from calm_engine.errors import InputError
from calm_engine.generation import Answer, Chooser, Piece, Sampling, end_tokens, pieces
from calm_engine.inputs import Inputs, look
from calm_engine.modeling import CalmForCausalLM, Gate
from calm_engine.streams import Read

TOKENS = 4
CONFIDENCE = 0.5


@dataclass(frozen=True)
class Drafting:
    """How far ahead an augmenter speaks.

    tokens       K, the longest draft; at least 1
    confidence   a draft ends before a token to which the augmenter gives less than this, in [0, 1]
    augmenter    which one drafts; None: the first whose gate is not 0
    Raises InputError("draft.value") naming the field.
    """

    tokens: int = TOKENS
    confidence: float = CONFIDENCE
    augmenter: int | None = None

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise InputError("draft.value", "`draft_tokens` must be at least 1", field="tokens")
        if not 0.0 <= self.confidence <= 1.0:
            raise InputError(
                "draft.value", "`confidence` must lie between 0 and 1", field="confidence"
            )


@dataclass(frozen=True)
class Drafted:
    """An answer that was drafted, and what the drafts were worth.

    tokens     the new ones, that which ended the answer included
    proposed   tokens that the augmenter drafted
    accepted   those of them that the composition said as well
    passes     of the anchor, that over the prompt included; without drafts one for each token
    """

    tokens: tuple[int, ...]
    proposed: int
    accepted: int
    passes: int

    @property
    def acceptance(self) -> float:
        """The accepted share of what was proposed, in [0, 1]; 0 where nothing was."""
        return self.accepted / max(1, self.proposed)


class Drafter:
    """One sequence under way: its drafts, their tally, and whether they are worth making.

    gate    as in `CalmForCausalLM.forward`; where it lets nothing in, there are no drafts
    ends    ids that end an answer; they are left to the composition
    guess   (logits, n): what will be drawn from these logits after n other tokens
    cache   of what was read before; None: of nothing
    Raises InputError: "draft.model" for a model that is no composition, "draft.value" for an
    augmenter that is not there, "draft.vocabulary" for one of another vocabulary.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        drafting: Drafting,
        *,
        gate: Gate | None,
        ends: Collection[int],
        guess: Callable[[Tensor, int], int],
        cache: CalmCache | None = None,
    ) -> None:
        if not isinstance(model, CalmForCausalLM):
            raise InputError("draft.model", "only a composition has an augmenter that can draft")
        self._model, self._how, self._gate = model, drafting, gate
        self._ends, self._guess = frozenset(ends), guess
        gates = model.gates_for(gate, rows=1)
        self._is_open = model.is_open(gates)
        self._index = _chosen(model, drafting, gates)
        self._head = model.streams.below[self._index].head
        self._cache = model.new_cache() if cache is None else cache
        self._listens = False
        self._block: list[int] = []
        self._guessed: int | None = None
        self._drawn = self._newest = 0
        self.proposed = self.accepted = self.passes = 0

    def steps(self, prompt: Sequence[int], most: int) -> Generator[Tensor, int, None]:
        """Yield the next token's logits, (vocabulary,), on the CPU; be sent the one chosen.

        The same to its caller as `generation.steps`.
        most   tokens that will be drawn at most
        """
        inputs = self._look(prompt)
        read = self._read(inputs) if self._is_open else None
        token = yield self._verify(inputs, read, keep=1)[0]
        left = most - 1
        while True:
            for row in self.round(token, left):
                token = yield row
                left -= 1
                if not self.drew(token):
                    break
            self.keep()

    def round(self, token: int, left: int) -> Tensor:
        """Draft after this token and verify: logits behind it and behind each draft, on the CPU.

        left   tokens that will still be drawn at most
        Returns (1 to K + 1, vocabulary). Rows are drawn from while `drew` says so; then `keep`.
        """
        self._block, read, self._guessed = self._draft(token, left)
        self._drawn = 0
        return self._verify(self._look(self._block), read, keep=len(self._block))

    def drew(self, token: int) -> bool:
        """Note what was drawn from the next row of the round; whether the row after it holds."""
        self._drawn, self._newest = self._drawn + 1, token
        holds = self._drawn < len(self._block) and token == self._block[self._drawn]
        self.accepted += holds
        return holds

    def keep(self) -> None:
        """End the round: the cache forgets drafts that were not drawn. The newest is unread."""
        count, block = self._drawn, self._block
        self._cache.crop(count - len(block))
        if len(block) > 1:
            self._listens = count == 1
        elif self._newest == self._guessed:
            self._listens = False

    def _draft(self, token: int, left: int) -> tuple[list[int], Read | None, int | None]:
        """The token with those drafted after it, all read by the augmenter that drafts.

        Also what it would say next; None where it does not run.
        """
        block: list[int] = [token]
        reads: list[Read] = []
        said: list[Tensor] = []
        if not self._is_open:
            return block, None, None
        room = self._model.streams.limit - self._cache.get_seq_length() - 1
        longest = 0 if self._listens else min(self._how.tokens, left - 1, room)
        inputs = self._look(block)
        while True:
            reads.append(self._read(_moved(inputs, block)))
            said.append(self._head(_last(reads[-1])))  # the output path wants the last one too
            logits = said[-1][0, -1].float()  # (vocabulary,)
            guess = self._guess(logits, len(block) - 1)
            if len(block) > longest or guess in self._ends or self._is_unsure(logits, guess):
                break
            block.append(guess)
        self.proposed += len(block) - 1
        return block, _joined(reads, said), guess

    def _is_unsure(self, logits: Tensor, token: int) -> bool:
        least = self._how.confidence
        return least > 0.0 and float(logits[token] - logits.logsumexp(0)) < math.log(least)

    def _verify(self, inputs: Inputs, read: Read | None, *, keep: int) -> Tensor:
        """The composition's logits at the last positions: (keep, vocabulary), on the CPU.

        read   what the augmenter that drafts made of the tokens; None: no augmenter runs
        """
        reads = None
        if read is not None:
            streams = self._model.streams
            reads = [
                read if index == self._index else streams.read_one(index, inputs)
                for index in range(len(streams.below))
            ]
        self.passes += 1
        out = self._model(
            input_ids=inputs.ids,
            past_key_values=self._cache,
            use_cache=True,
            gate=self._gate,
            logits_to_keep=keep,
            reads=reads,
        )
        logits: Tensor = out.logits[0].float().cpu()
        return logits

    def _look(self, tokens: Sequence[int]) -> Inputs:
        ids = torch.tensor([list(tokens)], device=self._model.device)
        return look(ids, None, None, self._cache, limit=self._model.streams.limit)

    def _read(self, inputs: Inputs) -> Read:
        return self._model.streams.read_one(self._index, inputs, is_whole=True)


@torch.inference_mode()
def stream_drafted(
    model: PreTrainedModel,
    input_ids: Tensor,
    sampling: Sampling,
    drafting: Drafting,
    *,
    gate: Gate | None = None,
    ends: Collection[int] | None = None,
) -> Generator[int, None, Drafted]:
    """Yield the new tokens one by one, as the composition draws them, and return the tally.

    The arguments are those of `generate_drafted`; of `sampling` its stop strings and gate do not
    count here.
    """
    if input_ids.dim() != 2 or len(input_ids) != 1:
        raise InputError(
            "draft.rows", "drafts are made for one sequence", found=tuple(input_ids.shape)
        )
    chooser = Chooser(sampling)
    closed = end_tokens(model, None) if ends is None else frozenset(ends)
    most = sampling.max_new_tokens
    drafter = Drafter(model, drafting, gate=gate, ends=closed, guess=chooser.guess)
    tokens: list[int] = []
    source = drafter.steps(input_ids[0].tolist(), most)
    while len(tokens) < most and not (tokens and tokens[-1] in closed):
        tokens.append(chooser.take(source.send(tokens[-1]) if tokens else next(source)))
        yield tokens[-1]
    return Drafted(tuple(tokens), drafter.proposed, drafter.accepted, drafter.passes)


def generate_drafted(
    model: PreTrainedModel,
    input_ids: Tensor,
    *,
    max_new_tokens: int,
    draft_tokens: int = TOKENS,
    confidence: float = CONFIDENCE,
    augmenter: int | None = None,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int | None = None,
    gate: Gate | None = None,
    ends: Collection[int] | None = None,
) -> Drafted:
    """Answer one sequence with drafts: the tokens are those of plain generation.

    input_ids                         (1, time), without padding
    draft_tokens, confidence, augmenter   see `Drafting`
    temperature, top_p, seed          see `Sampling`; at temperature 0 the likeliest token is taken
    gate                              as in `CalmForCausalLM.forward`
    ends                              ids that end the answer; None: those of generation_config
    Raises InputError: "draft.rows" for several sequences, "draft.value", "draft.model",
    "draft.vocabulary", and what `forward` raises.
    """
    sampling = Sampling(
        max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p, seed=seed
    )
    drafting = Drafting(draft_tokens, confidence, augmenter)
    run = stream_drafted(model, input_ids, sampling, drafting, gate=gate, ends=ends)
    while True:
        try:
            next(run)
        except StopIteration as end:
            drafted: Drafted = end.value
            return drafted


@torch.inference_mode()
def answer_drafted(
    model: PreTrainedModel,
    tokenizer: Any,
    prompt: Sequence[int],
    sampling: Sampling,
    drafting: Drafting,
) -> Generator[Piece, None, Drafted]:
    """As `generation.answer`, with drafts; the tally is returned at the end.

    prompt   token ids, at least one
    """
    ends = end_tokens(model, tokenizer)
    row = Answer(tokenizer, sampling, ends)
    drafter = Drafter(
        model,
        drafting,
        gate=sampling.gate,
        ends=ends,
        guess=row.chooser.guess,
    )
    yield from pieces(row, drafter.steps(prompt, sampling.max_new_tokens))
    return Drafted(tuple(row.tokens), drafter.proposed, drafter.accepted, drafter.passes)


def can_draft(model: Any) -> bool:
    """Whether the first augmenter of this model could draft, were it let in."""
    if not isinstance(model, CalmForCausalLM):
        return False
    try:
        _chosen(model, Drafting(), model.gates_for(1.0, rows=1))
    except InputError:
        return False
    return True


def _chosen(model: CalmForCausalLM, drafting: Drafting, gates: Sequence[float | Tensor]) -> int:
    """The augmenter that drafts."""
    let_in = (i for i, gate in enumerate(gates) if isinstance(gate, Tensor) or gate != 0.0)
    index = next(let_in, 0) if drafting.augmenter is None else drafting.augmenter
    if not 0 <= index < len(gates):
        raise InputError(
            "draft.value", "`augmenter` names none of the augmenters", field="augmenter"
        )
    streams = model.streams
    if model.config.own_tokenizers or streams.below[index].vocabulary != streams.top.vocabulary:
        raise InputError("draft.vocabulary", "drafts want one tokenizer for all", augmenter=index)
    return index


def _moved(inputs: Inputs, block: Sequence[int]) -> Inputs:
    """The block's last token after the others, which only the augmenter that drafts has read.

    inputs   of its first token
    """
    ahead = len(block) - 1
    ids = torch.full_like(inputs.ids, block[-1])
    seen = inputs.seen + ahead
    return replace(inputs, ids=ids, positions=inputs.positions + ahead, seen=seen)


def _joined(reads: Sequence[Read], said: Sequence[Tensor]) -> Read:
    """What was read, and said, token by token, as if at once."""
    states = {
        layer: torch.cat([read.states[layer] for read in reads], dim=1) for layer in reads[0].states
    }
    last = torch.cat([_last(read) for read in reads], dim=1)
    return Read(states=states, last=last, logits=torch.cat(list(said), dim=1))


def _last(read: Read) -> Tensor:
    assert read.last is not None  # it was read whole
    return read.last
