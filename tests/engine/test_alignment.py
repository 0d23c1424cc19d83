"""Two tokenizers over one text: what is read at which byte, and the laws of such a composition."""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Sequence

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from calm_engine.alignment import LONGEST, Alignment
from calm_engine.cache import CalmCache
from calm_engine.errors import InputError
from calm_engine.joining import detach, side_by_side
from calm_engine.modeling import CalmForCausalLM
from calm_engine.parents import config_of
from calm_engine.rereading import Rereading
from calm_engine.specs import BridgeSpec
from tests.engine.tokenizing import byte_fallback, byte_level, unigram
from tests.tiny import (
    awaken,
    make_model,
    said,
)

ROUNDING = 2e-4  # logits are of the order of ten here
LARGE, SMALL, PIECES, PLAIN = (
    byte_level(420),
    byte_level(300, begin="<|begin|>"),
    byte_fallback(400),
    unigram(120),
)
KINDS = {"large": LARGE, "small": SMALL, "pieces": PIECES}
TEXTS = [
    "the strawberries 😀 sat  on naïve cafés, don't they?",
    "日本語 is русский\n\nno 12345 cats 👩‍🚀",
    "one cat",
]
# Words the tokenizers know, spaces of all kinds, accents that join the letter before, and signs.
PARTS = st.sampled_from(
    [
        "the",
        "straw",
        "berries",
        "'s",
        "12",
        " ",
        "  ",
        "\n",
        "é",
        "e\u0301",
        "😀",
        "\U0001f469\u200d",
        "日本",
    ]
)
WRITTEN = st.lists(PARTS | st.text(max_size=3), min_size=1, max_size=12).map("".join).filter(bool)


