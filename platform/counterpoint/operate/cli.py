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
from counterpoint.embedded.children import GENTLE
from counterpoint.operate import processes
from counterpoint.operate.archive import Archive

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
    forget_figures()
    return become(processes.worker(told.queues.split(","), told.concurrency))


def forget_figures() -> None:
    """What processes before us counted would never move again; ours open new files after `exec`."""
    from counterpoint.watch.figures import FOLDER  # noqa: PLC0415  for workers alone

    if FOLDER:
        for file in Path(FOLDER).glob("*.db"):
            file.unlink()


def timer(told: argparse.Namespace) -> int:
    return become(processes.timer(told.schedule or env.home_folder() / "beat"))


def host(_told: argparse.Namespace) -> int:
    return become(processes.host())


def everything(told: argparse.Namespace) -> int:
    return become(processes.everything(told.host, told.port))


def ready_django() -> None:
    """Settings and apps, for verbs that read rows."""
    import django  # noqa: PLC0415  reads the settings, which may refuse

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "counterpoint.settings")
    django.setup()


def say(words: str) -> None:
    print(words, flush=True)  # noqa: T201  a command speaks


def backup(told: argparse.Namespace) -> int:
    ready_django()
    from counterpoint.operate import backup as work  # noqa: PLC0415  needs the settings

    if told.keep < 1:
        raise InputError("setting.value", "--keep is at least 1.")
    made = work.backup(env.home_folder(), work.archive(told.to), keep=told.keep, say=say)
    say(f"backup of {made.taken_at}: {made.size} bytes")
    return 0


def verify(told: argparse.Namespace) -> int:
    from counterpoint.operate import backup as work  # noqa: PLC0415  as in backup

    backups, place = chosen(told)
    work.verify(backups, place, home=env.home_folder(), say=say)
    return 0


def restore(told: argparse.Namespace) -> int:
    ready_django()
    from counterpoint.operate import backup as work  # noqa: PLC0415  as in backup
    from counterpoint.watch import schema  # noqa: PLC0415  as above

    backups, place = chosen(told)
    made = work.restore(backups, place, env.home_folder(), say=say)
    if schema.fit(made.migrations).pending:  # of an older release: then this is its upgrade too
        manage(["migrate", "--noinput", "--verbosity", "0"])
        say(f"database: brought to this release, from {made.release}")
    return manage(["prove_restore", *(["--ask"] if told.ask else [])])


def doctor(told: argparse.Namespace) -> int:
    ready_django()
    from counterpoint.operate import doctor as work  # noqa: PLC0415  as in backup

    found = work.examine(site=told.site, outside=told.outside)
    say(work.told(found, as_json=told.json))
    return int(any(each.state is work.State.FAULT for each in found))


def licences(told: argparse.Namespace) -> int:
    from counterpoint.operate import licences as work  # noqa: PLC0415  as in backup

    found = work.packages()
    say(work.bill(found) if told.bill else work.table(found))
    binding = [each for each in found if each.is_binding]
    for each in binding:
        sys.stderr.write(f"{each.name} binds the product to its own licence: {each.licence}\n")
    return int(bool(binding))


def support(told: argparse.Namespace) -> int:
    return manage(["support", "--to", str(told.to)])


def bundle_key(told: argparse.Namespace) -> int:
    from counterpoint.operate import bundle as work  # noqa: PLC0415  loads cryptography

    work.make_key(told.to)
    return 0


def bundle(told: argparse.Namespace) -> int:
    from counterpoint.operate import bundle as work  # noqa: PLC0415  as above

    folders: dict[str, Path] = {}
    for word in told.folder:
        name, is_pair, place = word.partition("=")
        if not is_pair or not name.isidentifier() or name == "release":
            raise InputError("bundle.folder", f"--with {word} should be NAME=FOLDER.")
        folders[name] = Path(place)
    parts = work.bundle(told.to, told.key, folders)
    say(f"{len(parts)} files, {sum(each.size for each in parts)} bytes")
    return 0


def bundle_model(told: argparse.Namespace) -> int:
    words = ["--tenant", told.tenant, "--model", told.model, "--by", told.by]
    words += ["--reason", told.reason, "--key", str(told.key), "--to", str(told.to)]
    return manage(["bundle_model", *words, *(["--with-anchor"] if told.with_anchor else [])])


def install(told: argparse.Namespace) -> int:
    from counterpoint.operate import bundle as work  # noqa: PLC0415  as above

    parts = work.install(told.source, told.trust, told.to)
    say(f"{len(parts)} files in {told.to}: the signature and every digest are right")
    return 0


def chosen(told: argparse.Namespace) -> tuple[Archive, Path]:
    from counterpoint.operate import backup as work  # noqa: PLC0415  as in backup

    backups = work.archive(told.newest_in or told.backup.parent)
    return backups, told.backup or backups.newest()


def migrate(told: argparse.Namespace) -> int:
    return manage(["migrate", "--noinput", *(["--back"] if told.back else [])])


def manage(words: list[str]) -> int:
    """A management command, in this process."""
    from django.core.management import execute_from_command_line  # noqa: PLC0415  reads settings

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "counterpoint.settings")
    execute_from_command_line(["counterpoint manage", *words])
    return 0


