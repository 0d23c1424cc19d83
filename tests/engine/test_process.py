"""The door a launcher opens: exit status, news, death with the parent, and a stop that resumes."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from calm_engine import process
from calm_engine.errors import Cancelled
from tests.engine.asking import make_evaluation
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
DOOR = [sys.executable, "-m", "calm_engine"]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def arguments(folder: Path, spec: dict[str, Any], *, parent: int | None = None) -> list[str]:
    (folder / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
    files = ["--spec", str(folder / "spec.json"), "--events", str(folder / "events.jsonl")]
    return [*files, "--epoch", "1", "--parent-pid", str(os.getpid() if parent is None else parent)]


def start(folder: Path, verb: str, spec: dict[str, Any], **named: Any) -> subprocess.Popen[str]:
    command = [*DOOR, verb, *arguments(folder, spec, **named)]
    return subprocess.Popen(
        command, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def events(folder: Path) -> list[dict[str, Any]]:
    path = folder / "events.jsonl"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def test_a_run_tells_its_progress_and_then_its_outcome(tmp_path: Path) -> None:
    child = start(tmp_path, "evaluate", make_evaluation(tmp_path).to_dict())
    _, told = child.communicate(timeout=60)
    assert child.returncode == 0, told
    kinds = [event["type"] for event in events(tmp_path)]
    assert set(kinds[:-1]) == {"progress"}
    assert kinds[-1] == "outcome"
    assert (Path(events(tmp_path)[-1]["folder"]) / "manifest.json").is_file()


def test_a_bad_spec_is_the_inputs_fault(tmp_path: Path) -> None:
    child = start(tmp_path, "evaluate", {"wrong": 1})
    _, told = child.communicate(timeout=60)
    assert child.returncode == 2
    assert "Traceback" not in told
    (last,) = events(tmp_path)
    assert (last["type"], last["code"], last["fault"]) == ("error", "spec.unknown", "input")


def test_a_fault_of_ours_leaves_its_traceback_in_the_log_and_not_in_the_news(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").touch()
    spec = make_evaluation(tmp_path).to_dict() | {"output": str(tmp_path / "file" / "report")}
    child = start(tmp_path, "evaluate", spec)
    _, told = child.communicate(timeout=60)
    assert child.returncode == 1
    assert "Traceback" in told
    last = events(tmp_path)[-1]
    assert (last["code"], last["fault"]) == ("run.crashed", "internal")
    assert "Traceback" not in json.dumps(last)


def test_an_orphan_does_not_begin(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    child = start(tmp_path, "evaluate", {}, parent=gone.pid)
    _, told = child.communicate(timeout=60)
    assert child.returncode == 1
    assert "has ended" in told
    assert not events(tmp_path)


def test_asked_to_stop_it_stops_with_75_and_goes_on_when_started_again(tmp_path: Path) -> None:
    spec = make_evaluation(tmp_path, questions=150).to_dict() | {"batch_size": 1}
    first = start(tmp_path, "evaluate", spec)
    assert wait_until(lambda: any(event.get("stage") == "evaluate" for event in events(tmp_path)))
    first.send_signal(signal.SIGTERM)
    _, told = first.communicate(timeout=60)
    assert first.returncode == 75, told
    assert events(tmp_path)[-1]["code"] == "run.cancelled"
    done = [e["step"] for e in events(tmp_path) if e.get("stage") == "evaluate"][-1]
    (tmp_path / "events.jsonl").unlink()
    second = start(tmp_path, "evaluate", spec | {"batch_size": 64})
    _, told = second.communicate(timeout=60)
    assert second.returncode == 0, told
    steps = [e["step"] for e in events(tmp_path) if e.get("stage") == "evaluate"]
    assert steps[0] > done


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
def test_the_training_process_dies_with_its_launcher(tmp_path: Path) -> None:
    """As under accelerate: we start a launcher, it starts the engine, and is killed."""
    spec = make_evaluation(tmp_path, questions=150).to_dict() | {"batch_size": 1}
    launcher = (
        "import os, subprocess, sys; child = subprocess.Popen([*sys.argv[1:], str(os.getpid())]);"
        "print(child.pid, flush=True); child.wait()"
    )
    told = arguments(tmp_path, spec)[:-1]
    middle = subprocess.Popen(
        [sys.executable, "-c", launcher, *DOOR, "evaluate", *told],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert middle.stdout is not None
    with middle.stdout as lines:
        grandchild = int(lines.readline())
    assert wait_until(lambda: any(event.get("stage") == "evaluate" for event in events(tmp_path)))
    assert is_alive(grandchild)
    middle.kill()
    middle.wait()
    assert wait_until(lambda: not is_alive(grandchild), seconds=5)
    assert events(tmp_path)[-1]["type"] == "progress"


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that only waits to be reaped does not."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return told.rpartition(")")[2].split()[0] != "Z"


def test_cores_obey_the_quota_of_the_control_group(tmp_path: Path) -> None:
    assert process.cores(tmp_path) == len(os.sched_getaffinity(0))
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert process.cores(tmp_path) == len(os.sched_getaffinity(0))
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    assert process.cores(tmp_path) == 1
    (tmp_path / "cpu.max").write_text("10000 100000\n")
    assert process.cores(tmp_path) == 1


def test_threads_are_what_was_wanted_or_what_the_launcher_gave(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert process.threads(5) == 5
    assert process.threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "0")
    assert process.threads() == process.cores()


def test_what_only_the_outside_can_name_gets_its_code() -> None:
    full = process.as_engine_error(OSError(errno.ENOSPC, "No space left on device"))
    memory = process.as_engine_error(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    unknown = process.as_engine_error(ValueError("a sentence from a document"))
    assert (full.code, memory.code, unknown.code) == ("disk.full", "memory.full", "run.crashed")
    assert process.as_engine_error(MemoryError()).code == "memory.full"
    assert "sentence" not in str(unknown)
    known = Cancelled()
    assert process.as_engine_error(known) is known
