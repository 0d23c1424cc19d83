"""A step of teaching an augmenter beside a step of transformers' Trainer: same model, same batch.

Each side runs in a process of its own. Ours reads packed rows and scores a part of the vocabulary;
the Trainer gets the same pieces as its own examples would bring them, each a padded row, and the
model's own loss. Both take AdamW steps; what is compared is the time for the same pieces. With an
accelerator a model of a billion parameters takes steps in bfloat16 as well, and the share of the
peak is told: 6 sums a weight and token, of the words only those that the loss is normalised over,
and 12 times layers, width and the tokens in view for attention (PaLM, arXiv 2204.02311, appendix
B).
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments

from calm_engine.bench.apart import in_a_process
from calm_engine.bench.figures import ratio
from calm_engine.bench.models import load_anchor, new_augmenter, size
from calm_engine.capacity import SHAPES, Shape
from calm_engine.data import IGNORED, Piece, collate, pack
from calm_engine.figures import Figure
from calm_engine.loop import Schedule, steps
from calm_engine.optimizers import optimizer_of
from calm_engine.process import threads
from calm_engine.student import Student
from calm_engine.words import Words

ROWS, BLOCK = 6, 400  # of a step, as the demo takes it
SHORTEST, LONGEST = 20, 120  # tokens of a piece
TAKEN, ROUNDS = 6, 3  # steps that are timed in a process, after two; processes of each side
SIDES = ("ours", "trainer")
LARGE = Shape(2048, 24, 16)  # 1.2 billion parameters with SmolLM2's words
LARGE_ROWS = 32  # of its steps
PEAK = 989e12  # bfloat16 sums a second of an H100 or H200, dense: the maker's data sheet


def measure(folder: Path, device: torch.device) -> Iterator[Figure]:
    """How many times as fast a step is, and on an accelerator the share of its peak."""
    told = [{side: _apart(side, folder, device) for side in SIDES} for _ in range(ROUNDS)]
    times = ratio(*([one[side]["seconds"] for one in told] for side in reversed(SIDES)))
    against = "a transformers Trainer step, same model and pieces"
    yield Figure("teaching.speed", times, "ratio", against, 1.1, True)
    tokens = told[0]["ours"]["tokens"]
    per_second = tokens / min(one["ours"]["seconds"] for one in told)
    yield Figure("teaching.tokens", per_second, "tokens/s", f"{device.type}, {ROWS} rows")
    if device.type == "cuda":
        large = _apart("large", folder, device)
        share = large["tokens"] * large["sums"] / large["seconds"] / PEAK
        against = f"the bf16 peak of an H100; {large['weights'] / 1e9:.1f} billion weights"
        yield Figure("teaching.peak_share", share, "ratio", against, 0.45, True)


def _apart(side: str, folder: Path, device: torch.device) -> dict[str, float]:
    return in_a_process("calm_engine.bench.teaching", side, folder, device.type)


def one_side(side: str, folder: Path, device: torch.device) -> dict[str, float]:
    """Seconds of a step, the tokens it reads, sums a token, and the model's weights.

    side   one of `SIDES`, or "large": ours of a large model, in bfloat16
    """
    torch.set_num_threads(threads())
    shape, count = (LARGE, LARGE_ROWS) if side == "large" else (SHAPES[0], ROWS)
    anchor = load_anchor(folder, device)
    model = new_augmenter(anchor, shape).to(torch.float32)  # type: ignore[arg-type]
    model.train()
    rows = _rows(int(model.config.vocab_size), count)
    if side == "trainer":
        seconds = _trainers(model, rows, device)
    else:
        seconds = _ours(model, rows, device, is_short=side == "large")
    return {
        "seconds": seconds,
        "tokens": float(sum(piece.size for row in rows for piece in row)),
        "sums": float(_sums(model, rows)),
        "weights": float(size(model)),
    }


def _sums(model: Any, rows: list[list[Piece]]) -> int:
    """Multiplications and additions for a token, forwards and back, by the formula above."""
    config = model.config
    words = len(_words(model, rows).candidates(0).tokens)
    weights = size(model) + (words - config.vocab_size) * config.hidden_size
    return int(6 * weights + 12 * config.num_hidden_layers * config.hidden_size * BLOCK)


def _words(model: Any, rows: list[list[Piece]]) -> Words:
    """What the loss of a step is normalised over."""
    own = sorted({token for row in rows for piece in row for token in piece.tokens()})
    return Words(torch.tensor(own), int(model.config.vocab_size), seed=0)


def _rows(vocabulary: int, count: int) -> list[list[Piece]]:
    """Pieces of many lengths in full rows: what they say does not matter for speed."""
    chance = torch.Generator().manual_seed(0)
    rows: list[list[Piece]] = []
    pieces: list[Piece] = []
    while len(rows) <= count:
        length = int(torch.randint(SHORTEST, LONGEST, (1,), generator=chance))
        ids = torch.randint(vocabulary, (length,), generator=chance).tolist()
        pieces.append(Piece(tuple(ids), 1, is_asked=False))
        rows = pack(pieces, block=BLOCK, prefix=())
    return rows[:count]


def _ours(model: Any, rows: list[list[Piece]], device: torch.device, *, is_short: bool) -> float:
    """Steps as `augment` takes them.

    is_short   in bfloat16, as with `precision="bfloat16"`
    """
    student = Student(model)
    nn.Module.to(student, device)
    batch = collate(rows, prefix=(), pad=0)
    words = _words(model, rows)
    named = list(model.named_parameters())

    def losses_at(step: int) -> Iterator[Tensor]:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=is_short):
            loss = student(batch, words.candidates(step))
        yield loss

    at = []
    for taken in steps(named, optimizer_of(named), losses_at, Schedule(TAKEN + 2, 1e-3)):
        assert taken.loss > 0
        at.append(_now(device))
    return (at[-1] - at[1]) / TAKEN


def _trainers(model: Any, rows: list[list[Piece]], device: torch.device) -> float:
    """The Trainer as its documentation uses it, with no saving, logging or evaluation."""
    examples = [list(piece.ids) for row in rows for piece in row]

    def padded(batch: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        longest = max(len(one["ids"]) for one in batch)
        ids = torch.zeros(len(batch), longest, dtype=torch.long)
        mask, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
        for row, one in enumerate(batch):
            told = torch.tensor(one["ids"])
            ids[row, : len(told)] = labels[row, : len(told)] = told
            mask[row, : len(told)] = 1
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}

    at: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            at.append(_now(device))

    with tempfile.TemporaryDirectory() as scratch:
        told = TrainingArguments(
            output_dir=scratch,
            max_steps=TAKEN + 2,
            per_device_train_batch_size=len(examples),
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            remove_unused_columns=False,
            use_cpu=device.type == "cpu",
        )
        data: Any = [{"ids": ids} for ids in examples]
        trainer = Trainer(
            model, told, train_dataset=data, data_collator=padded, callbacks=[Clock()]
        )
        trainer.train()
    return (at[-1] - at[1]) / TAKEN


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.monotonic()


if __name__ == "__main__":
    print(json.dumps(one_side(sys.argv[1], Path(sys.argv[2]), torch.device(sys.argv[3]))))
