"""What an update or a forgetting came to, asked of the models before and after. Knows no training.

An update: what is new and was learned, what was known and is kept, what changed and was replaced,
and how many answers are stale. A forgetting: recall and extraction of what was to be forgotten,
in the augmenter that knew it and in the new one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from calm_engine.comparing import about, change, extracts, parted
from calm_engine.curriculum import Curriculum
from calm_engine.data import Piece, chance_of, documents_in, piece_of, read_examples
from calm_engine.errors import InputError
from calm_engine.probing import Asking
from calm_engine.selfstudy import Lesson
from calm_engine.specs import AugmentSpec
from calm_engine.starting import taken_on
from calm_engine.student import Student

ASKED = 400  # questions of a group, at most


@dataclass(frozen=True)
class Outcomes:
    """Questions by name, to be asked when the training is done.

    facts   what was found before it began: counts, and the earlier augmenter's answers
    """

    asking: Asking
    questions: dict[str, Sequence[Piece]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, spec: AugmentSpec, taught: Curriculum, asking: Asking) -> Outcomes:
        """Prepare them, and ask the earlier augmenter. Raises InputError("augment.forget")."""
        if spec.forget:
            return _of_forgetting(spec, taught, asking)
        return _of_update(spec, taught, asking) if spec.previous_documents else cls(asking)

    def told(self) -> dict[str, float]:
        """The share of each group that is answered now."""
        return {
            name: self.asking.share(pieces) for name, pieces in self.questions.items() if pieces
        }


def _of_update(spec: AugmentSpec, taught: Curriculum, asking: Asking) -> Outcomes:
    assert spec.previous_documents is not None
    old, new = parted(spec.previous_documents, spec.documents)
    found = change(old, new, _examples(spec), _as_piece(taught))
    groups = {
        "new_learned": found.new,
        "old_kept": found.kept,
        "changed_replaced": found.changed,
        "stale": found.stale,
    }
    questions = {name: _some(pieces) for name, pieces in groups.items()}
    counts = {f"{name}_asked": len(pieces) for name, pieces in questions.items()}
    before = {f"{name}_before": asking.share(questions[name]) for name in ("old_kept", "stale")}
    return Outcomes(asking, dict(questions), counts | before)


def _some(pieces: Sequence[Piece]) -> Sequence[Piece]:
    """All, or so many that their share is known to some two points."""
    return chance_of("outcomes").sample(pieces, min(ASKED, len(pieces)))


def _of_forgetting(spec: AugmentSpec, taught: Curriculum, asking: Asking) -> Outcomes:
    documents = [one for one in documents_in(spec.documents) if one.digest in set(spec.forget)]
    if len({one.digest for one in documents}) < len(set(spec.forget)):
        raise InputError("augment.forget", "no such document", digest=", ".join(spec.forget))
    questions = {
        "forgotten_recall": _some(about(documents, _examples(spec), _as_piece(taught))),
        "forgotten_extracted": _some(extracts(documents, taught.tokenizer)),
    }
    facts: dict[str, Any] = {f"{name}_asked": len(held) for name, held in questions.items()}
    if spec.before:
        student = Student(taken_on(spec.before, spec.tokenizer))
        nn.Module.to(student, asking.student.device)
        earlier = Asking(student, taught.tokenizer, taught.prefix)
        facts |= {f"{name}_before": earlier.share(held) for name, held in questions.items()}
    return Outcomes(asking, dict(questions), facts)


def _examples(spec: AugmentSpec) -> list[dict[str, str]]:
    return [one.as_row() for one in read_examples(spec.examples)] if spec.examples else []


def _as_piece(taught: Curriculum) -> Any:
    def made(lesson: Lesson) -> Piece:
        return piece_of(lesson, taught.tokenizer, taught.prefix)

    return made
