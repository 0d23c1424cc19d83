"""What is asked: how examples are made, and who answers a question set."""

from __future__ import annotations

from dataclasses import dataclass, field

from calm_engine.specs.base import Spec, bad, refuse


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
                raise bad(name, "must be given")
        if self.writes and self.anchor is None:
            raise refuse("writes", "anchor", "there is nobody to write")
        if self.augmenters and self.anchor is None:
            raise refuse("augmenters", "anchor", "the three-way test asks both")
        if self.unanswerable < 0:
            raise bad("unanswerable", "must not be negative")
        if not all(0.0 <= share <= 1.0 for share in self.weights.values()):
            raise bad("weights", "must lie in [0, 1]")


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
    tasks        folder of lm_eval's tasks, asked of composition and anchor beside the public
                 questions; what such a file names is read and run as lm_eval does; or None
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
    tasks: str | None = None
    retention: bool = True
    max_new_tokens: int = 24
    batch_size: int = 16
    seed: int = 0
    device: str = "auto"
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("output", "composition", "anchor", "augmenters", "questions"):
            if not getattr(self, name):
                raise bad(name, "must be given")
        for name in ("max_new_tokens", "batch_size"):
            if getattr(self, name) < 1:
                raise bad(name, "must be at least 1")
        if stray := sorted(set(self.columns) - set(COLUMNS)):
            raise bad("columns", f"names nobody to ask: {', '.join(stray)}")
        reading = {"anchor_rag", "composition_rag", "anchor_lora_documents"}
        if reading & set(self.columns) and not self.documents:
            raise refuse("columns", "documents", "whoever reads needs something to read")
        if "anchor_lora" in self.columns and not self.examples:
            raise refuse("columns", "examples", "adapters need something to be trained on")
        self._check_swap()
        if self.labels and not self.judge:
            raise refuse("labels", "judge", "there is no judge to compare with people")
        if self.embedder and not self.documents:
            raise refuse("embedder", "documents", "there is nothing to look up")

    def _check_swap(self) -> None:
        if "swapped" not in self.columns:
            return
        if not self.documents:
            raise refuse("columns", "documents", "there is nothing to edit")
        if len(self.augmenters) > 1:
            raise refuse("columns", "augmenters", "edited documents are taught to one augmenter")
