"""lm_eval measures a composition, and what it counts is what one counts by hand: by its own command
and as rows of a report card."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from calm_engine.errors import InputError
from calm_engine.evaluation.harnessed import marks_of, tasks_in
from calm_engine.evaluation.run import evaluate
from calm_engine.modeling import CalmForCausalLM
from tests.engine.asking import make_evaluation
from tests.engine.learning import drain
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


def write_task(root: Path) -> Path:
    """The folder of a task that asks these questions."""
    rows, folder = root / "rows.jsonl", root / "tasks"
    rows.write_text("".join(f"{json.dumps(row)}\n" for row in questions()))
    folder.mkdir()
    told = YAML.format(task=TASK, rows=rows, places=json.dumps(PLACES))
    (folder / "task.yaml").write_text(told)
    return folder


@pytest.fixture(scope="module")
def model() -> CalmForCausalLM:
    return make_composition("llama", "gpt2")


@pytest.fixture(scope="module")
def results(model: CalmForCausalLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where lm_eval's own command left what it found, with no network and its caches in here."""
    root = tmp_path_factory.mktemp("harness")
    model.save_pretrained(root / "alone", tokenizer=make_tokenizer(), self_contained=True)
    write_task(root)
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
def by_hand(model: Any, question: str, place: str) -> float:
    """The natural log-probability of the place behind the question."""
    tokenizer = make_tokenizer()
    asked, whole = (tokenizer(text)["input_ids"] for text in (question, f"{question} {place}"))
    chances = torch.log_softmax(model(torch.tensor([whole])).logits[0].float(), dim=-1)
    return sum(float(chances[at - 1, whole[at]]) for at in range(len(asked), len(whole)))


def right_by_hand(model: Any) -> int:
    right = 0
    for row in questions():
        scores = [by_hand(model, str(row["question"]), place) for place in PLACES]
        right += scores.index(max(scores)) == row["answer"]
    return right


def test_lm_eval_gives_the_accuracy_that_is_counted_by_hand(
    model: CalmForCausalLM, results: Path
) -> None:
    right = right_by_hand(model)
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


# -- as rows of a report card ----------------------------------------------------------------------

# What lm_eval and its libraries say of themselves is theirs to mend.
THEIRS = pytest.mark.filterwarnings("ignore")
KIND = f"lm_eval:{TASK}"


@THEIRS
def test_a_task_is_a_row_of_the_card_for_composition_and_anchor(tmp_path: Path) -> None:
    spec = make_evaluation(tmp_path, control=False, questions=3, new_tokens=2)
    asked = replace(spec, tasks=str(write_task(tmp_path)))
    begun = evaluate(asked)
    while next(begun).stage != "lm_eval":
        pass
    begun.close()  # the composition has been asked, and the anchor has not
    _, outcome = drain(evaluate(asked))
    together = CalmForCausalLM.from_pretrained(
        spec.composition, anchor=spec.anchor, augmenters=spec.augmenters
    )
    found = {
        cell["column"]: (cell["value"], cell["n"])
        for cell in outcome.facts["cells"]
        if (cell["kind"], cell["slice"]) == (KIND, "public")
    }
    count = len(questions())
    assert found == {
        "composition": (right_by_hand(together) / count, count),
        "anchor": (right_by_hand(together.anchor) / count, count),
    }
    compared = [row for row in outcome.facts["differences"] if row["kind"] == KIND]
    assert {row["column"] for row in compared} == {"anchor"}
    assert outcome.facts["why_not"] == {}
    assert "tasks" in outcome.parents
    assert f"| lm_eval: {TASK} | public |" in (Path(outcome.folder) / "card.md").read_text()
    assert "--tasks TASKS" in outcome.facts["command"]
    assert not Path(f"{spec.output}.work").exists()


def test_where_lm_eval_is_missing_the_card_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calm_engine.evaluation.harnessed.find_spec", lambda _name: None)
    spec = make_evaluation(tmp_path, control=False, questions=3, new_tokens=2)
    _, outcome = drain(evaluate(replace(spec, tasks=str(write_task(tmp_path)))))
    assert outcome.facts["why_not"] == {"lm_eval": "missing"}
    card = (Path(outcome.folder) / "card.md").read_text()
    assert "- lm_eval was not asked: lm_eval is not installed here." in card


@THEIRS
@pytest.mark.parametrize("text", [None, "task: [", "task: lost\ndataset_path: json\n"])
def test_a_folder_without_a_task_that_can_be_read_is_refused(
    tmp_path: Path, text: str | None
) -> None:
    folder = tmp_path / "tasks"
    folder.mkdir()
    if text is not None:
        (folder / "task.yaml").write_text(text)
    with pytest.raises(InputError) as refused:
        tasks_in(folder, tmp_path / "cache")
    assert refused.value.code == "tasks.folder"


def sample(number: int, **measured: object) -> dict[str, object]:
    return {"doc_id": number, "metrics": list(measured), **measured}


def test_the_first_measure_that_is_right_or_wrong_counts_in_the_order_of_questions() -> None:
    samples = [sample(1, f1=0.4, acc=0.0, norm=1.0), sample(0, f1=1.0, acc=1.0, norm=1.0)]
    assert marks_of(samples) == [True, False]
    filtered = [sample(0, acc=0.0), sample(0, acc=1.0)]
    assert marks_of(filtered) == [False]
    assert marks_of([sample(0, perplexity=(1.5, 3))]) is None
    assert marks_of([sample(0)]) is None
    assert marks_of([]) is None
