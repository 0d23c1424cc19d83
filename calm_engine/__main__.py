"""What a launcher starts: one verb, from a spec file to an events file. Knows no verb's insides.

    accelerate launch --module calm_engine augment --spec spec.json --events events-3.jsonl \\
        --epoch 3 --parent-pid 4711

The events file gets one line of JSON for each piece of progress and a last one for how it ended:
{"type": "progress" | "outcome", ...the fields of that noun} or
{"type": "error", "code", "message", "facts", "fault": "input" | "internal" | "none"}.
Exit status: 0 done, 75 stopped on SIGTERM at a checkpoint (start again to go on), 2 the input is at
fault, 1 anything else.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, Self

from calm_engine import process
from calm_engine.errors import Cancelled, InputError
from calm_engine.specs import (
    AugmentSpec,
    ComposeSpec,
    EvaluateSpec,
    Outcome,
    Progress,
    TrialSpec,
)

DONE, FAILED, REFUSED = 0, 1, 2
STOPPED = os.EX_TEMPFAIL  # 75: try again later

VERBS: dict[str, type[AugmentSpec] | type[ComposeSpec] | type[EvaluateSpec]] = {
    "augment": AugmentSpec,
    "compose": ComposeSpec,
    "evaluate": EvaluateSpec,
    "estimate": TrialSpec,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit status."""
    args = _parser().parse_args(arguments)
    process.die_with_parent(args.parent_pid)
    process.STOPPER.listen()
    with Events(args.events) as events:
        try:
            outcome = _run(args.verb, args.spec, events)
        except Exception as error:  # noqa: BLE001  the last line must be written whatever it was
            return _told(error, events)
        events.write("outcome", outcome.to_dict())
    return DONE


def _run(verb: str, path: Path, events: Events) -> Outcome:
    spec = VERBS[verb].from_file(path)  # refused before torch is loaded
    import torch  # noqa: PLC0415 loads slowly

    from calm_engine import api  # noqa: PLC0415 loads torch

    torch.set_num_threads(process.threads(spec.threads))
    if verb == "estimate":
        assert isinstance(spec, TrialSpec)
        return Outcome("estimate", "", "", facts={"estimate": api.estimate(spec).to_dict()})
    work: Generator[Progress, None, Outcome] = getattr(api, verb)(spec)
    while True:
        try:
            progress = next(work)
        except StopIteration as end:
            outcome: Outcome = end.value
            return outcome
        events.write("progress", progress.to_dict())


def _told(error: Exception, events: Events) -> int:
    """Write how it ended; what only we can mend leaves its traceback in the log."""
    known = process.as_engine_error(error)
    is_stopped = isinstance(known, Cancelled)
    is_input = isinstance(known, InputError)
    if not (is_stopped or is_input):
        traceback.print_exception(error, file=sys.stderr)
    fault = "none" if is_stopped else "input" if is_input else "internal"
    told = {"code": known.code, "message": known.message, "facts": known.facts, "fault": fault}
    events.write("error", told)
    return STOPPED if is_stopped else REFUSED if is_input else FAILED


class Events:
    """The file that a worker follows: appended to, a whole line at a time."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, kind: str, told: dict[str, Any]) -> None:
        """Append one event. Facts that JSON does not know, such as paths, are written as text."""
        line = json.dumps({"type": kind, **told}, default=str)
        if process.is_first():
            self._file.write(line + "\n")
            self._file.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m calm_engine", description=__doc__)
    parser.add_argument("verb", choices=sorted(VERBS))
    parser.add_argument("--spec", type=Path, required=True, help="the spec, a JSON file")
    parser.add_argument("--events", type=Path, required=True, help="where to append the news")
    # Not used by us: it shows in the process list which attempt of the run this is.
    parser.add_argument("--epoch", type=int, required=True, help="the attempt's number")
    parser.add_argument("--parent-pid", type=int, required=True, help="the launcher's process id")
    return parser


if __name__ == "__main__":
    sys.exit(main())
