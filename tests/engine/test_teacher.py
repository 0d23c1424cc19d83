"""The anchor with the passage in view as a teacher: what is kept of it, and how it is followed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from calm_engine.compose import compose, say
from calm_engine.data import pad_right, question_prompt
from calm_engine.errors import InputError
from calm_engine.evaluation.retrieval import Library
from calm_engine.lessons import Lessons
from calm_engine.modeling import CalmForCausalLM
from calm_engine.passages import with_passages
from calm_engine.ranks import Ranks
from calm_engine.selfstudy import Source
from calm_engine.sieve import UNREADABLE, passages_for
from calm_engine.specs import ComposeSpec
from calm_engine.teacher import LIKELIEST, Taught, Teacher, followed, wanted_of
from tests.engine.learning import PLACES, drain, make_compose
from tests.engine.test_resume import same, stop_after
from tests.tiny import awaken

SAID = [Source(name, name, f"{name} is made in {place}.") for name, place in PLACES.items()]


@pytest.fixture
def spec(tmp_path: Path) -> ComposeSpec:
    passages = tmp_path / "passages.jsonl"
    rows = [{"digest": one.digest, "title": one.title, "text": one.text} for one in SAID]
    passages.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return replace(make_compose(tmp_path), passages=str(passages))


@pytest.fixture
def model(spec: ComposeSpec) -> CalmForCausalLM:
    return awaken(CalmForCausalLM.compose(Path(spec.anchor), [Path(spec.augmenters[0])]))


@pytest.fixture
def teacher(spec: ComposeSpec, model: CalmForCausalLM, tmp_path: Path) -> Teacher:
    made = Teacher(model, Lessons.of(spec), Library(SAID), tmp_path / "teacher")
    list(made.fill(Ranks.here("cpu")))
    return made


def test_what_is_kept_is_what_the_bare_anchor_says_behind_the_passage(
    model: CalmForCausalLM, teacher: Teacher
) -> None:
    lessons = teacher.lessons
    for at, one in enumerate(lessons.examples):
        tokens, first = lessons.sequences[at]
        passages = passages_for(one, Library(SAID))
        assert passages == [f"[{one.entity}] {one.entity} is made in {one.value}."]
        asked = with_passages(one.question, passages)
        prompt = question_prompt(lessons.tokenizer, asked)
        told = model.anchor(torch.tensor([[*prompt, *tokens[first:]]])).logits[0]
        logs = told[len(prompt) - 1 : -1].log_softmax(-1)
        best = logs.topk(LIKELIEST)
        kept = teacher.taught([at])
        assert torch.equal(kept.ids, best.indices)
        assert torch.allclose(kept.logs, best.values.log_softmax(-1), atol=1e-4)


def test_the_kept_stand_in_the_order_that_is_asked_for(teacher: Teacher) -> None:
    both, apart = teacher.taught([4, 1]), [teacher.taught([at]) for at in (4, 1)]
    assert torch.equal(both.ids, torch.cat([one.ids for one in apart]))
    sizes = [len(tokens) - first for tokens, first in teacher.lessons.sequences]
    assert len(both.follows) == sizes[4] + sizes[1]


def test_where_the_teacher_is_not_followed_the_loss_is_that_of_the_answer(
    model: CalmForCausalLM, teacher: Teacher
) -> None:
    lessons = teacher.lessons
    batch = pad_right(lessons.sequences[:3], pad=lessons.end)
    kept = teacher.taught(range(3))
    alone = Taught(kept.ids, kept.logs, torch.zeros_like(kept.follows))
    mask = torch.cat((batch.mask.new_ones(3, len(lessons.prefix)), batch.mask), dim=1)
    ids = torch.cat((torch.tensor([lessons.prefix] * 3), batch.ids), dim=1)
    labels = torch.cat((torch.full((3, len(lessons.prefix)), -100), batch.labels), dim=1)
    with torch.no_grad():
        logits = model(ids, mask, labels=labels).logits
        expected = say(model, lessons.prefix, batch)
    assert torch.allclose(followed(logits, batch, alone, 0.5), expected, atol=1e-5)


def test_followed_whole_a_student_that_says_the_same_loses_nothing() -> None:
    torch.manual_seed(1)
    logits = torch.randn(5, LIKELIEST)
    best = logits.log_softmax(-1).topk(LIKELIEST)
    kept = Taught(best.indices, best.values, torch.ones(5, dtype=torch.bool))
    batch = pad_right([([7, 1, 2], 1), ([7, 1, 2, 3], 1)], pad=0)
    assert len(wanted_of(batch)) == 5
    assert float(followed(logits, batch, kept, 1.0)) == pytest.approx(0.0, abs=1e-6)
    assert float(followed(torch.randn(5, LIKELIEST), batch, kept, 1.0)) > 0.1


def test_stopped_and_resumed_it_is_the_same_training(spec: ComposeSpec, tmp_path: Path) -> None:
    _, straight = drain(compose(replace(spec, output=str(tmp_path / "straight"))))
    stop_after(compose(spec), 3)
    _, resumed = drain(compose(spec))
    assert same(straight.folder, resumed.folder)
    assert not (tmp_path / "composition.work" / "frozen").exists()
    _, without = drain(compose(replace(spec, passages=None, output=str(tmp_path / "without"))))
    assert "teacher_followed" not in without.metrics
    assert 0.0 <= resumed.metrics["teacher_followed"] <= 1.0


def test_a_share_beyond_the_whole_is_refused(spec: ComposeSpec) -> None:
    with pytest.raises(InputError, match="teacher_share"):
        replace(spec, teacher_share=1.1)
    with pytest.raises(InputError, match="passages"):
        replace(spec, sieve=True, passages=None)


# -- the three-way test before the training --------------------------------------------------------


@pytest.fixture
def sifting(spec: ComposeSpec) -> ComposeSpec:
    """Two of six examples state no fact; random models answer none of the others."""
    path = Path(spec.examples)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows[2:4]:
        row |= {"value": "", "kind": "unanswerable"}
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return replace(spec, sieve=True, teacher_share=0.0)


@pytest.mark.parametrize("control", ["none", "random"])
def test_what_fails_the_test_is_not_learned_from_and_counted_by_its_reason(
    sifting: ComposeSpec, control: str
) -> None:
    _, outcome = drain(compose(replace(sifting, control=control)))
    assert outcome.facts["examples"] == 2
    assert outcome.facts["kinds"] == {"unanswerable": 2}
    assert outcome.facts["dropped"] == {UNREADABLE: 4}
    assert "teacher_followed" not in outcome.metrics


def test_a_resumed_training_learns_from_the_same_and_asks_nobody_again(
    sifting: ComposeSpec, tmp_path: Path
) -> None:
    _, straight = drain(compose(replace(sifting, output=str(tmp_path / "straight"))))
    stop_after(compose(sifting), 3)
    news, resumed = drain(compose(sifting))
    assert same(straight.folder, resumed.folder)
    assert "sieve" not in {one.stage for one in news}


def test_where_nothing_passes_nothing_is_composed(spec: ComposeSpec) -> None:
    with pytest.raises(InputError) as refused:
        drain(compose(replace(spec, sieve=True)))
    assert refused.value.code == "examples.sieved"
    assert f"{UNREADABLE}: 6" in str(refused.value.facts["why"])
