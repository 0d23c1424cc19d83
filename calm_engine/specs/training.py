"""What is trained: what all trainings share, an augmenter, bridges, and a trial of both."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, ClassVar

from calm_engine.selfstudy.nouns import KINDS
from calm_engine.specs.base import Spec, bad, refuse
from calm_engine.specs.bridge import BridgeSpec

ROUNDS_MOST = 8_000_000  # bytes of documents up to which they are dealt in rounds, from memory
EVERYDAY = "everyday-1"  # general text that comes with the engine (`calm_engine.texts`)
STUDIED = "studied"  # lessons that are found in the documents
OURS = frozenset({EVERYDAY, STUDIED})  # where a file may be named, these are none
OPTIMIZERS = ("auto", "adamw", "muon")
# What does not change the result may differ between a run and its resumption; the same batch in
# other parts is the same batch.
NOT_THE_WORK = frozenset(
    {"output", "work", "threads", "checkpoint_every", "keep_checkpoints", "study_cache"}
    | {"gradient_accumulation_steps", "shard_model"}
    | {"history", "milestones", "workers"}
)
# Fields that the former release did not know, each with the value that means "as it was then": a
# spec that leaves them there is the same work, and goes on from that release's checkpoints. None
# now: with this release every training begins anew (COURSE).
LATER: dict[str, Any] = {}


def _as_then(told: dict[str, Any]) -> dict[str, Any]:
    """A spec as the former release would have told it, where it could."""
    return {
        name: _as_then(value) if isinstance(value, dict) else value
        for name, value in told.items()
        if name not in LATER or value != LATER[name]
    }


@dataclass(frozen=True)
class TrainSpec(Spec):
    """What augmenting and composing share.

    output            folder for the result; it appears only when it is whole
    work              folder for checkpoints and scratch; resume looks here. None: beside `output`
    steps             optimiser steps; None: chosen from the data
    learning_rate     peak rate; None: a default by size, see the trainer's docstring
    checkpoint_every  steps between checkpoints
    device            "auto", "cpu", "cuda"
    threads           torch threads; None: the cores really available
    precision         of frozen models and of the arithmetic: "auto", as models are stored;
                      "float32"; "bfloat16". What is trained is kept in float32
    gradient_accumulation_steps   parts into which a step's batch is cut, one in memory at a time;
                      with several processes, of each one's share
    """

    COURSE: ClassVar[int] = 0  # changes with what the same spec is taught, and how

    output: str
    work: str | None = None
    steps: int | None = None
    learning_rate: float | None = None
    checkpoint_every: int = 50
    keep_checkpoints: int = 2
    seed: int = 0
    device: str = "auto"
    threads: int | None = None
    precision: str = "auto"
    gradient_accumulation_steps: int = 1

    def __post_init__(self) -> None:
        if not self.output:
            raise bad("output", "must name a folder")
        for name in ("checkpoint_every", "keep_checkpoints", "gradient_accumulation_steps"):
            if getattr(self, name) < 1:
                raise bad(name, "must be at least 1")
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise bad("precision", "must be auto, float32 or bfloat16")
        if self.steps is not None and self.steps < 1:
            raise bad("steps", "must be at least 1")
        if self.device not in ("auto", "cpu", "cuda"):
            raise bad("device", "must be auto, cpu or cuda")

    def digest_of_work(self) -> str:
        """SHA-256 of what decides the result: a checkpoint of another spec is not this one's."""
        told = _as_then({k: v for k, v in self.to_dict().items() if k not in NOT_THE_WORK})
        told |= {"course": self.COURSE} if self.COURSE else {}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    def _check_batch(self, size: int) -> None:
        """Raises InputError for a batch of no sequences, or of unequal parts."""
        if size < 1:
            raise bad("batch_size", "must be at least 1")
        if size % self.gradient_accumulation_steps:
            why = "the batch must be cut into equal parts"
            raise refuse("batch_size", "gradient_accumulation_steps", why)


