"""What is installed says its licence, and none binds the product."""

from __future__ import annotations

import json
from email.message import Message
from pathlib import Path

import pytest

from counterpoint.operate import cli, licences
from counterpoint.operate.licences import BINDING, Package, licence_of

LOCK = Path(__file__).resolve().parents[3] / "platform" / "frontend" / "package-lock.json"


def test_everything_installed_says_a_licence_that_leaves_the_product_free() -> None:
    found = licences.packages()
    assert len(found) > 50
    assert [each.name for each in found if each.is_binding] == []
    assert [each.name for each in found if not each.licence and each.name != "counterpoint"] == []


def test_so_does_what_the_browser_gets() -> None:
    told = json.loads(LOCK.read_text())["packages"]
    stated = {name: str(each.get("license", "")) for name, each in told.items() if name}
    assert stated
    assert [name for name, licence in stated.items() if BINDING.search(licence)] == []


@pytest.mark.parametrize(
    ("licence", "is_binding"),
    [
        ("MIT", False),
        ("LGPL-3.0-only", False),
        ("GNU Lesser General Public License v3 (LGPLv3)", False),
        ("GPL-2.0-or-later", True),
        ("AGPL-3.0", True),
        ("GNU Affero General Public License v3", True),
        ("GNU General Public License v3 (GPLv3)", True),
        ("MIT OR GPL-3.0", False),
        ("GPL-2.0 OR AGPL-3.0", True),
        ("", False),
    ],
)
def test_a_licence_that_binds_is_told_from_one_that_does_not(
    licence: str, is_binding: bool
) -> None:
    assert Package("x", "1", licence).is_binding == is_binding


def test_a_licence_is_read_from_wherever_a_package_says_it() -> None:
    told = Message()
    assert licence_of(told) == ""
    told["License"] = "UNKNOWN"
    assert licence_of(told) == ""
    del told["License"]
    told["License"] = "Some words\nand a thousand more"
    assert licence_of(told) == "Some words"
    told["Classifier"] = "License :: OSI Approved :: MIT License"
    assert licence_of(told) == "MIT License"
    told["License-Expression"] = "BSD-3-Clause"
    assert licence_of(told) == "BSD-3-Clause"


def test_the_command_prints_a_table_or_a_bill_of_materials(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(["licences"]) == 0
    assert "Django" in capsys.readouterr().out
    assert cli.main(["licences", "--bill"]) == 0
    told = json.loads(capsys.readouterr().out)
    django = next(
        each for each in told["components"] if each["purl"].startswith("pkg:pypi/django@")
    )
    assert django["licenses"][0]["license"]["name"]
    monkeypatch.setattr(licences, "packages", lambda: [Package("bound", "1", "AGPL-3.0")])
    assert cli.main(["licences"]) == 1
    assert "bound binds the product" in capsys.readouterr().err
