"""The command `calm`: the engine's verbs for a terminal. Loads torch only when a verb needs it.

Reads flags and spec files, shows progress and words errors; the work itself is done elsewhere.
Progress goes to standard error and results to standard output, so that both can be piped.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import signal
import sys
import time
import types
import typing
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from calm_engine.errors import Cancelled, EngineError, InputError, InternalError
from calm_engine.process import STOPPER, as_engine_error, threads
from calm_engine.specs import (
    AugmentSpec,
    BridgeSpec,
    ComposeSpec,
    EvaluateSpec,
    Outcome,
    Progress,
    Spec,
)
from calm_engine.wording import sentence

Returned = TypeVar("Returned")

EXIT_INPUT, EXIT_FAULT, EXIT_RESUME = 2, 1, 75

# Nothing is ever fetched: models come from folders, and a missing file is an error, not a download.
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",  # ours are enough
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
}

SPECS: dict[str, type[Spec]] = {
    "augment": AugmentSpec,
    "compose": ComposeSpec,
    "evaluate": EvaluateSpec,
}

# What each field of a spec means, where its name does not say it.
HELP = {
    "output": "folder for the result; it appears only when it is whole",
    "work": "folder for checkpoints; default: beside the output",
    "steps": "optimiser steps; default: chosen from the data",
    "batch_size": "sequences a step",
    "learning_rate": "peak rate; default: chosen by size",
    "checkpoint_every": "steps between checkpoints",
    "keep_checkpoints": "how many checkpoints to keep",
    "device": "auto, cpu or cuda",
    "threads": "torch threads; default: the cores available",
    "tokenizer": "folder of the anchor, whose tokenizer is used",
    "documents": 'JSON lines {"digest", "title", "text"}',
    "examples": 'JSON lines {"id", "question", "answer", "expected", "kind", "entity", "value"}',
    "width": "width of the augmenter; default: chosen from the corpus",
    "block": "tokens in a training block",
    "anchor": "folder of the anchor",
    "augmenters": "folder of an augmenter; give it once for each, in their order",
    "general_share": "share of batches with public text and the bare anchor as target",
    "control": "none, or random: an augmenter of random weights, for comparison",
    "composition": "folder of the composition",
    "questions": 'JSON lines of examples with a "slice"',
    "random": "folder of a composition on a random augmenter, for comparison",
    "max_new_tokens": "longest answer, in tokens",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code: 0, 2 for bad input, 1 for a fault, 75 to resume."""
    os.environ.update(OFFLINE)
    parser = _parser()
    args = parser.parse_args(argv)
    try:
        args.verb(args)
    except Cancelled as ending:
        again = "Run the same command again to go on from its last checkpoint."
        return _complain(f"{sentence(ending)} {again}", EXIT_RESUME)
    except EngineError as error:
        return _complain(
            sentence(error), EXIT_INPUT if isinstance(error, InputError) else EXIT_FAULT
        )
    except KeyboardInterrupt:
        return _complain("Stopped.", 130)
    except BrokenPipeError:  # whoever read our output has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAULT
    except Exception as error:
        if args.debug:
            raise
        known = as_engine_error(error)
        hint = "" if known.code == "disk.full" else " Run it again with --debug to see where."
        return _complain(sentence(known) + hint, EXIT_FAULT)
    return 0


def _complain(words: str, code: int) -> int:
    sys.stderr.write(f"calm: {words}\n")
    return code


def _say(words: str) -> None:
    sys.stdout.write(f"{words}\n")


# -- the verbs -------------------------------------------------------------------------------------


def _import(args: argparse.Namespace) -> None:
    from calm_engine.importing import import_anchor  # noqa: PLC0415 loads torch

    _report(import_anchor(Path(args.source), Path(args.output)), args)


