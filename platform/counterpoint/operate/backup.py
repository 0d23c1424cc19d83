"""`counterpoint backup`, `verify` and `restore`: the database and every stored file, online.

The order makes it consistent: the database first, then the files. Files are named by content and
never change, and one is stored before any row names it; so every file that the dump names is there
when the files are copied. Key material goes its own way (docs/operate/backup.md): a backup holds
fingerprints of the keys that it needs, never the keys.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

from calm_engine.errors import InputError
from counterpoint import env, installed_keys
from counterpoint.checks import UNFINISHED
from counterpoint.operate import stores
from counterpoint.operate.archive import Archive, Kept, Manifest
from counterpoint.operate.sealing import BackupKey
from counterpoint.release import version
from counterpoint.resealing import while_nothing_is_resealed
from counterpoint.watch import successes

Say = Callable[[str], None]
Known = dict[tuple[str, int, str], str]


def archive(folder: Path) -> Archive:
    """The backups in this folder, under BACKUP_KEY. Raises InputError("backup.key")."""
    return Archive(folder, BackupKey(env.secret("BACKUP_KEY")))


def backup(home: Path, to: Archive, *, keep: int, say: Say) -> Manifest:
    """Take one backup, keep the newest few. Raises InputError, and leaves older ones alone."""
    from django.db import connection  # noqa: PLC0415  needs the settings

    from counterpoint.watch import schema  # noqa: PLC0415  as above

    refuse_inside(home, to.folder)
    began = time.monotonic()
    with to.writing(), while_nothing_is_resealed(home):
        known = known_files(to)
        place = to.begin()
        try:
            taken_at = datetime.now(UTC).isoformat(timespec="seconds")
            applied = schema.applied(connection)
            database = dump(place, to.key)
            say(f"database: {database.size} bytes")
            files = [store(to, each, known) for each in stores.store_of(home).files()]
            say(f"files: {len(files)}, {sum(each.size for each in files)} bytes")
            keys = installed_keys.fingerprints()
            manifest = Manifest(version(), taken_at, applied, keys, database, files)
            to.finish(place, manifest)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
        to.prune(keep)
    successes.remember(home, "backup", place.name, time.monotonic() - began)
    return manifest


def refuse_inside(home: Path, folder: Path) -> None:
    """Raises InputError("backup.place"): a disk that is lost takes both."""
    if folder.resolve().is_relative_to(home.resolve()):
        raise InputError(
            "backup.place",
            "The backups would lie inside the home folder, and be lost with it. Name another disk.",
        )


def known_files(to: Archive) -> Known:
    """Digest by path, size and head, of the newest backup: stored files never change otherwise."""
    finished = to.finished()
    files = to.read(finished[-1]).files if finished else []
    return {(each.path, each.size, each.head): each.digest for each in files}


def store(to: Archive, file: stores.Lying, known: Known) -> Kept:
    before = known.get((file.name, file.size, file.head), "")
    digest, size = to.put(file.open, known=before, size=file.size)
    return Kept(file.name, digest, size, file.head)


def dump(place: Path, key: BackupKey) -> Kept:
    """The whole database as one consistent picture, sealed on its way. Raises InputError."""
    login, secret = libpq(backup_login())
    command = [program("pg_dump"), "--format=custom", "--no-owner", *login]
    with (
        (place / "database").open("xb") as sealed,
        tempfile.TemporaryFile() as words,
        subprocess.Popen(command, env=secret, stdout=subprocess.PIPE, stderr=words) as child,  # noqa: S603  our own command
    ):
        assert child.stdout is not None
        digest, size = key.seal(child.stdout, sealed)  # type: ignore[arg-type]  # reads as a file
        if child.wait() != 0:
            words.seek(0)
            said = words.read().decode(errors="replace").strip()
            raise InputError("backup.dump", f"PostgreSQL's pg_dump failed: {said[-400:]}")
    return Kept("database", digest, size)


def verify(backups: Archive, place: Path, *, home: Path | None, say: Say) -> Manifest:
    """Open every file of a backup, compare its digest. Raises InputError naming the first fault."""
    began = time.monotonic()
    manifest = backups.read(place)
    backups.prove(manifest.database, place=place / "database")
    for each in manifest.files:
        backups.prove(each)
    say(f"{place.name}: {len(manifest.files) + 1} files open, every digest is right")
    if home is not None:
        successes.remember(home, "verify", place.name, time.monotonic() - began)
    return manifest


def restore(backups: Archive, place: Path, home: Path, *, say: Say) -> Manifest:
    """Bring a backup into an empty home folder and an empty database.

    Refused by name before anything is touched: "restore.not_empty", "restore.keys",
    "database.newer"; and what reading the backup raises. Until it ends, home folder and bucket are
    marked, and nothing serves from them.
    """
    from django.db import connections  # noqa: PLC0415  needs the settings

    from counterpoint.watch import schema  # noqa: PLC0415  as above

    manifest = backups.read(place)
    schema.fit(manifest.migrations).require_no_newer()
    installed_keys.require_the_same(manifest.keys)
    require_empty_database(connections["owner"])
    connections.close_all()
    there = stores.store_of(home)
    there.require_empty()
    there.begin(place.name)
    for each in manifest.files:
        with there.receiving(each.path) as target:
            backups.prove(each, into=target)
    say(f"files: {len(manifest.files)}, every digest is right")
    load(backups, manifest, place, home)
    say("database: restored")
    there.finish()
    return manifest


def require_empty_database(owner: object) -> None:
    """Raises InputError("restore.not_empty")."""
    names = owner.introspection.table_names()  # type: ignore[attr-defined]  # a Django connection
    if names:
        raise InputError(
            "restore.not_empty",
            f"The database holds {len(names)} tables already. Restore into an empty one.",
        )


def load(backups: Archive, manifest: Manifest, place: Path, home: Path) -> None:
    """The dump into the database, all of it or nothing, as the owner of the tables."""
    opened = home / f".{UNFINISHED}.dump"
    opened.unlink(missing_ok=True)
    try:
        backups.prove(manifest.database, place=place / "database", into=opened)
        login, secret = libpq(env.owner_url())
        command = [program("pg_restore"), "--no-owner", "--single-transaction", "--exit-on-error"]
        # Extensions are the superuser's, and their comments too: they stand already.
        listed = told([program("pg_restore"), "--list", str(opened)], secret)
        wanted = [line for line in listed.splitlines() if " EXTENSION " not in line]
        chosen = home / f".{UNFINISHED}.list"
        chosen.write_text("\n".join(wanted), encoding="utf-8")
        told([*command, f"--use-list={chosen}", *login, str(opened)], secret)
        chosen.unlink()
    finally:
        opened.unlink(missing_ok=True)


def told(command: list[str], secret: dict[str, str]) -> str:
    done = subprocess.run(  # noqa: S603  our own command, no shell
        command, env=secret, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise InputError(
            "restore.database", f"PostgreSQL's pg_restore failed: {done.stderr.strip()[-400:]}"
        )
    return done.stdout


def backup_login() -> str:
    """DATABASE_BACKUP_URL, or the embedded engine's own app_backup. Raises InputError."""
    if url := env.secret("DATABASE_BACKUP_URL"):
        return url
    home = env.home_folder()
    passwords, owner = home / "engine-passwords.json", env.owner_url(optional=True)
    if passwords.exists() and owner:
        secret = json.loads(passwords.read_text(encoding="utf-8"))["app_backup"]
        parts = urlsplit(owner)
        return parts._replace(netloc=f"app_backup:{secret}@{parts.hostname}:{parts.port}").geturl()
    raise InputError(
        "backup.login", "Set DATABASE_BACKUP_URL: the login of app_backup, which may read all rows."
    )


def libpq(url: str) -> tuple[list[str], dict[str, str]]:
    """The address as options, and the password in the environment: arguments can be read by all."""
    parts = urlsplit(url)
    options = ["-h", parts.hostname or "", "-p", str(parts.port or 5432)]
    options += ["-U", unquote(parts.username or ""), "-d", unquote(parts.path.strip("/"))]
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "HOME") if name in os.environ}
    secret = {"PGPASSWORD": unquote(parts.password or ""), "PGCONNECT_TIMEOUT": "10"}
    tls = {"PGSSLMODE": env.text("DATABASE_TLS", "prefer")}
    tls |= {"PGSSLROOTCERT": ca} if (ca := env.text("DATABASE_CA_FILE")) else {}
    return options, kept | secret | tls


def program(name: str) -> str:
    """pg_dump or pg_restore: from POSTGRES_BIN, else the embedded engine's, else on the path.

    The path comes last: what a distribution brings is often older than the server, and refuses.
    """
    from counterpoint.embedded import binaries  # noqa: PLC0415  an extra stands behind it

    if folder := env.text("POSTGRES_BIN"):
        return str(Path(folder) / name)
    try:
        return binaries.installed().postgres(name)
    except InputError:
        if found := shutil.which(name):
            return found
        raise
