"""An augmenter that reads the anchor's text by its own tokenizer: its tokens, masks and columns.

What it reads is a path that grows, loses its end and grows again, as words are finished. All paths
of one pass are read at once, as one row of tokens each of which sees those it goes on from; the
cache keeps the newest path alone. Knows tensors; knows no models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers.cache_utils import DynamicLayer

from calm_engine.alignment import Alignment, Reader
from calm_engine.bridge import Meeting
from calm_engine.errors import InputError

NEVER = 1 << 40  # more tokens than a pass can have
NOWHERE = -1  # in place of a token: padding, or a position at which nothing has been read yet

_Kept = tuple[int, int, list[int]]  # of one row: from a column on so many, and these after them


@dataclass(frozen=True)
class Plan:
    """One pass of an augmenter over its own tokens, `read` of them in the longest row.

    ids       (batch, read)
    places    (batch, read) positions in the augmenter's own text
    view      (batch, 1, read, held + read) bool: which tokens each sees, itself the last
    reach     (batch, held + read) the place of each token that may be seen
    meeting   what the bridges are told
    keep      (batch, kept) which of the held + read columns the cache keeps; None: all of them
    lengths   the tokens of each row's path, which fill the kept columns from the right
    """

    ids: Tensor
    places: Tensor
    view: Tensor
    reach: Tensor
    meeting: Meeting
    keep: Tensor | None
    lengths: tuple[int, ...]


@dataclass
class _Row:
    """One request: what was read, and how much of the path has its keys and values in the cache.

    taken   the anchor's columns so far as (id, position), None for padding
    """

    reader: Reader
    taken: list[tuple[int, int] | None] = field(default_factory=list)
    held: int = 0

    def copy(self) -> _Row:
        return _Row(self.reader.copy(), [*self.taken], self.held)

    def forget(self, count: int, alignment: Alignment) -> None:
        """Go back by so many columns. What the path lost on the way since must be read again."""
        if not count:
            return
        old = self.reader
        self.reader = alignment.reader()
        del self.taken[-count:]
        for column in self.taken:
            if column is not None:
                self.reader.take(*column)
        before, now = (list(zip(r.path, r.births, strict=True)) for r in (old, self.reader))
        self.held = min(self.held, _shared(before, now))


@dataclass
class _Drawn:
    """A row's part in one pass: its tokens in the order in which they came to be.

    popped   for each token, how many there were when it left the path
    roots    for each, how many of the held tokens it goes on from
    newest   for each column of the anchor, the token at the path's end
    kept     the path at the end: so many of the held tokens, and then
    path     these of the tokens read
    """

    kept: int
    ids: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    births: list[int] = field(default_factory=list)
    popped: list[int] = field(default_factory=list)
    roots: list[int] = field(default_factory=list)
    newest: list[int] = field(default_factory=list)
    path: list[int] = field(default_factory=list)


class Rereading:
    """The columns of one augmenter with a tokenizer of its own, and of the bridges that read it.

    layers   the cache's: the augmenter's own and those of its bridges
    held     columns in each of them; a row's path fills them from the right
    """

    def __init__(self, alignment: Alignment, layers: Sequence[DynamicLayer] = ()) -> None:
        self.alignment = alignment
        self.layers = list(layers)
        self.held = 0
        self._rows: list[_Row] = []

    @property
    def seen(self) -> int:
        """The anchor's columns that were read, padding counted."""
        return max((len(row.taken) for row in self._rows), default=0)

    @property
    def lengths(self) -> list[int]:
        """The augmenter's own tokens in each row."""
        return [len(row.reader.path) for row in self._rows]

    # -- one pass ----------------------------------------------------------------------------------

    def plan(self, ids: Tensor, positions: Tensor, real: Tensor | None, *, limit: int) -> Plan:
        """Read on in every row, and lay out the pass; `settle` ends it.

        ids, positions   (batch, time) the anchor's new tokens
        real             (batch, seen + time), false on padding; None: all are real
        limit            the augmenter's positions
        Raises InputError("sequence.too_long").
        """
        if not self._rows:
            self._rows = [_Row(self.alignment.reader()) for _ in range(len(ids))]
        drawn = [
            _draw(row, columns)
            for row, columns in zip(self._rows, _columns_of(ids, positions, real), strict=True)
        ]
        longest = max(place + 1 for one in drawn for place in (-1, *one.places))
        if longest > limit:
            raise InputError(
                "sequence.too_long",
                "the text has more tokens of an augmenter's own than that has positions",
                tokens=longest,
                limit=limit,
            )
        return self._laid_out(drawn, ids.device)

    def _laid_out(self, drawn: Sequence[_Drawn], device: torch.device) -> Plan:
        held = self.held
        # The place of each held column; below zero is what another row's longer path needs.
        old = torch.arange(held) - torch.tensor([[held - row.held] for row in self._rows])
        view = _view(drawn, old)
        newest = _table([one.newest for one in drawn])
        asked = newest.clamp(min=0)
        seen = view.gather(1, asked[:, :, None].expand(-1, -1, view.shape[2]))
        places = _table([one.places for one in drawn])
        kept = [
            (held - row.held, one.kept, [held + at for at in one.path])
            for row, one in zip(self._rows, drawn, strict=True)
        ]
        return Plan(
            ids=_table([one.ids for one in drawn]).to(device),
            places=places.to(device),
            view=view[:, None].to(device),
            reach=torch.cat((old.clamp(min=0), places), dim=1).to(device),
            meeting=Meeting(
                view=seen[:, None].to(device),
                births=_table([one.births for one in drawn]).to(device),
                newest=asked.to(device),
                present=(newest != NOWHERE).to(device),
            ),
            keep=_chosen(kept, of=view.shape[2], device=device),
            lengths=tuple(count + len(more) for _, count, more in kept),
        )

    def settle(self, plan: Plan) -> None:
        """Keep the newest path of every row, once all layers have seen the pass."""
        self._keep(plan.keep, of=plan.view.shape[-1])
        for row, length in zip(self._rows, plan.lengths, strict=True):
            row.held = length

    def _keep(self, columns: Tensor | None, *, of: int) -> None:
        """Keep these columns of `of` in all layers that have them; None: all."""
        for layer in self.layers if columns is not None else ():
            # The bridges' layers stand still while the bridges are off.
            if layer.keys is not None and layer.keys.shape[2] == of:
                layer.keys, layer.values = (_columns(one, columns) for one in _held(layer))
        self.held = of if columns is None else columns.shape[1]

    # -- rows --------------------------------------------------------------------------------------

    def choose(self, rows: Sequence[int]) -> None:
        """Take these rows, in this order and as often as named; the cache does so in the layers."""
        self._rows = [self._rows[row].copy() for row in rows] if self._rows else []
        self._hold([row.held for row in self._rows])

    def join(self, others: Sequence[Rereading]) -> None:
        """Take in copies of the rows of all; the cache joins the layers, rows on the right."""
        self._rows = [row.copy() for other in others for row in other._rows]
        self.held = max((other.held for other in others), default=0)

    def forget(self, count: int) -> None:
        """Forget the anchor's newest columns, as many in every row."""
        lengths = [row.held for row in self._rows]
        for row in self._rows:
            row.forget(count, self.alignment)
        self._hold(lengths)

    def trim(self, columns: int) -> None:
        """Forget padding on the left until so many of the anchor's columns are left."""
        for row in self._rows:
            del row.taken[: max(0, len(row.taken) - columns)]

    def _hold(self, lengths: Sequence[int]) -> None:
        """Keep what the rows still hold of so many tokens each, and no column that none needs."""
        kept: list[_Kept] = [
            (self.held - length, row.held, [])
            for length, row in zip(lengths, self._rows, strict=True)
        ]
        device = next((one.keys.device for one in self.layers if one.keys is not None), None)
        self._keep(_chosen(kept, of=self.held, device=device), of=self.held)