def _export(args: argparse.Namespace) -> None:
    from calm_engine.export import export  # noqa: PLC0415 loads torch

    anchor = Path(args.anchor) if args.anchor else None
    augmenters = [Path(one) for one in args.augmenter] if args.augmenter else None
    _report(export(Path(args.folder), Path(args.output), anchor, augmenters), args)


def _estimate(args: argparse.Namespace) -> None:
    spec = _spec(args)  # refused before torch is loaded
    _check_paths(spec)
    from calm_engine.api import estimate  # noqa: PLC0415 loads torch

    told = estimate(spec)
    if args.json:
        _say(told.to_json())
        return
    _say(f"time    about {_span(told.seconds)} (measured on this machine), {told.steps} steps")
    _say(f"memory  {_size(told.memory_bytes)}")
    if told.device_memory_bytes:
        _say(f"device  {_size(told.device_memory_bytes)}")
    _say(f"disk    {_size(told.disk_bytes)}")


def _run(args: argparse.Namespace) -> None:
    spec = _spec(args)  # refused before torch is loaded
    _check_paths(spec)
    import torch  # noqa: PLC0415 loads slowly

    from calm_engine import api  # noqa: PLC0415 loads torch

    torch.set_num_threads(threads(spec.threads))
    runs: dict[str, Callable[[Any], Generator[Progress, None, Outcome]]]
    runs = {"augment": api.augment, "compose": api.compose, "evaluate": api.evaluate}
    with _progress() as show:
        outcome = _follow(runs[args.name](spec), show)
    _report(outcome, args)


def _generate(args: argparse.Namespace) -> None:
    import torch  # noqa: PLC0415 loads slowly

    from calm_engine import api, drafting, generation  # noqa: PLC0415 loads torch
    from calm_engine.data import chat_prompt  # noqa: PLC0415 loads torch
    from calm_engine.influence import influence  # noqa: PLC0415 loads torch

    ahead = None if args.draft is None else drafting.Drafting(args.draft, args.confidence)
    torch.set_num_threads(threads(args.threads))
    model, tokenizer = api.load(args.folder, args.anchor, args.augmenter or None)
    said = [{"role": "user", "content": args.prompt}]
    prompt = tokenizer(args.prompt)["input_ids"] if args.plain else chat_prompt(tokenizer, said)
    how = generation.Sampling(
        max_new_tokens=args.max_tokens,
        temperature=args.temperature,
        top_p=args.top_p,
        seed=args.seed,
        gate=args.gate,
    )
    if ahead is None:
        tokens = _typed(generation.answer(model, tokenizer, prompt, how))
    else:
        told = _typed(drafting.answer_drafted(model, tokenizer, prompt, how, ahead))
        tokens = told.tokens
        sys.stderr.write(
            f"{told.proposed} tokens drafted and {told.accepted} of them accepted; "
            f"{told.passes} passes of the anchor for {len(tokens)} tokens\n"
        )
    if args.influence:
        ids = torch.tensor([[*prompt, *tokens]], device=model.device)
        _show_influence(influence(model, ids, len(prompt), gate=args.gate), tokenizer)


def _typed(pieces: Generator[Any, None, Returned]) -> Returned:
    """Write an answer as it comes; what its generator returned at the end."""
    while True:
        try:
            piece = next(pieces)
        except StopIteration as end:
            _say("")
            returned: Returned = end.value
            return returned
        sys.stdout.write(piece.text)
        sys.stdout.flush()


def _show_influence(told: Sequence[Any], tokenizer: Any) -> None:
    """A line for each token; for each augmenter its share and the most that a bridge added."""
    count = len(told[0].augmenters)
    parts = "".join(f"{f'share {i}':>9}{f'added {i}':>9}" for i in range(count))
    _say(f"{'token':<16}{'together':>10}{'no bridge':>10}{'anchor':>10}{parts}")
    for one in told:
        parts = "".join(
            f"{part.share:>9.3f}{max((b.added for b in part.bridges), default=0.0):>9.3f}"
            for part in one.augmenters
        )
        text = json.dumps(tokenizer.decode([one.token]), ensure_ascii=False)
        _say(f"{text:<16}{one.logprob:>10.3f}{one.unbridged:>10.3f}{one.anchor:>10.3f}{parts}")


