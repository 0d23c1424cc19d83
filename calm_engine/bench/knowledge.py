"""Two hundred made-up devices with five facts each: does a small model know them, both ways?

Seeded; written as sheets, a table and sentences. Asked in wordings that no lesson has.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from calm_engine.bench.taught import train
from calm_engine.course import plan
from calm_engine.figures import Figure
from calm_engine.recall import DIRECT, INVERSE, Recall
from calm_engine.specs import AugmentSpec

DEVICES, SEED = 200, 1
MOST_SECONDS = 960.0  # of a core: eight minutes on two
PLACES = ("Lisbon", "Oslo", "Lima", "Cairo", "Quito", "Turin", "Malmo", "Perth", "Kyoto", "Leeds")
COLOURS = ("red", "green", "blue", "grey", "white", "black", "orange", "violet")
STARTS, MIDDLES, ENDS = ("br", "d", "gr", "k", "l", "m", "pr", "s", "t", "v"), "aeiou", "lmnrst"


def devices(count: int = DEVICES, seed: int = SEED) -> list[dict[str, str]]:
    """Names and facts: two attributes by which each one is found, three that many share."""
    chance = random.Random(f"devices {seed}")  # noqa: S311 - a made-up world, not a secret
    names = _words(chance, count)
    owners = _words(chance, count // 2)
    return [
        {
            "Name": name,
            "Part number": f"{chance.randrange(100, 999)}-{number:03}",
            "Inspector": owners[number // 2],
            "City of manufacture": chance.choice(PLACES),
            "Housing colour": chance.choice(COLOURS),
            "Year introduced": str(chance.randrange(1980, 2024)),
        }
        for number, name in enumerate(names)
    ]


def _words(chance: random.Random, count: int) -> list[str]:
    found: dict[str, None] = {}
    while len(found) < count:
        parts = (chance.choice(STARTS) + chance.choice(MIDDLES) for _ in range(3))
        found["".join((*parts, chance.choice(ENDS))).capitalize()] = None
    return list(found)


def write_documents(path: Path) -> None:
    """One table of all, and sheets of twenty with two sentences about each."""
    made = devices()
    keys = list(made[0])
    table = "\n".join(",".join(row) for row in (keys, *(list(one.values()) for one in made)))
    groups = [made[at : at + 20] for at in range(0, len(made), 20)]
    sheets = ("\n".join(map(_sheet, group)) for group in groups)
    texts = [("catalogue", table), *((f"sheets {n}", text) for n, text in enumerate(sheets, 1))]
    rows = (
        {"digest": hashlib.sha256(text.encode()).hexdigest(), "title": title, "text": text}
        for title, text in texts
    )
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


def _sheet(one: dict[str, str]) -> str:
    lines = [f"{key}: {value}" for key, value in list(one.items())[1:]]
    told = f"The {one['Name']} is made in {one['City of manufacture']}."
    return "\n".join((f"## {one['Name']}", "", *lines, "", told, ""))


def measure(
    tokenizer: Path, scratch: Path, *, seconds: float, optimizer: str = "auto"
) -> Iterator[Figure]:
    """Recall forwards and back after so many core-seconds, asked of everything.

    optimizer   as of an `AugmentSpec`
    """
    documents = scratch / "devices.jsonl"
    write_documents(documents)
    spec = AugmentSpec(
        output=str(scratch),
        tokenizer=str(tokenizer),
        documents=str(documents),
        optimizer=optimizer,
    )
    course = plan(spec)
    torch.manual_seed(spec.seed)
    taught = train(spec, course, course.study.held_out, seconds=seconds)
    for one in taught.looks:
        print(
            f"{one.seconds:.0f} s: recall {one.recall:.3f}, inverse {one.inverse:.3f}", flush=True
        )
    last, told = taught.looks[-1], taught.recall
    asked = f"{len(told.marks)} held-out questions on {DEVICES} devices"
    to_the_sign = [f"{asked}, to the sign {_same(told, forms):.3f}" for forms in (DIRECT, INVERSE)]
    yield Figure("knowledge.recall", last.recall, "share", to_the_sign[0], 0.98, at_least=True)
    yield Figure("knowledge.inverse", last.inverse, "share", to_the_sign[1], 0.9, at_least=True)
    met = f"{taught.steps} steps, {taught.rounds} rounds, {taught.parameters / 1e6:.1f}M weights"
    yield Figure("knowledge.core_seconds", last.seconds, "seconds", met, MOST_SECONDS)


def _same(told: Recall, forms: Sequence[str]) -> float:
    """The share of answers of these forms that are the expected ones in every sign."""
    same = [one.said == one.asked.said.strip() for one in told.marks if one.asked.form in forms]
    return sum(same) / max(1, len(same))
