"""Train the bridges and the output gates between frozen parents, and nothing else.

Four kinds of batches (findings in docs/engine.md): examples with all parts on, where it is wanted
beside what the anchor says with the passage in view; examples with the bridges off, so that the
output path learns to carry values no example mentions; examples behind other turns of a chat and
behind passages, in either way; and public text, whose target is what the bare anchor says. Knows no
tenants.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.modeling_outputs import CausalLMOutputWithPast

from calm_engine.card import copy_tokenizer
from calm_engine.choosing import learned_from
from calm_engine.data import (
    IGNORED,
    Example,
    Padded,
    Sequenced,
    documents_in,
    pad_right,
    read_documents,
    read_examples,
)
from calm_engine.decks import ALL_ON, LIKE_THE_ANCHOR, OFF, PUBLIC_BATCH, Decks
from calm_engine.errors import InputError
from calm_engine.evaluation.retrieval import Library
from calm_engine.families import check_folder
from calm_engine.frozen import behind, masked
from calm_engine.lessons import Lessons, samples
from calm_engine.loop import Schedule
from calm_engine.modeling import CalmForCausalLM
from calm_engine.output_path import GATE_READS
from calm_engine.ranks import Ranks
from calm_engine.recall import require_recall
from calm_engine.selfstudy import Source
from calm_engine.specs import ComposeSpec, Outcome, Progress
from calm_engine.stated import stated_in
from calm_engine.streams import Frozen
from calm_engine.teacher import Teacher, followed
from calm_engine.training import (
    Job,
    Prepared,
    Probe,
    arithmetic,
    carry_out,
    finished,
    prepare,
    stored_as,
    work_folder,
)

PEAK = 2e-3
READING = 0.3  # share of the rate at which an output gate learns to read states (decision 32)
# What moves the anchor's own answers counts so much more than what is not said yet: it is small
# from the start, yet a hundredth of a nat a token says other words in half of the answers (decision
# 34).
PUBLIC_WEIGHT = 5.0
READ_MOST = 16_000_000  # characters of documents in which passages are looked up
HELD_OUT = 32  # examples on which the loss is told


def compose(spec: ComposeSpec) -> Generator[Progress, None, Outcome]:
    """Train a composition; its folder appears when it is whole.

    With control="random" each augmenter is replaced by one of the same shape and random weights,
    kept inside the result: what that scores, knowledge did not do (CALM, section 5, ablation).
    Raises InputError: "examples.empty", "examples.sieved", "parent.missing", "device.missing", what
    composing raises; InternalError("train.nan"); Cancelled when asked to stop.
    """
    if done := finished(spec):
        return done
    ranks = prepare(spec)
    made = yield from prepared(spec, ranks)
    outcome = yield from carry_out(spec, "composition", made, ranks)
    if ranks.is_first:
        shutil.rmtree(_kept_in(spec), ignore_errors=True)
    return outcome


def prepared(spec: ComposeSpec, ranks: Ranks) -> Generator[Progress, None, Prepared]:
    """Parents, newborn bridges and everything to learn from. Raises what `compose` raises."""
    yield Progress("data", message="loading the parents")
    augmenters: list[Path] = [Path(folder) for folder in spec.augmenters]
    for folder in augmenters:
        require_recall(folder, spec.least_recall)
    told = yield from learned_from(spec, ranks, _kept_in(spec) / "sieved")
    documents = _documents(spec)
    lessons = Lessons.of(spec, [*told.kept, *_stated(spec, documents, told.kept)])
    if spec.control == "random":
        augmenters = _strangers(spec, augmenters, ranks)
    torch.manual_seed(spec.seed)
    model = CalmForCausalLM.compose(
        Path(spec.anchor), augmenters, spec.bridge, dtype=stored_as(spec)
    )
    if spec.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    if spec.shard_anchor:
        ranks.shard(list(model.streams.top.layers))
    nn.Module.to(model, ranks.device)
    if model.config.own_tokenizers:
        named = ", ".join(f"augmenter_{index}" for index in model.config.own_tokenizers)
        message = f"another tokenizer: {named}; bridges meet at byte ends, there is no output path"
        yield Progress("data", message=message)
    _check_lengths(lessons, limit=model.streams.limit)
    yield Progress("data", message="asking the anchor public questions")
    library = Library(documents) if documents else None
    decks = Decks.of(spec, model, lessons, library, _kept_in(spec))
    teacher = None
    if library is not None and spec.teacher_share:
        teacher = Teacher(model, lessons, library, _kept_in(spec) / "teacher")
    held_out = lessons.held_out(spec, most=HELD_OUT)
    course = _Course(spec, model, lessons, ranks, decks, held_out, teacher)

    def write(folder: Path) -> None:
        model.save_pretrained(folder, tokenizer=lessons.tokenizer)
        if spec.control == "random":
            for at, stranger in enumerate(augmenters):
                shutil.copytree(stranger, folder / f"augmenter_{at}")

    facts = {
        "parameters": sum(one.numel() for _, one in model.trainable_parameters()),
        "examples": len(lessons.examples),
        "kinds": dict(Counter(one.kind for one in lessons.examples)),
        "dropped": told.dropped,
        "entities": len({one.entity for one in lessons.examples}),
        "steps": course.steps,
        "control": spec.control,
    }
    return Prepared(course.job(), write, dict(model.config.parents or {}), facts)


def _documents(spec: ComposeSpec) -> list[Source]:
    """What may be read: all where the anchor is followed, else no more than is held easily."""
    if spec.passages is None:
        return []
    if spec.teacher_share:
        return read_documents(spec.passages)
    read, held = 0, list[Source]()
    for one in documents_in(spec.passages):
        held.append(one)
        read += len(one.text)
        if read > READ_MOST:
            break
    return held


def _stated(
    spec: ComposeSpec, documents: Sequence[Source], examples: Sequence[Example]
) -> list[Example]:
    """What else the documents state; nothing where it is not known what is held out."""
    if not documents or spec.held_out is None:
        return []
    return stated_in(documents, examples, read_examples(spec.held_out), spec.seed)


@dataclass(frozen=True)
class _Course:
    """What each step learns from, and how: a function of the spec and the step's number."""

    spec: ComposeSpec
    model: CalmForCausalLM
    lessons: Lessons
    ranks: Ranks
    decks: Decks
    held_out: Sequence[Sequenced]
    teacher: Teacher | None

    @property
    def steps(self) -> int:
        return self.decks.steps

    def job(self) -> Job:
        self.model.train()
        warmup = min(10, max(1, self.steps // 8))
        named = self.model.trainable_parameters()
        return Job(
            named,
            self.losses_at,
            Schedule(self.steps, self.spec.learning_rate or PEAK, warmup=warmup),
            self.probe,
            kind_at=lambda step: self.decks.dealt(step).kind,
            first=self.fill,
            first_bytes=sum(kept.size for kept in self.decks.kept),
            shares={name: READING for name, _ in named if name.endswith(GATE_READS)},
        )

    def fill(self) -> Iterator[tuple[int, int]]:
        """Read and keep the frozen states of all that will be learned from."""
        kept = self.decks.kept
        total = sum(len(one.groups) for one in kept)
        parts: list[Iterator[object]] = [one.fill(self.ranks) for one in kept]
        if self.teacher is not None:
            total += self.teacher.groups
            parts.append(self.teacher.fill(self.ranks))
        for done, _ in enumerate(chain.from_iterable(parts)):
            yield done + 1, total

    def losses_at(self, step: int) -> Iterator[Tensor]:
        """Our parts of the step's loss, in nats for each token that the whole step has to say."""
        dealt = self.decks.dealt(step)
        kind, chosen, deck = dealt.kind, dealt.chosen, self.decks.behind(dealt)
        self.model.set_parts(bridges=kind not in OFF)
        targets = deck.targets(chosen)
        # Several processes hold parts of it anyway, and each must have as many as any other.
        parts = self.spec.gradient_accumulation_steps * max(1, dealt.parts // self.ranks.count)
        for part in self.ranks.share(chosen, parts):
            if part:
                padded, frozen = deck.batch(part, pad=self.lessons.end)
                with arithmetic(self.spec, self.ranks):
                    loss = self._loss(kind, padded, frozen, part)
                yield loss * (deck.targets(part) / targets)

    def _loss(
        self, kind: str, padded: Padded, frozen: Frozen | None, part: Sequence[int]
    ) -> Tensor:
        """What a part of a step costs, in nats for each token that it has to say."""
        if kind in LIKE_THE_ANCHOR:
            moved = like_the_anchor(self.model, self.lessons.prefix, padded, frozen)
            return PUBLIC_WEIGHT * moved
        if self.teacher is not None and kind == ALL_ON:
            return self._followed(padded, frozen, part)
        return say(self.model, self.lessons.prefix, padded, frozen)

    def _followed(self, padded: Padded, frozen: Frozen | None, part: Sequence[int]) -> Tensor:
        """The loss beside the teacher that has the passage in view, in nats."""
        assert self.teacher is not None
        out = _play(self.model, self.lessons.prefix, padded, frozen)
        assert out.logits is not None
        return followed(out.logits, padded, self.teacher.taught(part), self.spec.teacher_share)

    def probe(self, _step: int) -> Probe:
        """A few answers of today, and where the composition stands beside the bare anchor."""
        self.model.set_parts()
        self.model.train(False)
        with arithmetic(self.spec, self.ranks):
            probe = Probe(self._told(), samples(self.model, self.lessons))
        self.model.train()
        return probe

    @torch.no_grad()
    def _told(self) -> dict[str, float]:
        """The loss on what is not learned, its gain over the anchor, and how far public text moved.

        general_loss   KL(anchor || composition) of public answers in nats: a newborn has 0
        """
        public = self.decks.public.sequences[:PUBLIC_BATCH]
        moved = like_the_anchor(
            self.model, self.lessons.prefix, pad_right(public, pad=self.lessons.end)
        )
        told = {"general_loss": float(moved)}
        if self.teacher is not None:
            told["teacher_followed"] = self._share_followed
        if not self.held_out:
            return told
        loss = self._held_out_loss()
        return told | {"held_out_loss": loss, "gain_over_anchor": self._anchors_loss - loss}

    @cached_property
    def _share_followed(self) -> float:
        """The share of the examples on which the anchor with the passage is followed."""
        assert self.teacher is not None
        return self.teacher.share_followed()

    @cached_property
    def _anchors_loss(self) -> float:
        """What the anchor alone loses on the same examples; no training changes it."""
        self.model.set_parts(bridges=False, output=False)
        loss = self._held_out_loss()
        self.model.set_parts()
        return loss

    def _held_out_loss(self) -> float:
        told = count = 0.0
        for start in range(0, len(self.held_out), self.spec.batch_size):
            rows = self.held_out[start : start + self.spec.batch_size]
            part = pad_right(rows, pad=self.lessons.end)
            targets = int((part.labels != IGNORED).sum())
            told += float(say(self.model, self.lessons.prefix, part)) * targets
            count += targets
        return told / count


def _play(
    model: CalmForCausalLM,
    prefix: Sequence[int],
    batch: Padded,
    frozen: Frozen | None,
    *,
    gate: float | None = None,
) -> CausalLMOutputWithPast:
    """Run the batch behind the prefix, from its frozen states where they are given."""
    device = model.device
    if frozen is not None and (gate == 0.0 or not model.bridges_on):
        prefix = ()  # the frozen last states have seen it, and no layer is run again
    cache = behind(model, prefix, len(batch.ids), gate=gate)
    out: CausalLMOutputWithPast = model(
        batch.ids.to(device),
        masked(batch.mask, prefix).to(device),
        labels=batch.labels.to(device),
        past_key_values=cache,
        use_cache=True,
        gate=gate,
        frozen=frozen,
    )
    return out


def say(
    model: CalmForCausalLM, prefix: Sequence[int], batch: Padded, frozen: Frozen | None = None
) -> Tensor:
    """Cross-entropy of the answers, in nats."""
    loss = _play(model, prefix, batch, frozen).loss
    assert loss is not None
    return loss


def like_the_anchor(
    model: CalmForCausalLM, prefix: Sequence[int], batch: Padded, frozen: Frozen | None = None
) -> Tensor:
    """KL(anchor || composition) at the answers of public questions, in nats."""
    with torch.no_grad():
        wanted = _play(model, prefix, batch, frozen, gate=0.0).logits
    found = _play(model, prefix, batch, frozen).logits
    assert wanted is not None
    assert found is not None
    return functional.kl_div(
        functional.log_softmax(found.float(), -1),
        functional.log_softmax(wanted.float(), -1),
        log_target=True,
        reduction="batchmean",
    )


def _check_lengths(lessons: Lessons, *, limit: int) -> None:
    """Raises InputError("sequence.too_long") for an example that no pass could read."""
    longest = len(lessons.prefix) + max(len(tokens) for tokens, _ in lessons.sequences)
    if longest > limit:
        raise InputError(
            "sequence.too_long",
            "an example has more tokens than the composition has positions",
            tokens=longest,
            limit=limit,
        )


def _kept_in(spec: ComposeSpec) -> Path:
    return work_folder(spec) / "frozen"


def _strangers(spec: ComposeSpec, folders: Sequence[Path], ranks: Ranks) -> list[Path]:
    """Augmenters of the same shape and random weights, in the work folder; the same at a resume."""
    made = [work_folder(spec) / f"random_{at}" for at in range(len(folders))]
    for at, (folder, stranger) in enumerate(zip(folders, made, strict=True)):
        check_folder(folder)
        if ranks.is_first:
            torch.manual_seed(spec.seed + 1 + at)
            config = AutoConfig.from_pretrained(folder, local_files_only=True)
            make: Any = AutoModelForCausalLM.from_config  # untyped there
            make(config).save_pretrained(stranger)
            copy_tokenizer(str(folder), stranger)
    ranks.wait()
    return made
