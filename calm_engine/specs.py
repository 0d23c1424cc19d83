"""The nouns of the engine: what to do, how far it is, what came out. Standard library only.

Every spec is frozen, refuses bad combinations by naming the fields that clash, and goes through
JSON without loss: a run of the platform and a file in an engineer's hand are the same thing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from calm_engine.errors import InputError
from calm_engine.selfstudy.nouns import KINDS


def _refuse(first: str, second: str, why: str) -> InputError:
    return InputError(
        "spec.clash", f"`{first}` and `{second}` clash: {why}", fields=f"{first}, {second}"
    )


def _bad(name: str, why: str) -> InputError:
    return InputError("spec.value", f"`{name}` {why}", fields=name)


def _tuples(value: Any) -> Any:
    """Lists become tuples, all the way down: JSON has no tuples, frozen specs have no lists."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list | tuple) else value


def _as_then(told: dict[str, Any]) -> dict[str, Any]:
    """A spec as the former release would have told it, where it could."""
    return {
        name: _as_then(value) if isinstance(value, dict) else value
        for name, value in told.items()
        if name not in LATER or value != LATER[name]
    }


def _spec_in(hint: Any) -> type[Spec] | None:
    """The spec inside a hint such as `BridgeSpec | None`, if there is one."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return next((o for o in options if isinstance(o, type) and issubclass(o, Spec)), None)


@dataclass(frozen=True)
class Spec:
    """JSON in, JSON out; unknown keys are refused by name."""

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Build from plain JSON values. Raises InputError("spec.unknown") naming the stray keys."""
        known = {f.name for f in dataclasses.fields(cls)}
        stray = sorted(set(values) - known)
        if stray:
            raise InputError(
                "spec.unknown", f"unknown fields: {', '.join(stray)}", fields=", ".join(stray)
            )
        hints = typing.get_type_hints(cls)
        ready: dict[str, Any] = {}
        for name, value in values.items():
            inner = _spec_in(hints[name])
            is_nested = inner is not None and isinstance(value, dict)
            ready[name] = inner.from_dict(value) if is_nested and inner else _tuples(value)
        try:
            return cls(**ready)
        except TypeError as error:
            raise InputError("spec.missing", str(error)) from error

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse JSON text. Raises InputError("spec.json") when it is no JSON object."""
        try:
            values = json.loads(text)
        except ValueError as error:
            raise InputError("spec.json", f"not JSON: {error}") from error
        if not isinstance(values, dict):
            raise InputError("spec.json", "the spec must be one JSON object")
        return cls.from_dict(values)

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        try:
            return cls.from_json(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(
                "spec.file", f"cannot read {path}: {error.strerror}", path=str(path)
            ) from error

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=2, sort_keys=True)


ROUNDS_MOST = 8_000_000  # bytes of documents up to which they are dealt in rounds, from memory
Connection = tuple[int, int]
# What does not change the result may differ between a run and its resumption; the same batch in
# other parts is the same batch.
NOT_THE_WORK = frozenset(
    {"output", "work", "threads", "checkpoint_every", "keep_checkpoints", "study_cache"}
    | {"gradient_accumulation_steps", "shard_model"}
    | {"history", "milestones", "workers"}
)
# Fields that the former release did not know, each with the value that means "as it was then": a
# spec that leaves them there is the same work, and goes on from that release's checkpoints.
LATER: dict[str, Any] = {"canaries": 0, "passages": None, "teacher_share": 0.5}


@dataclass(frozen=True)
class BridgeSpec(Spec):
    """The form of the bridges (docs/decisions, and CALM, arXiv 2401.02412, section 3.1).

    connections  pairs (augmenter layer, anchor layer), outputs joined; anchor layer -1 is the
                 embedding output. One tuple per augmenter, or one flat list for a single augmenter.
                 None: the paper's spread, every fourth augmenter layer spread over the anchor.
    heads, kv_heads, head_dim   None: chosen from the anchor's width (grouped, few key/value heads)
    positions    rotary positions on queries and keys
    aligned      add W_D norm(H_a) at the same position: what carries unseen entities
    norm         RMS norms before the projections
    projection   the paper's separate linear f from augmenter to anchor width (else folded)
    gate         a learned gate per connection and token; a request's own gate multiplies it (0 is
                 the anchor, bit for bit)
    gate_reads   what sets it: "anchor", the anchor's state, or "both", the augmenter's as well
    scaled       multiply by the measured RMS of the anchor's stream at the connection
    output_path  mix the augmenter's next-token distribution into the anchor's by a small gate
    dropout      share of recall batches with the bridges off, so that the output path learns
    """

    connections: tuple[Any, ...] | None = None
    heads: int | None = None
    kv_heads: int | None = None
    head_dim: int | None = None
    positions: bool = True
    aligned: bool = True
    norm: bool = True
    projection: bool = False
    gate: bool = True
    gate_reads: str = "anchor"
    scaled: bool = True
    output_path: bool = True
    dropout: float = 0.5

    def __post_init__(self) -> None:
        if self.connections is not None:
            object.__setattr__(self, "connections", _tuples(list(self.connections)))
        if not 0.0 <= self.dropout < 1.0:
            raise _bad("dropout", "must lie in [0, 1)")
        if self.dropout and not self.output_path:
            object.__setattr__(self, "dropout", 0.0)
        if self.gate_reads not in ("anchor", "both"):
            raise _bad("gate_reads", "must be anchor or both")
        if self.heads and self.kv_heads and self.heads % self.kv_heads:
            raise _refuse("heads", "kv_heads", "heads must be a multiple of kv_heads")

    @classmethod
    def paper(cls, connections: typing.Sequence[Any] | None = None) -> BridgeSpec:
        """The paper's form: explicit projection, full heads, no norm, no positions, no gate."""
        return cls(
            connections=None if connections is None else tuple(connections),
            positions=False,
            aligned=False,
            norm=False,
            projection=True,
            gate=False,
            scaled=False,
            output_path=False,
            dropout=0.0,
        )


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
            raise _bad("output", "must name a folder")
        for name in ("checkpoint_every", "keep_checkpoints", "gradient_accumulation_steps"):
            if getattr(self, name) < 1:
                raise _bad(name, "must be at least 1")
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise _bad("precision", "must be auto, float32 or bfloat16")
        if self.steps is not None and self.steps < 1:
            raise _bad("steps", "must be at least 1")
        if self.device not in ("auto", "cpu", "cuda"):
            raise _bad("device", "must be auto, cpu or cuda")

    def digest_of_work(self) -> str:
        """SHA-256 of what decides the result: a checkpoint of another spec is not this one's."""
        told = _as_then({k: v for k, v in self.to_dict().items() if k not in NOT_THE_WORK})
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    def _check_batch(self, size: int) -> None:
        """Raises InputError for a batch of no sequences, or of unequal parts."""
        if size < 1:
            raise _bad("batch_size", "must be at least 1")
        if size % self.gradient_accumulation_steps:
            why = "the batch must be cut into equal parts"
            raise _refuse("batch_size", "gradient_accumulation_steps", why)


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
    lessons    JSON lines of lessons (`selfstudy.Lesson`) to deal out from shards, or None
    general    JSON lines of public documents to mix in, or None
    general_share   of what is read
    deal       "rounds": every entity in every round; "shuffled": from shards, in a new order for
               each pass, memory flat; "auto": by the size of the documents' file
    passes     how often the text is met when shuffled; None: as often as in rounds
    workers    processes that prepare shards; None: the cores available
    schedule   "wsd" or "cosine": see `loop.Schedule`
    shard_model   with several processes: each keeps its part of every layer (FSDP2)
    canaries   made-up secrets that are planted in what is dealt in rounds, and written into the
               result: a report card asks whether they come out
    """

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
    lessons: str | None = None
    general: str | None = None
    general_share: float = 0.1
    deal: str = "auto"
    passes: int | None = None
    workers: int | None = None
    schedule: str = "wsd"
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
                raise _bad(name, "must be given")
        if stray := sorted(set(self.without) - set(KINDS)):
            raise _bad("without", f"names no kind of lesson: {', '.join(stray)}")
        if self.patience < 0:
            raise _bad("patience", "must not be negative")
        if self.block < 16:
            raise _bad("block", "must be at least 16 tokens")
        if self.width and self.heads and self.width % self.heads:
            raise _refuse("width", "heads", "width must be a multiple of heads")

    def is_shuffled(self, size: int) -> bool:
        """Whether documents of so many bytes are dealt from shards."""
        if self.deal == "auto":
            return size > ROUNDS_MOST or self.lessons is not None
        return self.deal == "shuffled"

    def _check_start(self) -> None:
        """Raises InputError for a start that is two starts."""
        if self.base and self.previous:
            raise _refuse("base", "previous", "a training goes on from one model")
        for name in ("width", "layers", "heads"):
            start = "base" if self.base else "previous"
            if (self.base or self.previous) and getattr(self, name):
                raise _refuse(start, name, "the model that it goes on from has its shape")
        if bool(self.previous) != bool(self.previous_documents):
            why = "what changed is told by comparing the documents of both"
            raise _refuse("previous", "previous_documents", f"give both: {why}")
        for name in ("before", "history"):
            if getattr(self, name) and not self.forget:
                raise _refuse(name, "forget", "there is nothing that is to be forgotten")

    def _check_data(self) -> None:
        """Raises InputError for shares and counts that cannot be."""
        if not 0.0 <= self.general_share < 1.0:
            raise _bad("general_share", "must lie in [0, 1)")
        if self.deal not in ("auto", "rounds", "shuffled"):
            raise _bad("deal", "must be auto, rounds or shuffled")
        if self.deal == "rounds" and self.lessons:
            raise _refuse("deal", "lessons", "lessons from a file are dealt shuffled")
        if self.schedule not in ("wsd", "cosine"):
            raise _bad("schedule", "must be wsd or cosine")
        for name in ("milestones", "canaries"):
            if getattr(self, name) < 0:
                raise _bad(name, "must not be negative")
        for name in ("passes", "workers"):
            if (given := getattr(self, name)) is not None and given < 1:
                raise _bad(name, "must be at least 1")


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
    teacher_share   its part in the loss there, the rest is the answer's own cross-entropy
    held_out        JSON lines as `examples`, only to tell the loss on what is not learned (rows of
                    the slice "seen" are passed over); or None
    kept_bytes      disk for states that no training changes, read once for each example and deleted
                    with the run; where they do not fit, or would not be used twice, none are kept
    shard_anchor    with several processes: each keeps its part of the anchor's layers (FSDP2)
    gradient_checkpointing   run layers again for their slopes instead of keeping what is in between
    """

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
    held_out: str | None = None
    kept_bytes: int = 4 * 2**30
    shard_anchor: bool = False
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_batch(self.batch_size)
        if not self.anchor:
            raise _bad("anchor", "must name a folder")
        if not self.augmenters:
            raise _bad("augmenters", "must name at least one folder")
        if not self.examples:
            raise _bad("examples", "must name a JSON lines file")
        if not 0.0 <= self.least_recall <= 1.0:
            raise _bad("least_recall", "must lie in [0, 1]")
        if not 0.0 <= self.general_share < 1.0:
            raise _bad("general_share", "must lie in [0, 1)")
        if not 0.0 < self.teacher_share <= 1.0:
            raise _bad("teacher_share", "must lie in (0, 1]")
        if self.control not in ("none", "random"):
            raise _bad("control", "must be none or random")
        if self.kept_bytes < 0:
            raise _bad("kept_bytes", "must not be negative")


