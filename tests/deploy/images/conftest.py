"""The images, built once. Without buildah, or as somebody who may not mount, none is looked for."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.images.building import Builder, Image, builder, torch_of_this_machine

NEEDED = ("buildah", *(() if os.environ.get("BASE") else ("mmdebstrap",)))
CAN_BUILD = os.geteuid() == 0 and all(shutil.which(program) for program in NEEDED)
collect_ignore_glob = [] if CAN_BUILD else ["test_*"]


@pytest.fixture(scope="session")
def made() -> Iterator[Builder]:
    with builder(Path(tempfile.mkdtemp(prefix="counterpoint-images-"))) as at_work:
        yield at_work


@pytest.fixture(scope="session")
def base(made: Builder) -> str:
    return made.base()


@pytest.fixture(scope="session")
def web(made: Builder, base: str) -> Image:
    return made.build("web", BASE=base)


@pytest.fixture(scope="session")
def worker(made: Builder, base: str) -> Image:
    return made.build("worker", BASE=base, TORCH=torch_of_this_machine())


@pytest.fixture(scope="session")
def host(made: Builder, worker: Image) -> Image:
    return made.build("host", WORKER=worker.digest)


@pytest.fixture(scope="session")
def host_vllm(made: Builder, base: str, worker: Image) -> Image:
    """For the processor: what accelerators want is gigabytes, and none is here."""
    torch = torch_of_this_machine()
    return made.build("host-vllm", BASE=base, WORKER=worker.digest, TORCH=torch, LOCK="vllm.txt")


@pytest.fixture(params=["web", "worker", "host"])
def image(request: pytest.FixtureRequest) -> Image:
    found: Image = request.getfixturevalue(request.param)
    return found