@dataclass(frozen=True)
class AugmentSpec(TrainSpec):
    """Train a small model on documents, with the anchor's tokenizer: from nothing or onwards.

    tokenizer  folder of the anchor: its tokenizer is taken as it is
    documents  JSON lines {"digest", "title", "text"}
    examples   JSON lines of questions and answers to mix in, or None
    without    kinds of lessons that a curator rejected, of `selfstudy.KINDS`
    width, layers, heads   None: chosen from the size of the corpus
    writes     whether the anchor also writes lessons, each with its passage in view; slow without
               an accelerator
    study_cache   folder of what it wrote, for all trainings on these documents; None: in `work`
    block      tokens in a packed training block
    patience   looks at recall (one at each checkpoint) without a rise after which the training
               winds up; 0, or a number of `steps`: all steps are taken
    batch_size packed blocks a step; None: by the model's size
    base       folder of an open model with the same tokenizer to train on from; None: from nothing
    previous   folder of the augmenter that this one brings up to date: it trains on from it
    previous_documents   what that one was taught: says what is new, kept, changed
    forget     digests of documents that are left out as if they had never been there
    before     folder of the augmenter that is to forget: asked beside the new one, never trained
    history    work folder of that one's training: its milestones are gone on from
    milestones checkpoints of the first pass that are kept, to forget from later
    lessons    what is dealt from shards beside the text: `STUDIED`, or JSON lines of lessons
               (`selfstudy.Lesson`); None: nothing. In rounds documents are always studied
    general    JSON lines of public documents to mix in, `EVERYDAY` for those that come with the
               engine, or None
    general_share   of what is read; less where there is not so much: in a round, or a pass, each
               piece of it comes once at most
    deal       "rounds": every entity in every round; "shuffled": from shards, in a new order for
               each pass, memory flat; "auto": by the size of the documents' file
    passes     how often the text and its lessons are met when shuffled; None: as often as in rounds
    workers    processes that prepare shards; None: the cores available
    schedule   "wsd" or "cosine": see `loop.Schedule`
    optimizer  "adamw"; "muon": matrices by Muon, all else by AdamW (`optimizers`), which knows a
               corpus in fewer steps; "auto": muon for a small model that begins from nothing
    shard_model   with several processes: each keeps its part of every layer (FSDP2)
    canaries   made-up secrets that are planted in what is dealt in rounds, and written into the
               result: a report card asks whether they come out
    """

    COURSE: ClassVar[int] = 5

    tokenizer: str = ""
    documents: str = ""
    examples: str | None = None
    without: tuple[str, ...] = ()
    width: int | None = None
    layers: int | None = None
    heads: int | None = None
    block: int = 400
    patience: int = 4
    writes: bool = False
    study_cache: str | None = None
    batch_size: int | None = None
    base: str | None = None
    previous: str | None = None
    previous_documents: str | None = None
    forget: tuple[str, ...] = ()
    before: str | None = None
    history: str | None = None
    milestones: int = 0
    lessons: str | None = STUDIED
    general: str | None = None
    general_share: float = 0.1
    deal: str = "auto"
    passes: int | None = None
    workers: int | None = None
    schedule: str = "wsd"
    optimizer: str = "auto"
    shard_model: bool = False
    canaries: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size is not None:
            self._check_batch(self.batch_size)
        self._check_start()
        self._check_data()
        for name in ("tokenizer", "documents"):
            if not getattr(self, name):
                raise bad(name, "must be given")
        if stray := sorted(set(self.without) - set(KINDS)):
            raise bad("without", f"names no kind of lesson: {', '.join(stray)}")
        if self.patience < 0:
            raise bad("patience", "must not be negative")
        if self.block < 16:
            raise bad("block", "must be at least 16 tokens")
        if self.width and self.heads and self.width % self.heads:
            raise refuse("width", "heads", "width must be a multiple of heads")

    def is_shuffled(self, size: int) -> bool:
        """Whether documents of so many bytes are dealt from shards."""
        if self.deal == "auto":
            return size > ROUNDS_MOST or self.lessons_file is not None
        return self.deal == "shuffled"

    @property
    def lessons_file(self) -> str | None:
        """The lessons that are given, where some are."""
        return None if self.lessons == STUDIED else self.lessons

    def _check_start(self) -> None:
        """Raises InputError for a start that is two starts."""
        if self.base and self.previous:
            raise refuse("base", "previous", "a training goes on from one model")
        for name in ("width", "layers", "heads"):
            start = "base" if self.base else "previous"
            if (self.base or self.previous) and getattr(self, name):
                raise refuse(start, name, "the model that it goes on from has its shape")
        if bool(self.previous) != bool(self.previous_documents):
            why = "what changed is told by comparing the documents of both"
            raise refuse("previous", "previous_documents", f"give both: {why}")
        for name in ("before", "history"):
            if getattr(self, name) and not self.forget:
                raise refuse(name, "forget", "there is nothing that is to be forgotten")

    def _check_data(self) -> None:
        """Raises InputError for shares and counts that cannot be."""
        if not 0.0 <= self.general_share < 1.0:
            raise bad("general_share", "must lie in [0, 1)")
        if self.deal not in ("auto", "rounds", "shuffled"):
            raise bad("deal", "must be auto, rounds or shuffled")
        if self.deal == "rounds" and self.lessons_file:
            raise refuse("deal", "lessons", "lessons from a file are dealt shuffled")
        if self.schedule not in ("wsd", "cosine"):
            raise bad("schedule", "must be wsd or cosine")
        if self.optimizer not in OPTIMIZERS:
            raise bad("optimizer", f"must be one of {', '.join(OPTIMIZERS)}")
        for name in ("milestones", "canaries"):
            if getattr(self, name) < 0:
                raise bad(name, "must not be negative")
        for name in ("passes", "workers"):
            if (given := getattr(self, name)) is not None and given < 1:
                raise bad(name, "must be at least 1")


