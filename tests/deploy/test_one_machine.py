"""systemd units and the Compose file: whole, hardened, and nobody forgotten."""

from __future__ import annotations

import configparser
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from counterpoint.operate import cli
from counterpoint.services import services
from tests.deploy.helm import ROOT

UNITS = ROOT / "deploy" / "systemd"
PROCESSES = [each.name for each in services(8000, Path("/nowhere"))]
SERVICES = sorted(path.name for path in UNITS.glob("counterpoint-*.service"))
COMPOSE = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())


class Many(dict[str, Any]):
    """systemd lets a key stand several times: keep them all, a line each."""

    def __setitem__(self, key: str, value: Any) -> None:
        before = self.get(key)
        if isinstance(value, list) and isinstance(before, list):
            before.extend(value)
        else:
            super().__setitem__(key, value)


def unit(name: str) -> dict[str, dict[str, list[str]]]:
    parser = configparser.RawConfigParser(
        dict_type=Many, strict=False, interpolation=None, delimiters=("=",)
    )
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string((UNITS / name).read_text())
    return {
        section: {key: value.splitlines() for key, value in parser[section].items()}
        for section in parser.sections()
    }


def test_every_process_has_its_unit() -> None:
    wanted = unit("counterpoint.target")["Unit"]["Wants"][0].split()
    assert wanted == [f"counterpoint-{name}.service" for name in PROCESSES]
    assert all((UNITS / name).exists() for name in wanted)


@pytest.mark.parametrize("name", SERVICES)
def test_a_unit_runs_a_verb_of_the_command(name: str) -> None:
    [line] = unit(name)["Service"]["ExecStart"]
    program, *words = shlex.split(line)
    assert program == "/opt/counterpoint/.venv/bin/python"
    assert words[:2] == ["-m", "counterpoint.operate"]
    assert callable(cli.parser().parse_args(words[2:]).do)


@pytest.mark.parametrize("name", SERVICES)
def test_a_unit_is_shut_in(name: str) -> None:
    service = unit(name)["Service"]
    assert service["User"] == ["counterpoint"]
    for key in ("NoNewPrivileges", "PrivateTmp", "ProtectHome", "RestrictSUIDSGID"):
        assert service[key] == ["true"], key
    assert service["ProtectSystem"] == ["strict"]
    assert service["CapabilityBoundingSet"] == []  # none at all
    needs_devices = name in {"counterpoint-gpu.service", "counterpoint-host.service"}
    assert ("PrivateDevices" in service) is not needs_devices


@pytest.mark.parametrize("name", SERVICES)
def test_only_the_migration_is_given_the_owners_login(name: str) -> None:
    has_it = "database-owner-url" in (UNITS / name).read_text()
    assert has_it is (name == "counterpoint-migrate.service")


def test_no_two_units_offer_figures_on_one_port() -> None:
    ports = re.findall(r"METRICS_PORT=(\d+)", "".join((UNITS / n).read_text() for n in SERVICES))
    assert len(ports) == len(set(ports)) == 4


def test_everything_waits_for_the_migration() -> None:
    for name in PROCESSES:
        told = unit(f"counterpoint-{name}.service")["Unit"]
        assert told["Requires"] == ["counterpoint-migrate.service"]
        assert "counterpoint-migrate.service" in told["After"][0]


# ---- Compose -------------------------------------------------------------------------------------


def test_every_process_has_its_service() -> None:
    assert set(COMPOSE["services"]) == {*PROCESSES, "migrate"}


@pytest.mark.parametrize("name", [*PROCESSES, "migrate"])
def test_a_service_runs_a_verb_of_the_command_and_is_shut_in(name: str) -> None:
    service = COMPOSE["services"][name]
    assert callable(cli.parser().parse_args(service["command"]).do)
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"] == "10001:0"
    assert "healthcheck" in service or name == "migrate"


@pytest.mark.parametrize("name", [*PROCESSES, "migrate"])
def test_a_service_gets_secrets_as_files_that_are_there(name: str) -> None:
    service = COMPOSE["services"][name]
    files = {
        value.removeprefix("/run/secrets/")
        for key, value in service["environment"].items()
        if key.endswith("_FILE") and key != "ALIVE_FILE"
    }
    assert files - {"model-secret"} <= set(service["secrets"]) <= set(COMPOSE["secrets"])
    assert ("database-owner-url" in files) is (name == "migrate")


def test_the_site_is_published_on_the_loopback_alone() -> None:
    published = [port for each in COMPOSE["services"].values() for port in each.get("ports", [])]
    assert published == ["127.0.0.1:8000:8000"]


def test_two_workers_do_not_read_each_others_signs() -> None:
    mounts = [COMPOSE["services"][name]["volumes"] for name in ("short", "gpu")]
    assert [each[-1].split(":") for each in mounts] == [
        ["short-drain", "/data/drain"],
        ["gpu-drain", "/data/drain"],
    ]


def test_every_variable_of_the_compose_file_is_in_the_example() -> None:
    text = (ROOT / "deploy" / "compose.yaml").read_text()
    asked = set(re.findall(r"\$\{([A-Z_]+):\?", text))
    example = (ROOT / "deploy" / "compose.env.example").read_text()
    assert asked == set(re.findall(r"^([A-Z_]+)=", example, re.MULTILINE))