def _draw(row: _Row, columns: Sequence[tuple[int, int] | None]) -> _Drawn:
    """Read on in one row: every path that its columns go through, each end read once."""
    drawn = _Drawn(kept=row.held)
    for column in columns:
        row.taken.append(column)
        if column is not None:
            _go_on(drawn, row.reader, stayed=row.reader.take(*column))
        drawn.newest.append(drawn.path[-1] if column and drawn.path else NOWHERE)
    return drawn


def _go_on(drawn: _Drawn, reader: Reader, *, stayed: int) -> None:
    """Bring the path to where the reader is; `stayed` of its tokens are as they were."""
    path = drawn.path
    left = max(0, stayed - drawn.kept)
    for token in path[left:]:
        drawn.popped[token] = len(drawn.ids)
    del path[left:]
    drawn.kept = min(drawn.kept, stayed)
    if drawn.kept == len(reader.path) > 0:
        drawn.kept -= 1  # of what is held the states are not kept: the newest is read again
    for place in range(drawn.kept + len(path), len(reader.path)):
        path.append(len(drawn.ids))
        drawn.ids.append(reader.path[place])
        drawn.births.append(reader.births[place])
        drawn.places.append(place)
        drawn.roots.append(drawn.kept)
        drawn.popped.append(NEVER)


