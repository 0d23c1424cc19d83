"""One cache for three streams: the anchor's, the augmenters' and the bridges' keys and values.

Knows which positions of each row are real, so that rows of different lengths can share a batch and
join or leave it between two tokens. Knows no models.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicLayer

from calm_engine.errors import InputError


class CalmCache(Cache):
    """Keys and values seen so far, of all parts, kept in step.

    anchor, augmenters, bridges   ordinary caches over the same layer objects; what is done to the
                                  whole is done to each
    real   (batch, seen) bool     false where a row is padded on the left; None before the first use

    Layers keep everything they saw, also where a model attends to a sliding window only: the mask
    says what may be seen, and rows stay joinable.
    """

    def __init__(self, *, anchor: int, augmenters: Sequence[int], bridges: int) -> None:
        """The numbers of layers: of the anchor, of each augmenter, and of connections."""
        self.anchor = _part(anchor)
        self.augmenters = [_part(count) for count in augmenters]
        self.bridges = _part(bridges)
        self.real: Tensor | None = None
        parts = [self.anchor, *self.augmenters, self.bridges]
        super().__init__(layers=[layer for part in parts for layer in part.layers])

    @property
    def rows(self) -> int:
        """How many requests are in it; 0 before the first use."""
        return 0 if self.real is None else self.real.shape[0]

    def empty_like(self) -> CalmCache:
        """A fresh cache of the same shape."""
        return CalmCache(
            anchor=len(self.anchor),
            augmenters=[len(part) for part in self.augmenters],
            bridges=len(self.bridges),
        )

    def reorder_cache(self, beam_idx: Tensor) -> None:
        super().reorder_cache(beam_idx)
        self.real = None if self.real is None else self.real[beam_idx.to(self.real.device)]

    def batch_repeat_interleave(self, repeats: int) -> None:
        super().batch_repeat_interleave(repeats)
        self.real = None if self.real is None else self.real.repeat_interleave(repeats, dim=0)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep only these rows, in this order; columns that are padding in all of them go."""
        super().batch_select_indices(indices)
        self.real = None if self.real is None else self.real[indices]
        self.trim()

    def crop(self, tokens_to_remove: int) -> None:
        """Forget the newest `-tokens_to_remove` tokens of every row; 0 forgets nothing.

        Raises InputError("cache.crop") for a positive number, whose meaning changed over time.
        """
        if tokens_to_remove > 0:
            raise InputError("cache.crop", "give the tokens to forget as a negative number")
        if tokens_to_remove == 0 or self.real is None:
            return
        for layer in self._filled():
            layer.crop(tokens_to_remove)
        self.real = self.real[:, :tokens_to_remove]

    def trim(self) -> None:
        """Drop the leading columns that are padding in every row."""
        if self.real is None or not self.real.shape[0]:
            return
        spare = int((~self.real.any(dim=0)).long().cumprod(0).sum())
        if not spare:
            return
        self.real = self.real[:, spare:]
        for layer in self._filled():
            layer.keys, layer.values = layer.keys[:, :, spare:], layer.values[:, :, spare:]

    def reset(self) -> None:
        super().reset()
        self.real = None

    @classmethod
    def join(cls, caches: Sequence[CalmCache]) -> CalmCache:
        """One cache with the rows of all, padded on the left to the longest; the parts are copied.

        Raises InputError("cache.parts") when they were not begun with the same parts switched on.
        """
        used = [cache for cache in caches if cache.rows]
        if not used:
            return caches[0].empty_like()
        joined = used[0].empty_like()
        longest = max(cache.get_seq_length() for cache in used)
        for index, layer in enumerate(joined.layers):
            sources = [cache.layers[index] for cache in used]
            filled = [source for source in sources if source.is_initialized]
            if len(filled) not in (0, len(sources)):
                raise InputError("cache.parts", "these caches were begun with different parts")
            if filled:
                keys = torch.cat([_padded(source.keys, longest) for source in filled])
                values = torch.cat([_padded(source.values, longest) for source in filled])
                layer.update(keys, values)
        joined.real = torch.cat(
            [
                _padded(c.real[:, None, :, None], longest)[:, 0, :, 0]
                for c in used
                if c.real is not None
            ]
        )
        return joined

    def select(self, rows: Tensor) -> CalmCache:
        """A new cache with these rows; this one is left as it is."""
        chosen = self.empty_like()
        for source, layer in zip(self.layers, chosen.layers, strict=True):
            if source.is_initialized:
                layer.update(source.keys[rows], source.values[rows])
        chosen.real = None if self.real is None else self.real[rows]
        chosen.trim()
        return chosen

    def _filled(self) -> list[CacheLayerMixin]:
        return [layer for layer in self.layers if layer.is_initialized]


def _part(count: int) -> Cache:
    return Cache(layers=[DynamicLayer() for _ in range(count)])


def _padded(states: Tensor, length: int) -> Tensor:
    """(rows, heads, seen, width) with zeros, or false, put before: (rows, heads, length, width)."""
    missing = length - states.shape[2]
    if not missing:
        return states
    before = states.new_zeros((*states.shape[:2], missing, states.shape[3]))
    return torch.cat((before, states), dim=2)
