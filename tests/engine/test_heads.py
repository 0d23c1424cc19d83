"""A head read the long side first: the same logits but for the last bits, for few rows on a CPU."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from calm_engine.heads import FEW, logits_of

WIDTH, WORDS = 48, 500


def hidden(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    source = torch.Generator().manual_seed(2)
    return torch.randn(*shape, WIDTH, generator=source).to(dtype)


def make_head(*, bias: bool = False, dtype: torch.dtype = torch.float32) -> nn.Linear:
    torch.manual_seed(1)
    return nn.Linear(WIDTH, WORDS, bias=bias).to(dtype).requires_grad_(False)


@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (1, 3), (FEW, 1), (FEW + 1, 1), (2, 0), (5,)])
def test_logits_are_those_of_the_head(shape: tuple[int, ...]) -> None:
    head = make_head()
    rows = hidden(*shape)
    told = logits_of(head, rows)
    assert told.shape == (*shape, WORDS)
    assert told.is_contiguous()
    torch.testing.assert_close(told, head(rows))


def test_short_numbers_stay_short() -> None:
    head = make_head(dtype=torch.bfloat16)
    rows = hidden(3, 1, dtype=torch.bfloat16)
    told = logits_of(head, rows)
    assert told.dtype == torch.bfloat16
    torch.testing.assert_close(told, head(rows))


class Counting(nn.Linear):
    """A head with something more to it, as one that was quantised."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return super().forward(rows) + 1


@pytest.mark.parametrize("head", [make_head(bias=True), Counting(WIDTH, WORDS, bias=False)])
def test_a_head_with_more_to_it_is_asked_itself(head: nn.Module) -> None:
    rows = hidden(2, 1)
    assert torch.equal(logits_of(head, rows), head(rows))


def test_rows_that_learn_keep_their_slopes() -> None:
    rows = hidden(2, 1).requires_grad_()
    slopes = torch.autograd.grad(logits_of(make_head(), rows).sum(), rows)
    assert slopes[0].abs().sum() > 0
