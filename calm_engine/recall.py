"""What a small model knows: the held-out questions of its study, asked of it as it stands.

Questions in a chat and beginnings of statements, forwards and back, in wordings that no lesson has
(`selfstudy.phrasings`). An answer counts when greedy generation says its words and nothing else, as
in a report card (`evaluation.scoring.is_exact`): a comma less is no other answer. Knows no
training; when to stop is decided in `rising`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from calm_engine.course import Course
from calm_engine.data import Asked, chance_of, piece_of
from calm_engine.errors import InputError
from calm_engine.evaluation.counting import wilson
from calm_engine.evaluation.scoring import is_exact
from calm_engine.probing import Asking
from calm_engine.selfstudy import Lesson
from calm_engine.student import Student
from calm_engine.training import Probe, Written
from calm_engine.wording import of_sample

LOOKED = 144  # questions of a look while it trains
ASKED = 1500  # questions of the last look, whose figures the augmenter keeps
SHOWN = 8  # fixed questions shown with today's answer
RECALL = "recall.json"  # what the augmenter's folder says of its own knowledge
NAMED = 12  # unknown documents that a refusal names
NEAR = 2  # tokens that may be other ones, if most are right, for an answer to be generated

# What a form asks: towards the fact, or from the fact back to what has it.
DIRECT, INVERSE = ("question", "cloze"), ("inverse", "inverse cloze")


@dataclass(frozen=True)
class Mark:
    """One question, whether its answer was right, and what was said."""

    asked: Lesson
    is_right: bool
    said: str


@dataclass(frozen=True)
class Recall:
    """What was asked and what was right."""

    marks: tuple[Mark, ...]

    def share(self, forms: Sequence[str]) -> float | None:
        """The share of right answers among these forms; None where none was asked."""
        told = [one.is_right for one in self.marks if one.asked.form in forms]
        return sum(told) / len(told) if told else None

    def metrics(self) -> dict[str, float]:
        """`recall` forwards, `inverse_recall` back, `known` both; none where nothing was asked."""
        shares = {
            "recall": self.share(DIRECT),
            "inverse_recall": self.share(INVERSE),
            "known": self.share(DIRECT + INVERSE),
        }
        return {name: value for name, value in shares.items() if value is not None}

    def by_document(self) -> dict[str, tuple[int, int]]:
        """For each document the questions that were right and those that were asked."""
        counted: dict[str, list[bool]] = defaultdict(list)
        for one in self.marks:
            counted[one.asked.digest].append(one.is_right)
        return _counts(counted)

    def by_form(self) -> dict[str, tuple[int, int]]:
        """For each form the questions that were right and those that were asked."""
        counted: dict[str, list[bool]] = defaultdict(list)
        for one in self.marks:
            counted[one.asked.form].append(one.is_right)
        return _counts(counted)

    def samples(self) -> tuple[dict[str, str], ...]:
        """The first few, to be shown."""
        return tuple(
            {"question": one.asked.given, "expected": one.asked.said.strip(), "answer": one.said}
            for one in self.marks[:SHOWN]
        )


def chosen(held_out: Sequence[Lesson], most: int, *, seed: int) -> list[Lesson]:
    """At most so many questions, spread evenly over documents and directions; fixed by the seed."""
    chance = chance_of(seed, "recall")
    heaps: dict[tuple[str, bool], list[Lesson]] = defaultdict(list)
    for one in held_out:
        heaps[one.digest, one.form in INVERSE].append(one)
    for heap in heaps.values():
        chance.shuffle(heap)
    kept: list[Lesson] = []
    while heaps and len(kept) < most:
        order = sorted(heaps)
        chance.shuffle(order)
        for key in order[: most - len(kept)]:
            kept.append(heaps[key].pop())
            if not heaps[key]:
                del heaps[key]
    return kept


def ask(
    student: Student,
    lessons: Sequence[Lesson],
    tokenizer: PreTrainedTokenizerBase,
    prefix: Sequence[int],
) -> Recall:
    """Ask these questions of a model as it stands.

    prefix   what all chats begin with (`data.shared_prefix`)
    """
    asked = [Asked(one, piece_of(one, tokenizer, prefix)) for one in lessons]
    return marked(Asking(student, tokenizer, prefix), asked)


def marked(asking: Asking, asked: Sequence[Asked]) -> Recall:
    """What a model says to each of these, and whether that is right.

    One pass shows whose every token is the likeliest: greedy generation says exactly those. Only
    what is nearly right is generated, since its words may still be the expected ones.
    """
    likeliest = list(asking.answers([one.piece for one in asked]))
    marks = [
        Mark(one.lesson, words == _wanted(one), asking.plain(words))
        for one, words in zip(asked, likeliest, strict=True)
    ]
    near = [at for at, one in enumerate(asked) if _is_near(one, likeliest[at])]
    spoken = asking.spoken([asked[at].piece for at in near])
    for at, words in zip(near, spoken, strict=True):
        said, lesson = asking.plain(words), asked[at].lesson
        marks[at] = Mark(lesson, is_exact(said, lesson.said), said)
    return Recall(tuple(marks))


def _wanted(one: Asked) -> list[int]:
    return list(one.piece.ids[one.piece.first :])


def _is_near(one: Asked, likeliest: Sequence[int]) -> bool:
    """Whether an answer to a question is wrong in few of its tokens."""
    other = sum(a != b for a, b in zip(likeliest, _wanted(one), strict=True))
    return (
        one.lesson.ends and one.piece.is_asked and 0 < other <= NEAR and 2 * other < len(likeliest)
    )


def look(student: Student, course: Course) -> Probe:
    """A look at a model in training: its recall, and a few fixed questions with today's answers."""
    lessons = chosen(course.study.held_out, LOOKED, seed=course.seed)
    told = ask(student, lessons, course.tokenizer, course.prefix)
    return Probe(told.metrics(), told.samples())


