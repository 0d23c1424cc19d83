"""Reads one environment variable, or refuses loudly. Knows by name the home folder alone."""

from __future__ import annotations

import json
import os
import secrets
import sys
from datetime import time
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from calm_engine.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
TRUE, FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}


def text(name: str, default: str = "", *, among: tuple[str, ...] = ()) -> str:
    """The variable, or the default. Raises InputError("setting.value") outside `among`."""
    value = os.environ.get(name, "").strip() or default
    if among and value not in among:
        raise refusal(name, value, f"one of {', '.join(among)}")
    return value


def flag(name: str, *, default: bool) -> bool:
    """A yes or a no. Raises InputError("setting.value") for anything that is neither."""
    value = os.environ.get(name, "").strip().lower()
    if value and value not in TRUE | FALSE:
        raise refusal(name, value, "yes or no")
    return value in TRUE if value else default


def number(name: str, default: int, *, least: int = 0, most: int = sys.maxsize) -> int:
    """A whole number within its bounds. Raises InputError("setting.value") otherwise."""
    value = os.environ.get(name, "").strip()
    try:
        found = int(value) if value else default
    except ValueError:
        raise refusal(name, value, "a whole number") from None
    if not least <= found <= most:
        raise refusal(name, value, f"between {least} and {most}")
    return found


def secret(name: str, *, file: str = "") -> str:
    """A secret by name (`NAME`), by file (`NAME_FILE`), or kept in the home folder as `file`.

    The last is made once, of 256 random bits, readable by its owner alone. Without `file` an unset
    secret is empty. Raises InputError("setting.secret") when a named file cannot be read.
    """
    if value := os.environ.get(name, "").strip():
        return value
    if path := os.environ.get(f"{name}_FILE", "").strip():
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise InputError(
                "setting.secret", f"{name}_FILE names {path}, which cannot be read.", setting=name
            ) from error
    return kept_secret(home_folder() / file) if file else ""


def kept_secret(path: Path) -> str:
    """The secret kept in this file; made on first use. Two processes that race agree on one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    if not path.exists():
        aside.touch(mode=0o600)
        aside.write_text(secrets.token_urlsafe(32), encoding="utf-8")
        try:
            os.link(aside, path)  # fails when another process was first: theirs is the secret
        except FileExistsError:
            pass
        finally:
            aside.unlink()
    return path.read_text(encoding="utf-8").strip()


def internal_secret() -> Path:
    """The file that holds what the web process says to a model server to be let in."""
    if given := os.environ.get("MODEL_SECRET_FILE", "").strip():
        return Path(given)
    path = home_folder() / "model-secret"
    kept_secret(path)
    return path


def owner_url(*, optional: bool = False) -> str:
    """DATABASE_OWNER_URL, or the embedded engine's. Raises InputError("setting.missing")."""
    if given := secret("DATABASE_OWNER_URL"):
        return given
    known = home_folder() / "connection.json"
    if known.exists():
        return str(json.loads(known.read_text(encoding="utf-8")).get("database_owner_url", ""))
    if optional:
        return ""
    raise InputError("setting.missing", "Set DATABASE_OWNER_URL: the login of app_owner.")


def home_folder() -> Path:
    """`COUNTERPOINT_HOME`, else `var/` in a checkout, else in the user's folder of state."""
    if value := os.environ.get("COUNTERPOINT_HOME", "").strip():
        return Path(value).expanduser().absolute()
    if (ROOT / "manage.py").exists():
        return ROOT / "var"
    state = os.environ.get("XDG_STATE_HOME", "").strip() or "~/.local/state"
    return Path(state).expanduser() / "counterpoint"


def database(name: str, url: str) -> dict[str, object]:
    """A `postgres://` address as Django's dictionary. Raises InputError("setting.value")."""
    parts = urlsplit(url)
    if parts.scheme not in {"postgres", "postgresql"} or not parts.path.strip("/"):
        raise refusal(name, parts.scheme, "postgres://user:password@host:port/database")
    return {
        "NAME": unquote(parts.path.strip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": str(parts.port or ""),
    }


def redis_url(url: str, *, ca: str) -> str:
    """The address, its certificate always checked under TLS, against this authority if given."""
    if not url.startswith("rediss:"):
        return url
    parts = urlsplit(url)
    asked = {"ssl_cert_reqs": "required"} | ({"ssl_ca_certs": ca} if ca else {})
    query = parse_qsl(parts.query) + list(asked.items())
    return parts._replace(query=urlencode(dict(query))).geturl()


def ports(name: str) -> range | None:
    """A range such as "8100-8199", or None when unset. Raises InputError("setting.value")."""
    value = os.environ.get(name, "").strip()
    if not value:
        return None
    first, _, last = value.partition("-")
    if not (first.isdecimal() and last.isdecimal() and 0 < int(first) <= int(last) < 65536):
        raise refusal(name, value, "two ports, such as 8100-8199")
    return range(int(first), int(last) + 1)


def hours(name: str, default: str) -> tuple[time, time]:
    """Two hours of the day such as "20:00-06:00". Raises InputError("setting.value")."""
    value = os.environ.get(name, "").strip() or default
    try:
        first, last = (time.fromisoformat(part.strip()) for part in value.split("-"))
    except ValueError:
        raise refusal(name, value, "two hours of the day, such as 20:00-06:00") from None
    return first, last


def refusal(name: str, value: str, wanted: str) -> InputError:
    """The error for a setting with a wrong value; a secret's value never enters it."""
    return InputError(
        "setting.value", f"{name} is {value!r}; it should be {wanted}.", setting=name, wanted=wanted
    )
