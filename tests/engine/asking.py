"""A tiny anchor, augmenter, composition and control on disk, with questions to ask of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from transformers import PreTrainedModel

from calm_engine.modeling import CalmForCausalLM
from calm_engine.specs import EvaluateSpec
from tests.tiny import awaken, make_model, save_folder


def make_evaluation(
    folder: Path, *, questions: int = 12, control: bool = True, new_tokens: int = 6
) -> EvaluateSpec:
    """Everything that an evaluation needs, below `folder`."""
    anchor = save_folder(make_model("llama", layers=5, positions=256, seed=1), folder / "anchor")
    augmenter = save_folder(_small(2), folder / "augmenter")
    together = awaken(CalmForCausalLM.compose(anchor, [augmenter]))
    together.save_pretrained(folder / "together")
    if control:
        stranger = save_folder(_small(9), folder / "stranger")
        awaken(CalmForCausalLM.compose(anchor, [stranger])).save_pretrained(folder / "control")
        shutil.copytree(stranger, folder / "control" / "augmenter_0")
    write_questions(folder / "questions.jsonl", questions)
    return EvaluateSpec(
        output=str(folder / "report"),
        composition=str(folder / "together"),
        anchor=str(anchor),
        augmenters=(str(augmenter),),
        random=str(folder / "control") if control else None,
        questions=str(folder / "questions.jsonl"),
        retention=False,
        max_new_tokens=new_tokens,
        batch_size=5,
        device="cpu",
        threads=1,
    )


def _small(seed: int) -> PreTrainedModel:
    return make_model("llama", width=32, heads=2, positions=256, seed=seed)


def write_questions(path: Path, count: int) -> None:
    """Questions of two kinds and three slices, of many lengths."""
    slices = ("unseen_entity", "unseen_value", "seen")
    rows = [
        {
            "id": f"q{number}",
            "question": f"Where is the {'MX' * (number % 5)}-{number} made?",
            "answer": "Lima",
            "expected": "Lima",
            "kind": "recall" if number % 2 else "private_times_public",
            "entity": f"MX-{number}",
            "value": "Lima",
            "slice": slices[number % 3],
        }
        for number in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
