"""What a composition is made of, as JSON: the parents' shapes and digests, and the bridges' form.

Knows no weights and no folders: where the parents lie is told again at each loading.
"""

from __future__ import annotations

from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from calm_engine.errors import InputError
from calm_engine.specs import BridgeSpec, Connection

Connections = tuple[tuple[Connection, ...], ...]

# Options whose default is another one now, as bridges were that were saved before there was any.
BEFORE: dict[str, Any] = {"shut_below": 0.0}


@strict
class CalmConfig(PreTrainedConfig):  # type: ignore[no-untyped-call]  # transformers' class hook
    """The shape of a composition; written as `config.json` beside the bridges.

    anchor_config      the anchor's own config, as a dict
    augmenter_configs  one dict for each augmenter
    bridge             BridgeSpec as a dict, as it was asked for
    connections        for each augmenter its pairs (augmenter layer, anchor layer), as resolved
    parents            digest of each parent's weights by role: "anchor", "augmenter_0", ...
    own_tokenizers     augmenters that read by a tokenizer of their own; None: none does
    """

    model_type: ClassVar[str] = "calm"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values"]

    anchor_config: dict[str, Any] | None = None
    augmenter_configs: list[dict[str, Any]] | None = None
    bridge: dict[str, Any] | None = None
    connections: list[Any] | None = None
    parents: dict[str, str] | None = None
    own_tokenizers: list[int] | None = None
    vocab_size: int = 0
    hidden_size: int = 0
    num_hidden_layers: int = 0
    num_attention_heads: int = 0
    max_position_embeddings: int = 0
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None
    tie_word_embeddings: bool = False
    use_cache: bool = True

    @property
    def spec(self) -> BridgeSpec:
        """The bridges' form as the frozen noun it was made from."""
        return BridgeSpec.from_dict(BEFORE | self.bridge) if self.bridge else BridgeSpec()

    @property
    def joined(self) -> Connections:
        """The connections as tuples: JSON gave lists."""
        return tuple(tuple((a, b) for a, b in one) for one in self.connections or [])

    @property
    def parent_configs(self) -> list[dict[str, Any]]:
        """The anchor's config, then each augmenter's."""
        return [self.anchor_config or {}, *(self.augmenter_configs or [])]

    @property
    def roles(self) -> list[str]:
        """What each parent is called, and its folder: "anchor", "augmenter_0", ..."""
        return ["anchor", *(f"augmenter_{i}" for i in range(len(self.augmenter_configs or [])))]


def resolve_connections(
    spec: BridgeSpec, *, anchor_depth: int, augmenter_depths: list[int]
) -> Connections:
    """Each augmenter's connections, checked against the depths.

    Raises InputError("bridge.connections") when the lists do not fit the number of augmenters and
    InputError("bridge.layer") when a layer does not exist.
    """
    if spec.connections is None:
        lists = tuple(default_spread(depth, anchor_depth) for depth in augmenter_depths)
    else:
        lists = _as_lists(spec.connections)
    if len(lists) != len(augmenter_depths) or not all(lists):
        raise InputError(
            "bridge.connections",
            "give one list of connections for each augmenter, each with at least one pair",
            lists=len(lists),
            augmenters=len(augmenter_depths),
        )
    for depth, pairs in zip(augmenter_depths, lists, strict=True):
        for a, b in pairs:
            if not (0 <= a < depth and -1 <= b < anchor_depth):
                raise InputError(
                    "bridge.layer",
                    "a connection names a layer that does not exist",
                    connection=(a, b),
                    augmenter_layers=depth,
                    anchor_layers=anchor_depth,
                )
    return lists


def _as_lists(connections: tuple[Any, ...]) -> Connections:
    """One flat list of pairs is the short form for a single augmenter."""
    is_flat = all(len(c) == 2 and all(isinstance(i, int) for i in c) for c in connections)
    lists = (connections,) if is_flat else connections
    try:
        return tuple(tuple((int(a), int(b)) for a, b in one) for one in lists)
    except (TypeError, ValueError) as error:
        raise InputError("bridge.connections", "a connection is a pair of layer numbers") from error


def default_spread(augmenter_depth: int, anchor_depth: int) -> tuple[Connection, ...]:
    """Every fourth augmenter layer, spread evenly over the anchor (CALM, section 3.1).

    We differ for shallow augmenters, which in the paper's count would get a single connection:
    at least four are made where there are four layers.
    """
    count = max(augmenter_depth // 4, min(4, augmenter_depth))
    return tuple(
        (
            -(-(i + 1) * augmenter_depth // count) - 1,  # rounded up: the last layer is the last
            round((i + 1) * anchor_depth / (count + 1)) - 1,
        )
        for i in range(count)
    )
