"""Which examples can teach a composition anything: the three-way test. Knows no split.

One is worth learning when the anchor answers it with the passage before it and does not answer it
alone, and when an augmenter knows its fact: then the answer is right, private, and within reach.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from calm_engine.data import Example, encode, pad_right, question_prompt
from calm_engine.errors import Cancelled
from calm_engine.evaluation.asking import Asker, Column, common_prefix
from calm_engine.evaluation.retrieval import Library
from calm_engine.evaluation.scoring import scored
from calm_engine.families import load_parent, read_tokenizer
from calm_engine.generation import end_tokens
from calm_engine.passages import with_passages
from calm_engine.process import stop_requested
from calm_engine.specs import Progress

KNOWN = 0.5  # mean likelihood of a fact's tokens from which an augmenter knows it
PASSAGES = 2  # that stand before a question
UNREADABLE = "wrong with the passage in view"
PUBLIC = "the anchor knows it alone"
UNKNOWN = "no augmenter knows its fact"

Tokenizer = PreTrainedTokenizerBase


@dataclass(frozen=True)
class Sieved:
    """What passed, and how many did not, by reason."""

    kept: tuple[Example, ...]
    dropped: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Judges:
    """Who is asked.

    augmenters   each with its tokenizer
    """

    anchor: Any
    tokenizer: Tokenizer
    augmenters: Sequence[tuple[Any, Tokenizer]]
    library: Library
    most: int = 32
    together: int = 16


def judges_in(
    anchor: str | Path, augmenters: Sequence[str | Path], library: Library, device: Any
) -> Judges:
    """Those of these folders, on a device. Raises what loading them raises."""
    return Judges(
        anchor=_loaded(anchor, device),
        tokenizer=read_tokenizer(anchor),
        augmenters=[(_loaded(each, device), read_tokenizer(each)) for each in augmenters],
        library=library,
    )


def _loaded(folder: str | Path, device: Any) -> Any:
    model: Any = load_parent(folder)
    return model.to(device).eval()


def sieved(examples: Sequence[Example], judges: Judges) -> Generator[Progress, None, Sieved]:
    """Ask all three of every example that states a fact; the others pass, and stand last.

    Raises Cancelled between two batches.
    """
    others = [one for one in examples if not one.value]
    examples = [one for one in examples if one.value]
    if not examples:
        return Sieved(tuple(others))
    read = [with_passages(one.question, passages_for(one, judges.library)) for one in examples]
    with_passage = yield from _right(examples, read, judges, "with the passage")
    alone = yield from _right(examples, [one.question for one in examples], judges, "alone")
    yield Progress("sieve", message="asking who knows the facts")
    told = zip(with_passage, alone, _known(examples, judges), strict=True)
    why = [reason_against(*each) for each in told]
    kept = tuple(one for one, reason in zip(examples, why, strict=True) if not reason)
    return Sieved((*kept, *others), dict(Counter(filter(None, why))))


def reason_against(with_passage: bool, alone: bool, known: bool) -> str:
    """Why an example teaches nothing, by who was right; "" where it teaches something."""
    if not with_passage:
        return UNREADABLE
    if alone:
        return PUBLIC
    return "" if known else UNKNOWN


def _right(
    examples: Sequence[Example], questions: Sequence[str], judges: Judges, how: str
) -> Generator[Progress, None, list[bool]]:
    """Whether the anchor answers each example when it is asked so."""
    said: list[str] = []
    for texts in _answers(questions, judges):
        said += texts
        yield Progress("sieve", len(said), len(examples), message=f"asking the anchor {how}")
    return [scored(text, one.expected).is_right for one, text in zip(examples, said, strict=True)]


def passages_for(one: Example, library: Library) -> list[str]:
    """Passages that hold what the example is about and what it needs, else the likeliest."""
    found = library.find(one.question, PASSAGES * 4)
    needs = [word.lower() for word in (one.entity, one.value) if word]
    whole = [each for each in found if all(word in each.lower() for word in needs)]
    return (whole or found)[:PASSAGES]


def _answers(questions: Sequence[str], judges: Judges) -> Iterable[list[str]]:
    prompts = [question_prompt(judges.tokenizer, question) for question in questions]
    asker = Asker(
        Column("anchor", judges.anchor),
        judges.tokenizer,
        prefix=common_prefix(prompts),
        ends=end_tokens(judges.anchor, judges.tokenizer),
        most=judges.most,
    )
    for start in range(0, len(prompts), judges.together):
        if stop_requested():
            raise Cancelled(answered=start, of=len(prompts))
        yield asker.ask(prompts[start : start + judges.together])


def _known(examples: Sequence[Example], judges: Judges) -> list[bool]:
    """Whether any augmenter would rather say each fact than something else."""
    every = [likelihoods(examples, *one, together=judges.together) for one in judges.augmenters]
    return [max(likely) >= KNOWN for likely in zip(*every, strict=True)]


@torch.inference_mode()
def likelihoods(
    examples: Sequence[Example], model: Any, tokenizer: Tokenizer, *, together: int = 16
) -> list[float]:
    """The geometric mean over the tokens of each example's fact, said right after its question."""
    pad = tokenizer.pad_token_id or 0
    rows = []
    for one in examples:
        prompt = question_prompt(tokenizer, one.question)
        rows.append(([*prompt, *encode(tokenizer, one.value or one.expected)], len(prompt)))
    found: list[float] = []
    for start in range(0, len(rows), together):
        batch = pad_right(rows[start : start + together], pad=pad)
        out = model(
            input_ids=batch.ids.to(model.device), attention_mask=batch.mask.to(model.device)
        )
        logs = out.logits.float().log_softmax(-1).cpu()
        for row, (ids, first) in enumerate(rows[start : start + together]):
            said = torch.tensor(ids[first:])
            told = logs[row, first - 1 : len(ids) - 1].gather(-1, said[:, None])
            found.append(float(told.mean().exp()))
    return found
