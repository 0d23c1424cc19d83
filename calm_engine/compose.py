"""Train the bridges and the output gates between frozen parents, and nothing else.

Three kinds of batches (shared findings in docs/engine.md): examples with all parts on; examples
with the bridges off, so that the output path learns to carry values no example mentions; and public
text, whose target is what the bare anchor says. Knows no documents and no tenants.
"""

from __future__ import annotations

import shutil
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase
from transformers.modeling_outputs import CausalLMOutputWithPast

from calm_engine.card import copy_tokenizer
from calm_engine.data import (
    Example,
    Padded,
    chance_of,
    encode,
    end_of_answer,
    pad_left,
    pad_right,
    question_prompt,
    read_examples,
    shared_prefix,
)
from calm_engine.families import check_folder
from calm_engine.general import QUESTIONS
from calm_engine.loop import Schedule
from calm_engine.modeling import CalmForCausalLM
from calm_engine.specs import ComposeSpec, Outcome, Progress
from calm_engine.training import Job, Probe, finished, prepare, publish, train

STEPS = 120  # of 16 examples; in the trials unseen values were answered after 80
PEAK = 2e-3
GENERAL_TOKENS = 32  # of the anchor's own answer to each public question
GENERAL_BATCH = 8
SHOWN = 4  # questions of the samples
SHOWN_TOKENS = 16

Sequenced = tuple[list[int], int]  # tokens, and the index of the first that is to be said


def compose(spec: ComposeSpec) -> Generator[Progress, None, Outcome]:
    """Train a composition; its folder appears when it is whole.

    With control="random" each augmenter is replaced by one of the same shape and random weights,
    kept inside the result: what that scores, knowledge did not do (CALM, section 5, ablation).
    Raises InputError: "examples.empty", "parent.missing", what composing raises;
    InternalError("train.nan"); Cancelled when asked to stop.
    """
    if done := finished(spec):
        return done
    device = prepare(spec)
    yield Progress("data", message="loading the parents")
    lessons = _Lessons.of(spec)
    augmenters: list[Path] = [Path(folder) for folder in spec.augmenters]
    if spec.control == "random":
        augmenters = _strangers(spec, augmenters)
    torch.manual_seed(spec.seed)
    model = CalmForCausalLM.compose(Path(spec.anchor), augmenters, spec.bridge)
    nn.Module.to(model, device)
    if model.config.own_tokenizers:
        told = ", ".join(f"augmenter_{index}" for index in model.config.own_tokenizers)
        message = f"another tokenizer: {told}; bridges meet at byte ends, there is no output path"
        yield Progress("data", message=message)
    yield Progress("data", message="asking the anchor public questions")
    general = _general(model, lessons.tokenizer)
    job = _job(spec, model, lessons, general)
    metrics: dict[str, float] = {}
    for progress in train(job, spec):
        metrics |= progress.metrics
        yield progress
    yield Progress("save", job.schedule.steps, job.schedule.steps)

    def write(folder: Path) -> None:
        model.save_pretrained(folder, tokenizer=lessons.tokenizer)
        if spec.control == "random":
            for at, stranger in enumerate(augmenters):
                shutil.copytree(stranger, folder / f"augmenter_{at}")

    named = model.trainable_parameters()
    return publish(
        spec,
        "composition",
        write,
        parents=dict(model.config.parents or {}),
        metrics=metrics,
        facts={
            "parameters": sum(parameter.numel() for _, parameter in named),
            "examples": len(lessons.examples),
            "entities": len({one.entity for one in lessons.examples}),
            "steps": job.schedule.steps,
            "control": spec.control,
        },
    )


@dataclass(frozen=True)
class _Lessons:
    """The examples as tokens, and how they are dealt out: a function of the step alone.

    prefix  what the prompts of all chats begin with; the sequences go on from there
    """

    tokenizer: PreTrainedTokenizerBase
    prefix: tuple[int, ...]
    examples: tuple[Example, ...]
    sequences: tuple[Sequenced, ...]
    seed: int

    @classmethod
    def of(cls, spec: ComposeSpec) -> _Lessons:
        check_folder(spec.anchor)
        tokenizer = AutoTokenizer.from_pretrained(spec.anchor, local_files_only=True)
        examples = read_examples(spec.examples)
        end = end_of_answer(tokenizer)
        prefix = shared_prefix(tokenizer)

        def sequence(one: Example) -> Sequenced:
            prompt = question_prompt(tokenizer, one.question)[len(prefix) :]
            return [*prompt, *encode(tokenizer, one.answer), end], len(prompt)

        sequences = tuple(map(sequence, examples))
        return cls(tokenizer, tuple(prefix), tuple(examples), sequences, spec.seed)

    def batch(self, number: int, size: int) -> Padded:
        """The `number`-th batch: every example once before any comes again."""
        chosen = []
        for at in range(number * size, (number + 1) * size):
            turn, place = divmod(at, len(self.sequences))
            order = list(range(len(self.sequences)))
            chance_of(self.seed, "order", turn).shuffle(order)
            chosen.append(self.sequences[order[place]])
        return pad_right(chosen, pad=end_of_answer(self.tokenizer))


