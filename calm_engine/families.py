"""Where transformers keeps a decoder's layers, norms, embeddings and head. The one file that knows.

Also the door through which parents come in: folders are checked before anything is loaded.
Knows nothing of bridges.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.cache_utils import Cache, get_layer_types_and_kwargs
from transformers.masking_utils import create_causal_mask, create_sliding_window_causal_mask

from calm_engine.config_keys import bits_of, check_known, check_no_code
from calm_engine.errors import InputError
from calm_engine.heads import logits_of

# Formats that can carry code when they are read.
PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"}

# What transformers' config classes and models raise when a value in config.json makes no model.
_CANNOT_BE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    StrictDataclassError,
    TypeError,
    ValueError,
)

_MASKS: dict[str, Callable[..., Any]] = {
    "full_attention": create_causal_mask,
    "sliding_attention": create_sliding_window_causal_mask,
}


@dataclass(frozen=True)
class Pass:
    """What every layer of one forward pass is given, besides the states."""

    masks: tuple[Tensor | None, ...]  # one for each layer, in the form its attention wants
    arguments: tuple[dict[str, Any], ...]  # likewise


class Decoder:
    """One parent taken apart, so that its own layers can be run one by one."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model: Any = model
        self.body: Any = model.base_model
        self.config = model.config
        self.width = int(self.config.hidden_size)
        self.limit = int(self.config.max_position_embeddings)  # tokens
        self.vocabulary = int(self.config.vocab_size)
        self.kinds = tuple(get_layer_types_and_kwargs(self.config)[0])  # each layer's attention

    layers: nn.ModuleList
    norm: nn.Module
    cache_name = "past_key_values"  # what this family's layers call it

    @property
    def depth(self) -> int:
        return len(self.layers)

    def embed(self, ids: Tensor, positions: Tensor) -> Tensor:
        """(batch, time) token ids and positions -> (batch, time, width)."""
        raise NotImplementedError

    def extras(self, hidden: Tensor, positions: Tensor, kind: str) -> dict[str, Any]:
        """What this family's layers of this kind want beside mask, positions and cache."""
        raise NotImplementedError

    def head(self, hidden: Tensor, *, to_the_bit: bool = True) -> Tensor:
        """Normed last states -> logits over the vocabulary.

        to_the_bit   whether they must be the family's own model's; else whatever way is quick
        """
        module = self.model.lm_head
        logits: Tensor = module(hidden) if to_the_bit else logits_of(module, hidden)
        return logits

    def begin(
        self, hidden: Tensor, mask: Tensor | None, positions: Tensor, cache: Cache | None
    ) -> Pass:
        """Prepare one pass as the family's own model would, so that its results are the same bits.

        mask       (batch, seen + time), true where a token is real; None: all are
        positions  (batch, time)
        """
        masks = {
            kind: _MASKS[kind](
                config=self.config,
                inputs_embeds=hidden,
                attention_mask=mask,
                past_key_values=cache,
                position_ids=positions,
            )
            for kind in set(self.kinds)
        }
        return self._pass(masks, hidden, positions, cache)

    def begin_among(
        self, hidden: Tensor, view: Tensor, reach: Tensor, positions: Tensor, cache: Cache | None
    ) -> Pass:
        """Prepare one pass of tokens that do not simply follow one another.

        view       (batch, 1, time, seen + time) bool: which tokens each goes on from, and itself
        reach      (batch, seen + time) the position of each token that may be seen
        positions  (batch, time)
        Raises InputError("model.attention") for an attention that takes no such mask.
        """
        form = self.config._attn_implementation
        if form not in ("sdpa", "eager"):
            raise InputError("model.attention", "this attention takes no mask of ours", found=form)
        masks = {}
        for kind in set(self.kinds):
            seen = view
            if kind == "sliding_attention":
                apart = positions[:, None, :, None] - reach[:, None, None, :]
                seen = view & (apart < self.config.sliding_window)
            masks[kind] = seen if form == "sdpa" else _as_weights(seen, hidden.dtype)
        return self._pass(masks, hidden, positions, cache)

    def _pass(
        self, masks: Mapping[str, Any], hidden: Tensor, positions: Tensor, cache: Cache | None
    ) -> Pass:
        shared = {
            "position_ids": positions,
            "use_cache": cache is not None,
            self.cache_name: cache,
        }
        arguments = {kind: shared | self.extras(hidden, positions, kind) for kind in masks}
        return Pass(
            masks=tuple(masks[kind] for kind in self.kinds),
            arguments=tuple(arguments[kind] for kind in self.kinds),
        )

    def layer(self, index: int, hidden: Tensor, run: Pass) -> Tensor:
        """Run layer `index`: (batch, time, width) -> the same shape."""
        out = self.layers[index](hidden, attention_mask=run.masks[index], **run.arguments[index])
        # Layers return the plain tensor; some families still wrap it in a tuple.
        states: Tensor = out if isinstance(out, Tensor) else out[0]
        return states


