"""A cache of fixed shapes, so that a decode step can be compiled: room is taken once, at the start.

Nothing in it is read back by Python while tokens are made. Knows no models.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers.cache_utils import StaticLayer

from calm_engine.cache import CalmCache
from calm_engine.errors import InputError


class StaticCalmCache(CalmCache):
    """Keys and values of all parts in tensors that never change their shape or place.

    room     tokens that it can ever hold, with the padding of a batch
    real     (batch, room) bool, false on padding and where nothing is yet; None before any token
    length   () int, columns in use. A tensor: a number would be built into the compiled step

    Rows come and go together: such a cache is not joined, selected from or trimmed. It is used with
    the same parts, all on or all off, from its first token to its last.
    """

    def __init__(self, *, anchor: int, augmenters: Sequence[int], bridges: int, room: int) -> None:
        """The numbers of layers as in `CalmCache`."""
        super().__init__(
            anchor=anchor,
            augmenters=augmenters,
            bridges=bridges,
            make=lambda: StaticLayer(max_cache_len=room),
        )
        self.room = room
        self.length = torch.zeros((), dtype=torch.long)
        self._is_open: bool | None = None

    def empty_like(self) -> StaticCalmCache:
        return StaticCalmCache(
            anchor=len(self.anchor),
            augmenters=[len(part) for part in self.augmenters],
            bridges=len(self.bridges),
            room=self.room,
        )

    def note(self, fresh: Tensor) -> Tensor:
        """Take in which new tokens are real, (batch, time) bool; return their columns, (time,)."""
        if self.real is None:
            self.real = fresh.new_zeros((fresh.shape[0], self.room))
            self.length = self.length.to(fresh.device)
            if not torch.compiler.is_compiling():
                for fixed in (self.real, self.length):
                    torch._dynamo.mark_static_address(fixed)
        columns = self.length + torch.arange(fresh.shape[1], device=fresh.device)
        self.real.index_copy_(1, columns, fresh)
        return columns

    def grow(self, tokens: int) -> None:
        """Count tokens that all parts have taken in."""
        self.length.add_(tokens)

    def check_room(self, tokens: int) -> None:
        """Raises InputError("cache.room") when so many more do not fit. Waits for a GPU."""
        needed = int(self.length) + tokens
        if needed > self.room:
            raise InputError(
                "cache.room", "the static cache is full", tokens=needed, room=self.room
            )

    def check_parts(self, *, is_open: bool) -> None:
        """Raises InputError("cache.parts") when the parts that are on are not those of before."""
        if self._is_open not in (None, is_open):
            raise InputError(
                "cache.parts", "a static cache is used with the same parts from its first token on"
            )
        self._is_open = is_open

    def crop(self, tokens_to_remove: int) -> None:
        if tokens_to_remove > 0:
            raise InputError("cache.crop", "give the tokens to forget as a negative number")
        if tokens_to_remove == 0 or self.real is None:
            return
        for layer in self.kept:
            if layer.is_initialized:
                layer.cumulative_length.add_(tokens_to_remove)  # type: ignore[attr-defined]
        self.length.add_(tokens_to_remove)
        self.real &= torch.arange(self.room, device=self.real.device) < self.length

    def reset(self) -> None:
        super().reset()
        self.length.zero_()
        self._is_open = None

    def trim(self) -> None:
        """Columns stay where they are."""

    def select(self, *_: object) -> CalmCache:
        """Refused: raises InputError("cache.kind")."""
        raise InputError("cache.kind", "rows of a static cache come and go together")

    @classmethod
    def join(cls, *_: object) -> CalmCache:
        """Refused: raises InputError("cache.kind")."""
        raise InputError("cache.kind", "rows of a static cache come and go together")
