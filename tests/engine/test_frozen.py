"""What no training changes is read once: with it, every pass says what it says without it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from calm_engine.compose import compose, like_the_anchor, say
from calm_engine.data import pad_right
from calm_engine.frozen import FrozenStates
from calm_engine.inputs import look
from calm_engine.modeling import CalmForCausalLM
from calm_engine.ranks import ALONE
from calm_engine.specs import BridgeSpec
from tests.engine.learning import drain, make_compose
from tests.tiny import FAMILIES, awaken, make_composition, make_pair

PREFIX = [5, 6, 7]
ROWS = [([20, 21, 22, 23], 2), ([30, 31, 32, 33, 34, 35], 4), ([40, 41], 1)]


def kept(model: CalmForCausalLM, folder: Path) -> FrozenStates:
    return FrozenStates(model, PREFIX, ROWS, folder, pad=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_pass_from_frozen_states_is_the_whole_pass(family: str) -> None:
    model = make_composition(family)
    ids = torch.arange(20, 44).view(2, 12)
    frozen = model.streams.freeze(look(ids, None, None, None, limit=model.streams.limit))
    with torch.no_grad():
        torch.testing.assert_close(model(ids, frozen=frozen).logits, model(ids).logits)
        assert torch.equal(model(ids, frozen=frozen, gate=0.0).logits, model(ids, gate=0.0).logits)
        model.set_parts(bridges=False)
        torch.testing.assert_close(model(ids, frozen=frozen).logits, model(ids).logits)


@pytest.mark.parametrize("bridges", [True, False])
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3_text"])
def test_kept_states_give_the_same_loss_and_the_same_slopes(
    family: str, bridges: bool, tmp_path: Path
) -> None:
    model = make_composition(family)
    model.set_parts(bridges=bridges)
    chosen = [2, 0, 1]
    batch = pad_right([ROWS[at] for at in chosen], pad=0)
    slopes = []
    for frozen in (None, kept(model, tmp_path).batch(chosen)):
        loss = say(model, PREFIX, batch, frozen)
        loss.backward()
        slopes.append([loss.detach()])
        slopes[-1] += [
            p.grad.clone() for _, p in model.trainable_parameters() if p.grad is not None
        ]
        model.zero_grad()
    torch.testing.assert_close(slopes[0], slopes[1])


def test_kept_states_give_the_anchor_as_the_target_of_public_text(tmp_path: Path) -> None:
    model = make_composition("llama")
    batch = pad_right(ROWS, pad=0)
    expected = like_the_anchor(model, PREFIX, batch)
    assert float(expected.detach()) > 0
    found = like_the_anchor(model, PREFIX, batch, kept(model, tmp_path).batch([0, 1, 2]))
    torch.testing.assert_close(found, expected)


def test_states_are_kept_without_an_output_path_and_for_several_augmenters(tmp_path: Path) -> None:
    anchor, first = make_pair("llama")
    _, second = make_pair("llama", "qwen3")
    model = awaken(CalmForCausalLM.compose(anchor, [first, second], BridgeSpec(output_path=False)))
    batch = pad_right(ROWS, pad=0)
    frozen = kept(model, tmp_path).batch([0, 1, 2])
    torch.testing.assert_close(say(model, PREFIX, batch, frozen), say(model, PREFIX, batch))


def test_what_is_kept_is_as_large_as_it_said_and_is_read_once(tmp_path: Path) -> None:
    held = kept(make_composition("llama"), tmp_path)
    assert list(held.fill(ALONE)) == [(1, 1)]
    file = next(tmp_path.iterdir())
    before = file.stat()
    assert held.size < before.st_size < held.size + 8192  # the names stand in front
    list(held.fill(ALONE))
    held.batch([0])
    assert file.stat().st_mtime_ns == before.st_mtime_ns
    assert list(tmp_path.iterdir()) == [file]


def test_kept_states_go_with_the_run_and_nothing_is_kept_beyond_the_bound(tmp_path: Path) -> None:
    spec = make_compose(tmp_path)
    news, _ = drain(compose(spec))
    assert [p for p in news if p.message == "reading the examples once"]
    assert not (Path(f"{spec.output}.work") / "frozen").exists()
    bounded = replace(spec, output=str(tmp_path / "other"), kept_bytes=100)
    news, _ = drain(compose(bounded))
    assert not [p for p in news if p.message == "reading the examples once"]