def _serve(args: argparse.Namespace) -> None:
    if args.name == "anchor":
        raise InputError("server.name")
    _need_folders(args.composition, args.anchor, *args.augmenter)
    from calm_engine.serving.server import Serving, serve  # noqa: PLC0415 loads torch

    serve(
        Serving(
            composition=args.composition,
            anchor=args.anchor,
            augmenters=tuple(args.augmenter),
            name=args.name,
            host=args.host,
            port=args.port,
            secret_file=args.secret_file,
            device=args.device,
            threads=args.threads,
            rows=args.rows,
            queue=args.queue,
            drain_seconds=args.drain,
            events=args.events,
        )
    )


def _inspect(args: argparse.Namespace) -> None:
    from calm_engine.inspection import facts_of, verify_parents  # noqa: PLC0415 not for --help

    facts = facts_of(Path(args.folder))
    if args.verify:
        facts["verified"] = verify_parents(Path(args.folder), args.anchor, args.augmenter)
    if args.json:
        _say(json.dumps(facts, indent=2, sort_keys=True))
        return
    for name, value in facts.items():
        for line in value if isinstance(value, list) else [value]:
            _say(f"{name:<12} {line}")


def _reproduce(args: argparse.Namespace) -> None:
    from calm_engine.reproduce.run import FULL, QUICK, reproduce  # noqa: PLC0415 loads torch

    form = QUICK if args.quick else FULL
    output = Path(args.output) if args.output else None
    table = reproduce(form, args.seed, output, _Lines().show)
    bars = table.bars(form.wanted)
    for line in (*table.lines(), *(bar.as_json() for bar in bars)):
        _say(line)
    if missed := [bar.name for bar in bars if not bar.is_met]:
        raise InternalError("reproduce.bars", missed=", ".join(missed))


# -- specs from flags and files --------------------------------------------------------------------


def _spec(args: argparse.Namespace) -> Any:
    """The spec of a run: the file's fields, flags over them. Raises InputError naming fields."""
    kind = SPECS[args.name]
    values: dict[str, Any] = {}
    if args.spec:
        values = json.loads(_object_in(args.spec))
    for field in dataclasses.fields(kind):
        given = getattr(args, field.name, None)
        if given is not None:
            values[field.name] = given
    if kind is ComposeSpec:
        _add_bridge(values, args)
    values.setdefault("output", "")
    for name in _required(kind):
        if name not in values:
            raise InputError("spec.value", f"`--{name}` must be given", fields=name)
    return kind.from_dict(values)