@dataclass(frozen=True)
class TrialSpec(AugmentSpec):
    """Try a training before it starts, and the bridges that are to follow it.

    compose   the bridges' training, or None; its `augmenters` are a newborn of this training, which
              knows nothing, and whose recall is not asked: what it costs depends on its size alone
    """

    compose: ComposeSpec | None = None


@dataclass(frozen=True)
class ExamplesSpec(Spec):
    """Make examples for bridges, and questions that are held out, from documents alone.

    documents     JSON lines {"digest", "title", "text"}
    examples      JSON lines of a curator's own, which are never sifted; or None
    anchor        folder: with `augmenters` every example is tested (`sieve`); with `writes` it also
                  writes questions, each with its passage in view
    augmenters    folders of those that the composition is to have
    unanswerable  questions about made-up names for each entity, answered with a refusal
    weights       by kind of question, the share of them that is kept; all where none is named
    """

    output: str
    documents: str = ""
    examples: str | None = None
    anchor: str | None = None
    augmenters: tuple[str, ...] = ()
    writes: bool = False
    unanswerable: float = 0.0
    weights: dict[str, float] = field(default_factory=dict)
    seed: int = 0
    device: str = "auto"
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("output", "documents"):
            if not getattr(self, name):
                raise _bad(name, "must be given")
        if self.writes and self.anchor is None:
            raise _refuse("writes", "anchor", "there is nobody to write")
        if self.augmenters and self.anchor is None:
            raise _refuse("augmenters", "anchor", "the three-way test asks both")
        if self.unanswerable < 0:
            raise _bad("unanswerable", "must not be negative")
        if not all(0.0 <= share <= 1.0 for share in self.weights.values()):
            raise _bad("weights", "must lie in [0, 1]")


