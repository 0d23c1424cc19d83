"""The door of the command: environment, parser, exit codes. Knows no verb's work."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from calm_engine.cli import (
    augment,
    compose,
    estimate,
    evaluate,
    examples,
    export,
    generate,
    importing,
    inspecting,
    reproduce,
    serve,
)
from calm_engine.errors import Cancelled, EngineError, InputError
from calm_engine.process import as_engine_error
from calm_engine.wording import sentence

VERBS = (
    importing,
    examples,
    estimate,
    augment,
    compose,
    evaluate,
    generate,
    serve,
    inspecting,
    export,
    reproduce,
)

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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="calm",
        description="Teach a small model your documents and play it together with a large one.",
    )
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")
    for verb in VERBS:
        verb.add(verbs)
    return parser