def _as_weights(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask of truths as what eager attention adds: 0, or the least number there is."""
    least = torch.finfo(dtype).min
    return torch.zeros_like(seen, dtype=dtype).masked_fill(~seen, least)


class LlamaLike(Decoder):
    """Llama, SmolLM2 and 3, Mistral, Qwen2 and 3, OLMo2, Phi-3: rotary positions, RMS norms.

    Mixtures of experts too: which experts a token goes to is the layer's own affair.
    """

    norm_name = "norm"
    embedding_name = "embed_tokens"

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__(model)
        self.layers = self.body.layers
        self.norm = getattr(self.body, self.norm_name)

    def embed(self, ids: Tensor, positions: Tensor) -> Tensor:  # noqa: ARG002  rotary: in the layers
        embedded: Tensor = getattr(self.body, self.embedding_name)(ids)
        return embedded

    def extras(self, hidden: Tensor, positions: Tensor, kind: str) -> dict[str, Any]:  # noqa: ARG002
        return {"position_embeddings": self.body.rotary_emb(hidden, positions)}


class Gemma2Like(LlamaLike):
    """Gemma 2: like Llama, but logits are bent below a cap; embeddings scale themselves."""

    def head(self, hidden: Tensor, *, to_the_bit: bool = True) -> Tensor:
        logits = super().head(hidden, to_the_bit=to_the_bit)
        cap = self.config.final_logit_softcapping
        return logits if cap is None else torch.tanh(logits / cap) * cap


class Gemma3Like(Gemma2Like):
    """Gemma 3, text alone: each kind of layer has its own rotary positions."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__(model)
        if self.config.use_bidirectional_attention:
            raise InputError("model.family", "a model that reads ahead cannot be composed")

    def extras(self, hidden: Tensor, positions: Tensor, kind: str) -> dict[str, Any]:
        return {"position_embeddings": self.body.rotary_emb(hidden, positions, kind)}


class GptNeoxLike(LlamaLike):
    """GPT-NeoX, Pythia: partly rotary positions, layer norms, and names of their own."""

    cache_name = "layer_past"
    norm_name = "final_layer_norm"
    embedding_name = "embed_in"


class Gpt2Like(Decoder):
    """GPT-2: `transformer.h`, learned positions added to the embedding, layer norms."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__(model)
        self.layers = self.body.h
        self.norm = self.body.ln_f

    def embed(self, ids: Tensor, positions: Tensor) -> Tensor:
        embedded: Tensor = self.body.wte(ids) + self.body.wpe(positions)
        return embedded

    def extras(self, hidden: Tensor, positions: Tensor, kind: str) -> dict[str, Any]:  # noqa: ARG002
        return {}


FAMILIES: dict[str, type[Decoder]] = {
    "gemma2": Gemma2Like,
    "gemma3_text": Gemma3Like,
    "gpt2": Gpt2Like,
    "gpt_neox": GptNeoxLike,
    "llama": LlamaLike,
    "mistral": LlamaLike,
    "mixtral": LlamaLike,
    "olmo2": LlamaLike,
    "olmoe": LlamaLike,
    "phi3": LlamaLike,
    "qwen2": LlamaLike,
    "qwen2_moe": LlamaLike,
    "qwen3": LlamaLike,
    "qwen3_moe": LlamaLike,
    "smollm3": LlamaLike,
}


def check_family(kind: str) -> None:
    """Raises InputError("model.family") for a family that is not listed here."""
    if kind not in FAMILIES:
        raise InputError(
            "model.family",
            f"models of type {kind} cannot be composed yet",
            kind=kind,
            known=", ".join(sorted(FAMILIES)),
        )


def decoder_of(model: PreTrainedModel) -> Decoder:
    """The model taken apart.

    Raises InputError: "model.family" for a family not listed here, "model.head" for a model without
    a head over the vocabulary.
    """
    kind = str(model.config.model_type)
    check_family(kind)
    if getattr(model, "lm_head", None) is None:
        raise InputError("model.head", "the model has no head over its vocabulary", kind=kind)
    decoder = FAMILIES[kind](model)
    unknown = set(decoder.kinds) - set(_MASKS)
    if unknown:
        raise InputError("model.family", f"layers of kind {', '.join(sorted(unknown))} are unknown")
    return decoder


def check_folder(folder: str | Path) -> dict[str, Any]:
    """Look at a parent's folder before anything of it is loaded; return its config.

    Raises InputError: "anchor.pickle" for weight files that can carry code, "model.folder" when
    weights are missing, "model.family", "model.config" for keys that its family does not know, and
    what `read_config` raises.
    """
    root = Path(folder)
    config = check_weights(root)
    check_family(str(config.get("model_type")))
    check_known(config)
    _check_values(root)
    return config


def check_weights(root: Path) -> dict[str, Any]:
    """Whether any model's folder may be opened at all; return its config.

    Raises InputError: "anchor.pickle", "model.folder", and what `read_config` raises.
    """
    pickled = sorted(p.name for p in root.rglob("*") if p.suffix.lower() in PICKLES)
    if pickled:
        raise InputError(
            "anchor.pickle",
            "weights must be safetensors; these files can carry code",
            files=", ".join(pickled),
        )
    config = read_config(root)
    if not any(root.glob("*.safetensors")):
        raise InputError("model.folder", "no safetensors file in the folder", folder=root.name)
    return config


def _check_values(root: Path) -> None:
    """Raises InputError("model.config") where transformers can make no config of config.json."""
    try:
        AutoConfig.from_pretrained(str(root), local_files_only=True, trust_remote_code=False)
    except _CANNOT_BE as error:
        raise _impossible(root) from error


def _impossible(root: Path) -> InputError:
    return InputError(
        "model.config",
        f"The config.json in {root.name} has a value that cannot be. Take the file again from the"
        " place that the model came from; nothing was loaded.",
    )


def read_config(folder: str | Path) -> dict[str, Any]:
    """A folder's `config.json`, before transformers sees it.

    Raises InputError("model.config") when it cannot be read or would import code.
    """
    root = Path(folder)
    try:
        config = json.loads((root / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError("model.config", "config.json cannot be read", folder=root.name) from error
    if not isinstance(config, dict):
        raise InputError("model.config", "config.json is no JSON object", folder=root.name)
    check_no_code(config)
    return config


def load_parent(folder: str | Path, *, dtype: torch.dtype | None = None) -> PreTrainedModel:
    """Load a checked folder with transformers; nothing is fetched and no code of it is run.

    Whether the numbers are numbers is for `check_finite`, where nothing has vouched for them.

    dtype   None: as the folder says
    Raises what `check_folder` raises, InputError("model.config") for values that cannot be,
    "model.quantised" where a quantised model cannot run, and "model.weights" when files are damaged
    or tensors are missing: transformers would make those up at random.
    """
    check_can_run(check_folder(folder))
    try:
        # transformers' types know the model alone; with the report comes a pair.
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            str(folder),
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=dtype if dtype is not None else "auto",
            output_loading_info=True,
        )
    except ImportError as error:
        raise InputError("model.quantised", "its quantiser is not installed") from error
    except (OSError, RuntimeError, SafetensorError) as error:
        raise InputError("model.weights", "the weights cannot be loaded") from error
    except _CANNOT_BE as error:
        raise _impossible(Path(folder)) from error
    model: PreTrainedModel = loaded[0]
    missing = sorted(loaded[1]["missing_keys"])
    if missing:
        raise InputError("model.weights", "tensors are missing", tensors=", ".join(missing[:5]))
    return model


def check_can_run(config: dict[str, Any]) -> None:
    """Raises InputError("model.quantised"): quantisers' kernels want an accelerator."""
    if bits_of(config) is not None and not torch.cuda.is_available():
        raise InputError("model.quantised", "a quantised model needs a GPU", bits=bits_of(config))


def check_finite(model: nn.Module) -> None:
    """Raises InputError("model.weights") naming tensors with numbers that are none."""
    broken = [name for name, it in model.named_parameters() if not bool(it.isfinite().all())]
    if broken:
        raise InputError(
            "model.weights", "weights hold numbers that are none", tensors=", ".join(broken[:5])
        )


def tensors_digest(model: nn.Module) -> str:
    """SHA-256 over a model in memory: names, types, shapes and bytes of its tensors, sorted."""
    told = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        held = tensor.detach().cpu().contiguous()
        told.update(f"{name} {held.dtype} {tuple(held.shape)}\n".encode())
        # Bytes rather than numbers: numpy has no bfloat16.
        told.update(held.reshape(-1).view(torch.uint8).numpy())
    return f"tensors:{told.hexdigest()}"


def words_of(folder: str | Path) -> dict[str, int] | None:
    """Token ids by token, from `tokenizer.json`; None when the folder has none.

    Raises InputError("model.tokenizer") when it cannot be read.
    """
    path = Path(folder) / "tokenizer.json"
    if not path.is_file():
        return None
    try:
        words: dict[str, int] = Tokenizer.from_file(str(path)).get_vocab(with_added_tokens=True)
    except Exception as error:  # the tokenizers library raises nothing narrower
        raise InputError("model.tokenizer", "tokenizer.json cannot be read") from error
    return words


def read_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """A folder's tokenizer; no code of it is run, and nobody is asked whether to.

    Raises InputError: "model.tokenizer" when there is none or it cannot be read, "model.config"
    when it asks for code.
    """
    root = Path(folder)
    if words_of(root) is None:
        raise InputError("model.tokenizer", "there is no tokenizer.json", folder=root.name)
    try:
        told = json.loads((root / "tokenizer_config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        told = {}
    except (OSError, ValueError) as error:
        raise InputError("model.tokenizer", "tokenizer_config.json cannot be read") from error
    check_no_code(told)
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            str(root), local_files_only=True, trust_remote_code=False
        )
    except (OSError, *_CANNOT_BE) as error:
        raise InputError("model.tokenizer", "the tokenizer cannot be made") from error
    return tokenizer
