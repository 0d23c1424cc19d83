"""Why a size is proposed, and what a smaller or a larger one would mean. Loads no torch.

What the page reckons with is what is known beforehand: the snapshot's tokens and the facts of its
first documents. The run reads all of it, and proposes anew where nobody chose.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from apps.corpora.models import Snapshot
from apps.registry.models import Anchor
from apps.runs.states import Kind
from apps.teaching.planning import VOCABULARY, exposures_of, need_of
from calm_engine import capacity
from calm_engine.capacity import Shape

PROPOSED = "proposed"
LABELS: dict[str, str | Promise] = {
    "smaller": _("Smaller"),
    PROPOSED: _("As proposed"),
    "larger": _("Larger"),
}
CHOICES = list(LABELS.items())


@dataclass(frozen=True)
class Size:
    """One size as the page shows it.

    parameters  of its layers and of its words
    held        per cent of the corpus for which its layers have room, at most 100
    pace        seconds of a step against the proposed size's
    memory      bytes, likely
    """

    name: str
    label: str | Promise
    shape: Shape
    parameters: int
    held: int
    pace: float
    memory: int


@dataclass(frozen=True)
class Sizes:
    """The sizes to choose from, and what the proposal was reckoned from.

    bits, each   that the corpus asks for, and that a parameter holds
    """

    tokens: int
    facts: int
    exposures: int
    bits: float
    each: float
    every: tuple[Size, ...]

    @property
    def wanted(self) -> float:
        """Parameters of the layers that would hold all of it."""
        return self.bits / self.each

    @property
    def is_enough(self) -> bool:
        """Whether the proposed size holds the corpus; the largest may not."""
        return all(one.held >= 100 for one in self.every if one.name == PROPOSED)

    def shape_of(self, name: str) -> Shape | None:
        """The shape that was chosen; None for the proposed one, which the run itself settles."""
        found = (one.shape for one in self.every if one.name == name != PROPOSED)
        return next(found, None)


def sizes_for(snapshot: Snapshot, anchor: Anchor, facts: int) -> Sizes:
    """What is proposed for this snapshot, with its neighbours."""
    told = {"tokens": snapshot.tokens, "facts": facts, "exposures": exposures_of(snapshot)}
    words = anchor.vocabulary or VOCABULARY
    every = []
    for name, one in capacity.choices(**told).items():
        asked = {"width": one.shape.width, "layers": one.shape.layers}
        need = need_of(Kind.AUGMENT, snapshot, anchor, {str(Kind.AUGMENT): asked})
        parameters = one.shape.parameters + words * one.shape.width
        held = min(100, round(100 * one.held))
        every.append(Size(name, LABELS[name], one.shape, parameters, held, one.pace, need.likely))
    made = capacity.propose(**told)
    each = capacity.bits_of_a_parameter(told["exposures"])
    return Sizes(**told, bits=made.needed, each=each, every=tuple(every))
