"""Images that were really built: what is in them, and that they work as nobody on a read-only root.

Some minutes and gigabytes: run by `make test-images`, and by `make test-slow` where buildah is.
"""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.conf import settings

from counterpoint.celery import app
from tests.deploy.helm import ROOT
from tests.deploy.images.building import NOBODY, Image
from tests.deploy.test_images import pinned
from tests.end_to_end.test_upgrade import answers
from tests.engine.learning import make_augment
from tests.engine.vllm.playing import keep_composition
from tests.waiting import free_port, wait_until

pytestmark = pytest.mark.slow

TOOLS = ("gcc", "cc", "make", "pip", "pip3", "git", "curl", "wget", "node")
LOOK = """
import importlib.util as found, json, os, pathlib, shutil, sys
def may_write(folder):
    try:
        (pathlib.Path(folder) / "written").touch()
    except OSError as error:
        return error.strerror
    return "yes"
packed = ("pip", "ensurepip", "setuptools", "torch")
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({
    "first": pathlib.Path("/proc/1/comm").read_text().strip(),
    "user": os.getuid(), "group": os.getgid(),
    "rights": status["CapBnd"].strip(), "more": status["NoNewPrivs"].strip(),
    "write": {each: may_write(each) for each in sys.argv[1].split()},
    "tools": [each for each in sys.argv[2].split() if shutil.which(each)],
    "modules": [each for each in packed if found.find_spec(each)],
}))
"""
TORCH = {"torch", "setuptools"}  # torch names the second as needed; nothing here compiles
CLOSED = ("/", "/etc", "/usr", "/opt/counterpoint", "/opt/counterpoint/app")
OPEN = ("/data", "/tmp")  # noqa: S108  the image's


def output(image: Image, *command: str, **how: Any) -> str:
    """What another command than the image's own says."""
    with image.running(*command, entry=["/usr/bin/tini", "--"], **how) as started:
        assert started.wait() == 0, started.said()
        return started.said()


def engines() -> dict[str, str]:
    """The tests' engines, as a cluster names the site's: addresses and keys, no home folder."""
    urls = {name: os.environ[name] for name in ("DATABASE_URL", "REDIS_URL")}
    keys = {name: str(getattr(settings, name)) for name in ("SECRET_KEY", "AUDIT_KEY", "SITE_KEY")}
    return urls | keys | {"ALLOWED_HOSTS": "127.0.0.1"}


def test_an_image_says_that_it_starts(image: Image) -> None:
    with image.running("--check") as started:
        assert (started.wait(), started.said().strip()) == (0, "well")
    print(f"{image.name}: {image.megabytes} MB")  # noqa: T201  for docs/operate/images.md


def test_it_is_nobody_under_an_init_and_may_write_where_it_must(image: Image) -> None:
    words = ["python", "-c", LOOK, " ".join((*CLOSED, *OPEN)), " ".join(TOOLS)]
    found = json.loads(output(image, *words))
    assert found["first"] == "tini"
    assert (found["user"], found["group"]) == (NOBODY, 0)
    assert (int(found["rights"], 16), found["more"]) == (0, "1")
    assert {found["write"][each] for each in OPEN} == {"yes"}
    assert {found["write"][each] for each in CLOSED} == {"Read-only file system"}
    assert found["tools"] == []
    assert set(found["modules"]) == (TORCH if image.name != "web" else set())


def test_who_is_not_told_another_user_is_not_root(image: Image) -> None:
    assert image.config["User"] == "10001"
    assert image.config["Entrypoint"][:2] == ["/usr/bin/tini", "--"]


