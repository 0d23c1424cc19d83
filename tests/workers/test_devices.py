"""What a machine tells of itself, on machines that tell much and on those that tell little."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from workers import devices


def test_a_machine_without_an_accelerator_tells_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "has_gpu", lambda: False)
    monkeypatch.setattr(psutil, "sensors_temperatures", dict)  # a virtual machine has none
    here = devices.look()
    assert here.memory_bytes > 0
    assert set(here.facts) == {"busy", "memory_used"}


def test_what_the_driver_does_not_tell_is_left_out() -> None:
    told = devices.parsed("NVIDIA H200, 143771, 1024, 97, 61, [N/A]\n")
    assert told.memory_bytes == 143771 * 2**20
    assert told.facts == {"memory_used": 2**30, "busy": 97.0, "temperature": 61.0}
    with pytest.raises(ValueError, match="unpack"):
        devices.parsed("No devices were found")


def test_the_disk_of_a_folder_that_is_not_there_yet_is_its_parents(tmp_path: Path) -> None:
    free, total = devices.disk(tmp_path / "not" / "yet")
    assert 0 < free <= total


def test_what_processes_hold_is_summed_from_the_drivers_lines() -> None:
    told = "4711, 1024\n4712, 512\n9, 7\n"
    assert devices.summed(told, {4711, 4712}) == 1536 * 2**20
    assert devices.summed("", {4711}) == 0
    with pytest.raises(ValueError, match="unpack"):
        devices.summed("No devices were found", {1})
    assert devices.held_by([]) == 0
