"""The verbs, where anchor and augmenter have other tokenizers: compose, evaluate, serve."""

from __future__ import annotations

import json
import queue
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from calm_engine import digests
from calm_engine.api import load
from calm_engine.cli import main
from calm_engine.compose import compose
from calm_engine.data import question_prompt
from calm_engine.errors import EngineError
from calm_engine.evaluation.asking import Asker, Column, common_prefix
from calm_engine.evaluation.run import evaluate
from calm_engine.generation import Piece, Sampling, answer, end_tokens
from calm_engine.modeling import CalmForCausalLM
from calm_engine.serving.batching import Batcher
from calm_engine.serving.line import Loaded, Ticket
from calm_engine.specs import ComposeSpec, EvaluateSpec
from tests.engine.asking import write_questions
from tests.engine.learning import drain, make_compose
from tests.engine.tokenizing import SENTENCES, byte_fallback, byte_level
from tests.tiny import awaken, make_model
from tests.waiting import wait_until

ANCHORS, AUGMENTERS = byte_level(420), byte_fallback(400)


def save(folder: Path, tokenizer: PreTrainedTokenizerFast, *, positions: int, seed: int) -> Path:
    width, heads = (48, 4) if seed == 1 else (32, 2)
    model = make_model(
        "llama",
        width=width,
        heads=heads,
        vocabulary=len(tokenizer),
        positions=positions,
        seed=seed,
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def spec(tmp_path: Path) -> ComposeSpec:
    """Six facts, to be learned between parents of other tokenizers."""
    spec = make_compose(tmp_path)
    save(Path(spec.anchor), ANCHORS, positions=256, seed=1)
    save(Path(spec.augmenters[0]), AUGMENTERS, positions=256, seed=2)
    return spec


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """A folder with an anchor, an augmenter and their composition."""
    save(tmp_path / "anchor", ANCHORS, positions=200, seed=1)
    save(tmp_path / "augmenter", AUGMENTERS, positions=200, seed=2)
    model = awaken(CalmForCausalLM.compose(tmp_path / "anchor", [tmp_path / "augmenter"]))
    model.save_pretrained(tmp_path / "composition")
    digests.write_manifest(tmp_path / "composition")
    return tmp_path


@pytest.fixture
def model(folders: Path) -> CalmForCausalLM:
    return CalmForCausalLM.from_pretrained(
        folders / "composition", anchor=folders / "anchor", augmenters=[folders / "augmenter"]
    )


def test_bridges_are_trained_without_an_output_path_and_it_is_said(spec: ComposeSpec) -> None:
    assert spec.bridge.output_path
    news, outcome = drain(compose(replace(spec, steps=30)))
    assert [it for it in news if "another tokenizer: augmenter_0" in it.message]
    losses = [it.metrics["loss"] for it in news if it.stage == "train"]
    assert losses[-1] < losses[0]
    model, tokenizer = load(outcome.folder, spec.anchor, spec.augmenters)
    assert isinstance(model, CalmForCausalLM)
    assert not model.output_gates
    ids = torch.tensor([question_prompt(tokenizer, "Where is Zor?")])
    with torch.no_grad():
        assert not torch.allclose(model(ids).logits, model(ids, gate=0.0).logits, atol=1e-3)
        assert torch.equal(model(ids, gate=0.0).logits, model.anchor(ids).logits)


def test_stopped_and_resumed_equals_never_stopped(spec: ComposeSpec, tmp_path: Path) -> None:
    _, straight = drain(compose(replace(spec, output=str(tmp_path / "straight"))))
    run = compose(spec)
    while next(run).step < 4:
        pass
    run.close()
    _, resumed = drain(compose(spec))
    one, other = (
        CalmForCausalLM.from_pretrained(
            it.folder, anchor=spec.anchor, augmenters=spec.augmenters
        ).own_state()
        for it in (straight, resumed)
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_control_keeps_the_augmenters_tokenizer(spec: ComposeSpec) -> None:
    _, outcome = drain(compose(replace(spec, control="random")))
    model = CalmForCausalLM.from_pretrained(outcome.folder, anchor=spec.anchor)
    (alignment,) = model.streams.alignments
    assert alignment is not None
    assert alignment.augmenter.get_vocab() == AUGMENTERS.get_vocab()


def test_everybody_is_asked_in_words_of_their_own(folders: Path) -> None:
    write_questions(folders / "questions.jsonl", 6)
    spec = EvaluateSpec(
        output=str(folders / "report"),
        composition=str(folders / "composition"),
        anchor=str(folders / "anchor"),
        augmenters=(str(folders / "augmenter"),),
        questions=str(folders / "questions.jsonl"),
        retention=False,
        max_new_tokens=6,
        batch_size=3,
        device="cpu",
        threads=1,
    )
    _, outcome = drain(evaluate(spec))
    lines = (Path(outcome.folder) / "items.jsonl").read_text().splitlines()
    below, _ = load(folders / "augmenter")
    for item in map(json.loads, lines):
        prompt = question_prompt(AUGMENTERS, item["question"])
        found = item["answers"]["augmenter"]["text"]
        assert found == plainly(below, AUGMENTERS, prompt, count=6)


def plainly(
    model: Any, tokenizer: PreTrainedTokenizerFast, prompt: list[int], *, count: int
) -> str:
    """What `generate` makes of one prompt."""
    ends = sorted(end_tokens(model, tokenizer))
    ids = torch.tensor([prompt])
    how = {"do_sample": False, "eos_token_id": ends, "pad_token_id": 0}
    words = model.generate(ids, max_new_tokens=count, **how)[0, len(prompt) :]
    return str(tokenizer.decode(words, skip_special_tokens=True)).strip()


def test_asked_in_a_batch_the_answers_are_those_asked_alone(model: CalmForCausalLM) -> None:
    """Behind a prefix that is read once, rows leaving as they end."""
    prompts = [question_prompt(ANCHORS, text) for text in ("Who?", "Where is the cat, 12?", "é")]
    prefix = common_prefix(prompts)
    assert prefix
    ends = end_tokens(model, ANCHORS)
    asker = Asker(Column("all", model), ANCHORS, prefix=prefix, ends=ends, most=14)
    assert asker.ask(prompts) == [plainly(model, ANCHORS, it, count=14) for it in prompts]


def test_the_command_generates_and_inspects(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parents = ["--anchor", str(folders / "anchor"), "--augmenter", str(folders / "augmenter")]
    together = str(folders / "composition")
    assert main(["generate", together, *parents, "the cat", "--max-tokens", "8"]) == 0
    assert len(capsys.readouterr().out) > 1
    assert main(["inspect", together, "--verify", *parents]) == 0
    assert "augmenter_0 has one of its own" in capsys.readouterr().out


# -- serving ---------------------------------------------------------------------------------------


class Person:
    """Someone at the batch, who keeps what arrives."""

    def __init__(self, prompt: str, *, tokens: int, gate: float = 1.0) -> None:
        self.arrived: queue.Queue[Piece | EngineError] = queue.Queue()
        self.how = Sampling(max_new_tokens=tokens, temperature=0.0, gate=gate)
        self.ids = tuple(ANCHORS.encode(prompt, add_special_tokens=False))
        self.ticket = Ticket(self.ids, self.how, deliver=self.arrived.put)

    def all(self) -> tuple[str, str | None, int]:
        """The whole text, how it ended or what was refused, and how many tokens were drawn."""
        text, drawn = "", 0
        while True:
            piece = self.arrived.get(timeout=20)
            if isinstance(piece, EngineError):
                return text, piece.code, drawn
            text, drawn = text + piece.text, piece.drawn
            if piece.finish is not None:
                return text, piece.finish, drawn


def served(model: CalmForCausalLM, people: list[Person]) -> list[tuple[str, str | None, int]]:
    batcher = Batcher(lambda: {"": Loaded(model, ANCHORS)})
    batcher.start()
    try:
        assert wait_until(lambda: batcher.state == "ready")
        for person in people:
            batcher.submit(person.ticket)
        return [person.all() for person in people]
    finally:
        batcher.stop()


def test_rows_join_and_leave_a_batch_as_if_alone(model: CalmForCausalLM) -> None:
    prompts = ["a", "the strawberries and 😀 cats, which are many", "two words", "日本語"]
    people = [
        Person(prompt, tokens=tokens, gate=gate)
        for prompt, tokens, gate in zip(prompts, (5, 12, 9, 16), (1.0, 0.5, 0.0, 1.0), strict=True)
    ]
    for person, found in zip(people, served(model, people), strict=True):
        pieces = list(answer(model, ANCHORS, person.ids, person.how))
        text = "".join(one.text for one in pieces)
        assert found == (text, pieces[-1].finish, pieces[-1].drawn)


def test_a_row_ends_where_its_augmenter_is_full_and_the_others_go_on(folders: Path) -> None:
    save(folders / "short", byte_level(300), positions=60, seed=4)
    model = awaken(CalmForCausalLM.compose(folders / "anchor", [folders / "short"]))
    near, over = (Person(f"{SENTENCES[0]}, " * many, tokens=40) for many in (1, 2))
    others = [Person("the cat", tokens=8), Person("a mat", tokens=6)]
    assert len(over.ids) < 60 < len(byte_level(300).encode(f"{SENTENCES[0]}, " * 2))
    (_, finish, drawn), (_, refused, _), *rest = served(model, [near, over, *others])
    assert (finish, refused) == ("length", "sequence.too_long")
    assert drawn < 40
    assert rest == served(model, others)
