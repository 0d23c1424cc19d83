"""The rivals and controls of a report card: reading, adapters, shuffled and other augmenters."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, BertConfig

from calm_engine.cli.command import _parser
from calm_engine.data import Piece, pad_right
from calm_engine.errors import InputError
from calm_engine.evaluation.adapting import _Reading, rank_for, sequences_of
from calm_engine.evaluation.columns import scrambled
from calm_engine.evaluation.questions import BEGUN, GOES_ON, REPEATS, repetitions
from calm_engine.evaluation.retrieval import Library
from calm_engine.evaluation.run import evaluate
from calm_engine.feeding import Rounds
from calm_engine.joining import replaced
from calm_engine.passages import with_passages
from calm_engine.selfstudy import Source
from calm_engine.specs import EvaluateSpec
from tests.engine.asking import make_evaluation
from tests.engine.learning import drain
from tests.tiny import make_composition, make_model, make_tokenizer, save_folder

SHEETS = [
    Source("d1", "pumps", "The pump MX-200 weighs 14 kg.\nIt is made in Lima by hand."),
    Source("d2", "valves", "The valve QR-9 opens at 3 bar.\nIt is made in Oslo."),
    Source("d3", "meals", "Lunch is served at noon in the canteen on the ground floor."),
]


# -- looking passages up ---------------------------------------------------------------------------


def test_a_passage_is_found_by_its_words() -> None:
    library = Library(SHEETS)
    assert "QR-9" in library.find("At which pressure does the valve QR-9 open?", 1)[0]
    assert len(library.find("Where is it made?", 4)) >= 2
    assert library.find("xyzzy", 2) == []
    assert library.find("?", 2) == []


def test_an_encoder_finds_what_shares_no_word(tmp_path: Path) -> None:
    """With vectors something is always found; the two rankings are joined by their places."""
    torch.manual_seed(0)
    told = BertConfig(
        vocab_size=len(make_tokenizer()),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    AutoModel.from_config(told).save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    library = Library(SHEETS, tmp_path)
    assert len(library.find("xyzzy", 2)) == 2
    assert "QR-9" in library.find("valve QR-9", 1)[0]


def test_nothing_to_read_and_no_encoder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no document"):
        Library([Source("d", "", " ")])
    with pytest.raises(InputError) as refused:
        Library(SHEETS, tmp_path)
    assert refused.value.code == "embedder.folder"


def test_a_question_without_passages_is_asked_as_it_is() -> None:
    assert with_passages("Who?", []) == "Who?"
    assert with_passages("Who?", ["a", "b"]).endswith("a\n\nb\n\nQuestion:\nWho?")


# -- verbatim repetition ---------------------------------------------------------------------------


def test_beginnings_of_passages_are_asked_for_what_follows() -> None:
    text = "\n".join(" ".join(f"w{line}x{at}" for at in range(30)) for line in range(60))
    rows = repetitions([Source("d", "long", text), *SHEETS], seed=1)
    assert len(rows) == REPEATS
    assert rows == repetitions([Source("d", "long", text), *SHEETS], seed=1)
    for row in rows:
        begun = row.question.removeprefix("Continue this text: ")
        assert (len(begun.split()), len(row.expected.split())) == (BEGUN, GOES_ON)
        assert f"{begun} {row.expected}" in " ".join(text.split())


# -- controls --------------------------------------------------------------------------------------


def test_a_shuffled_augmenter_keeps_the_moments_and_nothing_else() -> None:
    model = make_model("llama", width=32, heads=2, seed=2)
    shuffled = scrambled(model, seed=1)
    for (name, one), (_, other) in zip(
        model.named_parameters(), shuffled.named_parameters(), strict=True
    ):
        assert torch.equal(one.flatten().sort().values, other.flatten().sort().values), name
    ids = torch.arange(3, 20)[None]
    assert not torch.allclose(model(ids).logits, shuffled(ids).logits)


def test_the_same_bridges_stand_on_another_augmenter_of_the_same_shape() -> None:
    model = make_composition("llama")
    ids = torch.arange(3, 20)[None]
    before = model(ids).logits
    same = replaced(model, 0, model.augmenters[0])
    assert torch.equal(same(ids).logits, before)
    other = replaced(model, 0, scrambled(model.augmenters[0], seed=1))
    assert not torch.allclose(other(ids).logits, before)
    assert torch.equal(other(ids, gate=0.0).logits, model(ids, gate=0.0).logits)
    assert torch.equal(model(ids).logits, before)
    with pytest.raises(InputError, match="shape"):
        replaced(model, 0, make_model("llama", width=64, heads=2, seed=2))


def test_adapters_have_about_as_many_weights_as_the_composition() -> None:
    anchor = make_model("llama", layers=5, seed=1)
    assert rank_for(anchor, 1) == 1
    small, large = rank_for(anchor, 50_000), rank_for(anchor, 100_000)
    assert large == pytest.approx(2 * small, abs=1)


def test_a_packed_piece_is_read_as_plain_sequences() -> None:
    asked = Piece((5, 6, 7), 1, is_asked=True)
    assert list(sequences_of(asked, [1, 2])) == [([1, 2, 5, 6, 7], 3)]
    told = Piece((5, 6), 2, is_asked=False, branches=(((7, 8), 1), ((9, 9, 4), 2)))
    assert list(sequences_of(told, [1, 2])) == [([5, 6, 7, 8], 3), ([5, 6, 9, 9, 4], 4)]


def test_in_heaps_of_like_length_the_loss_is_that_of_all_together() -> None:
    model = make_model("llama", positions=256, seed=1)
    piece = Piece((5, 6), 2, False, branches=(((7, 8), 1), ((9, 9, 4, 4, 4), 2), ((3, 9), 1)))
    row = [piece, Piece((5, 6, 7, 8, 9), 1, is_asked=True), Piece((9, 8), 1, is_asked=False)]

    class OneRow(Rounds):
        def __init__(self) -> None:
            self.prefix, self.pad = (1, 2), 0

        def rows(self, step: int) -> list[list[Piece]]:
            return [row] * (step + 1)

    with torch.no_grad():
        apart = _Reading(OneRow(), torch.device("cpu")).loss(model, 0)
        told = [one for each in row for one in sequences_of(each, [1, 2])]
        batch = pad_right(told, pad=0)
        together = model(batch.ids, attention_mask=batch.mask, labels=batch.labels).loss
    assert torch.allclose(apart, together, atol=1e-5)


# -- the whole -------------------------------------------------------------------------------------


@pytest.fixture
def spec(tmp_path: Path) -> EvaluateSpec:
    """Everybody who can be asked, and something to read and to adapt to."""
    made = make_evaluation(tmp_path, control=False, questions=6, new_tokens=3)
    documents = tmp_path / "documents.jsonl"
    rows = [{"digest": one.digest, "title": one.title, "text": one.text} for one in SHEETS]
    documents.write_text("".join(json.dumps(row) + "\n" for row in rows))
    other = make_model("llama", width=32, heads=2, positions=256, seed=5)
    return replace(
        made,
        columns=(
            *("scrambled", "anchor_rag", "composition_rag"),
            *("anchor_lora", "anchor_lora_documents"),
        ),
        documents=str(documents),
        examples=made.questions,
        mismatched=str(save_folder(other, tmp_path / "other")),
    )


def test_rivals_and_controls_are_asked_and_told_in_a_card(
    spec: EvaluateSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calm_engine.evaluation.adapting.STEPS", 3)
    monkeypatch.setattr("calm_engine.evaluation.adapting.READ", 3)
    _, outcome = drain(evaluate(replace(spec, retention=True)))
    cells = {(c["column"], c["kind"], c["slice"]): c for c in outcome.facts["cells"]}
    asked = {column for column, _, _ in cells}
    assert asked == {
        "composition", "mismatched", "scrambled", "augmenter", "anchor",
        "anchor_rag", "composition_rag", "anchor_lora", "anchor_lora_documents",
    }  # fmt: skip
    assert cells["anchor", "general", "public"]["n"] == 100
    assert ("scrambled", "general", "public") not in cells
    assert {row["column"] for row in outcome.facts["differences"]} == asked - {"composition"}
    assert outcome.facts["reads"]["passages"] in (1, 2, 4)
    assert outcome.facts["reads"]["tried_on"] == 6  # of what the bridges were trained on
    card = (Path(outcome.folder) / outcome.facts["card"]).read_text()
    assert outcome.facts["verdict"] in card
    assert "anchor + RAG" in card
    assert "| general | public |" in card
    assert "## What it costs" in card
    assert "| anchor + RAG | " in card.partition("## What it costs")[2]
    again = outcome.facts["command"]
    assert again in card
    assert str(Path(spec.anchor).parent) not in card  # roles and digests, not where they lay
    args = _parser().parse_args(again.split()[1:])
    told = {name: value for name, value in vars(args).items() if value is not None}
    assert told["columns"] == list(spec.columns)
    assert told["composition"] == "COMPOSITION"
    assert not (Path(outcome.folder).parent / "report.work").exists()


def test_stopped_between_rivals_it_goes_on_with_the_same_adapters(
    spec: EvaluateSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calm_engine.evaluation.adapting.STEPS", 3)
    spec = replace(spec, columns=("anchor_lora",), mismatched=None, documents=None)
    _, straight = drain(evaluate(replace(spec, output=str(tmp_path / "straight"))))
    work = evaluate(spec)
    while next(work).message != "anchor_lora":
        pass
    work.close()
    steps = [one for one in evaluate(spec) if one.stage == "adapt"]
    assert steps == []
    again = json.loads((tmp_path / "report" / "outcome.json").read_text())
    assert again["facts"]["cells"] == straight.facts["cells"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"columns": ("judge",)}, "columns"),
        ({"columns": ("anchor_rag",), "documents": None}, "documents"),
        ({"columns": ("anchor_lora",), "examples": None}, "examples"),
        ({"columns": ("anchor_lora_documents",), "documents": None}, "documents"),
        ({"columns": (), "documents": None, "embedder": "x"}, "embedder"),
    ],
)
def test_a_column_without_what_it_needs_is_refused(
    spec: EvaluateSpec, change: dict[str, object], named: str
) -> None:
    with pytest.raises(InputError) as refused:
        EvaluateSpec.from_dict(spec.to_dict() | change)
    assert named in str(refused.value.facts["fields"])
