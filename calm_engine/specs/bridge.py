"""The form of the bridges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from calm_engine.specs.base import Spec, bad, refuse, tuples

Connection = tuple[int, int]


@dataclass(frozen=True)
class BridgeSpec(Spec):
    """The form of the bridges (docs/decisions, and CALM, arXiv 2401.02412, section 3.1).

    connections  pairs (augmenter layer, anchor layer), outputs joined; anchor layer -1 is the
                 embedding output. One tuple per augmenter, or one flat list for a single augmenter.
                 None: the paper's spread, every fourth augmenter layer spread over the anchor.
    heads, kv_heads, head_dim   None: chosen from the anchor's width (grouped, few key/value heads)
    positions    rotary positions on queries and keys
    aligned      add W_D norm(H_a) at the same position: what carries unseen entities
    norm         RMS norms before the projections
    projection   the paper's separate linear f from augmenter to anchor width (else folded)
    gate         a learned gate per connection and token; a request's own gate multiplies it (0 is
                 the anchor, bit for bit)
    gate_reads   what sets it: "anchor", the anchor's state, or "both", the augmenter's as well
    shut_below   in use, gates of bridges and of the output path that are open by less than this
                 are shut, and the anchor speaks as it would alone (`opening`)
    scaled       multiply by the measured RMS of the anchor's stream at the connection
    output_path  mix the augmenter's next-token distribution into the anchor's by a small gate
    dropout      share of recall batches with the bridges off, so that the output path learns
    """

    connections: tuple[Any, ...] | None = None
    heads: int | None = None
    kv_heads: int | None = None
    head_dim: int | None = None
    positions: bool = True
    aligned: bool = True
    norm: bool = True
    projection: bool = False
    gate: bool = True
    gate_reads: str = "anchor"
    shut_below: float = 0.05
    scaled: bool = True
    output_path: bool = True
    dropout: float = 0.5

    def __post_init__(self) -> None:
        if self.connections is not None:
            object.__setattr__(self, "connections", tuples(list(self.connections)))
        if not 0.0 <= self.dropout < 1.0:
            raise bad("dropout", "must lie in [0, 1)")
        if self.dropout and not self.output_path:
            object.__setattr__(self, "dropout", 0.0)
        if self.gate_reads not in ("anchor", "both"):
            raise bad("gate_reads", "must be anchor or both")
        if not 0.0 <= self.shut_below < 1.0:
            raise bad("shut_below", "must lie in [0, 1)")
        if self.heads and self.kv_heads and self.heads % self.kv_heads:
            raise refuse("heads", "kv_heads", "heads must be a multiple of kv_heads")

    @classmethod
    def paper(cls, connections: Sequence[Any] | None = None) -> BridgeSpec:
        """The paper's form: explicit projection, full heads, no norm, no positions, no gate."""
        return cls(
            connections=None if connections is None else tuple(connections),
            positions=False,
            aligned=False,
            norm=False,
            projection=True,
            gate=False,
            shut_below=0.0,
            scaled=False,
            output_path=False,
            dropout=0.0,
        )
