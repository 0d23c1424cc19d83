"""A small composition on disk, and model servers that serve it: real processes on free ports."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from openai import OpenAI

from calm_engine.digests import write_manifest
from calm_engine.modeling import CalmForCausalLM
from tests.tiny import awaken, make_model, save_folder

SECRET = "only-for-this-test"
CONTEXT = 1500


@dataclass(frozen=True)
class Folders:
    anchor: Path
    augmenter: Path
    composition: Path
    secret: Path

    def flags(self) -> list[str]:
        return [
            *("--composition", str(self.composition), "--anchor", str(self.anchor)),
            *("--augmenter", str(self.augmenter), "--secret-file", str(self.secret)),
            *("--name", "ours", "--threads", "1", "--port", "0", "--events"),
        ]


@dataclass(frozen=True)
class Running:
    """A model server that is ready."""

    address: str
    process: subprocess.Popen[str]

    def client(self, secret: str = SECRET) -> OpenAI:
        url = f"{self.address}/v1"
        return OpenAI(base_url=url, api_key=secret, max_retries=0, timeout=30)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    root = tmp_path_factory.mktemp("models")
    anchor = make_model("llama", width=48, layers=4, heads=4, positions=CONTEXT, seed=1)
    with torch.no_grad():  # no answer ends by chance before its length: its end is never likeliest
        anchor.get_output_embeddings().weight[anchor.config.eos_token_id] = 0
    augmenter = make_model("llama", width=32, layers=4, heads=2, positions=CONTEXT, seed=2)
    save_folder(anchor, root / "anchor")
    save_folder(augmenter, root / "augmenter")
    model = awaken(CalmForCausalLM.compose(root / "anchor", [root / "augmenter"]))
    model.save_pretrained(root / "composition")
    write_manifest(root / "composition")
    (root / "secret").write_text(f"{SECRET}\n", encoding="utf-8")
    return Folders(root / "anchor", root / "augmenter", root / "composition", root / "secret")


def command(*flags: str) -> list[str]:
    return [sys.executable, "-m", "calm_engine.cli", "serve", *flags]


@contextlib.contextmanager
def running(*flags: str) -> Iterator[Running]:
    """Start `calm serve`, wait until it is ready, and end it."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command(*flags), stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                told = json.loads(line)
                if told["type"] == "ready":
                    break
            assert process.poll() is None, "the model server ended before it was ready"
            yield Running(told["address"], process)
        finally:
            process.terminate()
            process.stdout.read()
            process.wait(timeout=40)


@pytest.fixture(scope="session")
def server(folders: Folders) -> Iterator[Running]:
    with running(*folders.flags(), "--rows", "4", "--queue", "4") as ready:
        yield ready


@pytest.fixture
def start(folders: Folders) -> Callable[..., AbstractContextManager[Running]]:
    """Start a server of one's own, to be ended in the test."""
    return lambda *flags: running(*folders.flags(), *flags)


@pytest.fixture
def client(server: Running) -> Iterator[OpenAI]:
    with server.client() as openai:
        yield openai
