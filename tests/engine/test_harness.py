"""lm_eval measures a composition, and what it counts is what one counts by hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from calm_engine.modeling import CalmForCausalLM
from tests.tiny import make_composition, make_tokenizer

TASK = "where_is_it_made"
PLACES = ("Peru", "Oman", "Fiji", "Chad")
YAML = """
task: {task}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
doc_to_choice: {places}
metric_list: [{{metric: acc}}]
"""


def questions() -> list[dict[str, object]]:
    return [
        {"question": f"Where is the MX-{n} made?", "answer": (n * 7) % len(PLACES)}
        for n in range(20)
    ]


@pytest.fixture(scope="module")
def model() -> CalmForCausalLM:
    return make_composition("llama", "gpt2")


@pytest.fixture(scope="module")
def results(model: CalmForCausalLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where lm_eval's own command left what it found, with no network and its caches in here."""
    root = tmp_path_factory.mktemp("harness")
    model.save_pretrained(root / "alone", tokenizer=make_tokenizer(), self_contained=True)
    rows = root / "rows.jsonl"
    rows.write_text("".join(f"{json.dumps(row)}\n" for row in questions()))
    (root / "tasks").mkdir()
    told = YAML.format(task=TASK, rows=rows, places=json.dumps(PLACES))
    (root / "tasks" / "task.yaml").write_text(told)
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(root / "home")}
    call = [sys.executable, "-m", "calm_engine.harness", "run", "--model", "hf"]
    call += ["--model_args", f"pretrained={root / 'alone'}", "--device", "cpu"]
    call += ["--tasks", TASK, "--include_path", str(root / "tasks"), "--batch_size", "3"]
    call += ["--output_path", str(root / "out"), "--log_samples"]
    ran = subprocess.run(
        call, env=os.environ | offline, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return root / "out"


@torch.no_grad()
def by_hand(model: CalmForCausalLM, question: str, place: str) -> float:
    """The natural log-probability of the place behind the question."""
    tokenizer = make_tokenizer()
    asked, whole = (tokenizer(text)["input_ids"] for text in (question, f"{question} {place}"))
    chances = torch.log_softmax(model(torch.tensor([whole])).logits[0].float(), dim=-1)
    return sum(float(chances[at - 1, whole[at]]) for at in range(len(asked), len(whole)))


def test_lm_eval_gives_the_accuracy_that_is_counted_by_hand(
    model: CalmForCausalLM, results: Path
) -> None:
    right = 0
    for row in questions():
        scores = [by_hand(model, str(row["question"]), place) for place in PLACES]
        right += scores.index(max(scores)) == row["answer"]
    found = json.loads(next(results.rglob("results_*.json")).read_text())
    assert found["results"][TASK]["acc,none"] == right / len(questions())


def test_lm_eval_sees_the_compositions_own_chances(model: CalmForCausalLM, results: Path) -> None:
    lines = next(results.rglob("samples_*.jsonl")).read_text().splitlines()
    samples = [json.loads(line) for line in lines]
    assert len(samples) == len(questions())
    for sample in samples:
        for place, told in zip(PLACES, sample["filtered_resps"], strict=True):
            wanted = by_hand(model, sample["doc"]["question"], place)
            assert float(told[0]) == pytest.approx(wanted, abs=1e-2)
