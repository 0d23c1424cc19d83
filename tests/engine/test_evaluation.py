"""The laws of asking and scoring, and that no question is ever answered twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from calm_engine import digests, process
from calm_engine.data import Example, question_prompt
from calm_engine.errors import Cancelled, InputError
from calm_engine.evaluation.asking import Asker, Column, common_prefix
from calm_engine.evaluation.counting import ALL, wilson
from calm_engine.evaluation.questions import MOST, MOST_SEEN, chosen, read_questions
from calm_engine.evaluation.run import evaluate
from calm_engine.evaluation.scoring import is_exact, matches
from calm_engine.joining import side_by_side
from calm_engine.modeling import CalmForCausalLM
from calm_engine.specs import EvaluateSpec, Outcome, Progress
from tests.engine.asking import make_evaluation
from tests.tiny import awaken, make_composition, make_model, make_tokenizer, save_folder


@pytest.fixture(autouse=True)
def nobody_asks_us_to_stop() -> Iterator[None]:
    yield
    process.STOPPER.clear()


def run(spec: EvaluateSpec) -> tuple[list[Progress], Outcome]:
    news, work = [], evaluate(spec)
    while True:
        try:
            news.append(next(work))
        except StopIteration as end:
            return news, end.value


# -- scoring ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Peru, and the capital of Peru is Lima.", "Lima"),
        ("LIMA!", "lima"),
        ("It is made in São Tomé", "Sao Tome"),
        ("New   Zealand", "new zealand"),
        ("about 1,250 kg", "1,250"),
        ("Straße", "strasse"),
        ("12 %", "%"),
        ("It falls to \N{MINUS SIGN}5 degrees", "-5"),
        ("3-5 weeks", "5"),
        ("snake_case names", "case"),
    ],
)
def test_an_answer_that_holds_the_expected_words_is_right(answer: str, expected: str) -> None:
    assert matches(answer, expected)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Limassol", "Lima"),
        ("Zealand New", "New Zealand"),
        ("New, old Zealand", "New Zealand"),
        ("2017", "17"),
        ("5 degrees", "-5"),
        ("-5 degrees", "5"),
        ("", "Lima"),
        ("anything", ""),
        ("12", "%"),
    ],
)
def test_an_answer_without_the_whole_words_is_wrong(answer: str, expected: str) -> None:
    assert not matches(answer, expected)


def test_exact_means_nothing_else_was_said() -> None:
    assert is_exact(" lima. ", "Lima")
    assert not is_exact("It is Lima", "Lima")


def test_the_interval_is_wilsons() -> None:
    low, high = wilson(9, 10)
    assert (low, high) == pytest.approx((0.5958, 0.9821), abs=1e-4)  # R: prop.test, no correction
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(10, 10)[1] == 1.0


# -- questions -------------------------------------------------------------------------------------


def some_questions(count: int, name: str) -> list[Example]:
    return [Example(f"{name}{i}", "?", "Lima", "Lima", "recall", slice=name) for i in range(count)]


def test_a_large_set_is_sampled_by_its_seed_alone() -> None:
    every = [*some_questions(200, "unseen_entity"), *some_questions(200, "seen")]
    kept = chosen(every, seed=1)
    assert kept == chosen(every, seed=1)
    assert kept != chosen(every, seed=2)
    assert {row.id for row in kept} == {row.id for row in chosen(every[::-1], seed=1)}
    assert sum(row.slice == "unseen_entity" for row in kept) == MOST
    assert sum(row.slice == "seen" for row in kept) == MOST_SEEN


def test_an_empty_question_set_is_refused(tmp_path: Path) -> None:
    spec = make_evaluation(tmp_path, control=False)
    Path(spec.questions).write_text("\n")
    with pytest.raises(InputError) as refused:
        run(spec)
    assert refused.value.code == "questions.empty"


@pytest.mark.parametrize(
    ("change", "code"), [({"slice": ""}, "questions.slice"), ({"id": "q1"}, "questions.twice")]
)
def test_a_question_without_a_slice_or_an_id_of_its_own_is_refused(
    tmp_path: Path, change: dict[str, str], code: str
) -> None:
    row = {"id": "q0", "question": "?", "answer": "Lima", "slice": "seen"}
    path = tmp_path / "questions.jsonl"
    path.write_text(json.dumps(row | {"id": "q1"}) + "\n" + json.dumps(row | change) + "\n")
    with pytest.raises(InputError) as refused:
        read_questions(path)
    assert refused.value.code == code


# -- asking ----------------------------------------------------------------------------------------


def columns(family: str) -> list[Column]:
    together = make_composition(family)
    return [
        Column("composition", together),
        Column("bridges_only", together, output=False),
        Column("anchor", together, gate=0.0),
        Column("augmenter", make_model(family, width=32, heads=2, seed=2)),
    ]


@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2", "mistral"])
def test_asked_in_a_batch_the_answers_are_those_asked_alone(family: str) -> None:
    """Against plain generation, one prompt at a time and nothing shared."""
    tokenizer = make_tokenizer()
    prompts = [question_prompt(tokenizer, text) for text in ("Who?", "Where is the MX-4?", "A")]
    prefix = common_prefix(prompts)
    assert prefix
    for column in columns(family):
        named = {"gate": column.gate} if isinstance(column.model, CalmForCausalLM) else {}
        expected = []
        for prompt in prompts:
            ids = torch.tensor([prompt])
            if named:
                column.model.set_parts(bridges=column.bridges, output=column.output)
            out = column.model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=12,
                do_sample=False,
                **named,
            )
            if named:
                column.model.set_parts()
            text = tokenizer.decode(out[0, len(prompt) :], skip_special_tokens=True)
            expected.append(text.strip())
        asker = Asker(column, tokenizer, prefix=prefix, ends=frozenset({2}), most=12)
        assert asker.ask(prompts) == expected, column.name


def test_a_row_that_has_ended_leaves_and_the_others_go_on() -> None:
    tokenizer = make_tokenizer()
    column = columns("llama")[0]
    prompts = [question_prompt(tokenizer, text) for text in ("Who?", "Where is it?", "A", "Bee")]
    prefix = common_prefix(prompts)
    long = Asker(column, tokenizer, prefix=prefix, ends=frozenset({2}), most=8)
    alone = [long.ask([prompt])[0] for prompt in prompts]
    # A letter that one answer holds now ends answers.
    sign = next(sign for sign in alone[0][1:] if sign.isascii() and sign.isprintable())
    end = tokenizer.convert_tokens_to_ids(sign)
    short = Asker(column, tokenizer, prefix=prefix, ends=frozenset({end}), most=8)
    assert short.ask(prompts) == [short.ask([prompt])[0] for prompt in prompts]
    assert short.ask(prompts)[0] == alone[0].split(sign)[0].strip()


def test_the_prefix_leaves_every_prompt_a_token() -> None:
    assert common_prefix([[1, 2, 3], [1, 2]]) == [1]
    assert common_prefix([[1, 2, 3], [1, 2, 4], [1, 2, 3, 5]]) == [1, 2]
    assert common_prefix([[1], [2]]) == []


# -- the whole -------------------------------------------------------------------------------------


def test_everyone_is_asked_everything(tmp_path: Path) -> None:
    spec = make_evaluation(tmp_path)
    news, outcome = run(spec)
    names = ["composition", "random", "augmenter", "anchor"]
    cells = outcome.facts["cells"]
    assert list(dict.fromkeys(cell["column"] for cell in cells)) == names
    assert {cell["slice"] for cell in cells} == {"seen", "unseen_entity", "unseen_value", ALL}
    assert all(cell["n"] > 0 and cell["low"] <= cell["value"] <= cell["high"] for cell in cells)
    assert sum(c["n"] for c in cells if c["slice"] == ALL) == 12 * len(names)
    assert (outcome.kind, outcome.facts["asked"], outcome.facts["of"]) == ("report", 12, 12)
    assert "composition/recall/unseen_entity" in outcome.metrics
    assert outcome.parents["anchor"] == digests.weights_digest(spec.anchor)
    assert (news[-1].step, news[-1].total) == (12 * len(names), 12 * len(names))
    lines = (Path(outcome.folder) / outcome.facts["items"]).read_text().splitlines()
    assert [sorted(json.loads(line)["answers"]) for line in lines] == [sorted(names)] * 12
    digests.verify(outcome.folder)
    assert outcome.digest == digests.folder_digest(outcome.folder)


def test_the_anchors_column_is_the_bare_anchors(tmp_path: Path) -> None:
    spec = make_evaluation(tmp_path, control=False)
    _, outcome = run(spec)
    together = CalmForCausalLM.from_pretrained(
        spec.composition, anchor=spec.anchor, augmenters=spec.augmenters
    )
    tokenizer = AutoTokenizer.from_pretrained(spec.anchor)
    asker = Asker(
        Column("bare", together.anchor), tokenizer, prefix=[], ends=frozenset({2}), most=6
    )
    for line in (Path(outcome.folder) / "items.jsonl").read_text().splitlines():
        item = json.loads(line)
        (answer,) = asker.ask([question_prompt(tokenizer, item["question"])])
        assert item["answers"]["anchor"]["text"] == answer


def test_attribution_asks_the_parts_as_well(tmp_path: Path) -> None:
    spec = replace(make_evaluation(tmp_path, questions=3), columns=("bridges_only", "output_only"))
    _, outcome = run(spec)
    asked = {cell["column"] for cell in outcome.facts["cells"]}
    assert {"bridges_only", "output_only"} < asked


def test_two_side_by_side_are_also_asked_one_at_a_time_and_weighed(tmp_path: Path) -> None:
    spec = make_evaluation(tmp_path, control=False, questions=6, new_tokens=2)
    load, anchor = CalmForCausalLM.from_pretrained, Path(spec.anchor)
    first = load(tmp_path / "together", anchor=anchor, augmenters=spec.augmenters)
    other = save_folder(make_model("llama", width=32, heads=2, seed=7), tmp_path / "other")
    second = awaken(CalmForCausalLM.compose(anchor, [other]))
    side_by_side([first, second]).save_pretrained(tmp_path / "both")
    both = replace(
        spec, composition=str(tmp_path / "both"), augmenters=(*spec.augmenters, str(other))
    )
    _, outcome = run(both)
    _, alone = run(replace(spec, output=str(tmp_path / "alone")))
    cells = outcome.facts["cells"]
    assert {"only_augmenter_0", "only_augmenter_1"} <= {cell["column"] for cell in cells}
    assert outcome.facts["costs"]["cache"]["bridges"] > alone.facts["costs"]["cache"]["bridges"]
    assert outcome.facts["costs"]["ceiling"] < alone.facts["costs"]["ceiling"]
    said = [
        answers_of(one, name)
        for one, name in ((outcome, "only_augmenter_0"), (alone, "composition"))
    ]
    assert said[0] == said[1]


def answers_of(outcome: Outcome, column: str) -> list[str]:
    lines = (Path(outcome.folder) / outcome.facts["items"]).read_text().splitlines()
    return [json.loads(line)["answers"][column]["text"] for line in lines]


def test_stopped_and_begun_again_no_question_is_answered_twice(tmp_path: Path) -> None:
    spec = make_evaluation(tmp_path)
    straight = run(replace(spec, output=str(tmp_path / "straight")))[1]
    work = evaluate(spec)
    while next(work).step < 15:
        pass
    process.STOPPER.ask()
    with pytest.raises(Cancelled):
        next(work)
    process.STOPPER.clear()
    kept = tmp_path / "report.work" / "answers.jsonl"
    before = kept.read_bytes()
    kept.write_bytes(before + b'{"column": "augmenter", "id": "q1", "te')  # killed while writing
    resumed = evaluate(spec)
    seen = before
    for _ in range(3):  # killed again, without a word
        next(resumed)
        seen = kept.read_bytes()
        assert seen.startswith(before)
    resumed.close()
    _, outcome = run(spec)
    rows = [json.loads(line) for line in seen.splitlines()[1:]]
    keys = [(row["column"], row["id"]) for row in rows]
    assert len(keys) == len(set(keys)) > 15
    assert outcome.facts["cells"] == straight.facts["cells"]
    assert (tmp_path / "report" / "items.jsonl").read_bytes() == (
        tmp_path / "straight" / "items.jsonl"
    ).read_bytes()
    assert not kept.exists()


def test_a_finished_report_is_handed_back_and_another_folder_is_left_alone(tmp_path: Path) -> None:
    spec = make_evaluation(tmp_path, control=False, questions=3)
    _, first = run(spec)
    news, again = run(spec)
    assert again == first
    assert not news
    with pytest.raises(InputError) as refused:
        run(replace(spec, seed=5))
    assert refused.value.code == "output.exists"


def asked_of(spec: EvaluateSpec, **more: str) -> list[dict[str, str]]:
    rows = [json.loads(line) for line in Path(spec.questions).read_text().splitlines()]
    return [row | more for row in rows]


def keep(path: Path, rows: list[dict[str, str]]) -> str:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return str(path)


def test_the_card_tells_what_was_held_out_of_each_corpus(tmp_path: Path) -> None:
    spec = make_evaluation(tmp_path, questions=18, new_tokens=2)
    assert run(spec)[1].facts["corpora"] == []
    rows = asked_of(spec)
    for at, row in enumerate(rows):
        row["corpus"] = "Pumps" if at < 12 else "Valves | taps"
    keep(Path(spec.questions), rows)
    _, outcome = run(replace(spec, output=str(tmp_path / "parted"), retention=True))
    cells = outcome.facts["corpora"]
    held = [row for row in rows if row["slice"] != "seen"]
    for column in ("composition", "anchor", "random"):
        counts = {
            (cell["corpus"], cell["kind"]): cell["n"] for cell in cells if cell["column"] == column
        }
        assert counts == {
            (row["corpus"], row["kind"]): sum(
                (other["corpus"], other["kind"]) == (row["corpus"], row["kind"]) for other in held
            )
            for row in held
        }
    assert all(cell["low"] <= cell["value"] <= cell["high"] for cell in cells)
    card = (Path(outcome.folder) / "card.md").read_text()
    assert "## By corpus" in card
    assert "| Valves / taps | recall |" in card


def test_the_card_tells_what_questions_share_with_what_was_learned(tmp_path: Path) -> None:
    spec = make_evaluation(tmp_path, control=False, new_tokens=2)
    assert run(spec)[1].facts["overlap"] == {}
    asked = {"question": "Is it so that the old press at the far end of hall four leaks?"}
    said = {"question": "Who saw that the old press at the far end of hall four was sold?"}
    rows = asked_of(spec)
    rows[0] |= asked
    keep(Path(spec.questions), rows)
    taught = [rows[2], {"id": "t", "answer": "No.", "kind": "recall", "entity": ""} | said]
    told = replace(spec, examples=keep(tmp_path / "taught.jsonl", taught))
    _, outcome = run(replace(told, output=str(tmp_path / "shared")))
    found = outcome.facts["overlap"]
    assert (found["of"], found["taught"], found["run"], found["near"]) == (8, 2, 1, 0)
    assert (found["all"]["n"], found["without"]["n"]) == (8, 7)
    lines = (Path(outcome.folder) / "items.jsonl").read_text().splitlines()
    assert [row["id"] for row in map(json.loads, lines) if row["overlap"]] == [rows[0]["id"]]
    assert "## Contamination" in (Path(outcome.folder) / "card.md").read_text()


def test_answers_of_other_questions_are_not_taken_over(tmp_path: Path) -> None:
    spec = make_evaluation(tmp_path, control=False, questions=3)
    work = evaluate(spec)
    next(work)
    next(work)
    work.close()
    text = Path(spec.questions).read_text()
    Path(spec.questions).write_text(text.replace("made?", "built?"))
    news, _ = run(spec)
    assert next(one.step for one in news if one.stage == "evaluate") == 3
