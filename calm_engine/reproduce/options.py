"""The bridge's options side by side: each trained with some seeds on one task, asked the same.

Knows no task: whoever calls brings the spec of a composition and the questions. What is done is
kept, so that a table of hours can be stopped and gone on with.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from calm_engine.compose import compose
from calm_engine.costs import costs_of
from calm_engine.data import Example, question_prompt
from calm_engine.decks import STEPS
from calm_engine.errors import InputError
from calm_engine.evaluation.asking import Asker, Column, common_prefix
from calm_engine.evaluation.counting import ALL, cells_of
from calm_engine.evaluation.questions import chosen, read_questions
from calm_engine.evaluation.scoring import judged
from calm_engine.families import read_tokenizer
from calm_engine.generation import end_tokens
from calm_engine.modeling import CalmForCausalLM
from calm_engine.process import threads
from calm_engine.specs import BridgeSpec, ComposeSpec, Progress

Tell = Callable[[Progress], None]

WHOLE, BRIDGES, OUTPUT = "composition", "bridges alone", "output path alone"
AT_ONCE = 16  # questions in a batch
LONGER = 4  # times as many steps, for the paper's attention without an aligned path


@dataclass(frozen=True)
class Option:
    """One form of the bridges.

    changes   to the spec's own bridges, by the names of `BridgeSpec`
    longer    how many times as many steps
    control   of `ComposeSpec`; "mismatched" takes another company's augmenter
    """

    name: str
    changes: dict[str, Any] = field(default_factory=dict)
    longer: int = 1
    control: str = "none"

    def spec(self, base: ComposeSpec, seed: int, output: Path, mismatched: Path) -> ComposeSpec:
        """The spec of its training."""
        is_strange = self.control == "mismatched"
        return replace(
            base,
            bridge=replace(base.bridge, **self.changes),
            augmenters=(str(mismatched),) if is_strange else base.augmenters,
            control="none" if is_strange else self.control,
            steps=self.longer * (base.steps or STEPS),
            seed=seed,
            output=str(output),
            work=None,
        )


PAPER = {
    name: value for name, value in BridgeSpec.paper().to_dict().items() if name != "connections"
}
OPTIONS = (
    Option("default"),
    Option("attention alone", {"aligned": False}),
    Option(f"attention alone, {LONGER} times as long", {"aligned": False}, longer=LONGER),
    Option("no positions", {"positions": False}),
    Option("one key/value head", {"kv_heads": 1}),
    Option("no gate", {"gate": False}),
    Option("gate on both states", {"gate_reads": "both"}),
    Option("gates never quite shut", {"shut_below": 0.0}),
    Option("not scaled", {"scaled": False}),
    Option("no bridge dropout", {"dropout": 0.0}),
    Option("no output path", {"output_path": False}),
    Option("the paper's form", PAPER),
    Option("random augmenter", control="random"),
    Option("mismatched augmenter", control="mismatched"),
)


def named(names: Sequence[str] | None) -> list[Option]:
    """The options of these names, in the table's order; all where none are given.

    Raises InputError("options.unknown").
    """
    known = {option.name: option for option in OPTIONS}
    if stray := sorted(set(names or ()) - set(known)):
        raise InputError(
            "options.unknown",
            "there is no such option of the bridges",
            name=stray[0],
            known=", ".join(known),
        )
    return [option for name, option in known.items() if names is None or name in names]


@dataclass(frozen=True)
class Result:
    """What one training of one option came to.

    cells        of `evaluation.cells_of`, a column for each part of the composition
    parameters   that were trained
    cache        bytes of the bridges for each token read
    """

    option: str
    seed: int
    cells: tuple[dict[str, Any], ...]
    parameters: int
    cache: int

    def value(self, column: str, kind: str, slice_: str) -> float:
        """A cell's share of right answers; nan where nothing was asked."""
        for cell in self.cells:
            if (cell["column"], cell["kind"], cell["slice"]) == (column, kind, slice_):
                return float(cell["value"])
        return float("nan")