def _view(drawn: Sequence[_Drawn], old: Tensor) -> Tensor:
    """(batch, read, held + read) bool: which tokens each goes on from, and itself.

    old   (batch, held) the place of each held column in its row's path, below zero where in none
    """
    roots = _table([one.roots for one in drawn])
    at = torch.arange(roots.shape[1])
    popped = _table([one.popped for one in drawn], fill=NEVER)
    # A path is a stack: what came before and has not been taken off is what a token goes on from.
    fresh = (at <= at[:, None]) & (popped[:, None, :] > at[:, None])
    behind = (old[:, None, :] >= 0) & (old[:, None, :] < roots[:, :, None])
    return torch.cat((behind, fresh), dim=-1)


def _columns_of(
    ids: Tensor, positions: Tensor, real: Tensor | None
) -> list[list[tuple[int, int] | None]]:
    """By row, each new column's id and position; None for padding."""
    is_real = (torch.ones_like(ids) if real is None else real[:, -ids.shape[1] :]).tolist()
    told = zip(ids.tolist(), positions.tolist(), is_real, strict=True)
    return [
        [(token, at) if yes else None for token, at, yes in zip(*row, strict=True)] for row in told
    ]


def _shared(one: Sequence[object], other: Sequence[object]) -> int:
    """How long two sequences are the same."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def _table(rows: Sequence[Sequence[int]], fill: int = 0) -> Tensor:
    """(rows, longest), at least one wide, filled up on the right."""
    longest = max(1, *(len(row) for row in rows))
    return torch.tensor([[*row, *[fill] * (longest - len(row))] for row in rows])


def _chosen(kept: Sequence[_Kept], *, of: int, device: torch.device | None) -> Tensor | None:
    """(rows, longest) the columns that stay, any column before those of shorter rows.

    None: all `of` of them do, as they are.
    """
    if all(count + len(more) == of for _, count, more in kept):
        return None
    longest = max((count + len(more) for _, count, more in kept), default=0)
    columns = torch.zeros(len(kept), longest, dtype=torch.long)
    for row, (at, count, more) in enumerate(kept):
        begin = longest - count - len(more)
        columns[row, begin : begin + count] = torch.arange(at, at + count)
        columns[row, begin + count :] = torch.tensor(more, dtype=torch.long)
    return columns.to(device)


def _held(layer: DynamicLayer) -> tuple[Tensor, Tensor]:
    """A filled layer's keys and values: (rows, heads, held, width) each."""
    assert layer.keys is not None
    assert layer.values is not None
    return layer.keys, layer.values


def _columns(held: Tensor, columns: Tensor | None) -> Tensor:
    """These columns of each row of (rows, heads, held, width)."""
    assert columns is not None
    return held.gather(2, columns[:, None, :, None].expand(-1, held.shape[1], -1, held.shape[3]))
