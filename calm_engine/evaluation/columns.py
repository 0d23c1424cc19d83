"""Who is asked: the composition, its parts, its parents, its rivals and its controls.

Each is loaded when its turn comes. Knows no questions and no scores.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from transformers import PreTrainedModel

from calm_engine.errors import InputError
from calm_engine.evaluation.asking import Column
from calm_engine.evaluation.counting import ANCHOR, COMPOSITION, RANDOM
from calm_engine.evaluation.kinds import (
    CANARY,
    COUNTERFACTUAL,
    MADE,
    OTHER_CORPUS,
    VERBATIM,
)
from calm_engine.families import load_parent
from calm_engine.joining import replaced
from calm_engine.modeling import CalmForCausalLM
from calm_engine.specs import EvaluateSpec

BRIDGES_ONLY, OUTPUT_ONLY = "bridges_only", "output_only"
SCRAMBLED, MISMATCHED, SWAPPED = "scrambled", "mismatched", "swapped"
ANCHOR_RAG, COMPOSITION_RAG, ANCHOR_LORA = "anchor_rag", "composition_rag", "anchor_lora"
ANCHOR_LORA_DOCUMENTS = "anchor_lora_documents"
READERS = frozenset({ANCHOR_RAG, COMPOSITION_RAG})
# Whoever is given the passage repeats it: that says nothing.
READING = frozenset({VERBATIM, CANARY, OTHER_CORPUS, COUNTERFACTUAL})
# No canary was planted in what they read, and nothing edited.
ADAPTED = frozenset({CANARY, OTHER_CORPUS, COUNTERFACTUAL})


def composition_of(spec: EvaluateSpec) -> CalmForCausalLM:
    """The composition on its parents. Raises InputError("device.missing") and what loading does."""
    if spec.device == "cuda" and not torch.cuda.is_available():
        raise InputError("device.missing", "no such device here", device=spec.device)
    device = "cuda" if spec.device != "cpu" and torch.cuda.is_available() else "cpu"
    return CalmForCausalLM.from_pretrained(
        spec.composition, anchor=spec.anchor, augmenters=spec.augmenters, device_map=device
    )


def columns_of(spec: EvaluateSpec, together: CalmForCausalLM) -> Iterator[Column]:
    """Everybody who is asked without reading, in the order of the report."""
    yield Column(COMPOSITION, together)
    if BRIDGES_ONLY in spec.columns:
        yield Column(BRIDGES_ONLY, together, output=False, skips=MADE)
    if OUTPUT_ONLY in spec.columns:
        yield Column(OUTPUT_ONLY, together, bridges=False, skips=MADE)
    yield from _controls(spec, together)
    alignments = together.streams.alignments
    for index, (augmenter, alignment) in enumerate(
        zip(together.augmenters, alignments, strict=True)
    ):
        words = None if alignment is None else alignment.augmenter
        name = f"augmenter_{index}" if index else "augmenter"
        yield Column(name, augmenter, tokenizer=words, skips=MADE - {VERBATIM, CANARY})
    if len(together.augmenters) > 1:
        # What their company costs each of them: bridges trained apart have never met.
        yield from (_only(together, index) for index in range(len(together.augmenters)))
    yield Column(ANCHOR, together, gate=0.0)


def reading_columns(together: CalmForCausalLM, spec: EvaluateSpec, reads: int) -> Iterator[Column]:
    """Those who are given so many passages with each question."""
    for name, gate in ((ANCHOR_RAG, 0.0), (COMPOSITION_RAG, 1.0)):
        if name in spec.columns:
            yield Column(name, together, gate=gate, reads=reads, skips=READING)


def swapped_column(together: CalmForCausalLM, augmenter: PreTrainedModel) -> Column:
    """The same bridges on the augmenter that learned the edited documents."""
    return Column(SWAPPED, replaced(together, 0, augmenter))


def _controls(spec: EvaluateSpec, together: CalmForCausalLM) -> Iterator[Column]:
    """The same with an augmenter that does not know: what these score, knowledge did not do."""
    if spec.random:
        # Its augmenter of random weights lies inside its own folder; the anchor is the same one.
        control = CalmForCausalLM.from_pretrained(
            spec.random, anchor=together.anchor, device_map=together.device
        )
        yield Column(RANDOM, control, skips=MADE)
    if spec.mismatched:
        other: Any = load_parent(spec.mismatched)
        other.to(together.device)
        yield Column(MISMATCHED, replaced(together, 0, other), skips=MADE)
    if SCRAMBLED in spec.columns:
        first = cast("PreTrainedModel", together.augmenters[0])
        yield Column(SCRAMBLED, replaced(together, 0, scrambled(first, spec.seed)), skips=MADE)


def scrambled(model: PreTrainedModel, seed: int) -> PreTrainedModel:
    """A copy with the entries of each weight in another order: its moments, and no knowledge."""
    source = torch.Generator().manual_seed(seed)
    made: Any = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in made.parameters():
            order = torch.randperm(parameter.numel(), generator=source).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].view_as(parameter))
    kept: PreTrainedModel = made.eval()
    return kept


def _only(together: CalmForCausalLM, index: int) -> Column:
    """The composition with one of its augmenters let in and the others shut out."""
    gates = tuple(float(at == index) for at in range(len(together.augmenters)))
    return Column(f"only_augmenter_{index}", together, gate=gates, skips=MADE)


def adapters_in(output: Path) -> Path:
    """Where the adapters lie while their column has not been asked whole."""
    return output.with_name(f"{output.name}.work") / "adapters"