# Who can be asked besides the composition, its parents and the controls that have a folder:
# two parts of the composition, its bridges on a shuffled augmenter and on one that learned edited
# documents, and what people try instead.
COLUMNS = (
    "bridges_only",
    "output_only",
    "scrambled",
    "swapped",
    "anchor_rag",
    "composition_rag",
    "anchor_lora",
    "anchor_lora_documents",
)


@dataclass(frozen=True)
class EvaluateSpec(Spec):
    """Ask one question set of the composition, its parents and its controls.

    composition  folder of the composition; its parents are given beside it and checked by digest
    random       folder of a composition trained the same way on a random augmenter, or None
    mismatched   folder of an augmenter of the same shape that learned something else, or None; it
                 is asked through the same bridges
    questions    JSON lines: the rows of `ComposeSpec.examples` with a "slice" each;
                 slice: "seen", "unseen_entity" or "unseen_value"
    columns      who is asked besides, of `COLUMNS`
    documents    JSON lines: what was taught. Columns that read look their passages up in it, and
                 beginnings of its passages are asked for verbatim repetition
    embedder     folder of an encoder that finds passages by meaning as well; None: by words alone
    examples     JSON lines: what the bridges were trained on, for the column of adapters, to choose
                 how much is read, and to know whom the bridges have met
    strangers    JSON lines: questions of a corpus that nobody here learned; what is asked and said
                 is counted and never kept; or None
    judge        folder of a chat model that decides long answers which no rule can, or None
    labels       JSON lines {"question", "expected", "answer", "right"}: what people said of such
                 answers, to tell how far the judge agrees with them; or None
    retention    also ask public questions: what the anchor could do before
    """

    output: str
    composition: str
    anchor: str
    augmenters: tuple[str, ...]
    questions: str
    random: str | None = None
    mismatched: str | None = None
    columns: tuple[str, ...] = ()
    documents: str | None = None
    embedder: str | None = None
    examples: str | None = None
    strangers: str | None = None
    judge: str | None = None
    labels: str | None = None
    retention: bool = True
    max_new_tokens: int = 24
    batch_size: int = 16
    seed: int = 0
    device: str = "auto"
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("output", "composition", "anchor", "augmenters", "questions"):
            if not getattr(self, name):
                raise _bad(name, "must be given")
        for name in ("max_new_tokens", "batch_size"):
            if getattr(self, name) < 1:
                raise _bad(name, "must be at least 1")
        if stray := sorted(set(self.columns) - set(COLUMNS)):
            raise _bad("columns", f"names nobody to ask: {', '.join(stray)}")
        reading = {"anchor_rag", "composition_rag", "anchor_lora_documents"}
        if reading & set(self.columns) and not self.documents:
            raise _refuse("columns", "documents", "whoever reads needs something to read")
        if "anchor_lora" in self.columns and not self.examples:
            raise _refuse("columns", "examples", "adapters need something to be trained on")
        self._check_swap()
        if self.labels and not self.judge:
            raise _refuse("labels", "judge", "there is no judge to compare with people")
        if self.embedder and not self.documents:
            raise _refuse("embedder", "documents", "there is nothing to look up")

    def _check_swap(self) -> None:
        if "swapped" not in self.columns:
            return
        if not self.documents:
            raise _refuse("columns", "documents", "there is nothing to edit")
        if len(self.augmenters) > 1:
            raise _refuse("columns", "augmenters", "edited documents are taught to one augmenter")


