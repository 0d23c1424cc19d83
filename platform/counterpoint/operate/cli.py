"""`counterpoint VERB`: parses what was asked and hands over. Knows no verb's work."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from calm_engine.errors import EngineError, InputError
from calm_engine.wording import sentence
from counterpoint import env
from counterpoint.operate import processes

Verb = Callable[[argparse.Namespace], int]
ROOT = Path(__file__).resolve().parents[3]


def become(command: list[str]) -> int:
    """Turn this process into another: signals then reach it, and it is nobody's child but init's.

    As a person's home would do for a checkout, its modules are found from the product's own folder.
    """
    roots = [str(ROOT), str(ROOT / "platform")]
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([*roots, *([before] if before else [])])
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    os.execv(command[0], command)  # noqa: S606  our own commands, no shell


def web(told: argparse.Namespace) -> int:
    return become(processes.web(told.host, told.port, grace=told.grace))


def worker(told: argparse.Namespace) -> int:
    # Celery's SIGTERM waits for tasks without a limit; its SIGQUIT drains within one.
    os.environ.setdefault("REMAP_SIGTERM", "SIGQUIT")
    return become(processes.worker(told.queues.split(","), told.concurrency))


def timer(told: argparse.Namespace) -> int:
    return become(processes.timer(told.schedule or env.home_folder() / "beat"))


def host(_told: argparse.Namespace) -> int:
    return become(processes.host())


def everything(told: argparse.Namespace) -> int:
    return become(processes.everything(told.host, told.port))


def migrate(_told: argparse.Namespace) -> int:
    return manage(["migrate", "--noinput"])


def manage(words: list[str]) -> int:
    """A management command, in this process."""
    from django.core.management import execute_from_command_line  # noqa: PLC0415  reads settings

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "counterpoint.settings")
    execute_from_command_line(["counterpoint manage", *words])
    return 0


def parser() -> argparse.ArgumentParser:
    """All verbs and their options."""
    top = argparse.ArgumentParser(prog="counterpoint", description=__doc__)
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    _processes(verbs)
    return top


def _processes(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    each = verbs.add_parser("web", help="the site")
    each.set_defaults(do=web)
    each.add_argument("--host", default="127.0.0.1")
    each.add_argument("--port", type=int, default=8000)
    each.add_argument("--grace", type=int, default=processes.GRACE_SECONDS, metavar="SECONDS")
    each = verbs.add_parser("worker", help="a worker of some queues")
    each.set_defaults(do=worker)
    each.add_argument("--queues", required=True, metavar="NAME,...")
    each.add_argument("--concurrency", type=int, default=1)
    each = verbs.add_parser("timer", help="wakes housekeeping; exactly one")
    each.set_defaults(do=timer)
    each.add_argument("--schedule", type=Path, metavar="FILE", help="default: beat in the home folder")
    verbs.add_parser("host", help="the model host").set_defaults(do=host)
    each = verbs.add_parser("all", help="all of these on one machine, with embedded engines")
    each.set_defaults(do=everything)
    each.add_argument("--host", default="127.0.0.1")
    each.add_argument("--port", type=int, default=8000)
    verbs.add_parser("migrate", help="bring the database to this release").set_defaults(do=migrate)
    verbs.add_parser("manage", help="a management command of Django", add_help=False)


def main(words: list[str] | None = None) -> int:
    words = sys.argv[1:] if words is None else words
    try:
        if words[:1] == ["manage"]:
            return manage(words[1:])
        told = parser().parse_args(words)
        do: Verb = told.do
        return do(told)
    except EngineError as error:
        print(f"{error.code}: {sentence(error)}", file=sys.stderr)  # noqa: T201  a command speaks
        return 2 if isinstance(error, InputError) else 1
