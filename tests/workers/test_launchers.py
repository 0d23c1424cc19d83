"""What every launcher promises, asked of each: a process group here, a Job, and a JobSet.

The cluster is a stand-in of this machine. Where KUBECONFIG is set, that one is asked too, in the
namespace and with the image and the claim that RUN_NAMESPACE, RUN_IMAGE and RUN_VOLUME_CLAIM name;
CLUSTER_HOME is where this machine has the claim's volume, CLUSTER_PYTHON the image's interpreter.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings as site

from apps.runs.endings import Fenced
from apps.runs.execution import Drained, Lost, Paused, Wish
from calm_engine.errors import Cancelled, InputError, InternalError
from calm_engine.specs import AugmentSpec, Outcome, Progress
from tests.waiting import wait_until
from workers import cluster, launch, processes
from workers.launch import Child
from workers.places import Place

SPEC = AugmentSpec(output="out", tokenizer="anchor", documents="documents.jsonl")
PROGRESS = {"type": "progress", "stage": "train", "step": 3, "total": 9}
OUTCOME = {"type": "outcome", "kind": "augmenter", "folder": "out", "digest": "0" * 64}
# Stands in for the engine, which does not misbehave in so many ways.
SAYS = "import json, os, pathlib, signal, sys, time;"
# As in the engine, only the first of several nodes tells the news.
SAYS += "rank = os.environ.get('JOB_COMPLETION_INDEX', '0');"
SAYS += "events = pathlib.Path(sys.argv[1] + ('' if rank == '0' else '.' + rank));"
OBEYS = """
def save(*_):
    events.open("a").write(json.dumps({"type": "error", "code": "run.cancelled"}) + "\\n")
    sys.exit(75)
signal.signal(signal.SIGTERM, save)
events.with_name("ready").touch()
time.sleep(60)
"""
DEAF = 'signal.signal(signal.SIGTERM, signal.SIG_IGN); events.with_name("ready").touch();'
DEAF += "time.sleep(60)"


FAKE = ("kubernetes", "two nodes")
REAL = ("real cluster", "real cluster, two nodes")
LAUNCHERS = ("subprocess", *FAKE, *(REAL if os.environ.get("KUBECONFIG") else ()))


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cluster of this machine, and the file by which its client finds it."""
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("fake_cluster.py"))], stdout=subprocess.PIPE
    )
    assert server.stdout is not None
    address = f"http://127.0.0.1:{int(server.stdout.readline())}"
    file = tmp_path_factory.mktemp("cluster") / "config"
    named = {"name": "fake", "cluster": {"server": address}}
    context = {"name": "fake", "context": {"cluster": "fake", "user": "nobody"}}
    config = {"apiVersion": "v1", "kind": "Config", "current-context": "fake"}
    config |= {
        "clusters": [named],
        "contexts": [context],
        "users": [{"name": "nobody", "user": {}}],
    }  # type: ignore[dict-item]  # JSON
    file.write_text(json.dumps(config))
    yield file
    server.terminate()
    server.communicate(timeout=10)


@pytest.fixture(params=LAUNCHERS, autouse=True)
def launcher(request: pytest.FixtureRequest, settings: Any, monkeypatch: Any) -> str:
    """Each test is asked of each launcher."""
    settings.RUN_LAUNCHER = "subprocess" if request.param == "subprocess" else "kubernetes"
    settings.RUN_NODES = 2 if "two nodes" in request.param else 1
    its_own = os.environ.get("CLUSTER_PYTHON", "/usr/bin/python3")
    settings.PYTHON = its_own if request.param in REAL else sys.executable
    if request.param in FAKE:
        monkeypatch.setenv("KUBECONFIG", str(request.getfixturevalue("kubeconfig")))
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION",
                            str(request.getfixturevalue("kubeconfig")))  # fmt: skip
        monkeypatch.setattr(cluster, "LOOK_SECONDS", 0.1)
        monkeypatch.setattr(cluster, "GRACE_SECONDS", 2)
    return str(request.param)


@pytest.fixture
def place(tmp_path: Path, settings: Any, launcher: str) -> Place:
    settings.HOME = Path(os.environ["CLUSTER_HOME"]) if launcher in REAL else tmp_path
    return Place(settings.HOME / str(uuid4()))


