"""The images' recipes, read as text: pinned, locked, nothing to build with at the end.

Building them takes minutes: tests/deploy/images does, where buildah is.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.helm import ROOT

IMAGES = ROOT / "deploy" / "images"
MADE = ("web", "worker")
BASES = {"web": {"BASE"}, "worker": {"BASE"}, "host": {"WORKER"}, "host-vllm": {"BASE", "WORKER"}}
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==(\S+) \\$", re.MULTILINE)


def recipe(name: str) -> str:
    """The recipe, its continued lines joined and its comments gone."""
    text = (IMAGES / f"Containerfile.{name}").read_text()
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    return re.sub(r"\\\n\s*", " ", text)


def end_stage(name: str) -> str:
    return recipe(name).rpartition("FROM ")[2]


def pinned(file: Path) -> dict[str, str]:
    return dict(PINNED.findall(file.read_text()))


@pytest.mark.parametrize("name", BASES)
def test_the_base_is_named_by_whoever_builds(name: str) -> None:
    """No default: a tag would say something else tomorrow, and a site has its own mirror."""
    bases = re.findall(r"^FROM \$\{(\S+)\}", recipe(name), re.MULTILINE)
    assert len(bases) == recipe(name).count("FROM ")
    assert set(bases) == BASES[name]
    assert set(re.findall(r"^ARG (BASE|WORKER)$", recipe(name), re.MULTILINE)) == BASES[name]


@pytest.mark.parametrize("name", [*MADE, "host-vllm"])
def test_packages_are_installed_by_hash_and_never_built(name: str) -> None:
    installs = re.findall(r"bin/pip [^&]*?install [^&]*", recipe(name))
    assert len(installs) >= 2
    for each in installs:
        assert "--require-hashes" in each or '"${TORCH}"' in each, each
    assert all("--only-binary :all:" in each for each in installs if "sbom" not in each)


@pytest.mark.parametrize("name", MADE)
def test_at_the_end_there_is_no_pip_and_no_compiler(name: str) -> None:
    end = end_stage(name)
    assert "pip uninstall -y --quiet setuptools wheel pip" in end
    assert "apt-get purge -y --auto-remove python3-pip python3-venv" in end
    assert "ensurepip" in end
    assert "venv --without-pip" in recipe(name)
    for tool in ("gcc", "build-essential", "git", "curl", "wget", "nodejs"):
        assert tool not in end


@pytest.mark.parametrize("name", MADE)
def test_the_process_is_nobody_in_particular_under_an_init(name: str) -> None:
    end = end_stage(name)
    assert re.search(r"^USER 10001$", end, re.MULTILINE)
    assert 'ENTRYPOINT ["/usr/bin/tini", "--", "/opt/counterpoint/bin/counterpoint"]' in end
    assert "chown 10001:0 /data && chmod 0770 /data" in end  # group 0: any user id works


@pytest.mark.parametrize("name", MADE)
def test_nothing_of_an_image_asks_the_network(name: str) -> None:
    end = end_stage(name)
    for word in ("HF_HUB_OFFLINE=1", "TRANSFORMERS_OFFLINE=1", "HF_DATASETS_OFFLINE=1"):
        assert word in end
    for word in ("HF_HUB_DISABLE_TELEMETRY=1", "DO_NOT_TRACK=1", "COUNTERPOINT_EMBEDDED=never"):
        assert word in end


@pytest.mark.parametrize("name", MADE)
def test_an_image_says_what_is_in_it(name: str) -> None:
    assert "cyclonedx-py environment --gather-license-texts" in recipe(name)
    assert "/opt/counterpoint/licences/sbom.json" in recipe(name)


@pytest.mark.parametrize("name", MADE)
def test_an_image_holds_the_versions_of_the_lock(name: str) -> None:
    whole = pinned(ROOT / "requirements" / "lock.txt")
    part = pinned(ROOT / "requirements" / f"{name}.txt")
    assert len(part) > 40
    assert {n: v for n, v in part.items() if n in whole and whole[n] != v} == {}


def test_the_site_holds_no_model_library() -> None:
    heavy = {"torch", "transformers", "accelerate", "numpy", "kreuzberg", "safetensors"}
    assert heavy & set(pinned(ROOT / "requirements" / "web.txt")) == set()


def test_everything_that_a_recipe_copies_is_let_through() -> None:
    ignored = (ROOT / ".containerignore").read_text().split()
    for name in BASES:
        for words in re.findall(r"^COPY (?!--from)(.*)$", recipe(name), re.MULTILINE):
            for source in words.replace("${LOCK}", "host-vllm.txt").split()[:-1]:
                assert (ROOT / source).exists(), source
                assert f"!{source}" in ignored or f"!{source.split('/')[0]}" in ignored, source


def test_the_list_names_every_recipe() -> None:
    listed = (IMAGES / "images.txt").read_text().split()
    assert listed == sorted(f"counterpoint/{path.suffix[1:]}" for path in IMAGES.glob("Container*"))


def test_the_entry_point_can_be_asked_whether_it_starts() -> None:
    done = subprocess.run(
        ["/bin/sh", str(IMAGES / "counterpoint"), "--check"],
        env={
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "PYTHONPATH": f"{ROOT}:{ROOT}/platform",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "well"