def test_its_bill_of_materials_names_everything_with_its_licence(image: Image) -> None:
    bill = json.loads((image.root / "opt/counterpoint/licences/sbom.json").read_text())
    listed = {each["name"].lower().replace("_", "-"): each for each in bill["components"]}
    part = "web" if image.name == "web" else "worker"
    wanted = pinned(ROOT / "requirements" / f"{part}.txt")
    assert {name for name in wanted if name not in listed} == set()
    assert {name for name, version in wanted.items() if listed[name]["version"] != version} == set()
    said = [name for name, each in listed.items() if each.get("licenses")]
    assert len(said) > 0.9 * len(listed)
    told = output(image, *image.config["Entrypoint"][2:], "licences")
    assert "Django" in told or "django" in told


@pytest.mark.django_db(transaction=True)
def test_the_site_answers_and_leaves_when_it_is_asked_to(web: Image) -> None:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with web.running("web", "--port", str(port), told=engines()) as started:
        assert wait_until(lambda: started.has_ended() or answers(f"{address}/readyz"))
        page = httpx.get(f"{address}/accounts/sign-in/", trust_env=False).text
        assert (script := re.search(r'src="(/[^"]+\.js)"', page)), page
        assert httpx.get(f"{address}{script[1]}", trust_env=False).status_code == 200
        assert started.end() in {0, 143}


@pytest.mark.django_db(transaction=True)
def test_a_worker_takes_tasks(worker: Image) -> None:
    told = engines() | {"ALIVE_FILE": "/tmp/alive"}  # noqa: S108  the image's
    with worker.running("worker", "--queues", "short", told=told) as started:
        assert wait_until(lambda: started.has_ended() or app.control.ping(timeout=1))
        assert not started.has_ended(), started.said()
        assert started.end() == 0


def give_away(folder: Path) -> None:
    """To the user whom no image knows."""
    for each in (folder, *folder.rglob("*")):
        os.chown(each, NOBODY, 0)


def test_a_worker_trains_without_a_home_of_its_own(worker: Image, tmp_path: Path) -> None:
    spec = make_augment(tmp_path)
    (tmp_path / "spec.json").write_text(spec.to_json())
    give_away(tmp_path)
    words = ["-m", "calm_engine.cli", "augment", "--spec", str(tmp_path / "spec.json")]
    output(worker, "python", *words, see=[tmp_path])
    assert (Path(spec.output) / "model.safetensors").stat().st_size > 0


@pytest.mark.django_db(transaction=True)
def test_a_host_waits_for_models(host: Image) -> None:
    with host.running(*host.config["Cmd"], told=engines()) as started:
        time.sleep(5)
        assert not started.has_ended(), started.said()
        assert started.end() in {0, 143}


def test_a_model_server_plays_by_vllm_in_an_environment_of_its_own(
    host_vllm: Image, tmp_path: Path
) -> None:
    keep_composition(tmp_path / "together", "llama", "llama")
    give_away(tmp_path)
    known = dict(word.split("=", 1) for word in host_vllm.config["Env"])
    assert known["COUNTERPOINT_HOST_ENGINE"] == "vllm"
    port, parents = free_port(), tmp_path / "parents"
    words = ["-m", "calm_engine.cli", "serve", "--engine", "vllm", "--cache-gb", "1"]
    words += ["--composition", str(tmp_path / "together"), "--anchor", str(parents / "anchor")]
    words += ["--augmenter", str(parents / "augmenter_0"), "--name", "x", "--port", str(port)]
    entry = [*host_vllm.config["Entrypoint"][:2], known["COUNTERPOINT_HOST_PYTHON"]]
    address = f"http://127.0.0.1:{port}"
    with host_vllm.running(*words, entry=entry, see=[tmp_path]) as started:
        assert wait_until(lambda: started.has_ended() or answers(f"{address}/healthz"), 900)
        assert not started.has_ended(), started.said()
        asked = {"model": "x", "prompt": "Where is it made?", "max_tokens": 4}
        told = httpx.post(f"{address}/v1/completions", json=asked, trust_env=False, timeout=120)
        assert told.status_code == 200, told.text
        assert told.json()["usage"]["completion_tokens"] == 4