def parser() -> argparse.ArgumentParser:
    """All verbs and their options."""
    top = argparse.ArgumentParser(prog="counterpoint", description=__doc__)
    top.set_defaults(gives_way=False)
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    _processes(verbs)
    _keeping(verbs)
    _carrying(verbs)
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
    each.add_argument(
        "--schedule", type=Path, metavar="FILE", help="default: beat in the home folder"
    )
    verbs.add_parser("host", help="the model host").set_defaults(do=host)
    each = verbs.add_parser("all", help="all of these on one machine, with embedded engines")
    each.set_defaults(do=everything)
    each.add_argument("--host", default="127.0.0.1")
    each.add_argument("--port", type=int, default=8000)
    each = verbs.add_parser("migrate", help="bring the database to this release")
    each.set_defaults(do=migrate)
    each.add_argument("--back", action="store_true", help="to the former release, before it runs")
    verbs.add_parser("manage", help="a management command of Django", add_help=False)


def _keeping(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    each = verbs.add_parser("doctor", help="what is well, what is not, and what to do")
    each.set_defaults(do=doctor)
    each.add_argument("--site", default="", metavar="URL", help="default: COUNTERPOINT_URL")
    each.add_argument("--outside", default="", metavar="HOST:PORT", help="must not be reachable")
    each.add_argument("--json", action="store_true", help="one object a line")
    each = verbs.add_parser("licences", help="what is installed, and under which licence")
    each.set_defaults(do=licences)
    each.add_argument("--bill", action="store_true", help="as a bill of materials, in CycloneDX")
    each = verbs.add_parser("support", help="one archive for whoever helps; no content in it")
    each.set_defaults(do=support)
    each.add_argument("--to", type=Path, required=True, metavar="FILE.tar.gz")
    each = verbs.add_parser("backup", help="database and files, while everything runs")
    each.set_defaults(do=backup, gives_way=True)
    each.add_argument("--to", type=Path, required=True, metavar="FOLDER")
    each.add_argument("--keep", type=int, default=7, help="backups that are kept (default 7)")
    each = verbs.add_parser("verify", help="open a backup and prove every digest")
    each.set_defaults(do=verify)
    which = each.add_mutually_exclusive_group(required=True)
    which.add_argument("--newest-in", type=Path, metavar="FOLDER")
    which.add_argument("--backup", type=Path, metavar="FOLDER/NAME")
    each = verbs.add_parser("restore", help="a backup into an empty home folder and database")
    each.set_defaults(do=restore)
    which = each.add_mutually_exclusive_group(required=True)
    which.add_argument("--newest-in", type=Path, metavar="FOLDER")
    which.add_argument("--backup", type=Path, metavar="FOLDER/NAME")
    each.add_argument("--ask", action="store_true", help="then serve a live model and ask it")


def _carrying(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    each = verbs.add_parser("bundle-key", help="a new pair of keys to sign bundles with")
    each.set_defaults(do=bundle_key)
    each.add_argument("--to", type=Path, required=True, metavar="FOLDER")
    each = verbs.add_parser(
        "bundle", help="a release as one signed file, for a site without internet"
    )
    each.set_defaults(do=bundle)
    each.add_argument("--to", type=Path, required=True, metavar="FILE.tar")
    each.add_argument("--key", type=Path, required=True, metavar="bundle.key")
    each.add_argument("--with", dest="folder", action="append", default=[], metavar="NAME=FOLDER")
    each = verbs.add_parser("bundle-model", help="one model version as one signed file")
    each.set_defaults(do=bundle_model)
    each.add_argument("--tenant", required=True, metavar="NAME")
    each.add_argument("--model", required=True, metavar="NAME@VERSION")
    each.add_argument("--by", required=True, metavar="EMAIL", help="who may export its corpora")
    each.add_argument("--reason", required=True)
    each.add_argument("--key", type=Path, required=True, metavar="bundle.key")
    each.add_argument("--to", type=Path, required=True, metavar="FILE.tar")
    each.add_argument("--with-anchor", action="store_true", help="the open model too")
    each = verbs.add_parser("install", help="prove a bundle and unpack it")
    each.set_defaults(do=install)
    each.add_argument("--from", dest="source", type=Path, required=True, metavar="FILE.tar")
    each.add_argument("--trust", type=Path, required=True, metavar="bundle.pub")
    each.add_argument("--to", type=Path, required=True, metavar="FOLDER")


def main(words: list[str] | None = None) -> int:
    is_whole_process = words is None
    words = sys.argv[1:] if words is None else words
    try:
        if words[:1] == ["manage"]:
            return manage(words[1:])
        told = parser().parse_args(words)
        if told.gives_way and is_whole_process:
            os.nice(GENTLE)  # people work meanwhile; what it starts is as gentle
        do: Verb = told.do
        return do(told)
    except EngineError as error:
        print(f"{error.code}: {sentence(error)}", file=sys.stderr)  # noqa: T201  a command speaks
        return 2 if isinstance(error, InputError) else 1
