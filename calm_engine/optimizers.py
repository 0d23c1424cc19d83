"""How weights move: by AdamW, or matrices by Muon. Knows no model, no loss and no schedule."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import AdamW, Optimizer

Named = Sequence[tuple[str, nn.Parameter]]

BETAS = (0.9, 0.98)  # short runs: a second moment that forgets within fifty steps
MOMENTUM = 0.95
ROUNDS = 5  # of Newton and Schulz; three factors of each, with which it is steepest at nothing
FACTORS = (3.4445, -4.7750, 2.0315)
AS_ADAM = 0.2  # root mean square of AdamW's own moves at a rate of 1, as it was found to be


def optimizer_of(
    named: Named,
    *,
    decay: float = 0.01,
    matrices: Collection[str] = (),
    shares: Mapping[str, float] | None = None,
) -> Optimizer:
    """An optimiser of exactly the parameters that may move.

    matrices   names of those that Muon moves; AdamW moves the others
    shares     of the rate, by name, for those of AdamW that move more slowly; kept as a group's
               "share" for whoever sets rates (`loop.steps`)
    """
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in named:
        if name not in matrices:
            groups.setdefault((shares or {}).get(name, 1.0), []).append(parameter)
    adam = AdamW(
        [{"params": each, "share": share} for share, each in groups.items()],
        betas=BETAS,
        weight_decay=decay,
        fused=True,
    )
    if not matrices:
        return adam
    return Muon([p for name, p in named if name in matrices], adam, decay=decay)


class Muon(Optimizer):
    """Moves each matrix by its momentum with all singular values made one; all else by `others`.

    Directions that few facts pull move as far as those that all pull, and a small model knows a
    corpus in a fraction of the steps (docs/decisions/0029). Source: Muon (Jordan et al., 2024), its
    moves scaled to the size of AdamW's, so that one rate fits both (arXiv 2502.16982). torch's own
    computes in bfloat16 alone. Where few rows pull at a matrix, its rounding becomes a move as
    large as any: two processes no longer learn what one learns; and a processor without such
    arithmetic takes twenty times as long for it as for float32.
    """

    def __init__(self, matrices: Sequence[nn.Parameter], others: AdamW, *, decay: float) -> None:
        super().__init__(matrices, {"lr": 1e-3, "weight_decay": decay})
        self.others = others
        # The very same groups and moments: whoever sets a rate or keeps moments knows one of us.
        self.own = list(self.param_groups)
        self.param_groups += others.param_groups
        others.state = self.state

    @torch.no_grad()
    # torch overloads it for those who give a closure, which nobody does here.
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        assert closure is None
        self.others.step()
        for group in self.own:
            for matrix in group["params"]:
                if matrix.grad is not None:
                    _move(matrix, self.state[matrix], group["lr"], group["weight_decay"])


def _move(matrix: nn.Parameter, state: dict[str, Any], rate: float, decay: float) -> None:
    """One step of one matrix, with Nesterov's momentum and decay apart from it."""
    slope = matrix.grad
    assert slope is not None
    if "momentum" not in state:
        state["momentum"] = torch.zeros_like(matrix)
    held: Tensor = state["momentum"]
    held.lerp_(slope, 1 - MOMENTUM)
    turned = _turned(slope.lerp(held, MOMENTUM))
    size = AS_ADAM * max(matrix.shape) ** 0.5
    matrix.mul_(1 - rate * decay).add_(turned, alpha=-rate * size)


def _turned(matrix: Tensor) -> Tensor:
    """The same of a matrix that may be sharded: its singular values are those of the whole."""
    if isinstance(matrix, DTensor):
        whole = orthogonal(matrix.full_tensor())
        return distribute_tensor(whole, matrix.device_mesh, matrix.placements)
    return orthogonal(matrix)


def orthogonal(matrix: Tensor) -> Tensor:
    """(rows, columns) with about the same singular vectors, and all singular values near one.

    Newton and Schulz's iteration in quintic form: within 0.7 and 1.2, which is near enough here.
    """
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    found = wide.float()
    found = found / found.norm().clamp(min=1e-7)
    first, third, fifth = FACTORS
    for _ in range(ROUNDS):
        square = found @ found.T
        square = torch.addmm(square, square, square, beta=third, alpha=fifth)
        found = torch.addmm(found, square, found, beta=first)
    found = found.to(matrix.dtype)
    return found.T if matrix.shape[0] > matrix.shape[1] else found