@dataclass(frozen=True)
class Progress(Spec):
    """One step of news from a run.

    stage    what is being done, a word: "data", "train", "probe", "save", "evaluate"
    step, total   counted from 0; total 0 means not known yet
    metrics  numbers by name: loss, tokens_per_second, recall ...
    samples  a few fixed questions and today's answers: corpus text, shown only to the audience
    eta_seconds   time left from the measured rate, or None while measuring
    """

    stage: str
    step: int = 0
    total: int = 0
    message: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    samples: tuple[dict[str, str], ...] = ()
    eta_seconds: float | None = None


@dataclass(frozen=True)
class Outcome(Spec):
    """What came out of a run: a folder that is whole, its digest, and its figures.

    digest    of the folder's manifest (SHA-256 over the sorted names and digests of its files)
    parents   digest of each parent's weights by role: {"anchor": ..., "augmenter_0": ...}
    """

    kind: str
    folder: str
    digest: str
    parents: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Estimate(Spec):
    """What a run will need, measured by a dry run on the real device.

    memory_bytes, device_memory_bytes   at most, of the machine and of the accelerator
    disk_bytes   at most: what is kept while it runs, checkpoints and the result
    why          a sentence for people: why a model of this size, and what more or less would mean
    bridges      what the bridges' training needs that follows it, where that was tried as well; its
                 memory of the machine is then the most that either took
    """

    seconds: float
    memory_bytes: int
    disk_bytes: int
    steps: int = 0
    device_memory_bytes: int = 0
    why: str = ""
    bridges: Estimate | None = None
