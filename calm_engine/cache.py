"""One cache for three streams: the anchor's, the augmenters' and the bridges' keys and values.

Knows which positions of each row are real, so that rows of different lengths can share a batch and
join or leave it between two tokens. Knows no models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional
from transformers.cache_utils import Cache, DynamicLayer, StaticLayer

from calm_engine.errors import InputError

Layer = DynamicLayer | StaticLayer


class CalmCache(Cache):
    """Keys and values seen so far, of all parts, kept in step.

    anchor, augmenters, bridges   ordinary caches over the same layer objects; what is done to the
                                  whole is done to each
    joints                        the bridges' layers, one for each connection
    real   (batch, seen) bool     false where a row is padded on the left; None before the first use

    Layers keep everything they saw, also where a model attends to a sliding window only: the mask
    says what may be seen, and rows stay joinable.
    """

    def __init__(
        self,
        *,
        anchor: int,
        augmenters: Sequence[int],
        bridges: int,
        make: Callable[[], Layer] | None = None,
    ) -> None:
        """The numbers of layers: of the anchor, of each augmenter, and of connections.

        make   an empty layer; None: one that grows with its tokens
        """
        counts = (anchor, *augmenters, bridges)
        parts = [[(make or _new_layer)() for _ in range(count)] for count in counts]
        self.anchor, *self.augmenters, self.bridges = (Cache(layers=[*part]) for part in parts)
        self.joints = parts[-1]
        self.kept = [layer for part in parts for layer in part]
        self.real: Tensor | None = None
        super().__init__(layers=[*self.kept])

    @property
    def is_begun(self) -> bool:
        """Whether any token was taken in; asks no tensor."""
        return any(layer.is_initialized for layer in self.kept[:1])

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
        self._change_rows(lambda held: held.index_select(0, beam_idx.to(held.device)))

    def batch_repeat_interleave(self, repeats: int) -> None:
        self._change_rows(lambda held: held.repeat_interleave(repeats, dim=0))

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep only these rows, in this order; columns that are padding in all of them go."""
        self._change_rows(lambda held: held[indices])
        self.trim()

    def crop(self, tokens_to_remove: int) -> None:
        """Forget the newest `-tokens_to_remove` tokens of every row; 0 forgets nothing.

        Raises InputError("cache.crop") for a positive number, whose meaning changed over time.
        """
        if tokens_to_remove > 0:
            raise InputError("cache.crop", "give the tokens to forget as a negative number")
        if tokens_to_remove < 0:
            self._change_columns(slice(None, tokens_to_remove))

    def rewind(self, layer: int, seen: int) -> None:
        """Let one of the anchor's layers forget all but the first `seen` tokens, in place."""
        held = self.anchor.layers[layer]
        assert isinstance(held, DynamicLayer)
        if held.is_initialized:
            keys, values = _held(held)
            held.keys, held.values = keys[:, :, :seen], values[:, :, :seen]

    def trim(self) -> None:
        """Drop the leading columns that are padding in every row."""
        if not self.rows or self.real is None:
            return
        spare = int((~self.real.any(dim=0)).long().cumprod(0).sum())
        if spare:
            self._change_columns(slice(spare, None))

    def reset(self) -> None:
        for layer in self._filled():
            layer.reset()
        self.real = None

    def _change_rows(self, change: Callable[[Tensor], Tensor]) -> None:
        for layer in self._filled():
            keys, values = _held(layer)
            layer.keys, layer.values = change(keys), change(values)
        self.real = None if self.real is None else change(self.real)

    def _change_columns(self, columns: slice) -> None:
        for layer in self._filled():
            keys, values = _held(layer)
            layer.keys, layer.values = keys[:, :, columns], values[:, :, columns]
        self.real = None if self.real is None else self.real[:, columns]

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
        for layer, *sources in zip(joined.kept, *(cache.kept for cache in used), strict=True):
            filled = [_held(source) for source in sources if source.is_initialized]
            if len(filled) not in (0, len(sources)):
                raise InputError("cache.parts", "these caches were begun with different parts")
            if filled:
                keys, values = zip(*filled, strict=True)
                layer.update(_stacked(keys, longest), _stacked(values, longest))
        # As keys of one head and width 1, so that one function pads everything.
        real = [cache.real[:, None, :, None] for cache in used if cache.real is not None]
        joined.real = _stacked(real, longest)[:, 0, :, 0]
        return joined

    def select(self, rows: Tensor) -> CalmCache:
        """A new cache with these rows; this one is left as it is."""
        chosen = self.empty_like()
        for source, layer in zip(self.kept, chosen.kept, strict=True):
            if source.is_initialized:
                keys, values = _held(source)
                layer.update(keys[rows], values[rows])
        chosen.real = None if self.real is None else self.real[rows]
        chosen.trim()
        return chosen

    def _filled(self) -> list[Layer]:
        return [layer for layer in self.kept if layer.is_initialized]


def _new_layer() -> DynamicLayer:
    return DynamicLayer()  # type: ignore[no-untyped-call]  # transformers'


def _held(layer: Layer) -> tuple[Tensor, Tensor]:
    """A filled layer's keys and values: (rows, heads, seen, width) each."""
    assert layer.keys is not None
    assert layer.values is not None
    return layer.keys, layer.values


def _stacked(held: Sequence[Tensor], length: int) -> Tensor:
    """Rows of all, zeros or false put before: (rows, heads, length, width)."""
    return torch.cat([functional.pad(one, (0, 0, length - one.shape[2], 0)) for one in held])
