"""One cache for three streams: the anchor's, the augmenters' and the bridges' keys and values.

Knows which positions of each row are real, so that rows of different lengths can share a batch and
join or leave it between two tokens. Knows no models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional
from transformers.cache_utils import Cache, DynamicLayer, StaticLayer

from calm_engine.alignment import Alignment
from calm_engine.errors import InputError
from calm_engine.rereading import Rereading

Layer = DynamicLayer | StaticLayer


class CalmCache(Cache):
    """Keys and values seen so far, of all parts, kept in step.

    anchor, augmenters, bridges   ordinary caches over the same layer objects; what is done to the
                                  whole is done to each
    joints                        the bridges' layers, one for each connection
    rereadings                    for each augmenter its columns if it has a tokenizer of its own,
                                  else None
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
        aligned: Mapping[int, tuple[Alignment, Sequence[int]]] | None = None,
    ) -> None:
        """The numbers of layers: of the anchor, of each augmenter, and of connections.

        make      an empty layer; None: one that grows with its tokens
        aligned   by augmenter with a tokenizer of its own: how the two are aligned, and which
                  connections read it
        """
        counts = (anchor, *augmenters, bridges)
        parts = [[(make or _new_layer)() for _ in range(count)] for count in counts]
        self.anchor, *self.augmenters, self.bridges = (Cache(layers=[*part]) for part in parts)
        self.joints = parts[-1]
        self.kept = [layer for part in parts for layer in part]
        self.real: Tensor | None = None
        self._aligned = dict(aligned or {})
        self.rereadings: list[Rereading | None] = [None] * len(augmenters)
        for index, (alignment, joints) in self._aligned.items():
            own = [*parts[1 + index], *(self.joints[joint] for joint in joints)]
            self.rereadings[index] = Rereading(alignment, cast("list[DynamicLayer]", own))
        apart = {id(layer) for one in self._rereadings() for layer in one.layers}
        self._shared = [layer for layer in self.kept if id(layer) not in apart]
        super().__init__(layers=[*self.kept])

    def _rereadings(self) -> list[Rereading]:
        return [one for one in self.rereadings if one is not None]

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
            aligned=self._aligned,
        )

    def is_in_step(self, *, bridges: bool, ahead: int = 0) -> bool:
        """Whether all parts have seen the same tokens.

        bridges   those too
        ahead     tokens that the augmenters have read before the others
        """
        seen = self.get_seq_length()
        for part, rereading in zip(self.augmenters, self.rereadings, strict=True):
            read = part.get_seq_length() if rereading is None else rereading.seen
            if read - ahead != seen:
                return False
        own = {id(one): it.held for it in self._rereadings() for one in it.layers}
        joints = self.joints if bridges else ()
        return all(one.get_seq_length() == own.get(id(one), seen) for one in joints)

    def reorder_cache(self, beam_idx: Tensor) -> None:
        self._change_rows(beam_idx)

    def batch_repeat_interleave(self, repeats: int) -> None:
        self._change_rows(torch.arange(self.rows).repeat_interleave(repeats))

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep only these rows, in this order; columns that are padding in all of them go."""
        self._change_rows(indices.nonzero()[:, 0] if indices.dtype == torch.bool else indices)
        self.trim()

    def crop(self, tokens_to_remove: int) -> None:
        """Forget the newest `-tokens_to_remove` tokens of every row; 0 forgets nothing.

        Raises InputError("cache.crop") for a positive number, whose meaning changed over time.
        """
        if tokens_to_remove > 0:
            raise InputError("cache.crop", "give the tokens to forget as a negative number")
        if tokens_to_remove < 0:
            self._change_columns(slice(None, tokens_to_remove))
            for rereading in self._rereadings():
                rereading.forget(-tokens_to_remove)

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
            for rereading in self._rereadings():
                rereading.trim(self.real.shape[1])

    def reset(self) -> None:
        for layer in self._filled():
            layer.reset()
        for rereading in self._rereadings():
            rereading.join([])
        self.real = None

    def _change_rows(self, rows: Tensor) -> None:
        for layer in self._filled():
            keys, values = _held(layer)
            layer.keys, layer.values = (
                one.index_select(0, rows.to(one.device)) for one in (keys, values)
            )
        for rereading in self._rereadings():
            rereading.choose(rows.tolist())
        self.real = None if self.real is None else self.real[rows.to(self.real.device)]

    def _change_columns(self, columns: slice) -> None:
        for layer in self._shared:
            if not layer.is_initialized:
                continue
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
        for layer, *sources in zip(joined.kept, *(cache.kept for cache in used), strict=True):
            filled = [_held(source) for source in sources if source.is_initialized]
            if len(filled) not in (0, len(sources)):
                raise InputError("cache.parts", "these caches were begun with different parts")
            if filled:
                keys, values = zip(*filled, strict=True)
                layer.update(_stacked(keys), _stacked(values))
        for at, rereading in enumerate(joined.rereadings):
            if rereading is not None:
                rereading.join([one for cache in used if (one := cache.rereadings[at]) is not None])
        # As keys of one head and width 1, so that one function pads everything.
        real = [cache.real[:, None, :, None] for cache in used if cache.real is not None]
        joined.real = _stacked(real)[:, 0, :, 0]
        return joined

    def select(self, rows: Tensor) -> CalmCache:
        """A new cache with these rows; this one is left as it is."""
        chosen = self.empty_like()
        for source, layer in zip(self.kept, chosen.kept, strict=True):
            if source.is_initialized:
                keys, values = _held(source)
                layer.update(keys[rows], values[rows])
        for old, new in zip(self.rereadings, chosen.rereadings, strict=True):
            if old is not None and new is not None:
                new.join([old])
                new.choose(rows.tolist())
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


def _stacked(held: Sequence[Tensor]) -> Tensor:
    """Rows of all, zeros or false put before: (rows, heads, longest, width)."""
    length = max(one.shape[2] for one in held)
    return torch.cat([functional.pad(one, (0, 0, length - one.shape[2], 0)) for one in held])
