"""The anchor with the passage in view, as a teacher of what a composition says without one.

For each example its likeliest tokens at every place of the answer are read once and kept on disk
while the run lasts. It is followed only where it would say the answer itself: else it teaches what
it does not know. Knows no steps. Source: prompt distillation (docs/engine.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from calm_engine.data import IGNORED, Example, Padded, Sequenced, pad_right, reading_prompt
from calm_engine.evaluation.retrieval import Library
from calm_engine.lessons import Lessons
from calm_engine.modeling import CalmForCausalLM
from calm_engine.ranks import Ranks
from calm_engine.sieve import passages_for

LIKELIEST = 32  # tokens kept at each place: nearly all that the teacher thinks of
FOLLOWED = 0.5  # geometric mean of an answer's likelihood from which it is followed
TOGETHER = 16  # examples that are read at once and share a file


@dataclass(frozen=True)
class Taught:
    """What the teacher says where some examples have something to be said, one after another.

    ids, logs   (targets, LIKELIEST) its tokens, and their log-probabilities among themselves
    follows     (targets,) bool
    """

    ids: Tensor
    logs: Tensor
    follows: Tensor


class Teacher:
    """What the bare anchor says to each example with the passage before the question.

    Files go into `folder`; those of an earlier attempt at the same run are taken as they are.
    """

    def __init__(
        self, model: CalmForCausalLM, lessons: Lessons, library: Library, folder: Path
    ) -> None:
        self.model, self.lessons, self.folder = model, lessons, folder
        self.sequences = [
            self._reading(one, sequence, library)
            for one, sequence in zip(lessons.examples, lessons.sequences, strict=True)
        ]

    @property
    def groups(self) -> int:
        return -(-len(self.sequences) // TOGETHER)

    def fill(self, ranks: Ranks) -> Iterator[None]:
        """Read what is not there yet, a file at each demand."""
        for number in range(self.groups):
            if number % ranks.count == ranks.rank:
                self._file(number)
            yield
        ranks.wait()

    def taught(self, chosen: Sequence[int]) -> Taught:
        """Of these examples, in their order."""
        rows: list[tuple[Tensor, Tensor, Tensor]] = []
        for at in chosen:
            with safe_open(self._file(at // TOGETHER), "pt", device=str(self.model.device)) as held:
                ids, logs = held.get_tensor(f"{at}.ids").long(), held.get_tensor(f"{at}.logs")
                likely = held.get_tensor(f"{at}.likely")
            rows.append((ids, logs, (likely >= FOLLOWED).expand(len(ids))))
        return Taught(*(torch.cat(column) for column in zip(*rows, strict=True)))

    def share_followed(self) -> float:
        """The share of the examples on which it is followed; all must have been read."""
        counts = [bool(self.taught([at]).follows[0]) for at in range(len(self.sequences))]
        return sum(counts) / max(1, len(counts))

    def _reading(self, one: Example, sequence: Sequenced, library: Library) -> Sequenced:
        """The example behind as many of its passages as there is room for."""
        tokens, first = sequence
        answer, passages = tokens[first:], passages_for(one, library)
        room = self.model.streams.limit - len(answer)
        asked = reading_prompt(self.lessons.tokenizer, one.question, passages, room=room)
        return [*asked, *answer], len(asked)

    def _file(self, number: int) -> Path:
        path = self.folder / f"{number:06}.safetensors"
        if not path.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            aside = path.with_suffix(".part")
            first = number * TOGETHER
            save_file(self._read(range(first, min(first + TOGETHER, len(self.sequences)))), aside)
            aside.rename(path)
        return path

    @torch.no_grad()
    def _read(self, group: Sequence[int]) -> dict[str, Tensor]:
        batch = pad_right([self.sequences[at] for at in group], pad=self.lessons.end)
        device = self.model.device
        out = self.model(
            batch.ids.to(device),
            batch.mask.to(device),
            labels=batch.labels.to(device),
            gate=0.0,
        )
        logs = out.logits.float().log_softmax(-1).cpu()
        said = wanted_of(batch)
        own = logs.gather(-1, said[:, None])[:, 0]
        best = logs.topk(min(LIKELIEST, logs.shape[-1]))
        among = best.values.log_softmax(-1)
        found: dict[str, Tensor] = {}
        begin = 0
        for at in group:
            tokens, first = self.sequences[at]
            here = slice(begin, begin + len(tokens) - first)
            found[f"{at}.ids"] = best.indices[here].to(torch.int32).contiguous()
            found[f"{at}.logs"] = among[here].contiguous()
            found[f"{at}.likely"] = own[here].mean().exp()
            begin = here.stop
        return found


def wanted_of(batch: Padded) -> Tensor:
    """(targets,) the tokens that are to be said, row after row, as logits at targets stand."""
    return batch.labels[batch.labels != IGNORED]


def followed(logits: Tensor, batch: Padded, taught: Taught, share: float) -> Tensor:
    """Mean over the targets of cross-entropy and, where the teacher is followed, KL, in nats.

    logits   (targets, vocabulary)
    share    of the teacher in the loss of a target on which it is followed
    """
    logs = logits.float().log_softmax(-1)
    own = -logs.gather(-1, wanted_of(batch).to(logs.device)[:, None])[:, 0]
    apart = (taught.logs.exp() * (taught.logs - logs.gather(-1, taught.ids))).sum(-1)
    weight = share * taught.follows.to(logs.dtype)
    return ((1 - weight) * own + weight * apart).mean()
