"""What each part of a composition did to each word of a finished text. Knows no tokenizer or page.

The pass with all parts on is the one that could have written the text; one more pass of the anchor
alone tells what would have been without them, and, mixed with what the augmenters say, what the
output path does by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from calm_engine.errors import InputError
from calm_engine.inputs import look
from calm_engine.modeling import CalmForCausalLM, Gate
from calm_engine.output_path import Voice
from calm_engine.streams import Crossing, Joint, Streams

PLACES = 5


@dataclass(frozen=True)
class Crossed:
    """What one bridge did at the position that said a token.

    below, above   the connection: the augmenter's layer and the anchor's; -1 is the embedding
    added          root mean square of what the bridge added to the stream over that of the stream
                   before, at this position; 0 where its gate is shut
    attention      (position, share), largest first: where the bridge's attention looked, a mean
                   over its heads. All shares together are 1. The aligned path looks at its own
                   position only and is not counted here
    """

    below: int
    above: int
    added: float
    attention: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class AugmenterInfluence:
    """What one augmenter did at the position that said a token.

    share     in [0, 1]: how much of the token's distribution is its own words, by the output path;
              what all shares leave to 1 is the anchor's, bridges joined in. Of several augmenters
              each is mixed in after the other, so that a later one takes from those before it
    bridges   its own, in the order of the anchor's layers
    """

    share: float
    bridges: tuple[Crossed, ...]


@dataclass(frozen=True)
class TokenInfluence:
    """One token and the log-probabilities that it had, in nats, before any temperature.

    position     of the token in the text
    logprob      with all parts that are switched on
    unbridged    with the bridges off and the output path as it is
    anchor       of the anchor alone, as with the gate at 0
    augmenters   in their order
    """

    position: int
    token: int
    logprob: float
    unbridged: float
    anchor: float
    augmenters: tuple[AugmenterInfluence, ...]

    @property
    def gain(self) -> float:
        """By how many nats the augmenters made this token likelier; 0 at birth and gate 0."""
        return self.logprob - self.anchor


@dataclass(frozen=True)
class Judged:
    """A finished text with what was done to its last tokens.

    texts    of every token, the prompt's too, so that positions can be shown
    tokens   those of the answer
    """

    texts: tuple[str, ...]
    tokens: tuple[TokenInfluence, ...]


@torch.inference_mode()
def influence(
    model: PreTrainedModel,
    input_ids: Tensor,
    start: int,
    *,
    attention_mask: Tensor | None = None,
    gate: Gate | None = None,
    places: int | None = PLACES,
) -> list[TokenInfluence]:
    """Say for each token from `start` on what the parts of the composition did to it.

    input_ids        (1, time), a text that is finished
    start            the first token to judge, at least 1: the first of a text was said by nobody
    attention_mask   (1, time), 0 on padding; padding is taken out before anything is read, and
                     positions are counted without it
    gate             as in `CalmForCausalLM.forward`; give what the text was generated with
    places           how many positions of each bridge's attention are told; None: all
    Raises InputError: "influence.rows" for several texts, "influence.start", "influence.model",
    "influence.tokenizer" for augmenters with a tokenizer of their own,
    and "sequence.too_long", "input.empty", "input.gate" as `forward` does.
    """
    if not isinstance(model, CalmForCausalLM):
        raise InputError("influence.model", "only a composition has parts that can have influence")
    if model.config.own_tokenizers:
        raise InputError("influence.tokenizer", "influence is told where all read the same tokens")
    ids, start = _real(input_ids, attention_mask, start)
    streams, gates = model.streams, model.gates_for(gate, rows=1)
    if start == ids.shape[1]:
        return []
    # The last token is judged and not read: an answer may be one longer than what can be read.
    inputs = look(ids[:, :-1], None, None, None, limit=streams.limit)
    asking = torch.arange(start - 1, ids.shape[1] - 1, device=ids.device)
    is_open = model.is_open(gates)
    reads = streams.read(inputs) if is_open else []
    spoken = reads if model.output_on else []
    crossings: list[Crossing] = []

    risen = streams.rise(inputs)
    alone = joined = streams.pass_by(risen)
    if is_open and model.bridges_on:
        joined = streams.join(inputs, risen, reads, gates, crossings=crossings)

    said = ids[0, start:]
    logprob, unbridged, anchor = (
        _logprobs(streams.speak(hidden, heard, gates, asking)[0], said)
        for hidden, heard in ((joined, spoken), (alone, spoken), (alone, []))
    )
    chosen = joined[:, asking]
    alone_said = Voice(streams.top.head(chosen))
    voices = streams.voices(chosen, alone_said, spoken, gates, asking)
    shares = _weights({index: share for index, _, share in voices}, len(said), streams)
    crossed = _crossed(streams, crossings, asking, places)
    return [
        TokenInfluence(
            position=start + at,
            token=token,
            logprob=logprob[at],
            unbridged=unbridged[at],
            anchor=anchor[at],
            augmenters=tuple(
                AugmenterInfluence(
                    share=shares[index][at],
                    bridges=tuple(rows[at] for joint, rows in crossed if joint.augmenter == index),
                )
                for index in range(len(streams.below))
            ),
        )
        for at, token in enumerate(said.tolist())
    ]


def _real(ids: Tensor, mask: Tensor | None, start: int) -> tuple[Tensor, int]:
    """The text without its padding, and where `start` is then."""
    if ids.dim() != 2 or len(ids) != 1 or (mask is not None and mask.shape != ids.shape):
        raise InputError("influence.rows", "influence is told of one text", found=tuple(ids.shape))
    if mask is not None:
        start = int(mask[0, :start].bool().sum())
        ids = ids[mask.bool()][None]
    if not 1 <= start <= ids.shape[1]:
        raise InputError(
            "influence.start",
            "`start` must lie between 1 and the length of the text",
            start=start,
            tokens=ids.shape[1],
        )
    return ids, start


def _logprobs(logits: Tensor, said: Tensor) -> list[float]:
    """Of each token under its row of logits, (tokens, vocabulary)."""
    spread = torch.log_softmax(logits.float(), dim=-1)
    told: list[float] = spread.gather(1, said[:, None])[:, 0].tolist()
    return told


def _weights(shares: dict[int, Tensor], count: int, streams: Streams) -> list[list[float]]:
    """Each augmenter's weight in the mixture, by token: what later ones leave of its share."""
    left = torch.ones(count, dtype=torch.float32)
    weights = []
    for index in reversed(range(len(streams.below))):
        share = (
            shares[index][0].cpu() if index in shares else torch.zeros(count, dtype=torch.float32)
        )
        weights.append((share * left).tolist())
        left = left * (1.0 - share)
    return weights[::-1]


def _crossed(
    streams: Streams, crossings: Sequence[Crossing], asking: Tensor, places: int | None
) -> list[tuple[Joint, list[Crossed]]]:
    """For each connection what it did, by token."""
    told = []
    for one in crossings:
        before, after = one.before[0, asking].float(), one.after[0, asking].float()
        added = ((after - before).norm(dim=-1) / before.norm(dim=-1)).tolist()
        looked = streams.bridge(one.joint).attention(
            one.before, one.read, one.view, angles=one.angles, asking=asking
        )[0]
        rows = [
            Crossed(one.joint.below, one.joint.above, part, _top(shares[: at + 1], places))
            for part, shares, at in zip(added, looked.cpu(), asking.tolist(), strict=True)
        ]
        told.append((one.joint, rows))
    return told


def _top(shares: Tensor, places: int | None) -> tuple[tuple[int, float], ...]:
    """The positions with the largest shares, and these."""
    best = shares.topk(min(len(shares), len(shares) if places is None else places))
    return tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True))
