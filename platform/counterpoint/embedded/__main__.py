"""`python -m counterpoint.embedded`: run the engines of a home folder until Ctrl-C."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from calm_engine.errors import EngineError
from counterpoint.embedded.supervisor import POSTGRES, VALKEY, Asked, Supervisor, Wish, owned
from counterpoint.env import home_folder

READY = "ready"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m counterpoint.embedded", description=__doc__)
    parser.add_argument("--home", type=Path, default=home_folder())
    parser.add_argument("--postgres-port", type=int, help="default: any free port")
    parser.add_argument("--valkey-port", type=int, help="default: any free port")
    parser.add_argument("--postgres-option", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--only", action="append", choices=(POSTGRES, VALKEY))
    parser.add_argument("--with-parent", action="store_true", help="stop when our input closes")
    told = parser.parse_args()
    wish = Wish(
        told.home.expanduser().absolute(),
        told.postgres_port,
        told.valkey_port,
        told.postgres_option,
        tuple(told.only or (POSTGRES, VALKEY)),
    )
    asked = Asked(parent_holds_input=told.with_parent)
    try:
        with owned(wish.home):
            supervisor = Supervisor(wish)
            try:
                supervisor.start()
                print(READY, flush=True)  # noqa: T201  whoever started us waits for this line
                supervisor.watch(asked)
            finally:
                supervisor.stop()
    except EngineError as error:
        print(f"{error.code}: {error.message}", file=sys.stderr)  # noqa: T201  a command speaks
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
