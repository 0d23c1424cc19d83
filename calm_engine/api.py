"""The verbs of the engine. Each is a generator of `Progress` that returns an `Outcome`.

What a worker does with a run and an engineer with a file goes through here. Knows no tenants.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from calm_engine.augment import augment
from calm_engine.compose import compose
from calm_engine.estimation import estimate
from calm_engine.evaluation.run import evaluate
from calm_engine.examples import write_examples
from calm_engine.families import check_finite, load_parent, read_config, read_tokenizer
from calm_engine.modeling import CalmForCausalLM

__all__ = ["augment", "compose", "estimate", "evaluate", "load", "write_examples"]


def load(
    folder: str | Path,
    anchor: str | Path | None = None,
    augmenters: Sequence[str | Path] | None = None,
) -> tuple[CalmForCausalLM | PreTrainedModel, PreTrainedTokenizerBase]:
    """A composition beside its parents, or a plain model, with its tokenizer.

    Raises InputError as `CalmForCausalLM.from_pretrained`, `families.load_parent` and
    `families.check_finite` and `families.read_tokenizer` do.
    """
    if read_config(Path(folder)).get("model_type") == "calm":
        model: PreTrainedModel = CalmForCausalLM.from_pretrained(
            folder, anchor=anchor, augmenters=augmenters
        )
    else:
        model = load_parent(folder)
        check_finite(model)
    return model, read_tokenizer(folder)
