"""Real engines for the session, the runtime role for every query, loopback for every socket.

PostgreSQL and Valkey start once, in a folder that is removed afterwards, before Django reads its
settings. The database is made and migrated by `app_owner`; tests run as `app_rw`. A call that names
the engine's tests alone needs none of it, and starts nothing.
"""

from __future__ import annotations

import atexit
import ipaddress
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import psycopg
import pytest
import pytest_randomly

ROOT = Path(__file__).resolve().parents[1]
ENTRIES = ("src/main.ts", "src/chat.ts", "src/chart.ts")
KEEP = ("django_migrations", "django_content_type", "auth_permission")  # filled by migrations
FLUSHES = 5  # times that emptying may lose against a request that still runs
HOSTS = {"localhost", None, "", b"localhost"}
WANTED = "COUNTERPOINT_TESTS_WANT"  # told to the processes that share the tests: site, engine

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


def wants_the_site() -> bool:
    """Whether more than the engine's own tests is asked for."""
    if told := os.environ.get(WANTED):
        return told == "site"
    named = [word for word in sys.argv[1:] if word.startswith("tests/")]
    return not named or any(not word.startswith("tests/engine") for word in named)


def start_the_site() -> None:
    """Engines in a home of their own, the settings that point at them, then Django."""
    # After the path is set by pytest, and never for the engine's own tests.
    from counterpoint.embedded.engines import Engines  # noqa: PLC0415

    # Not pytest's own folder: that is closed to the account that root steps down to.
    home = Path(tempfile.mkdtemp(prefix="counterpoint-tests-"))
    home.chmod(0o711)
    engines = Engines(home, postgres_options={"fsync": "off", "full_page_writes": "off"})
    engines.__enter__()
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    atexit.register(engines.__exit__, None, None, None)
    os.environ |= engines.environment()
    os.environ |= {"DJANGO_SETTINGS_MODULE": "counterpoint.settings", "LOG_LEVEL": "WARNING"}
    os.environ |= {"DISK_RESERVE_MB": "16"}

    import django  # noqa: PLC0415
    from django.conf import settings  # noqa: PLC0415

    settings.ALLOWED_HOSTS += ["testserver"]
    # Sites that tests start have their pool; in this process connections opened before have none.
    settings.DATABASE_POOL = 0
    # A cast signs in hundreds of times; the tests of signing in use the real hasher.
    settings.PASSWORD_HASHERS = [
        "django.contrib.auth.hashers.MD5PasswordHasher",
        *settings.PASSWORD_HASHERS,
    ]
    stand_in_for_assets(settings.DJANGO_VITE["default"], home)
    django.setup()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """Before the processes that share the tests begin: each has engines and settings of its own."""
    os.environ[WANTED] = "site" if wants_the_site() else "engine"
    for name in ("DJANGO_SETTINGS_MODULE", "DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL"):
        os.environ.pop(name, None)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # else all of them wait for each other's threads


def stand_in_for_assets(vite: dict[str, Any], home: Path) -> None:
    """Where the browser assets are not built, a manifest that names them; pages need no more."""
    if vite["manifest_path"].exists():
        return
    names = {
        name: {"file": f"{Path(name).stem}.js", "src": name, "isEntry": True} for name in ENTRIES
    }
    vite["manifest_path"] = home / "manifest.json"
    vite["manifest_path"].write_text(json.dumps(names))


def refuse_strangers(event: str, arguments: tuple[Any, ...]) -> None:
    """Nothing leaves this machine: a test that tries fails at the call that tried."""
    if event == "socket.connect":
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else None  # a path is on this machine
    elif event == "socket.getaddrinfo":
        host = arguments[0]
    else:
        return
    if host in HOSTS:
        return
    try:
        is_ours = ipaddress.ip_address(str(host)).is_loopback
    except ValueError:
        is_ours = False
    if not is_ours:
        raise PermissionError(f"a test reached for {host}")


# spaCy's thinc would seed numpy again, with numbers past the 32 bits that numpy takes.
pytest_randomly.entrypoint_reseeds = []
# How long an example takes says how busy the machine is, and nothing of a law.
hypothesis.settings.register_profile(
    "busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("busy")
sys.addaudithook(refuse_strangers)
if wants_the_site():
    start_the_site()


@pytest.fixture(scope="session")
def django_db_setup(django_db_blocker: Any) -> None:
    """A database made and migrated by the owner of tables, used by the role that owns nothing."""
    from django.conf import settings  # noqa: PLC0415
    from django.db import connections  # noqa: PLC0415

    with django_db_blocker.unblock():
        owner = connections["owner"]
        name = owner.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
        owner.close()
        connections["default"].close()
        settings.DATABASES["default"]["NAME"] = name
        connections["default"].settings_dict["NAME"] = name
        # For processes that a test starts.
        for alias, variable in (("default", "DATABASE_URL"), ("owner", "DATABASE_OWNER_URL")):
            found = connections[alias].settings_dict
            os.environ[variable] = (
                f"postgres://{found['USER']}:{found['PASSWORD']}"
                f"@{found['HOST']}:{found['PORT']}/{name}"
            )


@pytest.fixture(scope="session", autouse=True)
def _flush_as_owner() -> None:
    """Transactional tests leave rows; the runtime role may not truncate, so the owner does."""
    if "django" not in sys.modules or not wants_the_site():
        return
    from django.test import TransactionTestCase  # noqa: PLC0415

    def flush(self: TransactionTestCase) -> None:
        with psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True) as owner:
            empty(owner)

    TransactionTestCase._fixture_teardown = flush


def empty(owner: psycopg.Connection[Any]) -> None:
    """Truncate what was written to; the sealed tables' triggers refuse even their owner."""
    owner.execute("SET lock_timeout = '10s'")
    written = owner.execute(
        "SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
        " WHERE nspname = 'public' AND relkind = 'r' AND pg_relation_size(pg_class.oid) > 0"
        " AND relname <> ALL(%s)",
        [list(KEEP)],
    ).fetchall()
    sealed = owner.execute(
        "SELECT DISTINCT tgrelid::regclass::text FROM pg_trigger WHERE tgname = 'append_only_all'"
    ).fetchall()
    if not written:
        return
    names = ", ".join(f'"{table}"' for (table,) in written)
    for left in reversed(range(FLUSHES)):
        try:
            with owner.transaction():
                for (table,) in sealed:
                    owner.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
                owner.execute(f"TRUNCATE {names} CASCADE")
                for (table,) in sealed:
                    owner.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
        except psycopg.errors.DeadlockDetected:
            # A server still at the last request of a browser that went away took its locks in
            # another order, and this was chosen to lose; the request ends, and the next one wins.
            if not left:
                raise
        else:
            return


@pytest.fixture(autouse=True)
def _no_tenant_is_left_behind() -> Iterator[None]:
    """Each test begins and ends outside any tenant's scope."""
    yield
    database = sys.modules.get("counterpoint.database")
    assert database is None or database.current_tenant_id.get() is None


@pytest.fixture
def cast(db: None) -> Any:
    """Ada, Bo, Cy and Otto, in North and South."""
    from tests.cast import make_cast  # noqa: PLC0415  needs Django

    return make_cast()
