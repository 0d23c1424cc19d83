"""What is sent wrongly is named, in OpenAI's shape, and reaches no model."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from apps.accounts.models import ApiKey
from apps.registry.models import Composition
from tests.apps.chat.making import MODEL
from tests.cast import Cast

pytestmark = pytest.mark.django_db(transaction=True)

CHAT = "/v1/chat/completions"
ASKED: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]}


def held_to(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


class Sender:
    """Posts bytes with Bo's key."""

    def __init__(self, client: Client, secret: str) -> None:
        self.client, self.secret = client, secret

    def post(self, body: object, path: str = CHAT) -> tuple[int, dict[str, Any]]:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.secret}"}
        answer = self.client.post(path, raw, content_type="application/json", headers=headers)
        error: dict[str, Any] = answer.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        return answer.status_code, error


@pytest.fixture
def sender(cast: Cast, key: tuple[ApiKey, str], model: Composition) -> Sender:
    return Sender(cast.client(), key[1])


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"temperature": -1}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"stop": ["x"] * 10_000}, "stop"),
        ({"stop": [""]}, "stop"),
        ({"stop": "x" * 257}, "stop"),
        ({"seed": 2**63}, "seed"),
        ({"stream": "yes"}, "stream"),
        ({"messages": []}, "messages"),
        ({"messages": "Hello"}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "king", "content": "Hello"}]}, "messages[0].role"),
        ({"messages": ASKED["messages"] * 1025}, "messages"),
        ({"model": ""}, "model"),
        ({"model": None}, "model"),
        ({"n": 2}, "n"),  # from here on it is the model server that knows
        ({"tools": [{}]}, "tools"),
        ({"response_format": {"type": "yaml"}}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"response_format": held_to({"type": "nothing"})}, "response_format"),
        ({"logprobs": False, "top_logprobs": 3}, "top_logprobs"),
    ],
)
def test_a_wrong_field_is_named(sender: Sender, wrong: dict[str, Any], param: str) -> None:
    status, error = sender.post(ASKED | wrong)
    assert (status, error["param"]) == (400, param)
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b'{"model": "\xff"}',
        b'{"model": "handbook", "messages": [{"role": "user", "content": "\\ud800"}]}',
        b"[" * 100_000,
    ],
)
def test_a_body_that_is_no_object_in_utf8_is_refused(sender: Sender, raw: bytes) -> None:
    status, error = sender.post(raw)
    assert (status, error["code"]) == (400, "invalid_json")


def test_a_large_body_is_refused(sender: Sender) -> None:
    for size in (2**20 + 1, 10 * 2**20):
        status, error = sender.post(b" " * size)
        assert (status, error["code"]) == (413, "request_too_large")


def test_a_prompt_that_does_not_fit_is_refused_by_the_model(sender: Sender) -> None:
    status, error = sender.post({"model": MODEL, "prompt": "x" * 2000}, "/v1/completions")
    assert (status, error["code"]) == (400, "context_length_exceeded")


def test_strange_names_are_no_models(sender: Sender) -> None:
    for name in ("\0", "handbook@", "@", "handbook@99999999999", "' OR 1=1 --", "handbook\n"):
        status, error = sender.post(ASKED | {"model": name})
        assert (status, error["code"]) == (404, "model_not_found")


def test_other_methods_and_addresses_are_told_so(cast: Cast) -> None:
    client = cast.client()
    assert client.get(CHAT).json()["error"]["code"] == "method_not_allowed"
    assert client.post("/v1/models").status_code == 405
    assert client.get("/v1/audio/speech").json()["error"]["code"] == "unknown_url"
    assert client.post("/v1/audio/speech").status_code == 404
