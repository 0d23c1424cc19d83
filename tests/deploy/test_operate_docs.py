"""Every command that docs/operate shows is one that exists, with words that it takes."""

from __future__ import annotations

import re
import shlex

import pytest
from django.core.management import get_commands, load_command_class

from calm_engine.cli import command
from counterpoint.operate import cli
from tests.deploy.helm import ROOT, call

PAGES = sorted((ROOT / "docs" / "operate").glob("*.md"))
BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)
INLINE = re.compile(r"`((?:counterpoint|manage\.py|make) [a-z][^`]*)`")
MADE = re.compile(r"^([a-z-]+):", re.MULTILINE)
OTHERS = {"kubectl", "systemctl", "docker", "buildah", "mmdebstrap", "cp", "openssl"}


def shown() -> list[tuple[str, str]]:
    """Page and command line, of blocks and within sentences."""
    found: list[tuple[str, str]] = []
    for page in PAGES:
        text = page.read_text()
        blocks = "\n".join(BLOCK.findall(text))
        lines = [line.split(" #")[0] for line in blocks.splitlines() if line.strip()]
        found += [(page.name, part.strip()) for line in lines for part in line.split(" | ")]
        found += [(page.name, line) for line in INLINE.findall(text)]
    return found


def test_there_are_commands() -> None:
    assert len(shown()) > 25


@pytest.mark.parametrize(("page", "line"), shown(), ids=lambda word: word[:60])
def test_a_command_that_is_shown_can_be_given(page: str, line: str) -> None:
    # What stands in brackets may be given as well.
    program, *words = shlex.split(re.sub(r"[\[\]]", "", line.replace("FOLDER", "/folder")))
    if program == "counterpoint" and words[0] != "manage":
        assert callable(cli.parser().parse_args(words).do)
    elif program in {"counterpoint", "manage.py"}:
        name, *words = words[1:] if program == "counterpoint" else words
        found = load_command_class(get_commands()[name], name)
        found.create_parser("manage.py", name).parse_args(words)
    elif program == "make":
        assert words[0] in MADE.findall((ROOT / "Makefile").read_text())
    elif program == "helm":
        helm(words)
    elif program == "calm":
        command._parser().parse_args(words)
    else:
        assert program in OTHERS
    files = [w for w in words if w.startswith(("deploy/", "docs/")) and "*" not in w]
    made_by_hand = {"deploy/compose.env"}
    assert [f for f in files if f not in made_by_hand and not (ROOT / f).exists()] == []


def helm(words: list[str]) -> None:
    """The same values and chart, rendered: `install` and `upgrade` need a cluster."""
    verb, *rest = words
    assert verb in {"lint", "install", "template", "upgrade", "test", "rollback"}
    if verb in {"test", "rollback"}:
        return
    told = call(*(["lint"] if verb == "lint" else ["template"]), *absolute(rest))
    assert told.code == 0, told.err


def absolute(words: list[str]) -> list[str]:
    return [str(ROOT / word) if word.startswith("deploy/") else word for word in words]


def test_every_page_is_on_the_list() -> None:
    listed = (ROOT / "docs" / "operate" / "README.md").read_text()
    names = {page.name for page in PAGES if page.name != "README.md"}
    assert {name for name in names if f"({name})" not in listed} == set()
