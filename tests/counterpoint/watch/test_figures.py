"""Figures: what they count, what the rows say, and that every name in use exists."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from django.test import Client
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from pytest_django import Settings

from apps.operate.state import State
from counterpoint.watch import figures
from tests.cast import Cast
from tests.waiting import free_port

ROOT = Path(__file__).resolve().parents[3]
FILES = ROOT / "deploy" / "helm" / "counterpoint" / "files"
NAME = re.compile(r"\bcounterpoint_[a-z_]+\b")


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def state() -> dict[tuple[str, ...], float]:
    """Every sample by name and label values."""
    return {
        (found.name, *found.labels.values()): found.value
        for metric in State().collect()
        for found in metric.samples
    }


def test_a_request_is_counted_by_its_route_and_never_by_its_address(cast: Cast) -> None:
    labels = {"method": "GET", "route": "corpora:list", "status": "200"}
    before = sample("counterpoint_http_requests_total", **labels)
    cast.client(cast.ada).get("/corpora/?q=secret")
    assert sample("counterpoint_http_requests_total", **labels) == before + 1
    assert sample("counterpoint_http_seconds_count", route="corpora:list") >= 1


def test_a_tenant_is_named_by_its_id_and_only_by_its_people(cast: Cast) -> None:
    north = {"tenant": str(cast.north.pk), "status": "2xx"}
    before = sample("counterpoint_tenant_requests_total", **north)
    cast.client(cast.ada).get("/corpora/")
    Client(headers={"X-Tenant": str(cast.north.pk)}).get("/accounts/sign-in/")
    assert sample("counterpoint_tenant_requests_total", **north) == before + 1
    assert "North" not in generate_latest(REGISTRY).decode()


def test_strangers_cannot_make_names(db: None, client: Client) -> None:
    for number in range(3):
        client.get(f"/nowhere/{number}")
    client.generic("BREW", "/healthz")
    told = generate_latest(REGISTRY).decode()
    assert "/nowhere" not in told
    assert "BREW" not in told


@pytest.mark.django_db(transaction=True)
def test_the_rows_the_broker_and_the_disk_are_told(cast: Cast) -> None:
    found = state()
    assert found["counterpoint_database_up",] == 1
    assert found["counterpoint_broker_up",] == 1
    assert found["counterpoint_migrations_pending",] == 0
    assert found["counterpoint_models_wanted",] == 0
    assert abs(found["counterpoint_clock_offset_seconds",]) < 5
    assert found["counterpoint_home_free_bytes",] > 0
    assert found["counterpoint_queue_messages", "short"] >= 0


@pytest.mark.django_db(transaction=True)
def test_a_broker_that_is_away_is_told_as_down(settings: Settings) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    assert state()["counterpoint_broker_up",] == 0


@pytest.mark.django_db(transaction=True)
def test_backups_that_never_were_are_told_as_never(settings: Settings, tmp_path: Path) -> None:
    settings.HOME = tmp_path
    assert state()["counterpoint_backup_last_success_timestamp_seconds",] == 0


# ---- names ---------------------------------------------------------------------------------------


def offered() -> set[str]:
    """Every name that a process of ours can offer, with the endings that Prometheus adds."""
    counted = {figures.RELEASE, figures.REQUESTS, figures.SECONDS, figures.UNDER_WAY}
    counted |= {figures.TASKS, figures.TASK_SECONDS, figures.TENANTS}
    names: set[str] = set()
    for metric in [*(m for each in counted for m in each.collect()), *State().collect()]:
        base = metric.name
        endings = {
            "counter": ("_total",),
            "histogram": ("", "_bucket", "_sum", "_count"),
            "info": ("_info",),
        }
        names |= {base + ending for ending in endings.get(metric.type, ("",))}
    return names


def dashboards() -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((FILES / "dashboards").glob("*.json"))]


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FILES / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def used() -> dict[str, set[str]]:
    asked = [t["expr"] for board in dashboards() for p in board["panels"] for t in p["targets"]]
    return {
        "dashboards": set(NAME.findall(" ".join(asked))),
        "alerts": set(NAME.findall(" ".join(rule["expr"] for rule in rules()))),
        "docs": set(NAME.findall((ROOT / "docs" / "reference" / "metrics.md").read_text())),
    }


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("place", ["dashboards", "alerts", "docs"])
def test_every_figure_that_is_named_exists(place: str) -> None:
    named = used()[place]
    assert len(named) > 10
    assert named - offered() == set()


@pytest.mark.django_db(transaction=True)
def test_every_figure_is_documented_and_drawn() -> None:
    bases = {re.sub(r"_(bucket|sum|count)$", "", name) for name in offered()}
    assert bases - used()["docs"] == set()
    drawn = {re.sub(r"_(bucket|sum|count)$", "", name) for name in used()["dashboards"]}
    assert bases - drawn == set()


def test_every_alert_has_its_runbook() -> None:
    page = (ROOT / "docs" / "operate" / "runbooks.md").read_text()
    for rule in rules():
        path, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert path == "docs/operate/runbooks.md"
        assert anchor == rule["alert"].lower()
        assert f"## {rule['alert']}\n" in page
        assert rule["labels"]["severity"] in {"critical", "warning"}


# ---- offered by real processes -------------------------------------------------------------------


def read(port: int, *, until: str, process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + 90
    told = ""
    while time.monotonic() < deadline and process.poll() is None:
        try:
            told = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
        except httpx.HTTPError:
            time.sleep(0.3)
            continue
        if until in told:
            return told
        time.sleep(0.3)
    raise AssertionError(f"{until} never came: {told[-2000:]}")


@pytest.mark.django_db(transaction=True)
def test_a_worker_counts_what_its_pool_did_and_the_timer_tells_the_rows(tmp_path: Path) -> None:
    from counterpoint.celery import app  # noqa: PLC0415  needs the settings

    ports = free_port(), free_port()
    common = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    verbs = (["worker", "--queues", "short"], ["timer", "--schedule", str(tmp_path / "schedule")])
    own = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "figures"), "ALIVE_FILE": str(tmp_path / "w")}
    kinds = (own, {"ALIVE_FILE": str(tmp_path / "t")})
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "counterpoint.operate", *verb],
            env=common | kind | {"METRICS_PORT": str(port)},
            stderr=subprocess.DEVNULL,
        )
        for verb, kind, port in zip(verbs, kinds, ports, strict=True)
    ]
    try:
        app.send_task("housekeeping.rows", queue="short")
        wanted = 'counterpoint_tasks_total{outcome="success",task="housekeeping.rows"}'
        assert "counterpoint_task_seconds_bucket" in read(
            ports[0], until=wanted, process=children[0]
        )
        told = read(ports[1], until="counterpoint_database_up 1.0", process=children[1])
        assert "counterpoint_release_info" in told
        assert (tmp_path / "w").exists()
        assert (tmp_path / "t").exists()
    finally:
        for child in children:
            child.terminate()
        for child in children:
            child.wait(60)


def test_nothing_is_offered_unless_asked_for(settings: Settings) -> None:
    from counterpoint.watch.offer import offer  # noqa: PLC0415  needs the settings

    settings.METRICS_PORT = 0
    offer()
    assert CollectorRegistry().get_sample_value("counterpoint_release_info") is None
