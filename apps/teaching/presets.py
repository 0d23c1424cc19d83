"""What a person chooses instead of sixty fields: how long a plan may learn. Knows no plan.

Each preset names only what differs from the engine's own choice; what is left out is chosen from
the data (`calm_engine.specs`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from apps.runs.actions import DOCUMENTS
from calm_engine.capacity import Shape
from calm_engine.specs import EVERYDAY

Settings = dict[str, dict[str, Any]]  # by kind of run, what differs from the engine's own choice


# Whom a whole report card asks besides: what people would try instead, and further controls.
QUICK_RIVALS = ("anchor_rag", "composition_rag", "anchor_lora", "scrambled")
# Of the last two one reads all documents, and for the other the augmenter learns a second time.
RIVALS = (*QUICK_RIVALS, "anchor_lora_documents", "swapped")
# Of what an augmenter reads: Active Reading (arXiv 2508.09494) keeps a tenth of general text beside
# its corpus, so that a model that learns one company's papers goes on knowing language.
GENERAL_SHARE = 0.1
CANARIES = 24  # secrets that are planted, to see whether they come out


@dataclass(frozen=True)
class Preset:
    """A choice on the page, and the settings that it stands for: {"augment": {...}, ...}."""

    name: str
    label: str | Promise
    hint: str | Promise
    settings: Settings = field(default_factory=dict)
    rivals: tuple[str, ...] = RIVALS


STANDARD = Preset(
    "standard",
    _("Standard"),
    _("As many steps as the corpus needs. The report is worth reading."),
)
QUICK = Preset(
    "quick",
    _("Quick check"),
    _("A few steps through the whole plan, to see that it works. It learns next to nothing."),
    {
        "augment": {"steps": 20, "width": 64, "layers": 2, "heads": 2, "batch_size": 4},
        "compose": {"steps": 10, "batch_size": 4, "least_recall": 0.0},
        "evaluate": {"retention": False},
    },
    QUICK_RIVALS,
)
SHAPED = ("width", "layers", "heads")
PRESETS: dict[str, Preset] = {preset.name: preset for preset in (STANDARD, QUICK)}


def is_sized(preset: str) -> bool:
    """Whether the preset itself says how large the augmenter is."""
    return "width" in PRESETS[preset].settings.get("augment", {})


def settings_of(
    preset: str,
    *,
    without: Sequence[str] = (),
    writes: bool = False,
    rivals: bool = False,
    general: bool = False,
    follows: bool = False,
    sieve: bool = False,
    judge: str = "",
    goes_on: bool = False,
    shape: Shape | None = None,
) -> Settings:
    """A preset's settings, and what a curator chose of self-study and of the report card.

    without   kinds of lessons that are left out
    writes    whether the anchor writes further ones
    rivals    whether the card also asks what people would try instead
    general   whether the texts that come with us are mixed in
    follows   whether bridges also learn what the anchor says with a passage in view
    sieve     whether they learn only from examples that pass the three-way test
    judge     id of the anchor that decides long answers which no rule can; "": none
    goes_on   a model that has its shape already is trained on
    shape     a size that was chosen; None: the preset's, or the engine's own choice
    """
    chosen = PRESETS[preset].settings
    augment = chosen.get("augment", {})
    if goes_on:
        augment = {name: value for name, value in augment.items() if name not in SHAPED}
    elif shape is not None and not is_sized(preset):
        augment = augment | dict(zip(SHAPED, (shape.width, shape.layers, shape.heads), strict=True))
    study = {"without": list(without), "writes": writes}
    study |= {"canaries": CANARIES} if rivals else {}
    study |= {"general": EVERYDAY, "general_share": GENERAL_SHARE} if general else {}
    card: dict[str, Any] = {"columns": list(PRESETS[preset].rivals)} if rivals else {}
    card |= {"judge": judge} if judge else {}
    # Bridges always learn behind passages too: employees may have them looked up.
    reading: dict[str, Any] = {"passages": DOCUMENTS, "sieve": sieve}
    reading |= {} if follows else {"teacher_share": 0.0}
    return chosen | {
        "augment": augment | study,
        "compose": chosen.get("compose", {}) | reading,
        "evaluate": chosen.get("evaluate", {}) | card,
    }
