"""transformers' common tests of models, on a composition. Run by `test_upstream`, not collected.

Collecting it fetches the tests, which only the slow run may do.
"""

from __future__ import annotations

import copy
import json
import unittest
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from calm_engine.config import CalmConfig
from calm_engine.modeling import CalmForCausalLM
from calm_engine.specs import BridgeSpec
from tests.engine.upstream import common_tests, tests_folder, upstream
from tests.tiny import VOCABULARY, make_model

common, configs = common_tests(), upstream("test_configuration_common")

# Tests that a composition does not take, and why.
EXCLUDED = {
    "test_cannot_load_with_meta_device_context_manager": "Refused too, as `model.weights`; it wants"
    " transformers' own kind of error.",
    "test_capture_outputs_decorator": "Asks for attention weights, which are refused by name"
    " (`output.attentions`).",
    "test_correct_missing_keys": "Loads the anchor alone as if it were a composition with bridges"
    " missing; a folder without its bridges is refused (`composition.config`).",
    "test_from_pretrained_no_checkpoint": "Loads weights from a dictionary and no folder; parents"
    " are known by the digest of their files (`model.option`).",
    "test_generation_tester_mixin_inheritance": "Wants the tests of generation mixed in, which the"
    " source distribution does not hold; see tests/engine/test_citizenship.py.",
    "test_init_weights_can_init_buffers": "Makes weights on no device and fills them in later;"
    " parents are loaded whole, and bridges are zero from birth.",
    "test_model_get_set_embeddings": "Puts other embeddings into the anchor; refused by name"
    " (`model.resize`).",
    "test_model_weights_reload_no_missing_tied_weights": "Empties the file of weights and loads it"
    " all the same; bridges that do not fit are refused (`composition.weights`).",
}


class SelfContained(CalmForCausalLM):
    """Saved with its parents: these tests load a folder with nothing beside it."""

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> None:
        for name in [name for name in vars(self.config) if name.endswith(("_eps", "_epsilon"))]:
            delattr(self.config, name)  # some tests set those of every model there is
        super().save_pretrained(save_directory, self_contained=True, **options)


class Tester:
    """What the tests want to know, and their inputs."""

    batch_size, seq_length = 3, 7
    vocab_size, hidden_size = VOCABULARY, 32
    num_hidden_layers = num_attention_heads = 2
    is_training = True

    def prepare_config_and_inputs_for_common(self) -> tuple[CalmConfig, dict[str, Tensor]]:
        ids = torch.randint(3, VOCABULARY, (self.batch_size, self.seq_length))
        return tiny_config(), {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def tiny_config() -> CalmConfig:
    """Of two parents that tie their heads, joined from the embeddings upward."""
    anchor = make_model("llama", width=32, layers=2, heads=2)
    augmenter = make_model("gpt2", width=16, layers=2, heads=2)
    spec = BridgeSpec(connections=((0, -1), (1, 0)))
    config = copy.deepcopy(CalmForCausalLM.compose(anchor, [augmenter], spec).config)
    config.anchor_config["tie_word_embeddings"] = True
    return config


# As if composing were one of transformers' own kinds of causal language models.
SelfContained.__name__ = "CalmForCausalLM"
common.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES["calm"] = "CalmForCausalLM"


class TestCommon(common.ModelTesterMixin, unittest.TestCase):
    all_model_classes = (SelfContained,)
    test_resize_embeddings = False
    test_all_params_have_gradient = False

    def test_config(self) -> None:
        told = json.loads(tiny_config().to_json_string())
        named = ("anchor_config", "augmenter_configs", "bridge", "connections", "hidden_size")
        shape = {name: told[name] for name in named}
        configs.ConfigTester(self, config_class=CalmConfig, **shape).run_common_tests()

    def setUp(self) -> None:
        self.model_tester = Tester()
        self.has_attentions = self._testMethodName.startswith("test_eager_matches_sdpa")


for name in EXCLUDED:
    setattr(TestCommon, name, None)


def test_what_is_excluded_exists_and_has_a_reason() -> None:
    assert [name for name in EXCLUDED if not hasattr(common.ModelTesterMixin, name)] == []
    assert all(reason.endswith(".") for reason in EXCLUDED.values())


def test_the_tests_of_generation_are_still_not_packed() -> None:
    """When they are, they belong here: ours in test_citizenship.py stand in for them."""
    assert not (tests_folder() / "generation").exists()
