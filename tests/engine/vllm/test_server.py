"""`vllm serve FOLDER` as a site would start it, asked by the official client."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from safetensors.torch import load_file, save_file

from calm_engine.config import CalmConfig
from calm_engine.errors import InputError, InternalError
from calm_engine.modeling import CalmForCausalLM
from calm_engine.specs import BridgeSpec
from calm_engine.vllm.plugin import check_can_run
from tests.engine.tokenizing import byte_fallback, byte_level
from tests.engine.vllm.playing import (
    NEW_TOKENS,
    POSITIONS,
    ask_transformers,
    keep_composition,
    some_prompts,
)
from tests.tiny import make_model
from tests.waiting import free_port, wait_until

pytestmark = pytest.mark.vllm
PATIENCE = 400.0  # seconds for a start: torch, vLLM and its two processes


@dataclass(frozen=True)
class Server:
    """A running `vllm serve`."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"http://127.0.0.1:{self.port}/v1", api_key="none")


@contextmanager
def served(folder: Path, log: Path, *options: str, **variables: str) -> Iterator[Server]:
    """Start it and end it; whether it is ready is for the caller to see."""
    port = free_port()
    # What `vllm serve` runs. In the CPU build that command asks for a package by another name than
    # the one it was installed under, and ends.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", "together"]
    command += ["--dtype", "float32", "--max-model-len", str(POSITIONS), "--enforce-eager"]
    command += ["--kv-cache-memory-bytes", str(64 << 20), *options]
    quiet = {"VLLM_NO_USAGE_STATS": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "1"}
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, env=os.environ | quiet | variables
        )
        try:
            yield Server(process, port, log)
        finally:
            process.terminate()
            process.wait(60)


def is_ready(server: Server) -> bool:
    """Whether it answers; raises when it has ended instead."""
    assert server.process.poll() is None, server.log.read_text()[-2000:]
    try:
        server.client().models.list()
    except openai.APIConnectionError:
        return False
    return True


def asked(server: Server, prompt: list[int], **xargs: float | str) -> list[int]:
    """The tokens of the answer: the text of random models is no text."""
    answer = server.client().completions.create(
        model="together",
        prompt=prompt,
        max_tokens=NEW_TOKENS,
        temperature=0,
        extra_body={"vllm_xargs": xargs, "ignore_eos": True, "return_token_ids": True},
    )
    said: list[int] = (answer.choices[0].model_extra or {})["token_ids"]
    return said


def test_the_command_serves_a_composition_with_no_code_of_the_users(tmp_path: Path) -> None:
    model = keep_composition(tmp_path / "together", "llama", "qwen2")
    prompts = some_prompts(4)
    gates = [1.0, 0.0, 0.5, 1.0]
    expected = ask_transformers(model, prompts, gates)
    with served(tmp_path / "together", tmp_path / "log") as server:
        assert wait_until(lambda: is_ready(server), PATIENCE), server.log.read_text()[-2000:]
        told = [asked(server, p, gate=g) for p, g in zip(prompts, gates, strict=True)]
        assert told == expected
        assert asked(server, prompts[0]) == expected[0]
        for wrong in (1.5, -1.0, "wide open"):
            with pytest.raises(openai.BadRequestError, match="from 0 to 1"):
                asked(server, prompts[0], gate=wrong)
        assert asked(server, prompts[3]) == expected[3]  # and nobody else was disturbed


def test_both_engines_answer_the_same_through_one_door(tmp_path: Path) -> None:
    keep_composition(tmp_path / "whole", "llama", "qwen2")
    apart = tmp_path / "apart"
    shutil.copytree(
        tmp_path / "whole", apart, ignore=shutil.ignore_patterns("anchor", "augmenter_0")
    )
    with (
        behind_our_door(apart, tmp_path, "torch") as torch_server,
        behind_our_door(apart, tmp_path, "vllm") as vllm_server,
    ):
        for server in (torch_server, vllm_server):
            assert wait_until(lambda it=server: is_healthy(it), PATIENCE), server.log.read_text()
        for name in ("together", "anchor"):
            for how in ({}, {"stop": ["a"]}, {"logprobs": True, "top_logprobs": 2}):
                one, other = (chatted(it, name, **how) for it in (torch_server, vllm_server))
                require_alike(one, other)
        assert streamed(torch_server) == streamed(vllm_server)
        half_shut = {"extra_body": {"gate": 0.25}}
        require_alike(*(chatted(it, "together", **half_shut) for it in (torch_server, vllm_server)))
        form: Any = {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}
        for server in (torch_server, vllm_server):
            held = chatted(server, "together", response_format=form).choices[0]
            assert held.finish_reason == "stop"
            assert json.loads(held.message.content)["made"] in (True, False)
        # Cut off in the middle, it goes on with others.
        with vllm_server.client() as client:
            stream = client.chat.completions.create(**ASKED, model="together", stream=True)
            next(iter(stream))
            stream.close()
        assert streamed(torch_server) == streamed(vllm_server)
        with pytest.raises(openai.BadRequestError, match="torch engine alone"):
            chatted(vllm_server, "together", extra_body={"influence": True})


ASKED: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Where is it made?"}],
    "max_tokens": NEW_TOKENS,
    "temperature": 0,
}


SCHEMA = {
    "type": "object",
    "properties": {"made": {"type": "boolean"}},
    "required": ["made"],
    "additionalProperties": False,
}


def ours(folder: Path, root: Path, port: int, engine: str, cache: str) -> list[str]:
    command = [sys.executable, "-m", "calm_engine.cli", "serve", "--composition", str(folder)]
    command += ["--anchor", str(root / "whole" / "anchor")]
    command += ["--augmenter", str(root / "whole" / "augmenter_0")]
    command += ["--name", "together", "--port", str(port), "--engine", engine]
    return [*command, "--cache-gb", cache]