def stand_in(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    def command(_verb: str, place: Place, *, epoch: int, threads: int) -> list[str]:
        shell = ["/bin/sh", "-c", 'exec "$@" --parent-pid "$$"', "launch"]
        nodes = ["--num_processes", "1", "--num_machines", "1"]  # as accelerate's own words
        return [*shell, site.PYTHON, "-c", SAYS + code, str(place.events(epoch)), *nodes]

    monkeypatch.setattr(processes, "command", command)
    monkeypatch.setattr(cluster, "command", command)


def says(*events: dict[str, Any]) -> str:
    text = "".join(json.dumps(event) + "\n" for event in events)
    return f"events.write_text({text!r});"


def followed(place: Place, wish: Wish = Wish.NOTHING) -> tuple[list[Progress], Outcome]:
    """All news and the outcome; the wish comes when the child says that it is ready."""

    def wished() -> Wish:
        is_ready = wish is Wish.FENCED or (place.folder / "ready").exists()
        return wish if is_ready else Wish.NOTHING

    with Child("augment", SPEC, place, epoch=2, threads=1) as child:
        news, told = child.news(wished), []
        while True:
            try:
                told.append(next(news))
            except StopIteration as end:
                return told, end.value


def test_news_and_outcome_are_read_back(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, says(PROGRESS, OUTCOME))
    told, outcome = followed(place)
    assert [(news.stage, news.step) for news in told] == [("train", 3)]
    assert outcome.digest == "0" * 64
    assert json.loads(place.spec.read_text())["documents"] == "documents.jsonl"


def test_an_error_keeps_its_code_and_its_facts(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = {"type": "error", "code": "data.json", "message": "No.", "fault": "input"}
    stand_in(monkeypatch, says(event | {"facts": {"line": 4}}) + "sys.exit(2)")
    with pytest.raises(InputError) as caught:
        followed(place)
    assert (caught.value.code, caught.value.facts) == ("data.json", {"line": 4})


def test_its_last_words_are_read_back(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, "print('the seal was worn'); sys.exit(3)")
    with pytest.raises(InternalError, match=r"(?s)code 3.*the seal was worn"):
        followed(place)
    assert "the seal was worn" in place.words(2).read_text()


def test_what_was_killed_from_outside_is_lost(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, "os.kill(os.getpid(), 9)")
    with pytest.raises(Lost, match="SIGKILL"):
        followed(place)


@pytest.mark.parametrize(
    ("wish", "raised"),
    [(Wish.CANCEL, Cancelled), (Wish.DRAIN, Drained), (Wish.PAUSE, Paused)],
)
def test_asked_to_go_it_saves_and_goes(
    place: Place, monkeypatch: pytest.MonkeyPatch, wish: Wish, raised: type[Exception]
) -> None:
    stand_in(monkeypatch, OBEYS)
    with pytest.raises(raised):
        followed(place, wish)
    assert "run.cancelled" in place.events(2).read_text()


def test_what_does_not_hear_is_ended_when_its_grace_is_over(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "STOP_SECONDS", 1.0)
    stand_in(monkeypatch, f"events.with_name('pid').write_text(str(os.getpid()));{DEAF}")
    with pytest.raises(Cancelled):
        followed(place, Wish.CANCEL)
    assert_gone(place)


def test_an_attempt_that_was_overtaken_is_ended_at_once(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, f"events.with_name('pid').write_text(str(os.getpid()));{DEAF}")
    with Child("augment", SPEC, place, epoch=2, threads=1) as child:
        assert wait_until((place.folder / "ready").exists)
        with pytest.raises(Fenced):
            next(child.news(lambda: Wish.FENCED))
    assert_gone(place)


def test_what_an_older_attempt_left_is_ended_first(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, f"events.with_name('pid').write_text(str(os.getpid()));{DEAF}")
    left = Child("augment", SPEC, place, epoch=1, threads=1)
    try:
        assert wait_until((place.folder / "ready").exists)
        first = int((place.folder / "pid").read_text())
        stand_in(monkeypatch, says(OUTCOME))
        followed(place)
        assert wait_until(lambda: is_gone(place, first))
    finally:
        left.body.kill()


def assert_gone(place: Place) -> None:
    pid = int((place.folder / "pid").read_text())
    assert wait_until(lambda: is_gone(place, pid)), "it still runs"


def is_gone(place: Place, pid: int) -> bool:
    if Path(os.environ.get("CLUSTER_HOME", "/nowhere")) == site.HOME:  # its pids are not ours
        return not cluster.Api().pods(place.folder.name)
    return processes.start_time(pid) is None


def test_a_start_that_is_told_twice_is_one(
    place: Place, monkeypatch: pytest.MonkeyPatch, launcher: str
) -> None:
    stand_in(monkeypatch, says(OUTCOME) + "time.sleep(0.5)")
    one = Child("augment", SPEC, place, epoch=2, threads=1)
    with Child("augment", SPEC, place, epoch=2, threads=1) as two:
        assert wait_until(lambda: two.body.poll() is not None)
        assert two.body.poll() == 0
    one.body.kill()


@pytest.mark.parametrize("launcher", ["two nodes"], indirect=True)
def test_the_nodes_of_one_run_find_the_first_by_its_name(place: Place) -> None:
    body = cluster.manifest("run-1-e2", "augment", place, epoch=2, threads=1)
    job = body["spec"]["replicatedJobs"][0]["template"]["spec"]
    words = job["template"]["spec"]["containers"][0]["command"]
    for name, value in (
        ("--num_machines", "2"),
        ("--num_processes", "2"),
        ("--machine_rank", "$(JOB_COMPLETION_INDEX)"),
        ("--main_process_ip", "run-1-e2-ranks-0-0.run-1-e2"),  # the JobSet's own service
    ):
        assert words[words.index(name) + 1] == value
    assert (job["completions"], job["parallelism"], job["backoffLimit"]) == (2, 2, 0)