@dataclass(frozen=True)
class ComposeSpec(TrainSpec):
    """Train the bridges between a frozen anchor and frozen augmenters.

    examples        JSON lines {"id", "question", "answer", "expected", "kind", "entity", "value"};
                    the bridges' share only: what is held out must not be in this file
    batch_size      questions a step
    least_recall    the share of its own questions that each augmenter must answer; less is refused
                    with the documents it does not know. 0: not asked
    general_share   share of batches of public text with the bare anchor's distribution as target
    control         "none", or "random": replace each augmenter by one of random weights, same shape
    passages        JSON lines of documents: where the anchor with a passage of them in view would
                    say an example's answer, what else it thinks of is learned as well; or None
                    Some examples stand behind such passages, and with `held_out` some of what
                    else the documents state is learned
    teacher_share   its part in the loss there, the rest is the answer's own cross-entropy; with 0
                    nothing is learned from the anchor so
    surrounded_share   share of the examples' batches behind other turns of a chat, and behind
                    passages where there are any
    sieve           learn only from examples that pass the three-way test (`sieve`), with passages
                    of these documents in view, and from those that state no fact
    held_out        JSON lines as `examples`, only to tell the loss on what is not learned (rows of
                    the slice "seen" are passed over); or None
    kept_bytes      disk for states that no training changes, read once for each example and deleted
                    with the run; where they do not fit, or would not be used twice, none are kept
    shard_anchor    with several processes: each keeps its part of the anchor's layers (FSDP2)
    gradient_checkpointing   run layers again for their slopes instead of keeping what is in between
    """

    COURSE: ClassVar[int] = 5

    anchor: str = ""
    augmenters: tuple[str, ...] = ()
    examples: str = ""
    batch_size: int = 16
    bridge: BridgeSpec = field(default_factory=BridgeSpec)
    least_recall: float = 0.0
    general_share: float = 0.25
    control: str = "none"
    passages: str | None = None
    teacher_share: float = 0.5
    surrounded_share: float = 0.2
    sieve: bool = False
    held_out: str | None = None
    kept_bytes: int = 4 * 2**30
    shard_anchor: bool = False
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_batch(self.batch_size)
        if not self.anchor:
            raise bad("anchor", "must name a folder")
        if not self.augmenters:
            raise bad("augmenters", "must name at least one folder")
        if not self.examples:
            raise bad("examples", "must name a JSON lines file")
        if not 0.0 <= self.least_recall <= 1.0:
            raise bad("least_recall", "must lie in [0, 1]")
        if not 0.0 <= self.general_share < 1.0:
            raise bad("general_share", "must lie in [0, 1)")
        for name in ("teacher_share", "surrounded_share"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise bad(name, "must lie in [0, 1]")
        if self.sieve and not self.passages:
            raise refuse("sieve", "passages", "the test puts a passage in view")
        if self.control not in ("none", "random"):
            raise bad("control", "must be none or random")
        if self.kept_bytes < 0:
            raise bad("kept_bytes", "must not be negative")


@dataclass(frozen=True)
class TrialSpec(AugmentSpec):
    """Try a training before it starts, and the bridges that are to follow it.

    compose   the bridges' training, or None; its `augmenters` are a newborn of this training, which
              knows nothing, and whose recall is not asked: what it costs depends on its size alone
    """

    compose: ComposeSpec | None = None