def compared(
    base: ComposeSpec,
    questions: Path,
    output: Path,
    *,
    seeds: Sequence[int],
    tell: Tell,
    options: Sequence[Option] = OPTIONS,
    mismatched: Path | None = None,
) -> Iterator[Result]:
    """Train and ask every option with every seed; what stands in `output` is not done again.

    mismatched   an augmenter of another company; without one that option is left out
    Raises what composing and reading questions raise.
    """
    rows = chosen(read_questions(questions), base.seed)
    for option in options:
        if option.control == "mismatched" and mismatched is None:
            continue
        for seed in seeds:
            folder = output / option.name.replace(" ", "-").replace("/", "-") / str(seed)
            kept = folder / "result.json"
            if not kept.exists():
                spec = option.spec(base, seed, folder / "composition", mismatched or folder)
                tell(Progress("options", message=f"{option.name}, seed {seed}"))
                result = _result(option, spec, rows, tell)
                kept.write_text(json.dumps(result.__dict__), encoding="utf-8")
            yield Result(**json.loads(kept.read_text(encoding="utf-8")))


def _result(option: Option, spec: ComposeSpec, rows: Sequence[Example], tell: Tell) -> Result:
    for progress in compose(spec):
        tell(progress)
    torch.set_num_threads(threads(spec.threads))
    below = [Path(spec.output) / "augmenter_0"] if spec.control == "random" else spec.augmenters
    model = CalmForCausalLM.from_pretrained(spec.output, anchor=spec.anchor, augmenters=below)
    columns = [
        Column(WHOLE, model),
        Column(BRIDGES, model, output=False),
        Column(OUTPUT, model, bridges=False),
    ]
    tokenizer = read_tokenizer(spec.anchor)
    prompts = [question_prompt(tokenizer, row.question) for row in rows]
    prefix, ends = common_prefix(prompts), end_tokens(model, tokenizer)
    said = {}
    for column in columns:
        tell(Progress("questions", message=column.name))
        asker = Asker(column, tokenizer, prefix=prefix, ends=ends, most=24)
        for row, text in zip(rows, _answers(asker, prompts), strict=True):
            said[column.name, row.id] = text
    right = judged(said, {row.id: row.expected for row in rows})
    cells = cells_of(rows, right, [column.name for column in columns])
    costs = costs_of(model)
    trained, cache = costs.parameters["bridges"], costs.cache["bridges"]
    return Result(option.name, spec.seed, tuple(cells), trained, cache)


def _answers(asker: Asker, prompts: Sequence[list[int]]) -> Iterator[str]:
    for start in range(0, len(prompts), AT_ONCE):
        yield from asker.ask(prompts[start : start + AT_ONCE])


# -- the table -------------------------------------------------------------------------------------


def lines(results: Sequence[Result]) -> Iterator[str]:
    """A Markdown table: each option's mean over its seeds, the lowest and the highest behind it."""
    asked = sorted({(cell["kind"], cell["slice"]) for one in results for cell in one.cells})
    held_out = [(kind, name) for kind, name in asked if name not in (ALL, "seen")]
    heads = [f"{kind}, {name}".replace("_", " ") for kind, name in held_out]
    yield (
        "| option | "
        + " | ".join(heads)
        + " | bridges alone | output path alone |"
        + (" parameters | cache, bytes a token |")
    )
    yield "|---" * (len(heads) + 5) + "|"
    for name in dict.fromkeys(one.option for one in results):
        runs = [one for one in results if one.option == name]
        cells = [_spread([run.value(WHOLE, *of) for run in runs]) for of in held_out]
        parts = [
            _spread([mean(run.value(part, *of) for of in held_out) for run in runs])
            for part in (BRIDGES, OUTPUT)
        ]
        told = [name, *cells, *parts, f"{runs[0].parameters:,}", f"{runs[0].cache:,}"]
        yield "| " + " | ".join(told) + " |"
    seeds = sorted({one.seed for one in results})
    counts = sorted({cell["n"] for one in results for cell in one.cells if cell["slice"] != ALL})
    yield ""
    yield (
        f"Mean (lowest to highest) over the seeds {', '.join(map(str, seeds))}; "
        f"n = {', '.join(map(str, counts))} questions a cell. Parts: mean over the columns."
    )


def _spread(values: Sequence[float]) -> str:
    return f"{mean(values):.2f} ({min(values):.2f} to {max(values):.2f})"
