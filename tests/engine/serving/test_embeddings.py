"""The server of an embedding model as its clients meet it: the real `openai` client."""

from __future__ import annotations

import base64
import json
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import torch
from openai import OpenAI

from calm_engine.embedding import Embedder
from calm_engine.errors import EngineError, InputError
from calm_engine.serving.embedding import INPUTS, EmbedderLine, Texts
from tests.engine.serving.conftest import SECRET, Running, running
from tests.tiny import POSITIONS, embedder_folder
from tests.waiting import wait_until

TEXTS = ["Where is it made?", "b", "y" * 60]


@pytest.fixture(scope="module", params=["bert", "llama"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return embedder_folder(tmp_path_factory.mktemp("embedder") / "model", request.param)


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Running]:
    secret = folder.parent / "secret"
    secret.write_text(f"{SECRET}\n", encoding="utf-8")
    flags = ("--embedder", str(folder), "--name", "meaning", "--secret-file", str(secret))
    with running(*flags, "--port", "0", "--threads", "1", "--events") as ready:
        yield ready


@pytest.fixture
def client(server: Running) -> Iterator[OpenAI]:
    with server.client() as made:
        yield made


def post(server: Running, body: object) -> httpx.Response:
    headers = {"Authorization": f"Bearer {SECRET}"}
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(f"{server.address}/v1/embeddings", content=raw, headers=headers, timeout=30)


def test_the_official_client_gets_the_models_vectors(client: OpenAI, folder: Path) -> None:
    reply = client.embeddings.create(model="meaning", input=TEXTS)  # as base64, its own choice
    assert [one.index for one in reply.data] == [0, 1, 2]
    assert (reply.object, reply.model) == ("list", "meaning")
    assert reply.usage.prompt_tokens == reply.usage.total_tokens == sum(map(len, TEXTS))
    got = torch.tensor([one.embedding for one in reply.data])
    torch.testing.assert_close(got, Embedder(folder).encode(TEXTS), atol=1e-5, rtol=0)
    assert [model.id for model in client.models.list()] == ["meaning"]


def test_numbers_and_their_bytes_say_the_same(server: Running) -> None:
    plain = post(server, {"model": "meaning", "input": "b"}).json()["data"][0]["embedding"]
    asked = {"model": "meaning", "input": "b", "encoding_format": "base64"}
    spelled = base64.b64decode(post(server, asked).json()["data"][0]["embedding"])
    assert list(struct.unpack(f"<{len(plain)}f", spelled)) == pytest.approx(plain, abs=1e-7)


def test_token_ids_are_texts_too(client: OpenAI, folder: Path) -> None:
    ids = Embedder(folder).tokenizer(TEXTS[:2])["input_ids"]
    told = client.embeddings.create(model="meaning", input=ids)
    said = client.embeddings.create(model="meaning", input=TEXTS[:2])
    for one, other in zip(told.data, said.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-5)


def test_the_width_may_be_named_and_not_chosen(client: OpenAI) -> None:
    width = len(client.embeddings.create(model="meaning", input="b").data[0].embedding)
    same = client.embeddings.create(model="meaning", input="b", dimensions=width)
    assert len(same.data[0].embedding) == width
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model="meaning", input="b", dimensions=8)
    assert refused.value.param == "dimensions"


def test_a_text_beyond_the_context_is_refused_or_cut_off_when_asked(
    client: OpenAI, folder: Path
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model="meaning", input=["b", "z" * (POSITIONS + 1)])
    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "input[1]")
    cut = client.embeddings.create(
        model="meaning", input="z" * (POSITIONS + 1), extra_body={"truncate": True}
    )
    whole = client.embeddings.create(model="meaning", input="z" * POSITIONS)
    assert cut.data == whole.data


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("input", None),
        ("input", ""),
        ("input", []),
        ("input", [""]),
        ("input", ["a", 1]),
        ("input", [[1.5]]),
        ("input", [[10**9]]),
        ("input", [[-1]]),
        ("input", {"text": "a"}),
        ("input", "\ud800"),
        ("input", ["a"] * (INPUTS + 1)),
        ("encoding_format", "int8"),
        ("dimensions", 0),
        ("dimensions", "32"),
        ("truncate", 1),
        ("user", 5),
        ("model", None),
    ],
)
def test_a_bad_field_is_400_and_named(server: Running, field: str, value: object) -> None:
    reply = post(server, {"model": "meaning", "input": "a", field: value})
    assert reply.status_code == 400, reply.text
    assert reply.json()["error"]["param"].startswith(field)
    assert reply.json()["error"]["type"] == "invalid_request_error"


def test_what_is_no_request_or_too_large_is_refused(server: Running) -> None:
    assert post(server, b"\xff").json()["error"]["code"] == "invalid_utf8"
    assert post(server, b"[").json()["error"]["code"] == "invalid_json"
    assert post(server, b"x" * 10_000_000).status_code == 413
    assert post(server, {"model": "another", "input": "a"}).status_code == 404
    wrong = httpx.post(f"{server.address}/v1/embeddings", json={"model": "meaning", "input": "a"})
    assert wrong.status_code == 401


def test_a_short_text_need_not_wait_for_a_long_list(server: Running) -> None:
    with server.client() as client, ThreadPoolExecutor(1) as people:
        texts = ["w" * POSITIONS] * INPUTS
        many = people.submit(client.embeddings.create, model="meaning", input=texts)
        assert wait_until(lambda: running_now(server) == 1)
        began = time.monotonic()
        client.embeddings.create(model="meaning", input="short")
        assert not many.done(), time.monotonic() - began
        assert len(many.result().data) == INPUTS


def running_now(server: Running) -> float:
    lines = httpx.get(f"{server.address}/metrics").text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("calm_running "))


class Breaking(Embedder):
    """An embedding model that fails on one text."""

    def encode_ids(self, rows: Any) -> Any:
        if any(len(row) == 13 for row in rows):
            raise RuntimeError("thirteen")
        return super().encode_ids(rows)


def test_a_pass_that_fails_is_told_and_the_next_one_works(folder: Path) -> None:
    line = EmbedderLine(lambda: Breaking(folder), queue=1)
    line.start()
    try:
        assert wait_until(lambda: line.state == "ready")
        told: list[Any] = []
        line.submit(Texts(((5,) * 13,), deliver=told.append))
        assert wait_until(lambda: bool(told))
        assert isinstance(told[0], EngineError)
        line.submit(Texts(((5, 6),), deliver=told.append))
        assert wait_until(lambda: len(told) == 2)
        assert len(told[1]) == 1
        line.drain()
        with pytest.raises(InputError, match="draining"):
            line.submit(Texts(((5,),), deliver=told.append))
    finally:
        line.stop()
