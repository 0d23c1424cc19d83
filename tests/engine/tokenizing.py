"""Small real tokenizers of several kinds, trained here on a few sentences. No downloads."""

from __future__ import annotations

import json
from functools import cache

from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)
from transformers import PreTrainedTokenizerFast

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
SENTENCES = [
    "the cat sat on the mat, and the other cats saw strawberries and raspberries there",
    "café naïve résumé jalapeño, 3 times 12 makes 36; don't they?",
    "😀 😁 👩‍🚀 are signs, 日本語 and русский are words\n\nnew lines  and   spaces",
] * 4
# How recent models cut a text into words before they merge.
WORDS = Regex(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@cache
def byte_level(size: int, *, begin: str = BEGIN, end: str = END) -> PreTrainedTokenizerFast:
    """Byte-level BPE, as GPT-2, Llama 3, Qwen and SmolLM have: `size` tokens in all."""
    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(WORDS, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bare.decoder = decoders.ByteLevel()
    bare.train_from_iterator(
        SENTENCES,
        trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=[begin, end],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(tokenizer_object=bare, bos_token=begin, eos_token=end)


@cache
def byte_fallback(size: int) -> PreTrainedTokenizerFast:
    """BPE over whole texts with a space put before them, as Llama 2 and Mistral have."""
    source = Tokenizer(models.BPE(unk_token=UNKNOWN))
    source.normalizer = normalizers.Replace(" ", "▁")
    source.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    raw = [f"<0x{byte:02X}>" for byte in range(256)]
    source.train_from_iterator(
        SENTENCES,
        trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=[UNKNOWN, BEGIN, END, *raw],
            limit_alphabet=60,
            show_progress=False,
        ),
    )
    told = json.loads(source.to_str())["model"]
    merges = [tuple(pair) for pair in told["merges"]]
    model = models.BPE(
        vocab=told["vocab"], merges=merges, unk_token=UNKNOWN, fuse_unk=True, byte_fallback=True
    )
    bare = Tokenizer(model)
    bare.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    bare.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(content=" ", left=1),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bare, bos_token=BEGIN, eos_token=END, unk_token=UNKNOWN
    )


@cache
def unigram(size: int) -> PreTrainedTokenizerFast:
    """A unigram model with metaspaces and no bytes, as T5 and ALBERT have."""
    bare = Tokenizer(models.Unigram())
    bare.normalizer = normalizers.NFKC()
    bare.pre_tokenizer = pre_tokenizers.Metaspace()
    bare.decoder = decoders.Metaspace()
    bare.train_from_iterator(
        SENTENCES,
        trainers.UnigramTrainer(
            vocab_size=size,
            special_tokens=[BEGIN, END, UNKNOWN],
            unk_token=UNKNOWN,
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bare, bos_token=BEGIN, eos_token=END, unk_token=UNKNOWN
    )