def look_at(asking: Asking, asked: Sequence[Asked], *, seed: int) -> Probe:
    """The same where only a sample of the documents is asked about."""
    few = chance_of(seed, "look").sample(asked, min(LOOKED, len(asked)))
    told = marked(asking, few)
    return Probe(told.metrics(), told.samples())


# -- what an augmenter's folder says, and the gate ------------------------------------------------


def keep(student: Student, course: Course, folder: Path) -> Written:
    """Ask widely, and write what is known into the augmenter's folder."""
    lessons = chosen(course.study.held_out, ASKED, seed=course.seed)
    return _written(ask(student, lessons, course.tokenizer, course.prefix), folder, {})


def keep_sampled(asking: Asking, asked: Sequence[Asked], of: int, folder: Path) -> Written:
    """The same for a large corpus, of which some documents are asked about.

    of   how many documents there are
    """
    told = marked(asking, asked)
    documents = told.by_document()
    # What is asked of one document is not independent: documents are what was drawn.
    share = told.metrics().get("recall", 0.0)
    low, high = wilson(share * len(documents), len(documents)) if documents else (0.0, 1.0)
    sampled = {"documents": len(documents), "of": of, "low": low, "high": high}
    return _written(told, folder, {"sampled": sampled})


def _written(told: Recall, folder: Path, more: dict[str, Any]) -> Written:
    """Write what is known; of nothing that was asked nothing is written."""
    if not told.marks:
        return Written({}, {})
    documents = told.by_document()
    facts = {"asked": len(told.marks), "forms": told.by_form()} | more
    full = told.metrics() | facts | {"documents": documents}
    (folder / RECALL).write_text(json.dumps(full, indent=2, sort_keys=True), encoding="utf-8")
    return Written(told.metrics(), facts | {"unknown": unknown_in(documents)})


def _counts(marks: Mapping[str, Sequence[bool]]) -> dict[str, tuple[int, int]]:
    """For each name how many were right, and how many were asked."""
    return {name: (sum(told), len(told)) for name, told in sorted(marks.items())}


def unknown_in(documents: Mapping[str, Sequence[int]]) -> list[list[Any]]:
    """The documents of which least is known: [digest, right, asked], the worst first."""
    ordered = sorted(documents.items(), key=lambda one: (one[1][0] / one[1][1], one[0]))
    return [[digest, *told] for digest, told in ordered if told[0] < told[1]][:NAMED]


def require_recall(folder: str | Path, least: float) -> None:
    """Refuse an augmenter that does not know its documents. A bar of 0 asks nothing.

    Raises InputError: "augmenter.recall" with the figures and the documents that it knows least,
    "augmenter.unmeasured" when its folder does not say what it knows.
    """
    if least <= 0:
        return
    name = Path(folder).name
    try:
        told = json.loads((Path(folder) / RECALL).read_text(encoding="utf-8"))
        recall, documents = float(told["recall"]), dict(told["documents"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            "augmenter.unmeasured", "the folder does not say what it knows", which=name
        ) from error
    if recall < least:
        unknown = [
            f"{digest[:12]} ({right}/{asked})" for digest, right, asked in unknown_in(documents)
        ]
        raise InputError(
            "augmenter.recall",
            "the augmenter does not know its documents",
            which=name,
            recall=f"{100 * recall:.0f}",
            least=f"{100 * least:.0f}",
            asked=told.get("asked", 0),
            documents=", ".join(unknown),
            **of_sample(told.get("sampled")),
        )