def _object_in(path: str) -> str:
    """The text of a file that holds one JSON object."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        values = json.loads(text)
    except (OSError, ValueError) as error:
        raise InputError("spec.json", f"The spec {path} cannot be read as JSON: {error}") from error
    if not isinstance(values, dict):
        raise InputError("spec.json", f"The spec {path} must hold one JSON object")
    return text


def _add_bridge(values: dict[str, Any], args: argparse.Namespace) -> None:
    if args.paper:
        values["bridge"] = BridgeSpec.paper().to_dict()
    if args.connections:
        values["bridge"] = {**values.get("bridge", {}), "connections": _pairs(args.connections)}


def _pairs(text: str) -> list[list[int]]:
    """Read "2:9,5:19" as pairs of layers."""
    try:
        return [[int(a), int(b)] for a, b in (pair.split(":") for pair in text.split(","))]
    except ValueError as error:
        raise InputError("spec.value", "`--connections` must look like 2:9,5:19") from error


def _required(kind: type[Spec]) -> list[str]:
    unset = dataclasses.MISSING
    fields = dataclasses.fields(kind)
    return [f.name for f in fields if f.default is unset and f.default_factory is unset]


def _check_paths(spec: Any) -> None:
    """Folders and files that a run reads are there. Raises "anchor.missing" and "data.file"."""
    folders = [getattr(spec, name, None) for name in ("tokenizer", "anchor", "composition")]
    _need_folders(*filter(None, folders), *getattr(spec, "augmenters", ()))
    for name in ("documents", "examples", "questions"):
        path = getattr(spec, name, None)
        if path and not Path(path).is_file():
            raise InputError("data.file", path=path)


def _need_folders(*folders: str) -> None:
    for folder in folders:
        if not Path(folder).is_dir():
            raise InputError("anchor.missing", path=folder)


# -- progress --------------------------------------------------------------------------------------


def _follow(work: Generator[Progress, None, Outcome], show: Callable[[Progress], None]) -> Outcome:
    """Drive a run to its end. Raises Cancelled when it was asked to stop and kept a checkpoint."""
    with _stoppable():
        while True:
            try:
                progress = next(work)
            except StopIteration as end:
                outcome: Outcome = end.value
                return outcome
            show(progress)


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """The first SIGINT or SIGTERM is a wish that the run hears, the second ends it at once."""

    def note(number: int, _frame: types.FrameType | None) -> None:
        if STOPPER.is_asked:
            raise KeyboardInterrupt
        STOPPER.ask()
        name = signal.Signals(number).name
        sys.stderr.write(f"\n{name}: stopping at the next step; once more stops at once.\n")

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        STOPPER.clear()
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[Progress], None]]:
    """A way to show progress: bars on a terminal, a line now and then elsewhere."""
    if not sys.stderr.isatty():
        yield _Lines().show
        return
    try:
        from rich.console import Console  # noqa: PLC0415 a nicety that may be absent
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn  # noqa: PLC0415
        from rich.progress import Progress as Bars  # noqa: PLC0415
    except ImportError:
        yield _Lines().show
        return
    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[told]}"),
    )
    with Bars(*columns, console=Console(stderr=True)) as bars:
        stages: dict[str, Any] = {}

        def show(progress: Progress) -> None:
            if progress.stage not in stages:
                stages[progress.stage] = bars.add_task(progress.stage, total=None, told="")
            bars.update(
                stages[progress.stage],
                completed=progress.step,
                total=progress.total or None,
                told=_told(progress),
            )

        yield show


class _Lines:
    """Progress for logs: each new stage, and then at most one line in five seconds."""

    def __init__(self) -> None:
        self._stage, self._at = "", 0.0

    def show(self, progress: Progress) -> None:
        now = time.monotonic()
        is_last = progress.step == progress.total > 0
        if progress.stage == self._stage and now - self._at < 5.0 and not is_last:
            return
        self._stage, self._at = progress.stage, now
        count = f" {progress.step}/{progress.total}" if progress.total else ""
        sys.stderr.write(f"{progress.stage}{count} {_told(progress)}".rstrip() + "\n")


def _told(progress: Progress) -> str:
    figures = [f"{name} {value:.3g}" for name, value in list(progress.metrics.items())[:3]]
    left = [] if progress.eta_seconds is None else [f"{_span(progress.eta_seconds)} left"]
    return ", ".join([*([progress.message] if progress.message else []), *figures, *left])


def _report(outcome: Outcome, args: argparse.Namespace) -> None:
    if args.json:
        _say(outcome.to_json())
        return
    _say(f"{outcome.kind} ready: {outcome.folder}")
    _say(f"digest {outcome.digest}")
    for name, value in sorted(outcome.metrics.items()):
        _say(f"{name:<48} {_number(value)}")


def _number(value: float) -> str:
    """A count in full, anything else to four digits."""
    return f"{value:,.0f}" if float(value).is_integer() and value > 1 else f"{value:.4g}"


def _span(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return (
        f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
    )


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


# -- the parser ------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="calm",
        description="Teach a small model your documents and play it together with a large one.",
    )
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")
    for add in _VERBS:
        add(verbs)
    return parser


def _verb(
    verbs: Any, name: str, verb: Callable[[argparse.Namespace], None], *, told: str, example: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(
        name,
        help=told,
        description=told[0].upper() + told[1:] + ".",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(verb=verb, name=name)
    parser.add_argument("--debug", action="store_true", help="show where a fault happened")
    return parser


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def _add_import(verbs: Any) -> None:
    parser = _verb(
        verbs,
        "import",
        _import,
        told="bring an open model in: a folder of safetensors, or a GGUF file",
        example="calm import SmolLM2-135M-Instruct.gguf --output models/smollm2",
    )
    parser.add_argument("source", help="folder or .gguf file")
    parser.add_argument("--output", required=True, help=HELP["output"])
    _add_json(parser)


def _add_export(verbs: Any) -> None:
    parser = _verb(
        verbs,
        "export",
        _export,
        told="write a composition with its parents inside, as one folder",
        example="calm export models/together --anchor models/smollm2 --augmenter models/ours "
        "--output models/alone",
    )
    parser.add_argument("folder", help=HELP["composition"])
    parser.add_argument("--output", required=True, help=HELP["output"])
    _add_parents(parser, required=False)
    _add_json(parser)


def _add_estimate(verbs: Any) -> None:
    parser = _verb(
        verbs,
        "estimate",
        _estimate,
        told="say how long a run will take and what it needs",
        example="calm estimate compose --spec compose.json",
    )
    parser.add_argument("name", choices=("augment", "compose"), help="the training")
    parser.add_argument("--spec", required=True, metavar="FILE", help="the run's spec, JSON")
    parser.set_defaults(paper=False, connections=None)
    _add_json(parser)


def _add_runs(verbs: Any) -> None:
    augment = _verb(
        verbs,
        "augment",
        _run,
        told="train a small model on documents",
        example="calm augment --tokenizer models/smollm2 --documents corpus.jsonl "
        "--output models/ours",
    )
    compose = _verb(
        verbs,
        "compose",
        _run,
        told="train the bridges between an anchor and augmenters",
        example="calm compose --anchor models/smollm2 --augmenter models/ours "
        "--examples questions.jsonl --output models/together",
    )
    evaluate = _verb(
        verbs,
        "evaluate",
        _run,
        told="ask one question set of a composition, its parents and its controls",
        example="calm evaluate --composition models/together --anchor models/smollm2 "
        "--augmenter models/ours --questions held-out.jsonl --output report",
    )
    for name, parser in (("augment", augment), ("compose", compose), ("evaluate", evaluate)):
        parser.add_argument("--spec", metavar="FILE", help="JSON; flags are laid over it")
        _add_fields(parser, SPECS[name])
        _add_json(parser)
    compose.add_argument("--connections", metavar="A:B,...", help="augmenter to anchor layers")
    compose.add_argument("--paper", action="store_true", help="the paper's exact form of bridge")


def _add_fields(parser: argparse.ArgumentParser, kind: type[Spec]) -> None:
    """A flag for each plain field of a spec; what is not given stays at the spec's default."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        told = HELP.get(field.name, field.name.replace("_", " "))
        flag = f"--{field.name.replace('_', '-')}"
        if field.name == "augmenters":
            parser.add_argument(
                "--augmenter", dest=field.name, action="append", metavar="FOLDER", help=told
            )
        elif (plain := _plain(hints[field.name])) is not None:
            parser.add_argument(flag, type=plain, metavar=plain.__name__.upper(), help=told)


