"""What is known of a pass's tokens before a model meets them: which are real, where they stand.

Knows shapes, masks and caches. Knows no models.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from calm_engine.cache import CalmCache
from calm_engine.errors import InputError
from calm_engine.static_cache import StaticCalmCache


@dataclass(frozen=True)
class Inputs:
    """One forward pass's tokens, with what is known of each position."""

    ids: Tensor  # (batch, time)
    positions: Tensor  # (batch, time)
    real: Tensor | None  # (batch, seen + time), false on padding; None: all are real. With a static
    # cache (batch, room), false also where nothing is yet
    seen: int | Tensor  # tokens in the cache; () with a static one
    cache: CalmCache | None


def check_tokens(ids: Tensor, *, vocabulary: int) -> None:
    """Raises InputError("input.tokens") for ids that no word has. Waits for a GPU."""
    if not ids.numel():
        return
    lowest, highest = (int(bound) for bound in ids.aminmax())
    if lowest < 0 or highest >= vocabulary:
        raise InputError(
            "input.tokens",
            "a token id lies outside the vocabulary",
            token=lowest if lowest < 0 else highest,
            vocabulary=vocabulary,
        )


def look(
    ids: Tensor,
    mask: Tensor | None,
    positions: Tensor | None,
    cache: CalmCache | None,
    *,
    limit: int,
) -> Inputs:
    """Find out what is real and where it stands; the arguments are those of `forward`.

    limit   tokens, with those in the cache
    Raises InputError: "input.empty", "sequence.too_long", "input.mask", "input.positions".
    """
    batch, time = ids.shape
    seen = 0 if cache is None else cache.get_seq_length()
    if not batch or not time:
        raise InputError("input.empty", "there is no token to read")
    if seen + time > limit:
        raise InputError(
            "sequence.too_long",
            "the sequence has more tokens than the composition has positions",
            tokens=seen + time,
            limit=limit,
        )
    if mask is None and cache is not None and cache.real is not None:
        mask = torch.cat((cache.real, cache.real.new_ones(batch, time)), dim=1)
    if mask is not None and mask.shape != (batch, seen + time):
        raise InputError(
            "input.mask",
            "the attention mask must cover the cache and the new tokens",
            found=tuple(mask.shape),
            wanted=(batch, seen + time),
        )
    # Without a mask families take positions that jump for a second text, packed behind.
    is_plain = positions is None or bool((positions.diff(dim=-1) == 1).all())
    if mask is None and not is_plain:
        raise InputError("input.positions", "positions that jump need an attention mask")
    real = None if mask is None or (is_plain and bool(mask.all())) else mask.bool()
    if positions is None and real is not None:
        positions = (real.long().cumsum(-1) - 1).clamp(min=0)[:, -time:]
    if positions is None:
        positions = torch.arange(seen, seen + time, device=ids.device).expand(batch, -1)
    return Inputs(ids=ids, positions=positions, real=real, seen=seen, cache=cache)


def look_static(
    ids: Tensor, mask: Tensor | None, positions: Tensor | None, cache: StaticCalmCache
) -> Inputs:
    """The same with a static cache: shapes never change, and no tensor decides what Python does.

    mask   (batch, any + time), whose last columns tell of the new tokens; None: all are real
    Raises InputError: "input.empty", "input.mask", and "cache.room" where it is not compiled.
    """
    batch, time = ids.shape
    if not batch or not time:
        raise InputError("input.empty", "there is no token to read")
    if mask is not None and (mask.ndim != 2 or mask.shape[0] != batch or mask.shape[1] < time):
        raise InputError(
            "input.mask", "the attention mask must cover the new tokens", found=tuple(mask.shape)
        )
    if not torch.compiler.is_compiling():
        cache.check_room(time)
    fresh = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask[:, -time:].bool()
    seen = cache.length.to(ids.device).clone()  # the cache counts on in place
    columns = cache.note(fresh)
    assert cache.real is not None
    if positions is None:
        positions = (cache.real.long().cumsum(-1) - 1).clamp(min=0)[:, columns]
    return Inputs(ids=ids, positions=positions, real=cache.real, seen=seen, cache=cache)


def all_real(inputs: Inputs) -> Tensor:
    """(batch, seen + time): what the cache remembers of padding."""
    if inputs.real is not None:
        return inputs.real
    assert isinstance(inputs.seen, int)  # a static cache always tells
    batch, time = inputs.ids.shape
    return torch.ones(batch, inputs.seen + time, dtype=torch.bool, device=inputs.ids.device)


def view_of(inputs: Inputs, hidden: Tensor) -> Tensor | None:
    """Where a bridge's queries may look, (batch, 1, time, seen + time); None: plainly causal.

    A padded query looks at itself: a row with nothing to see has no softmax.
    """
    time = hidden.shape[1]
    if inputs.real is None and (time == 1 or not inputs.seen):
        return None
    total = int(inputs.seen) + time if inputs.real is None else inputs.real.shape[1]
    at = torch.arange(total, device=hidden.device)
    asking = (inputs.seen + torch.arange(time, device=hidden.device))[:, None]
    causal = at <= asking
    if inputs.real is None:
        return causal[None, None]
    return (causal & inputs.real[:, None, None, :]) | (at == asking)


def kept(states: Tensor, keep: int | Tensor) -> Tensor:
    """Choose positions of (batch, time, ...): see `logits_to_keep`."""
    if isinstance(keep, int):
        return states[:, -keep:] if keep else states
    if keep.dtype == torch.bool:
        return states[keep]
    return states[:, keep]