@contextmanager
def behind_our_door(folder: Path, root: Path, engine: str) -> Iterator[Server]:
    """`calm serve` on a composition whose parents lie elsewhere."""
    port, log = free_port(), root / f"{engine}.log"
    command = ours(folder, root, port, engine, "0.1")
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
        try:
            yield Server(process, port, log)
        finally:
            process.terminate()
            assert process.wait(60) == 0
    assert not list(Path(tempfile.gettempdir()).glob("calm-serve-*"))


def test_when_vllm_cannot_begin_the_server_ends_and_says_why(tmp_path: Path) -> None:
    keep_composition(tmp_path / "whole", "llama", "llama")
    command = ours(tmp_path / "whole", tmp_path, free_port(), "vllm", "1000000")
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("calm: vLLM did not start: ")


def test_a_client_that_waits_for_a_dead_engine_is_not_waited_for(tmp_path: Path) -> None:
    """On an accelerator vLLM's engine is a process of its own; here one stands in its place."""
    from calm_engine.vllm.batching import PagedBatcher, Played  # noqa: PLC0415  vLLM's environment

    keep_composition(tmp_path / "whole", "llama", "llama")
    parents = [str(tmp_path / "whole" / role) for role in ("anchor", "augmenter_0")]
    engine = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,))

    class Waiting(PagedBatcher):
        def _loaded(self) -> Any:
            engine.start()
            threading.Event().wait()

    told: list[str] = []
    played = Played("ours", str(tmp_path / "whole"), parents)
    batcher = Waiting(played, on_change=lambda: told.append(batcher.state))
    batcher.start()
    assert wait_until(lambda: engine.is_alive())
    time.sleep(1.5)  # it is seen alive
    assert batcher.state == "loading"
    engine.kill()
    assert wait_until(lambda: told == ["failed"])
    assert isinstance(batcher.failure, InternalError)
    assert batcher.failure.code == "vllm.ended"


def is_healthy(server: Server) -> bool:
    assert server.process.poll() is None, server.log.read_text()[-2000:]
    try:
        return httpx.get(f"http://127.0.0.1:{server.port}/healthz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def chatted(server: Server, model: str, **how: Any) -> Any:
    return server.client().chat.completions.create(**ASKED, model=model, **how)


def require_alike(one: Any, other: Any) -> None:
    """Words and ends are the same, and figures to three places: neither is rounded, or two that
    differ by nothing might lie on either side of a half."""
    (words, figures), (others, wanted) = _apart(one), _apart(other)
    assert words == others
    assert figures == pytest.approx(wanted, abs=1e-3)


def _apart(answer: Any) -> tuple[Any, list[float]]:
    told = answer.model_dump(exclude={"id", "created"})
    figures = [
        one.pop("logprob")
        for choice in told["choices"]
        for token in (choice["logprobs"] or {}).get("content") or []
        for one in (token, *token["top_logprobs"])
    ]
    return told, figures


def streamed(server: Server) -> str:
    pieces = server.client().chat.completions.create(**ASKED, model="together", stream=True)
    return "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)


def test_two_ranks_share_the_bridges_out(tmp_path: Path) -> None:
    model = keep_composition(tmp_path / "together", "qwen3", "llama")
    (prompt,) = some_prompts(1)
    bound = {"VLLM_CPU_OMP_THREADS_BIND": "0|1"}
    ranks = ("--tensor-parallel-size", "2")
    with served(tmp_path / "together", tmp_path / "log", *ranks, **bound) as server:
        assert wait_until(lambda: is_ready(server), PATIENCE), server.log.read_text()[-2000:]
        for gate in (1.0, 0.0):
            assert [asked(server, prompt, gate=gate)] == ask_transformers(model, [prompt], [gate])


def test_another_anchor_is_refused_before_a_word_is_said(tmp_path: Path) -> None:
    keep_composition(tmp_path / "together", "llama", "llama")
    weights = tmp_path / "together" / "anchor" / "model.safetensors"
    tensors = load_file(weights)
    save_file({name: one + 0.001 for name, one in tensors.items()}, weights, {"format": "pt"})
    with served(tmp_path / "together", tmp_path / "log") as server:
        assert server.process.wait(PATIENCE) != 0
    assert "weights of the anchor are not those" in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("family", "more", "code"),
    [
        ("gpt2", {}, "vllm.family"),
        ("mixtral", {}, "vllm.family"),
        ("mistral", {"sliding_window": 8}, "vllm.window"),
        ("llama", {"quantization_config": {"quant_method": "bitsandbytes"}}, "vllm.quantised"),
    ],
)
def test_what_vllm_would_play_wrong_is_refused_by_name(
    family: str, more: dict[str, object], code: str
) -> None:
    anchor = make_model(family, seed=1)
    model = CalmForCausalLM.compose(anchor, [make_model("llama", width=32, heads=2, seed=2)])
    config: CalmConfig = model.config
    config.anchor_config = {**(config.anchor_config or {}), **more}
    with pytest.raises(InputError) as refused:
        check_can_run(config)
    assert refused.value.code == code


def test_two_tokenizers_are_left_to_our_own_server() -> None:
    anchor = make_model("llama", vocabulary=420, seed=1)
    augmenter = make_model("llama", vocabulary=400, width=32, heads=2, seed=2)
    model = CalmForCausalLM.compose(
        anchor, [augmenter], BridgeSpec(), tokenizers=[byte_level(420), byte_fallback(400)]
    )
    with pytest.raises(InputError) as refused:
        check_can_run(model.config)
    assert refused.value.code == "vllm.tokenizers"