def _plain(hint: Any) -> type | None:
    """str, int or float inside a hint such as `int | None`; None for anything richer."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return next((kind for kind in (str, int, float) if kind in options), None)


def _add_parents(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument("--anchor", required=required, metavar="FOLDER", help=HELP["anchor"])
    parser.add_argument(
        "--augmenter",
        action="append",
        required=required,
        metavar="FOLDER",
        help=HELP["augmenters"],
    )


def _add_generate(verbs: Any) -> None:
    parser = _verb(
        verbs,
        "generate",
        _generate,
        told="answer one prompt",
        example="calm generate models/together --anchor models/smollm2 --augmenter models/ours "
        '"Where is the MX-4 made?"',
    )
    parser.add_argument("folder", help="composition, or any model folder")
    parser.add_argument("prompt", help="the question")
    _add_parents(parser, required=False)
    parser.add_argument("--gate", type=float, default=1.0, help="0: the anchor alone; default 1")
    parser.add_argument("--max-tokens", type=int, default=256, help="longest answer; default 256")
    parser.add_argument("--temperature", type=float, default=0.0, help="default 0: the likeliest")
    parser.add_argument("--top-p", type=float, default=1.0, help="share of probability kept")
    parser.add_argument("--seed", type=int, help="repeats a drawn answer")
    parser.add_argument("--plain", action="store_true", help="continue the text; no chat template")
    parser.add_argument(
        "--draft", type=int, metavar="K", help="the augmenter drafts K tokens; same words, sooner"
    )
    parser.add_argument(
        "--confidence",
        type=float,
        default=0.5,
        help="a draft ends before a token that the augmenter gives less; default 0.5",
    )
    parser.add_argument(
        "--influence",
        action="store_true",
        help="for each token its log-probability with the parts on and off, and their weight",
    )
    parser.add_argument("--threads", type=int, help=HELP["threads"])


def _add_serve(verbs: Any) -> None:
    parser = _verb(
        verbs,
        "serve",
        _serve,
        told="serve a composition and its bare anchor over the OpenAI protocol",
        example="calm serve --composition models/together --anchor models/smollm2 "
        "--augmenter models/ours --name ours --port 8100 --secret-file secret",
    )
    parser.add_argument("--composition", required=True, metavar="FOLDER", help=HELP["composition"])
    _add_parents(parser, required=True)
    parser.add_argument("--name", required=True, help="the composition's name among the models")
    parser.add_argument("--host", default="127.0.0.1", help="default 127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="default 8000; 0: any free one")
    parser.add_argument("--secret-file", metavar="FILE", help="the bearer's secret, one line")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--threads", type=int, help=HELP["threads"])
    parser.add_argument("--rows", type=int, default=16, help="answers at once; default 16")
    parser.add_argument("--queue", type=int, default=64, help="requests that may wait; default 64")
    parser.add_argument("--drain", type=int, default=30, help="seconds to finish on SIGTERM")
    parser.add_argument("--events", action="store_true", help="print states as JSON lines")


def _add_inspect(verbs: Any) -> None:
    parser = _verb(
        verbs,
        "inspect",
        _inspect,
        told="say what a model folder is, and check that it is whole",
        example="calm inspect models/together --verify --anchor models/smollm2 "
        "--augmenter models/ours",
    )
    parser.add_argument("folder", help="composition, augmenter or anchor")
    parser.add_argument("--verify", action="store_true", help="compare every file's digest")
    _add_parents(parser, required=False)
    _add_json(parser)


def _add_reproduce(verbs: Any) -> None:
    parser = _verb(
        verbs,
        "reproduce",
        _reproduce,
        told="make a table of the paper again, from nothing",
        example="calm reproduce key-value --quick",
    )
    parser.add_argument("table", choices=("key-value",), help="the table")
    parser.add_argument("--quick", action="store_true", help="smaller, with lower bars")
    parser.add_argument("--seed", type=_natural, default=1, help="default 1")
    parser.add_argument("--output", metavar="FOLDER", help="keep the four models there")


def _natural(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError(text)
    return number


_VERBS = (
    _add_import,
    _add_estimate,
    _add_runs,
    _add_generate,
    _add_serve,
    _add_inspect,
    _add_export,
    _add_reproduce,
)


if __name__ == "__main__":
    sys.exit(main())
