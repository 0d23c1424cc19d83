"""What a child may know, what it is told, and how its end is read."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from apps.runs.execution import Lost, Wish
from calm_engine.errors import InputError, InternalError
from calm_engine.specs import AugmentSpec, Outcome, Progress
from workers import processes
from workers.launch import Child
from workers.places import Place, located

SPEC = AugmentSpec(output="out", tokenizer="anchor", documents="documents.jsonl")
PROGRESS = {"type": "progress", "stage": "train", "step": 3, "total": 9}
OUTCOME = {"type": "outcome", "kind": "augmenter", "folder": "out", "digest": "0" * 64}
# Stands in for the engine where it must misbehave in a way that the engine does not.
SAYS = "import json, os, pathlib, sys; events = pathlib.Path(sys.argv[1]);"


def stand_in(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    def command(_verb: str, place: Place, *, epoch: int, threads: int) -> list[str]:
        return [sys.executable, "-c", SAYS + code, str(place.events(epoch))]

    monkeypatch.setattr(processes, "command", command)


def followed(place: Place, wish: Wish = Wish.NOTHING) -> tuple[list[Progress], Outcome]:
    with Child("augment", SPEC, place, epoch=1, threads=1) as child:
        news, told = child.news(lambda: wish), []
        while True:
            try:
                told.append(next(news))
            except StopIteration as end:
                return told, end.value


def says(*events: dict[str, Any]) -> str:
    text = "".join(json.dumps(event) + "\n" for event in events)
    return f"events.write_text({text!r});"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "run")


def test_news_and_outcome_are_read_from_the_events(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, says(PROGRESS, OUTCOME))
    told, outcome = followed(place)
    assert [(news.stage, news.step) for news in told] == [("train", 3)]
    assert outcome.digest == "0" * 64


@pytest.mark.parametrize(("fault", "kind"), [("input", InputError), ("internal", InternalError)])
def test_an_error_keeps_its_code_words_and_whose_fault_it_is(
    place: Place, monkeypatch: pytest.MonkeyPatch, fault: str, kind: type[Exception]
) -> None:
    event = {"type": "error", "code": "train.nan", "message": "It diverged.", "fault": fault}
    stand_in(monkeypatch, says(event | {"facts": {"step": 4}}) + "sys.exit(2)")
    with pytest.raises(kind) as caught:
        followed(place)
    assert (caught.value.code, caught.value.facts) == ("train.nan", {"step": 4})  # type: ignore[attr-defined]  # of EngineError


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("raise OSError(28, 'No space left on device')", "disk.full"),
        ("raise MemoryError", "memory.full"),
        ("raise RuntimeError('CUDA out of memory. Tried to allocate')", "memory.full"),
        ("raise ValueError('whatever')", "run.crashed"),
        ("sys.exit(0)", "run.crashed"),
    ],
)
def test_a_silent_death_is_given_its_cause(
    place: Place, monkeypatch: pytest.MonkeyPatch, code: str, expected: str
) -> None:
    stand_in(monkeypatch, code)
    with pytest.raises((InputError, InternalError)) as caught:
        followed(place)
    assert caught.value.code == expected


@pytest.mark.parametrize(("gpu", "niceness"), [(False, 10), (True, 0)])
def test_a_training_that_computes_on_the_cores_lets_answers_go_before(
    place: Place, monkeypatch: pytest.MonkeyPatch, *, gpu: bool, niceness: int
) -> None:
    monkeypatch.setattr(processes, "has_gpu", lambda: gpu)
    stand_in(
        monkeypatch,
        f"told = dict({PROGRESS!r}, step=os.nice(0)), {OUTCOME!r};"
        "events.write_text(''.join(json.dumps(one) + '\\n' for one in told))",
    )
    assert [news.step for news in followed(place)[0]] == [os.nice(0) + niceness]


def test_a_child_killed_from_outside_is_lost_and_not_failed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, "os.kill(os.getpid(), 9)")
    with pytest.raises(Lost, match="SIGKILL"):
        followed(place)


def test_memory_that_the_kernel_took_is_told_as_such(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = iter([0, 1])
    monkeypatch.setattr(processes, "oom_kills", lambda: next(counts))
    stand_in(monkeypatch, "os.kill(os.getpid(), 9)")
    with pytest.raises(InternalError, match=r"memory\.full"):
        followed(place)


def test_a_half_written_line_waits_for_its_end(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = json.dumps(PROGRESS) + "\n" + json.dumps(OUTCOME) + "\n"
    parts = [text[:20], text[20:60], text[60:]]
    stand_in(
        monkeypatch,
        f"import time\nfor part in {parts!r}:\n    events.open('a').write(part); time.sleep(0.4)\n",
    )
    told, _ = followed(place)
    assert len(told) == 1


def test_a_result_that_came_before_the_wish_still_counts(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, says(OUTCOME))
    assert followed(place, Wish.CANCEL)[1].digest == "0" * 64


def test_the_child_knows_no_secret_and_no_road_to_the_network(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "AUDIT_KEY"):
        monkeypatch.setenv(name, "not for you")
    known = processes.environment(place, 1)
    assert "not for you" not in known.values()
    assert known["HF_HUB_OFFLINE"] == "1"
    assert Path(known["HOME"]).is_relative_to(place.folder)


def test_references_become_folders_all_the_way_down() -> None:
    spec = {"anchor": "@anchor", "augmenters": ["@augmenter"], "random": "@control", "steps": 3}
    places = {"@anchor": Path("/a"), "@augmenter": Path("/b"), "@control": None}
    assert located(spec, places) == {
        "anchor": "/a",
        "augmenters": ["/b"],
        "random": None,
        "steps": 3,
    }


def test_every_choice_of_the_launcher_is_spelled_out(place: Place) -> None:
    line = processes.command("augment", place, epoch=3, threads=2)
    for words in ("--num_processes 1", "--num_machines 1", "--mixed_precision no"):
        assert words in " ".join(line)
    assert line[line.index("--epoch") + 1] == "3"
    assert line[:2] == ["/bin/sh", "-c"]


def test_what_an_older_attempt_left_running_is_ended_first(place: Place) -> None:
    place.folder.mkdir()
    left = subprocess.Popen(["sleep", "60"], start_new_session=True)
    processes.remember(place, left.pid, epoch=1)
    processes.end_leftover(place)
    assert left.wait(5) == -signal.SIGKILL


def test_a_stranger_with_the_same_pid_is_left_alone(place: Place) -> None:
    place.folder.mkdir()
    other = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        facts = {"pid": other.pid, "started": "1", "epoch": 1}
        place.child.write_text(json.dumps(facts))
        processes.end_leftover(place)
        assert other.poll() is None
    finally:
        os.killpg(other.pid, signal.SIGKILL)
        other.wait()
