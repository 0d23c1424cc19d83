"""`counterpoint doctor`: what is well, what is not, and what to do. Changes nothing.

Each check finds something out and says it in one line; one that breaks is a finding too. Nothing is
reached but what the settings name, and the address given with `--outside`, which must not answer.
"""

from __future__ import annotations

import contextlib
import json
import platform
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import redis
from django.conf import settings
from django.core import checks as django_checks
from django.db import DatabaseError, connection

from calm_engine.errors import EngineError
from counterpoint.bucket import bucket
from counterpoint.checks import database_is_not_newer, role_is_harmless
from counterpoint.release import version
from counterpoint.watch import schema, successes

PATIENCE = 5.0  # seconds for one answer
SKEW_SECONDS = 5.0
CERTIFICATE_DAYS = 21
BACKUP_HOURS = 36
STREAM_PAUSE = 0.05  # seconds between the first and the last piece, if nobody holds them back


class State(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, how it is, and what to do when it is not well."""

    about: str
    state: State
    told: str
    hint: str = ""

    def line(self) -> str:
        hint = f"\n{'':22}{self.hint}" if self.hint else ""
        return f"{self.state:<8} {self.about:<12} {self.told}{hint}"


Findings = Iterator[Finding]
Check = Callable[[], Findings]


def ok(about: str, told: str) -> Finding:
    return Finding(about, State.OK, told)


def warning(about: str, told: str, hint: str = "") -> Finding:
    return Finding(about, State.WARNING, told, hint)


def fault(about: str, told: str, hint: str = "") -> Finding:
    return Finding(about, State.FAULT, told, hint)


def examine(*, site: str = "", outside: str = "") -> list[Finding]:
    """Every finding. `site`: where the web is reached; `outside`: an address that must not be."""
    named: list[tuple[str, Check]] = [
        ("release", release),
        ("settings", configuration),
        ("database", database),
        ("broker", broker),
        ("home", home),
        ("files", files),
        ("accelerator", accelerator),
        ("backup", backups),
        ("site", lambda: website(site)),
        ("certificate", lambda: certificate(settings.SITE_URL)),
        ("outside", lambda: no_road_out(outside)),
    ]
    found: list[Finding] = []
    for about, check in named:
        try:
            found += check()
        except Exception as error:  # noqa: BLE001  one broken check must not hide the others
            found.append(fault(about, f"could not be examined ({type(error).__name__})"))
    return found


def release() -> Findings:
    python = f"Python {platform.python_version()}"
    yield ok("release", f"{version()} on {python}, {platform.system()} {platform.machine()}")
    if sys.version_info[:2] not in {(3, 11), (3, 12)}:
        yield fault("release", f"{python} is not supported", "Use Python 3.11 or 3.12.")


def configuration() -> Findings:
    """What Django's and our own checks say."""
    serious = [each for each in django_checks.run_checks() if each.level >= django_checks.WARNING]
    for each in [*serious, *database_is_not_newer()]:
        make = fault if each.level >= django_checks.ERROR else warning
        yield make("settings", f"{each.id}: {each.msg}", str(each.hint or ""))
    if not serious:
        yield ok("settings", "every check is passed")
    if not settings.HTTPS:
        yield warning("settings", "COUNTERPOINT_URL is not https", "Put a TLS proxy in front.")


# ---- engines -------------------------------------------------------------------------------------


def database() -> Findings:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('server_version_num')::int")
            number = int(cursor.fetchone()[0])
            cursor.execute("SELECT extname, extversion FROM pg_extension")
            extensions = dict(cursor.fetchall())
            cursor.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
            is_encrypted = bool((cursor.fetchone() or [False])[0])
    except DatabaseError as error:
        yield fault("database", f"does not answer: {first_line(error)}", "See DATABASE_URL.")
        return
    yield ok("database", f"PostgreSQL {number // 10000}.{number % 10000}")
    if number < 160000:
        yield fault("database", "is older than PostgreSQL 16", "Upgrade it.")
    for name in ("vector", "pg_trgm"):
        if name not in extensions:
            yield fault("database", f"lacks {name}", f"As superuser: CREATE EXTENSION {name};")
    if not is_encrypted and not is_loopback(settings.DATABASES["default"]["HOST"]):
        yield warning("database", "is spoken to without TLS", "Set DATABASE_TLS=verify-full.")
    for each in role_is_harmless(connection):
        yield fault("database", str(each.msg), str(each.hint))
    yield from fit()
    yield from clock("database", schema.clock_offset(connection))
    yield from other_releases()


def fit() -> Findings:
    found = schema.compare(connection)
    if found.fault:
        yield fault("database", found.fault, "Run `counterpoint migrate` of the newer release.")
    else:
        yield ok("database", "has every migration of this release")


def other_releases() -> Findings:
    """Who else is connected: two releases on one database are meant only while an upgrade runs."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT application_name FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name LIKE 'counterpoint %'"
        )
        found = {name.partition(" ")[2] for (name,) in cursor.fetchall()}
    others = found - {version()}
    if others:
        yield warning(
            "database",
            f"is also used by release {', '.join(sorted(others))}",
            "Meant during an upgrade alone: stop the other release.",
        )


def broker() -> Findings:
    about = "broker"
    try:
        with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=PATIENCE) as client:
            told = client.info("server")
            seconds, micro = client.time()
            offset = seconds + micro / 1e6 - time.time()
            with contextlib.suppress(redis.ResponseError):  # a managed one may hide it
                policy = client.config_get("maxmemory-policy").get("maxmemory-policy")
                if policy not in {None, "noeviction"}:
                    hint = "Set maxmemory-policy noeviction: messages must not be thrown away."
                    yield warning(about, f"throws keys away ({policy})", hint)
    except redis.RedisError as error:
        yield fault(about, f"does not answer: {first_line(error)}", "See REDIS_URL.")
        return
    yield ok(about, f"{told.get('server_name', 'Redis')} {told.get('redis_version', '')}")
    if urlsplit(settings.REDIS_URL).scheme != "rediss" and not is_loopback(
        urlsplit(settings.REDIS_URL).hostname or ""
    ):
        yield warning(about, "is spoken to without TLS", "Give a rediss:// address.")
    yield from clock(about, offset)


def clock(about: str, offset: float) -> Findings:
    if abs(offset) > SKEW_SECONDS:
        hint = "Synchronise the clocks (chrony, systemd-timesyncd) on both machines."
        yield fault(about, f"its clock is {offset:+.0f} s from ours", hint)
    else:
        yield ok(about, f"its clock is {offset:+.1f} s from ours")


# ---- this machine --------------------------------------------------------------------------------


def home() -> Findings:
    folder = Path(settings.HOME)
    probe = folder / f".doctor-{time.time_ns()}"
    try:
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        yield fault("home", f"{folder} cannot be written ({error.strerror})", "Mend its rights.")
        return
    usage = shutil.disk_usage(folder)
    told = f"{folder}: {usage.free / 2**30:.1f} of {usage.total / 2**30:.1f} GiB free"
    if usage.free < settings.DISK_RESERVE_BYTES:
        yield fault("home", told, "The disk is full: uploads are refused. Free some space.")
    elif usage.free < usage.total / 10:
        yield warning("home", told, "Less than a tenth is free.")
    else:
        yield ok("home", told)


def files() -> Findings:
    """Documents and weights lie here, or in a bucket that takes, lists, gives and forgets."""
    if not settings.S3_BUCKET:
        yield ok("files", "lie in the home folder")
        return
    where = f"the bucket {settings.S3_BUCKET} at {urlsplit(settings.S3_ENDPOINT).netloc}"
    try:
        found = bucket()
        assert found is not None  # S3_BUCKET names it
        found.prove()
    except EngineError as error:
        hint = "The key must read, write, list and delete; see docs/operate/storage.md."
        yield fault("files", f"{where}: {error.code}: {error.message}", hint)
        return
    yield ok("files", f"lie in {where}: writing, listing, reading and deleting work")


def accelerator() -> Findings:
    program = shutil.which("nvidia-smi")
    if program is None:
        yield Finding("accelerator", State.SKIPPED, "none here: models run on the processor")
        return
    wanted = "--query-gpu=name,driver_version,memory.total,memory.used,temperature.gpu"
    done = subprocess.run(  # noqa: S603  the driver's own program
        [program, wanted, "--format=csv,noheader"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if done.returncode != 0:
        yield fault("accelerator", first_line(done.stdout + done.stderr), "See the driver's log.")
        return
    for line in done.stdout.strip().splitlines():
        yield ok("accelerator", line)


def backups() -> Findings:
    last = successes.last(Path(settings.HOME), "backup")
    if not last:
        yield warning("backup", "there was none yet", "Schedule `counterpoint backup`.")
        return
    when = datetime.fromtimestamp(float(last["at"]), UTC)
    age = datetime.now(UTC) - when
    told = f"the last one ended well at {when:%Y-%m-%d %H:%M} UTC, in {last['seconds']} s"
    if age.total_seconds() > BACKUP_HOURS * 3600:
        yield fault("backup", told, "Look at the log of the scheduled backup.")
    else:
        yield ok("backup", told)


# ---- the way in and the way out ------------------------------------------------------------------


def website(site: str) -> Findings:
    """The site by the address that people use, or the one given; streams come piece by piece."""
    address = (site or settings.SITE_URL).rstrip("/")
    headers = {"Host": urlsplit(settings.SITE_URL).netloc} if site else {}
    try:
        # trust_env: this question must take the road that browsers take inside.
        with httpx.Client(timeout=PATIENCE, headers=headers, trust_env=False) as client:
            ready = client.get(f"{address}/readyz")
            if ready.status_code != 200:
                yield fault("site", f"{address} is not ready: {ready.text[:200]}")
                return
            yield ok("site", f"{address} is ready")
            gap = seconds_between_pieces(client, f"{address}/streamz")
    except httpx.HTTPError as error:
        yield fault("site", f"{address} does not answer: {first_line(error)}")
        return
    if gap < STREAM_PAUSE:
        hint = "Switch buffering off for text/event-stream in the proxy."
        yield fault("site", "streams are held back on their way: answers will not flow", hint)
    else:
        yield ok("site", "streams flow")


def seconds_between_pieces(client: httpx.Client, address: str) -> float:
    """How far apart the first and the last piece of the trial stream arrive."""
    times: list[float] = []
    with client.stream("GET", address) as response:
        response.raise_for_status()
        times = [time.monotonic() for piece in response.iter_raw() if piece]
    return times[-1] - times[0] if times else 0.0


def certificate(address: str) -> Findings:
    parts = urlsplit(address)
    if parts.scheme != "https":
        return
    where = (parts.hostname or "", parts.port or 443)
    try:
        context = ssl.create_default_context()
        with (
            socket.create_connection(where, timeout=PATIENCE) as plain,
            context.wrap_socket(plain, server_hostname=where[0]) as wrapped,
        ):
            until = ssl.cert_time_to_seconds(str((wrapped.getpeercert() or {})["notAfter"]))
    except ssl.SSLCertVerificationError as error:
        yield fault("certificate", f"{where[0]}: {error.verify_message}", "Renew or trust it.")
        return
    except OSError as error:
        yield warning("certificate", f"{where[0]} cannot be asked ({type(error).__name__})")
        return
    days = int((until - time.time()) / 86400)
    make = warning if days < CERTIFICATE_DAYS else ok
    yield make("certificate", f"of {where[0]} ends in {days} days")


def no_road_out(address: str) -> Findings:
    """An address outside, which the walls should keep us from. Nothing is sent."""
    if not address:
        told = "not tried: name an address with --outside HOST:PORT"
        yield Finding("outside", State.SKIPPED, told)
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=3).close()
    except ValueError:
        yield fault("outside", f"{address} is no HOST:PORT")
    except OSError:
        yield ok("outside", f"{address} cannot be reached, as it should be")
    else:
        hint = "Shut the way out: a firewall, or networkPolicy in the chart."
        yield fault("outside", f"{address} can be reached from here", hint)


# ---- words ---------------------------------------------------------------------------------------


def is_loopback(host: str) -> bool:
    return host in {"127.0.0.1", "::1", "localhost", ""}


def first_line(words: object) -> str:
    """The first line, without a password that an address may carry."""
    from counterpoint.log import KEYS  # noqa: PLC0415  sets up logging when it is imported

    text = str(words).strip() or type(words).__name__
    return KEYS.sub("[hidden]", text.splitlines()[0])[:200]


def told(found: list[Finding], *, as_json: bool) -> str:
    if as_json:
        return "\n".join(json.dumps(asdict(each)) for each in found)
    count = sum(each.state is State.FAULT for each in found)
    last = f"{count} faults." if count else "No fault."
    return "\n".join([*(each.line() for each in found), last])
