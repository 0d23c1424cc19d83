"""How far a gate opens, and where it is shut: exactly 0, so that the anchor speaks as it would.

Knows no models and no training: tensors come in as arguments and go out as results.

    o(x) = sigmoid(x)                        while it learns
    o(x) = max(0, sigmoid(x) - b) / (1 - b)  in use
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Opening(nn.Module):
    """A sigmoid that comes to 0 in use.

    A sigmoid alone never does, and many bridges, each open by a hundredth, move what the anchor
    says. To cut it off in use alone leaves a margin between what learns to be shut and what opens:
    gates that are cut off while they learn come to rest where the cut is, and a question that
    nobody asked before lies on either side of it (docs/decisions/0034). In the form of Louizos et
    al., "Learning sparse neural networks through L0 regularization" (arXiv 1712.01312), section
    2.2, from below alone and without noise.

    shut_below   b, in [0, 1); 0 leaves the sigmoid as it is
    """

    def __init__(self, shut_below: float) -> None:
        super().__init__()
        self.shut_below = shut_below

    def forward(self, judged: Tensor) -> Tensor:
        """o of what a gate judged, in [0, 1], of the same shape."""
        chance = torch.sigmoid(judged)
        if self.training or not self.shut_below:
            return chance
        return (chance - self.shut_below).clamp_(min=0.0) / (1.0 - self.shut_below)