def ids_of(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
    return ids


def paths(alignment: Alignment, ids: Sequence[int]) -> list[list[int]]:
    """What the augmenter has read at each of the anchor's tokens."""
    reader = alignment.reader()
    found = []
    for at, token in enumerate(ids):
        reader.take(token, at)
        found.append([*reader.path])
    return found


# -- tokens ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("augmenter", [*KINDS.values(), PLAIN], ids=[*KINDS, "plain"])
@pytest.mark.parametrize("anchor", KINDS.values(), ids=KINDS)
@settings(max_examples=40, deadline=None)
@given(text=WRITTEN)
@example(text=TEXTS[0])
@example(text="a<s>b </s>")
def test_both_read_the_whole_text_and_nothing_is_dropped(
    anchor: PreTrainedTokenizerFast, augmenter: PreTrainedTokenizerFast, text: str
) -> None:
    read = paths(Alignment(anchor, augmenter), ids_of(anchor, text))
    assert read[-1] == ids_of(augmenter, text)


@pytest.mark.parametrize("augmenter", KINDS.values(), ids=KINDS)
@settings(max_examples=40, deadline=None)
@given(text=WRITTEN)
@example(text="cats\n\n  no")
def test_at_every_token_the_text_so_far_is_read_as_if_it_were_all(
    augmenter: PreTrainedTokenizerFast, text: str
) -> None:
    ids = ids_of(SMALL, text)
    spelling = Alignment(SMALL, augmenter).spelling
    for at, path in enumerate(paths(Alignment(SMALL, augmenter), ids)):
        so_far = b"".join(spelling.texts[token] for token in ids[: at + 1])
        with contextlib.suppress(UnicodeDecodeError):  # in the middle of a character
            assert path == ids_of(augmenter, so_far.decode())


@settings(max_examples=60, deadline=None)
@given(text=WRITTEN, later=WRITTEN)
def test_what_is_read_depends_on_no_later_byte(text: str, later: str) -> None:
    ids = ids_of(LARGE, text)
    longer = ids_of(LARGE, text + later)
    same = next((i for i, (a, b) in enumerate(zip(ids, longer, strict=False)) if a != b), len(ids))
    alignment = Alignment(LARGE, SMALL)
    assert paths(alignment, ids)[:same] == paths(alignment, longer)[:same]


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("text", TEXTS)
def test_one_tokenizer_twice_reads_the_anchors_own_tokens(
    kind: PreTrainedTokenizerFast, text: str
) -> None:
    ids = ids_of(kind, text)
    assert paths(Alignment(kind, kind), ids) == [ids[: at + 1] for at in range(len(ids))]


def test_a_character_split_over_tokens_is_read_byte_by_byte() -> None:
    ids = ids_of(SMALL, "a 🚀")
    assert len(ids) > 3
    read = paths(Alignment(SMALL, PIECES), ids)
    words = [PIECES.convert_ids_to_tokens(path) for path in read]
    assert words[-2][-3:] == ["<0xF0>", "<0x9F>", "<0x9A>"]
    assert PIECES.decode(read[-1]) == "a 🚀"
    # A tokenizer that has no bytes waits for the whole character.
    waiting = paths(Alignment(SMALL, PLAIN), ids)
    assert waiting[-2] == ids_of(PLAIN, "a ")


def test_a_word_that_grows_is_read_anew() -> None:
    alignment = Alignment(SMALL, LARGE)
    reader = alignment.reader()
    stayed = [reader.take(token, at) for at, token in enumerate(ids_of(SMALL, "the strawberries"))]
    assert min(stayed[1:]) < len(reader.path) < len(stayed)
    assert reader.births == sorted(reader.births)


def test_special_tokens_meet_by_form_or_by_part_and_are_never_forged() -> None:
    alignment = Alignment(LARGE, SMALL)
    begin, end = LARGE.bos_token_id, LARGE.eos_token_id
    read = paths(alignment, [begin, *ids_of(LARGE, "the cat"), end])
    assert read[0] == [SMALL.bos_token_id]  # another form, the same part
    assert read[-1] == [SMALL.bos_token_id, *ids_of(SMALL, "the cat"), SMALL.eos_token_id]
    typed = paths(alignment, ids_of(LARGE, "<|begin|> </s>"))[-1]
    assert typed == ids_of(SMALL, "<|begin|> </s>")
    assert not {SMALL.bos_token_id, SMALL.eos_token_id} & set(typed)
    # What the augmenter has no counterpart of is read as it is written.
    unknown = PIECES.unk_token_id
    assert paths(Alignment(PIECES, SMALL), [unknown])[-1] == ids_of(SMALL, "<unk>")


def test_a_text_without_spaces_is_cut_between_characters() -> None:
    text = "日本語" * LONGEST
    alignment = Alignment(SMALL, PIECES)
    reader = alignment.reader()
    ids = ids_of(SMALL, text)
    moved = []
    for at, token in enumerate(ids):
        before = len(reader.path)
        moved.append(before - reader.take(token, at))
    assert PIECES.decode(reader.path).replace(" ", "") == text
    assert max(moved) <= 4  # only the tail is read anew


def test_ids_that_a_tokenizer_does_not_have_are_no_text() -> None:
    read = paths(Alignment(LARGE, SMALL), [9999, *ids_of(LARGE, "cat"), 9999])
    assert read[0] == []
    assert read[-1] == read[-2] == ids_of(SMALL, "cat")


def test_a_tokenizer_that_does_not_spell_bytes_is_refused() -> None:
    bare = Tokenizer(models.WordLevel({"cat": 0, "<unk>": 1}, unk_token="<unk>"))
    bare.pre_tokenizer = pre_tokenizers.Whitespace()
    words = PreTrainedTokenizerFast(tokenizer_object=bare, unk_token="<unk>")
    with pytest.raises(InputError, match=r"compose\.tokenizer"):
        Alignment(words, SMALL)


def test_a_key_stands_where_the_anchor_stood_when_its_token_came_to_be() -> None:
    ids = torch.tensor([ids_of(SMALL, "the strawberries 😀")])
    positions = torch.arange(7, 7 + ids.shape[1])[None]
    plan = Rereading(Alignment(SMALL, LARGE)).plan(ids, positions, None, limit=100)
    meeting = plan.meeting
    assert plan.ids.shape[1] > len(paths(Alignment(SMALL, LARGE), ids[0].tolist())[-1])
    assert torch.equal(meeting.births.gather(1, meeting.newest), positions)
    assert bool((plan.places < plan.ids.shape[1]).all())
    assert not torch.equal(meeting.births, plan.places + 7)


# -- the laws --------------------------------------------------------------------------------------

PAIRS = {
    "large-small": (LARGE, SMALL, "llama", "gpt2"),
    "small-large": (SMALL, LARGE, "gpt2", "qwen3"),
    "large-pieces": (LARGE, PIECES, "qwen2", "mistral"),
    "pieces-small": (PIECES, SMALL, "phi3", "gemma2"),
    "small-plain": (SMALL, PLAIN, "gpt_neox", "gemma3_text"),
    "pieces-large": (PIECES, LARGE, "olmo2", "smollm3"),
}
Pair = tuple[PreTrainedTokenizerFast, PreTrainedTokenizerFast, str, str]


@pytest.fixture(params=PAIRS.values(), ids=PAIRS)
def pair(request: pytest.FixtureRequest) -> Pair:
    chosen: Pair = request.param
    return chosen


@pytest.fixture
def model(pair: Pair) -> CalmForCausalLM:
    return awaken(born(*pair))


def born(
    anchor: PreTrainedTokenizerFast,
    augmenter: PreTrainedTokenizerFast,
    anchor_family: str = "llama",
    augmenter_family: str = "llama",
) -> CalmForCausalLM:
    top = make_model(anchor_family, layers=5, vocabulary=len(anchor), positions=200, seed=1)
    below = make_model(
        augmenter_family, width=32, heads=2, vocabulary=len(augmenter), positions=300, seed=2
    )
    return CalmForCausalLM.compose(top, [below], tokenizers=[anchor, augmenter])


def text_of(model: CalmForCausalLM, text: str) -> Tensor:
    alignment = model.streams.alignments[0]
    assert alignment is not None
    return torch.tensor([ids_of(alignment.anchor, text)])


def padded(model: CalmForCausalLM, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Texts as rows of one batch, padding on the left; and the mask."""
    rows = [text_of(model, text)[0] for text in texts]
    longest = max(map(len, rows))
    ids = torch.stack([torch.cat((row.new_zeros(longest - len(row)), row)) for row in rows])
    at = torch.arange(longest)
    mask = torch.stack([(at >= longest - len(row)).long() for row in rows])
    return ids, mask


def close(one: Tensor, other: Tensor) -> bool:
    return bool(torch.allclose(one, other, atol=ROUNDING, rtol=ROUNDING))


def test_a_newborn_composition_is_the_anchor_bit_for_bit(pair: Pair) -> None:
    model = born(*pair)
    ids = text_of(model, TEXTS[0])
    assert torch.equal(said(model, ids), said(model.anchor, ids))
    assert not model.output_gates
    assert not model.config.spec.output_path
    assert model.config.own_tokenizers == [0]


def test_gate_zero_is_the_anchor_bit_for_bit(model: CalmForCausalLM) -> None:
    ids = text_of(model, TEXTS[0])
    assert torch.equal(said(model, ids, gate=0.0), said(model.anchor, ids))
    assert torch.equal(said(model, ids, gate=torch.zeros(1)), said(model.anchor, ids))
    assert not close(said(model, ids), said(model.anchor, ids))


def test_later_text_never_changes_an_earlier_logit(model: CalmForCausalLM) -> None:
    one, other = (text_of(model, f"the straw{end}") for end in ("berries sat", "s on 日本"))
    same = int((one[0, : other.shape[1]] == other[0, : one.shape[1]]).long().cumprod(0).sum())
    assert same >= 1
    assert close(said(model, one)[:, :same], said(model, other)[:, :same])


def test_a_later_token_of_any_kind_never_changes_an_earlier_logit(model: CalmForCausalLM) -> None:
    ids = text_of(model, TEXTS[0])
    changed = ids.clone()
    changed[:, 9:] = text_of(model, TEXTS[1])[:, : ids.shape[1] - 9]
    one, other = said(model, ids), said(model, changed[:, : ids.shape[1]])
    assert close(one[:, :9], other[:, :9])
    assert not close(one[:, 9:], other[:, 9:])


@pytest.mark.parametrize("text", TEXTS)
def test_cached_steps_equal_the_full_pass(model: CalmForCausalLM, text: str) -> None:
    ids = text_of(model, text)
    full = said(model, ids)
    for size in (1, 2, 5):
        cache = model.new_cache()
        steps = [said(model, part, past_key_values=cache) for part in ids.split(size, dim=1)]
        assert close(torch.cat(steps, dim=1), full)


@functools.cache
def lasting(anchor: str, augmenter: str) -> CalmForCausalLM:
    return awaken(born(KINDS[anchor], KINDS[augmenter], "llama", "gemma2"))


@settings(max_examples=30, deadline=None)
@given(
    kinds=st.sampled_from([("small", "large"), ("large", "pieces"), ("pieces", "small")]),
    texts=st.lists(WRITTEN, min_size=1, max_size=3),
    moves=st.lists(st.integers(-3, 4), min_size=1, max_size=12),
)
def test_any_texts_read_in_any_steps_back_and_forth_say_the_same(
    kinds: tuple[str, str], texts: list[str], moves: list[int]
) -> None:
    model = lasting(*kinds)
    ids, mask = padded(model, texts)
    ids, mask = ids[:, :60], mask[:, :60]
    full = said(model, ids, attention_mask=mask)
    held, at = model.new_cache(), 0
    for move in moves:
        end = min(ids.shape[1], max(0, at + move))
        if move < 0 < at:
            held.crop(end - at)
        elif end > at:
            new = ids[:, at:end]
            step = said(model, new, attention_mask=mask[:, :end], past_key_values=held)
            seen = mask[:, at:end].bool()
            assert close(step[seen], full[:, at:end][seen])
        at = end


def test_every_prefix_says_what_the_whole_text_says_there(model: CalmForCausalLM) -> None:
    ids = text_of(model, TEXTS[1])
    full = said(model, ids)
    for end in range(1, ids.shape[1], 3):
        assert close(said(model, ids[:, :end])[:, -1], full[:, end - 1])


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_one_tokenizer_twice_equals_the_path_without_alignment(
    kind: PreTrainedTokenizerFast, text: str
) -> None:
    """In one pass, and in cached steps of any size."""
    top = make_model("llama", layers=5, vocabulary=len(kind), positions=200, seed=1)
    below = make_model("mistral", width=32, heads=2, vocabulary=len(kind), positions=200, seed=2)
    spec = BridgeSpec(output_path=False)
    plain = awaken(CalmForCausalLM.compose(top, [below], spec))
    config = config_of(top, [below], spec, {})
    twice = awaken(CalmForCausalLM(config, top, [below], [Alignment(kind, kind)]).eval())
    for mine, theirs in zip(plain.bridges, twice.bridges, strict=True):
        theirs.scale.copy_(mine.scale)
    ids = torch.tensor([ids_of(kind, text)])
    wanted = said(plain, ids)
    assert close(said(twice, ids), wanted)
    cache, own = twice.new_cache(), plain.new_cache()
    for part in ids.split(2, dim=1):
        found = said(twice, part, past_key_values=cache)
        assert close(found, said(plain, part, past_key_values=own))
    (rereading,) = cache.rereadings
    assert rereading is not None
    assert rereading.held == ids.shape[1]


def test_padding_changes_nothing(model: CalmForCausalLM) -> None:
    ids, mask = padded(model, TEXTS)
    both = said(model, ids, attention_mask=mask)
    for row, text in enumerate(TEXTS):
        assert close(both[row][mask[row].bool()], said(model, text_of(model, text))[0])
    right = torch.cat((text_of(model, TEXTS[2]), torch.zeros(1, 4, dtype=torch.long)), dim=1)
    told = torch.ones_like(right)
    told[:, -4:] = 0
    kept = said(model, right, attention_mask=told)[:, :-4]
    assert close(kept, said(model, text_of(model, TEXTS[2])))


def test_a_padded_batch_takes_cached_steps_as_if_each_row_were_alone(
    model: CalmForCausalLM,
) -> None:
    ids, mask = padded(model, TEXTS)
    cache = model.new_cache()
    first = ids.shape[1] - 6
    steps = [said(model, ids[:, :first], attention_mask=mask[:, :first], past_key_values=cache)]
    for at in range(first, ids.shape[1]):
        part = mask[:, : at + 1]
        steps.append(said(model, ids[:, at : at + 1], attention_mask=part, past_key_values=cache))
    joined = torch.cat(steps, dim=1)
    for row, text in enumerate(TEXTS):
        assert close(joined[row][mask[row].bool()], said(model, text_of(model, text))[0])


def test_the_augmenters_newest_token_is_felt_in_the_next_word(model: CalmForCausalLM) -> None:
    ids = text_of(model, TEXTS[2])
    before = said(model, ids)
    alignment = model.streams.alignments[0]
    assert alignment is not None
    newest = paths(alignment, ids[0].tolist())[-1][-1]
    with torch.no_grad():
        model.augmenters[0].get_input_embeddings().weight[newest] += 1.0
    assert not close(said(model, ids)[:, -1], before[:, -1])


def test_only_the_bridges_learn_and_all_of_them_do(model: CalmForCausalLM) -> None:
    ids, mask = padded(model, TEXTS)
    model.train()
    model(ids, mask, labels=torch.where(mask.bool(), ids, -100)).loss.backward()
    still = [n for n, p in model.trainable_parameters() if p.grad is None or not p.grad.any()]
    assert still == []
    assert all(p.grad is None for p in (*model.anchor.parameters(), *model.augmenters.parameters()))


# -- the cache -------------------------------------------------------------------------------------


def started(model: CalmForCausalLM, ids: Tensor, **how: object) -> CalmCache:
    cache = model.new_cache()
    said(model, ids, past_key_values=cache, **how)
    return cache


@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_a_cropped_cache_is_as_if_never_grown(model: CalmForCausalLM, count: int) -> None:
    ids = text_of(model, TEXTS[0])
    cache = started(model, ids)
    cache.crop(-count)
    again = text_of(model, TEXTS[1])[:, :5]
    whole = torch.cat((ids[:, :-count], again), dim=1)
    found = [said(model, part, past_key_values=cache) for part in again.split([1, 4], dim=1)]
    assert close(torch.cat(found, dim=1), said(model, whole)[:, -5:])


def test_rows_of_different_lengths_join_and_leave_between_tokens(model: CalmForCausalLM) -> None:
    texts = [text_of(model, text) for text in TEXTS]
    joined = CalmCache.join([started(model, text[:, :-2]) for text in texts])
    newest = torch.cat([text[:, -2:-1] for text in texts])
    step = said(model, newest, past_key_values=joined)
    for row, text in enumerate(texts):
        assert close(step[row, -1], said(model, text[:, :-1])[0, -1])
    rest = joined.select(torch.tensor([2, 1]))
    joined.batch_select_indices(torch.tensor([2, 1]))
    last = torch.cat([texts[2][:, -1:], texts[1][:, -1:]])
    for cache in (rest, joined):
        (rereading,) = cache.rereadings
        assert rereading is not None
        assert rereading.held == max(rereading.lengths)
        more = said(model, last, past_key_values=cache)
        assert close(more[0, -1], said(model, texts[2])[0, -1])
        assert close(more[1, -1], said(model, texts[1])[0, -1])


def test_a_short_row_goes_on_alone_without_the_padding_of_longer_ones(
    model: CalmForCausalLM,
) -> None:
    ids, mask = padded(model, TEXTS)
    cache = started(model, ids[:, :-1], attention_mask=mask[:, :-1])
    cache.batch_select_indices(torch.tensor([2]))
    own = text_of(model, TEXTS[2])
    assert cache.get_seq_length() == own.shape[1] - 1
    step = said(model, own[:, -1:], past_key_values=cache)
    assert close(step[:, -1], said(model, own)[:, -1])


def test_rows_are_repeated_reordered_and_copied(model: CalmForCausalLM) -> None:
    one, other = text_of(model, TEXTS[0])[:, :9], text_of(model, TEXTS[1])[:, :9]
    cache = copy.deepcopy(started(model, torch.cat((one, other))[:, :8]))
    cache.batch_repeat_interleave(2)
    cache.reorder_cache(torch.tensor([2, 0, 3, 1]))
    step = said(model, torch.cat((other, one, one, other))[:, 8:], past_key_values=cache)
    for row, begun, end in ((0, other, other), (1, one, one), (2, other, one), (3, one, other)):
        whole = torch.cat((begun[:, :8], end[:, 8:]), dim=1)
        assert close(step[row, -1], said(model, whole)[0, -1])


def test_a_reset_cache_starts_anew(model: CalmForCausalLM) -> None:
    ids = text_of(model, TEXTS[0])
    cache = started(model, text_of(model, TEXTS[1]))
    cache.reset()
    assert close(said(model, ids, past_key_values=cache), said(model, ids))


def test_a_cache_begun_with_the_gate_shut_cannot_go_on_open(model: CalmForCausalLM) -> None:
    ids = text_of(model, TEXTS[0])
    for shut in ("gate", "bridges"):
        model.set_parts(bridges=shut != "bridges")
        cache = started(model, ids, gate=float(shut != "gate"))
        model.set_parts()
        with pytest.raises(InputError, match=r"cache\.parts"):
            said(model, ids[:, :1], past_key_values=cache)


# -- generating ------------------------------------------------------------------------------------


def by_hand(model: CalmForCausalLM, ids: Tensor, count: int) -> Tensor:
    for _ in range(count):
        ids = torch.cat((ids, said(model, ids)[:, -1:].argmax(-1)), dim=1)
    return ids


def made(model: CalmForCausalLM, ids: Tensor, count: int = 10, **how: object) -> Tensor:
    chosen = {"do_sample": False, "eos_token_id": None, "pad_token_id": 0} | how
    words: Tensor = model.generate(ids, max_new_tokens=count, **chosen)
    return words


def test_greedy_words_with_cache_equal_those_without(model: CalmForCausalLM) -> None:
    """Random models say anything, halves of characters and special tokens too."""
    ids = text_of(model, TEXTS[0])
    assert torch.equal(made(model, ids), by_hand(model, ids, 10))


def test_padded_prompts_get_the_words_they_get_alone(model: CalmForCausalLM) -> None:
    ids, mask = padded(model, TEXTS)
    both = made(model, ids, attention_mask=mask)[:, ids.shape[1] :]
    for row, text in enumerate(TEXTS):
        own = text_of(model, text)
        assert torch.equal(both[row], made(model, own)[0, own.shape[1] :])


def test_beams_and_looked_up_words_agree_with_the_pass_without_cache(
    model: CalmForCausalLM,
) -> None:
    ids = text_of(model, TEXTS[0])
    beams = made(model, ids, num_beams=3)
    assert torch.equal(beams, made(model, ids, num_beams=3, use_cache=False))
    assert torch.equal(made(model, ids, prompt_lookup_num_tokens=3), made(model, ids))


# -- several augmenters, and what is refused -------------------------------------------------------


def test_one_augmenter_shares_the_tokenizer_and_the_other_does_not() -> None:
    top = make_model("llama", layers=5, vocabulary=len(LARGE), positions=200, seed=1)
    sharing = make_model("gpt2", width=32, heads=2, vocabulary=len(LARGE), positions=200, seed=2)
    other = make_model("qwen3", width=40, vocabulary=len(SMALL), positions=200, seed=3)
    tongues = [LARGE, LARGE, SMALL]
    model = awaken(CalmForCausalLM.compose(top, [sharing, other], tokenizers=tongues))
    assert model.config.own_tokenizers == [1]
    ids = torch.tensor([ids_of(LARGE, TEXTS[0])])
    whole = said(model, ids)
    cache = model.new_cache()
    steps = [said(model, part, past_key_values=cache) for part in ids.split(3, dim=1)]
    assert close(torch.cat(steps, dim=1), whole)
    alone = detach(model, 0)
    assert alone.config.own_tokenizers == [0]
    assert close(said(alone, ids), said(model, ids, gate=[0.0, 1.0]))
    together = side_by_side([detach(model, 1), alone])
    assert together.config.own_tokenizers == [1]
    assert close(said(together, ids), whole)


def test_vocabularies_that_differ_want_their_tokenizers() -> None:
    top, below = make_model("llama", vocabulary=420), make_model("llama", vocabulary=300)
    with pytest.raises(InputError, match=r"compose\.vocabulary.*tokenizers"):
        CalmForCausalLM.compose(top, [below])
    with pytest.raises(InputError, match=r"compose\.tokenizer"):
        CalmForCausalLM.compose(top, [below], tokenizers=[LARGE])


def test_a_text_too_long_for_the_augmenters_own_tokens_is_refused() -> None:
    top = make_model("llama", vocabulary=len(LARGE), positions=200)
    below = make_model("llama", vocabulary=len(SMALL), positions=30)
    model = CalmForCausalLM.compose(top, [below], tokenizers=[LARGE, SMALL])
    ids = torch.tensor([ids_of(LARGE, TEXTS[0])])
    assert ids.shape[1] < 30 < len(ids_of(SMALL, TEXTS[0]))
    with pytest.raises(InputError, match=r"sequence\.too_long"):
        said(model, ids)


def test_attention_of_another_kind_is_refused(model: CalmForCausalLM) -> None:
    model.augmenters[0].config._attn_implementation = "flash_attention_2"
    with pytest.raises(InputError, match=r"model\.attention"):
        said(model, text_of(model, TEXTS[2]))


def test_eager_attention_says_the_same(model: CalmForCausalLM) -> None:
    ids = text_of(model, TEXTS[0])
    before = said(model, ids)
    model.augmenters[0].set_attn_implementation("eager")
    assert close(said(model, ids), before)