def _job(
    spec: ComposeSpec, model: CalmForCausalLM, lessons: _Lessons, general: Sequence[Sequenced]
) -> Job:
    def loss_at(step: int) -> Tensor:
        chance = chance_of(spec.seed, "kind", step)
        if chance.random() < spec.general_share:
            size = min(GENERAL_BATCH, len(general))
            pad = end_of_answer(lessons.tokenizer)
            public = pad_right(chance.sample(general, size), pad=pad)
            return _like_the_anchor(model, lessons.prefix, public)
        is_off = chance.random() < model.config.spec.dropout
        model.set_parts(bridges=not is_off)
        return _say(model, lessons.prefix, lessons.batch(step, spec.batch_size))

    def probe() -> Probe:
        model.set_parts()
        model.train(False)
        samples = _samples(model, lessons)
        model.train()
        return Probe(samples=samples)

    model.train()
    steps = spec.steps or STEPS
    schedule = Schedule(steps, spec.learning_rate or PEAK, warmup=min(10, max(1, steps // 8)))
    return Job(model.trainable_parameters(), loss_at, schedule, probe)


def _play(
    model: CalmForCausalLM, prefix: Sequence[int], batch: Padded, *, gate: float | None = None
) -> CausalLMOutputWithPast:
    """Run the batch behind the prefix, which is read once for all rows and without a graph.

    Nothing of the prefix is to be said and it is the same in every chat: reading it anew in every
    row, with a graph, would double the time of a step. The loss is that of whole rows.
    """
    device = model.device
    rows = len(batch.ids)
    cache = model.new_cache()
    mask = batch.mask.to(device)
    if prefix:
        with torch.no_grad():
            ids = torch.tensor([list(prefix)], device=device)
            model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1, gate=gate)
        cache.batch_repeat_interleave(rows)
        mask = torch.cat((mask.new_ones(rows, len(prefix)), mask), dim=1)
    ids, labels = batch.ids.to(device), batch.labels.to(device)
    out: CausalLMOutputWithPast = model(
        ids, mask, labels=labels, past_key_values=cache, use_cache=True, gate=gate
    )
    return out


def _say(model: CalmForCausalLM, prefix: Sequence[int], batch: Padded) -> Tensor:
    """Cross-entropy of the answers, in nats."""
    loss = _play(model, prefix, batch).loss
    assert loss is not None
    return loss


def _like_the_anchor(model: CalmForCausalLM, prefix: Sequence[int], batch: Padded) -> Tensor:
    """KL(anchor || composition) at the answers of public questions, in nats."""
    model.set_parts()
    with torch.no_grad():
        wanted = _play(model, prefix, batch, gate=0.0).logits
    found = _play(model, prefix, batch).logits
    assert wanted is not None
    assert found is not None
    return functional.kl_div(
        functional.log_softmax(found.float(), -1),
        functional.log_softmax(wanted.float(), -1),
        log_target=True,
        reduction="batchmean",
    )


@torch.no_grad()
def _general(model: CalmForCausalLM, tokenizer: PreTrainedTokenizerBase) -> list[Sequenced]:
    """Public questions with the bare anchor's own greedy answers, from behind the shared prefix."""
    end = end_of_answer(tokenizer)
    skip = len(shared_prefix(tokenizer))
    prompts = [question_prompt(tokenizer, question) for question in QUESTIONS]
    said = _generate(model, prompts, end=end, tokens=GENERAL_TOKENS, gate=0.0)
    return [
        ([*p[skip:], *words], len(p) - skip)
        for p, words in zip(prompts, said, strict=True)
        if words
    ]


def _samples(model: CalmForCausalLM, lessons: _Lessons) -> tuple[dict[str, str], ...]:
    """A few fixed questions of the examples with today's answers."""
    chance = chance_of(lessons.seed, "samples")
    chosen = chance.sample(lessons.examples, min(SHOWN, len(lessons.examples)))
    prompts = [question_prompt(lessons.tokenizer, one.question) for one in chosen]
    end = end_of_answer(lessons.tokenizer)
    said = _generate(model, prompts, end=end, tokens=SHOWN_TOKENS, gate=None)
    return tuple(
        {
            "question": one.question,
            "expected": one.answer,
            "answer": str(lessons.tokenizer.decode(words, skip_special_tokens=True)).strip(),
        }
        for one, words in zip(chosen, said, strict=True)
    )


@torch.no_grad()
def _generate(
    model: CalmForCausalLM,
    prompts: Sequence[list[int]],
    *,
    end: int,
    tokens: int,
    gate: float | None,
) -> list[list[int]]:
    """Greedy answers, the end token included where it was said."""
    ids, mask = pad_left(prompts, pad=end)
    was_training = model.training
    model.train(False)
    generate = cast("Any", model).generate  # transformers types it for its own classes alone
    rows = generate(
        input_ids=ids.to(model.device),
        attention_mask=mask.to(model.device),
        max_new_tokens=tokens,
        do_sample=False,
        gate=gate,
        eos_token_id=end,
        pad_token_id=end,
    )
    model.train(was_training)
    answers = []
    for row in rows[:, ids.shape[1] :].tolist():
        stop = row.index(end) + 1 if end in row else len(row)
        answers.append(row[:stop])
    return answers


def _strangers(spec: ComposeSpec, folders: Sequence[Path]) -> list[Path]:
    """Augmenters of the same shape and random weights, in the work folder; the same at a resume."""
    made = []
    for at, folder in enumerate(folders):
        check_folder(folder)
        torch.manual_seed(spec.seed + 1 + at)
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        stranger = Path(spec.work or f"{spec.output}.work") / f"random_{at}"
        make: Any = AutoModelForCausalLM.from_config  # untyped there
        make(config).save_pretrained(stranger)
        copy_tokenizer(str(folder), stranger)
        made.append(stranger)
    return made
