"""The model server as its clients meet it: the real `openai` client, a real process."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import torch
from openai import OpenAI
from transformers import AutoModelForCausalLM

from calm_engine.errors import InputError
from calm_engine.serving.app import Door
from calm_engine.serving.batching import Batcher
from calm_engine.serving.line import Loaded
from calm_engine.serving.roster import Part, Roster
from tests.engine.serving.conftest import CONTEXT, SECRET, Folders, Running, command
from tests.tiny import make_tokenizer
from tests.waiting import wait_until

QUESTION = [{"role": "user", "content": "Where is the MX-4 made?"}]
CHAT = "/v1/chat/completions"
CANCELLED = 'calm_requests_total{model="ours",outcome="cancelled"}'
GREEDY: dict[str, Any] = {"model": "ours", "temperature": 0, "max_tokens": 40}


def ask(client: OpenAI, content: str = "Where is it?", **settings: Any) -> str:
    messages = [{"role": "user", "content": content}]
    reply = client.chat.completions.create(messages=messages, **{**GREEDY, **settings})
    return reply.choices[0].message.content


def post(server: Running, body: bytes, *, path: str = "chat/completions") -> httpx.Response:
    headers = {"Authorization": f"Bearer {SECRET}", "Content-Type": "application/json"}
    url = f"{server.address}/v1/{path}"
    return httpx.post(url, content=body, headers=headers, timeout=30)


def schema_form(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def metric(server: Running, name: str) -> float:
    lines = httpx.get(f"{server.address}/metrics").text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


# -- what it serves --------------------------------------------------------------------------------


def test_it_lists_the_composition_and_the_bare_anchor(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["ours", "anchor"]
    assert client.models.retrieve("ours").object == "model"


def test_a_reply_has_openais_shape(client: OpenAI) -> None:
    reply = client.chat.completions.create(messages=QUESTION, **GREEDY)
    assert (reply.object, reply.model) == ("chat.completion", "ours")
    assert reply.system_fingerprint.startswith("calm-")
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage.completion_tokens == 40
    prompt = make_tokenizer().apply_chat_template(QUESTION, add_generation_prompt=True)
    assert reply.usage.prompt_tokens == len(prompt["input_ids"])


@pytest.mark.parametrize("model", ["ours", "anchor"])
def test_streaming_equals_not_streaming(client: OpenAI, model: str) -> None:
    settings = {**GREEDY, "model": model, "messages": QUESTION}
    whole = client.chat.completions.create(**settings)
    options = {"include_usage": True}
    with client.chat.completions.create(**settings, stream=True, stream_options=options) as stream:
        chunks = list(stream)
    said = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert "".join(c.delta.content or "" for c in said) == whole.choices[0].message.content
    assert said[0].delta.role == "assistant"
    assert said[-1].finish_reason == whole.choices[0].finish_reason
    assert chunks[-1].usage == whole.usage


def test_a_stream_without_the_option_tells_no_usage(client: OpenAI) -> None:
    with client.chat.completions.create(messages=QUESTION, **GREEDY, stream=True) as stream:
        assert all(chunk.usage is None for chunk in stream)


def test_plain_completions_stream_alike(client: OpenAI) -> None:
    whole = client.completions.create(prompt="The MX-4", **GREEDY)
    with client.completions.create(prompt="The MX-4", **GREEDY, stream=True) as stream:
        assert "".join(chunk.choices[0].text for chunk in stream) == whole.choices[0].text
    ids = make_tokenizer()("The MX-4")["input_ids"]
    assert client.completions.create(prompt=ids, **GREEDY).choices == whole.choices


def test_the_bare_anchor_says_what_transformers_says(client: OpenAI, folders: Folders) -> None:
    reply = client.completions.create(prompt="In public", **{**GREEDY, "model": "anchor"})
    shut = client.completions.create(prompt="In public", **GREEDY, extra_body={"gate": 0})
    model = AutoModelForCausalLM.from_pretrained(folders.anchor)
    tokenizer = make_tokenizer()
    ids = torch.tensor([tokenizer("In public")["input_ids"]])
    drawn = model.generate(ids, max_new_tokens=40, do_sample=False)[0, ids.shape[1] :]
    text = tokenizer.decode(drawn, skip_special_tokens=True)
    assert reply.choices[0].text == shut.choices[0].text == text.rstrip("\ufffd")


def test_the_gate_opens_by_degrees(client: OpenAI) -> None:
    said = {gate: ask(client, extra_body={"gate": gate}) for gate in (0, 0.5, 1)}
    assert said[1] == ask(client)
    assert len(set(said.values())) > 1


def test_two_at_once_say_what_each_says_alone(client: OpenAI) -> None:
    contents = ["short", "rather a longer question than the first", "a third", "x" * 200]
    alone = [ask(client, content) for content in contents]
    with ThreadPoolExecutor(len(contents)) as people:
        together = list(people.map(lambda content: ask(client, content), contents))
    assert together == alone


def test_a_seed_repeats(client: OpenAI) -> None:
    how = {"temperature": 1.2, "top_p": 0.9}
    one, again, other = (ask(client, seed=seed, **how) for seed in (5, 5, 6))
    assert one == again
    assert one != other


def test_a_stop_string_across_tokens_ends_the_answer(client: OpenAI) -> None:
    whole = ask(client)
    stop = next(whole[i : i + 3] for i in range(4, len(whole)) if whole[i] != "\ufffd")
    reply = client.chat.completions.create(
        messages=[{"role": "user", "content": "Where is it?"}], **GREEDY, stop=["~never~", stop]
    )
    assert reply.choices[0].message.content == whole.split(stop)[0]
    assert reply.choices[0].finish_reason == "stop"


def test_log_probabilities_come_with_their_tokens(client: OpenAI) -> None:
    settings = {**GREEDY, "messages": QUESTION, "logprobs": True, "top_logprobs": 3}
    whole = client.chat.completions.create(**settings).choices[0].logprobs.content
    assert len(whole) == 40
    assert all(t.logprob == max(top.logprob for top in t.top_logprobs) <= 0 for t in whole)
    with client.chat.completions.create(**settings, stream=True) as stream:
        scored = [chunk.choices[0].logprobs for chunk in stream]
    streamed = [token.token for one in scored if one for token in one.content]
    assert streamed == [token.token for token in whole]
    plain = client.completions.create(prompt="x", **GREEDY, logprobs=2).choices[0].logprobs
    assert len(plain.tokens) == len(plain.token_logprobs) == len(plain.top_logprobs) == 40


def test_influence_comes_for_each_token_when_it_is_asked_for(
    client: OpenAI, server: Running
) -> None:
    settings = {**GREEDY, "messages": QUESTION, "logprobs": True}
    choice = client.chat.completions.create(**settings).choices[0]
    assert "influence" not in choice.model_dump()
    body = settings | {"influence": True}
    told = post(server, json.dumps(body).encode()).json()["choices"][0]
    assert told["message"]["content"] == choice.message.content
    assert [one["token"] for one in told["influence"]] == [
        token["token"] for token in told["logprobs"]["content"]
    ]
    for one, token in zip(told["influence"], told["logprobs"]["content"], strict=True):
        assert one["logprob"] == pytest.approx(token["logprob"], abs=1e-3)
        (augmenter,) = one["augmenters"]
        assert 0.0 < augmenter["share"] < 1.0
        assert all(bridge["added"] > 0.0 for bridge in augmenter["bridges"])
        assert all(place["position"] < one["position"] for place in bridge_places(augmenter))
    assert any(abs(one["logprob"] - one["anchor"]) > 0.1 for one in told["influence"])
    bare = post(server, json.dumps(body | {"model": "anchor"}).encode()).json()["choices"][0]
    assert all(one["logprob"] == one["anchor"] for one in bare["influence"])


def bridge_places(augmenter: dict[str, Any]) -> list[dict[str, Any]]:
    return [place for bridge in augmenter["bridges"] for place in bridge["attention"]]


def test_influence_is_not_streamed(server: Running) -> None:
    body = {"model": "ours", "messages": QUESTION, "stream": True, "influence": True}
    reply = post(server, json.dumps(body).encode())
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "influence"


PLACE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "place": {"enum": ["Bern", "Oslo"]},
        "made": {"type": "integer", "minimum": 1900, "maximum": 1999},
        "parts": {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 3},
    },
    "required": ["place", "made", "parts"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("model", ["ours", "anchor"])
@pytest.mark.parametrize("how", [{"temperature": 0}, {"temperature": 1.5, "seed": 3}])
def test_an_answer_keeps_its_schema(client: OpenAI, model: str, how: dict[str, Any]) -> None:
    asked = {**GREEDY, **how, "model": model, "max_tokens": 300, "messages": QUESTION}
    form: Any = schema_form(PLACE)
    whole = client.chat.completions.create(**asked, response_format=form).choices[0]
    assert whole.finish_reason == "stop"
    told = json.loads(whole.message.content)
    assert set(told) == {"place", "made", "parts"}
    assert told["place"] in ("Bern", "Oslo")
    assert 1900 <= told["made"] <= 1999
    assert {type(part) for part in told["parts"]} == {bool}
    with client.chat.completions.create(**asked, response_format=form, stream=True) as stream:
        pieces = [chunk.choices[0].delta.content or "" for chunk in stream]
    assert "".join(pieces) == whole.message.content


def test_those_beside_an_answer_with_a_schema_say_what_they_say_alone(client: OpenAI) -> None:
    alone, form = ask(client), schema_form(PLACE)
    with ThreadPoolExecutor(4) as people:
        held = [people.submit(ask, client, "x", response_format=form, max_tokens=300) for _ in "ab"]
        free = [people.submit(ask, client) for _ in "ab"]
    assert {one.result() for one in free} == {alone}
    assert all(set(json.loads(one.result())) == set(PLACE["required"]) for one in held)


def test_any_object_is_an_object_or_cut_off(client: OpenAI) -> None:
    reply = client.chat.completions.create(
        messages=QUESTION, **GREEDY, response_format={"type": "json_object"}
    ).choices[0]
    assert reply.message.content.startswith("{")
    if reply.finish_reason == "stop":
        assert isinstance(json.loads(reply.message.content), dict)
    else:
        assert reply.finish_reason == "length"


def test_it_counts_what_it_does(client: OpenAI, server: Running) -> None:
    before = metric(server, "calm_drawn_tokens_total")
    ask(client, max_tokens=7)
    assert metric(server, "calm_drawn_tokens_total") == before + 7
    assert metric(server, 'calm_requests_total{model="ours",outcome="length"}') > 0
    assert metric(server, "calm_ready") == 1
    assert httpx.get(f"{server.address}/healthz").json() == {"status": "ready"}


# -- who goes away, and who is too many ------------------------------------------------------------


def test_a_client_that_leaves_frees_its_place(client: OpenAI, server: Running) -> None:
    stream = client.chat.completions.create(
        messages=QUESTION, **{**GREEDY, "max_tokens": CONTEXT - 100}, stream=True
    )
    next(iter(stream))
    assert wait_until(lambda: metric(server, "calm_running") == 1)
    before = metric(server, CANCELLED)
    stream.close()
    assert wait_until(lambda: metric(server, CANCELLED) == before + 1)
    assert wait_until(lambda: metric(server, "calm_running") == 0)
    drawn = metric(server, "calm_drawn_tokens_total")
    time.sleep(0.2)
    assert metric(server, "calm_drawn_tokens_total") == drawn


def test_a_client_that_hangs_up_on_a_whole_reply_frees_its_place(
    client: OpenAI, server: Running
) -> None:
    before = metric(server, CANCELLED)
    with pytest.raises(openai.APITimeoutError):
        ask(client, max_tokens=CONTEXT - 100, timeout=httpx.Timeout(30, read=0.3))
    assert wait_until(lambda: metric(server, CANCELLED) == before + 1)
    assert wait_until(lambda: metric(server, "calm_running") == 0)


def test_a_full_queue_says_when_to_come_back(server: Running) -> None:
    with server.client() as client:
        streams, refused = [], None
        try:
            for _ in range(20):
                settings = {**GREEDY, "max_tokens": CONTEXT - 100}
                streams.append(
                    client.chat.completions.create(messages=QUESTION, **settings, stream=True)
                )
        except openai.RateLimitError as error:
            refused = error
        for stream in streams:
            stream.close()
    assert refused is not None
    assert refused.code == "server.busy"
    assert int(refused.response.headers["retry-after"]) > 0
    assert wait_until(lambda: metric(server, "calm_running") == 0)


def test_a_client_that_never_reads_holds_nobody_up(client: OpenAI, server: Running) -> None:
    """Its answer is drawn to the end and its place is free, however little it takes of it."""
    asked = {**GREEDY, "max_tokens": CONTEXT - 100, "messages": QUESTION, "stream": True}
    body = json.dumps(asked | {"logprobs": True, "top_logprobs": 20}).encode()  # megabytes
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {SECRET}\r\n"
    host, port = server.address.removeprefix("http://").split(":")
    alone = ask(client)
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect((host, int(port)))
        deaf.sendall(head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        assert wait_until(lambda: metric(server, "calm_running") == 1)
        assert ask(client) == alone
        assert wait_until(lambda: metric(server, "calm_running") == 0, 60)
        assert ask(client) == alone
    assert ask(client) == alone


# -- what it refuses -------------------------------------------------------------------------------


@pytest.mark.parametrize("shown", ["Bearer wrong", "Bearer", f"Basic {SECRET}", "Bearer ü"])
def test_a_wrong_secret_is_401(server: Running, shown: str) -> None:
    headers = {"Authorization": shown.encode()}
    reply = httpx.get(f"{server.address}/v1/models", headers=headers)
    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key")


def test_no_secret_is_401(server: Running) -> None:
    for method, path in (("GET", "models"), ("GET", "models/ours"), ("POST", "completions")):
        assert httpx.request(method, f"{server.address}/v1/{path}").status_code == 401


def test_an_unknown_model_is_404(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        ask(client, model="theirs")
    assert refused.value.code == "model_not_found"


def test_an_unknown_address_has_openais_shape(server: Running) -> None:
    assert post(server, b"{}", path="images").json()["error"]["code"] == "unknown_url"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -1),
        ("temperature", 2.5),
        ("temperature", "hot"),
        ("temperature", float("nan")),
        ("top_p", 0),
        ("top_p", 1.5),
        ("n", 2),
        ("max_tokens", 0),
        ("max_tokens", 1.5),
        ("seed", "x"),
        ("seed", 2**80),
        ("gate", 1.5),
        ("gate", True),
        ("stop", ["x"] * 10_000),
        ("stop", "x" * 1000),
        ("stop", ""),
        ("stop", [7]),
        ("stream", "yes"),
        ("influence", 1),
        ("logprobs", 3),
        ("top_logprobs", 3),
        ("tools", [{"type": "function"}]),
        ("response_format", {"type": "yaml"}),
        ("response_format", "json_object"),
        ("response_format", {"type": "json_schema"}),
        ("response_format", {"type": "json_schema", "json_schema": {"schema": []}}),
        ("response_format", schema_form({"type": "nothing"})),
        ("response_format", schema_form({"$ref": "https://example.org/schema"})),
        ("response_format", schema_form({"type": "string", "pattern": "("})),
        ("response_format", schema_form({"type": "string", "description": "x" * 70_000})),
        ("presence_penalty", 1),
        ("messages", []),
        ("messages", "hello"),
        ("messages", [{"role": "wizard", "content": "hello"}]),
        ("messages", [{"role": "user", "content": None}]),
        ("messages", [{"role": "user", "content": [{"type": "image_url"}]}]),
        ("messages", [{"role": "user", "content": "\ud800"}]),
        ("model", None),
    ],
)
def test_a_bad_field_is_400_and_named(server: Running, field: str, value: object) -> None:
    body = {"model": "ours", "messages": QUESTION, field: value}
    reply = post(server, json.dumps(body).encode())
    assert reply.status_code == 400, reply.text
    assert reply.json()["error"]["param"].startswith(field)
    assert reply.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"model": "\xff"}', "invalid_utf8"),
        (b"{", "invalid_json"),
        (b"[1]", "invalid_json"),
        (b"", "invalid_json"),
        (b"[" * 100_000, "invalid_json"),
    ],
)
def test_a_body_that_is_no_request_is_400(server: Running, body: bytes, code: str) -> None:
    reply = post(server, body)
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, code)


def test_a_prompt_beyond_the_context_is_400(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client, "x" * CONTEXT)
    assert refused.value.code == "context_length_exceeded"


def test_token_ids_out_of_the_vocabulary_are_400(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="Token ids"):
        client.completions.create(prompt=[5, 10**12], **GREEDY)


def test_an_answer_that_memory_never_holds_is_400_and_one_of_any_length_gets_what_there_is(
    start: Callable[..., AbstractContextManager[Running]],
) -> None:
    with start("--cache-gb", "0.0005") as server, server.client() as client:
        with pytest.raises(openai.BadRequestError, match="memory for") as refused:
            ask(client, max_tokens=CONTEXT - 100)
        assert refused.value.code == "context_length_exceeded"
        told = re.search(r"memory for (\d+) ", refused.value.message)
        assert told is not None
        most = int(told[1])
        untold = {name: value for name, value in GREEDY.items() if name != "max_tokens"}
        reply = client.chat.completions.create(messages=QUESTION, **untold)
        assert reply.usage is not None
        assert reply.usage.total_tokens <= most < CONTEXT
        assert metric(server, "calm_cache_room_bytes") == int(0.0005 * 2**30)


def test_an_answer_ends_where_the_context_ends(client: OpenAI) -> None:
    reply = client.completions.create(prompt=[65] * (CONTEXT - 5), **{**GREEDY, "max_tokens": 500})
    assert (reply.usage.completion_tokens, reply.choices[0].finish_reason) == (5, "length")


def test_a_body_of_ten_megabytes_is_413(server: Running) -> None:
    reply = post(server, b'{"model": "' + b"x" * 10_000_000 + b'"}')
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "request_too_large")


# -- how it begins and ends ------------------------------------------------------------------------


def test_until_the_weights_are_there_it_asks_for_patience() -> None:
    loading = threading.Event()

    def load() -> dict[str, Loaded]:
        loading.wait(20)
        raise InputError("parent.digest", role="anchor")

    async def look() -> tuple[httpx.Response, httpx.Response]:
        transport = httpx.ASGITransport(app=Door(batcher, roster, secret=None).app())
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            body = {"model": "ours", "messages": QUESTION}
            return await client.get("/healthz"), await client.post(CHAT, json=body)

    batcher = Batcher(load)
    roster = Roster([Part("ours", "ours", "", ())], batcher)
    batcher.start()
    health, reply = asyncio.run(look())
    loading.set()
    assert (health.status_code, health.json()) == (503, {"status": "loading"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "server.loading")
    assert int(reply.headers["retry-after"]) > 0


def refusal(*flags: str) -> str:
    """What `calm serve` says when it does not start; it must be one clear sentence."""
    done = subprocess.run(command(*flags), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_taken_port_is_said_at_once(folders: Folders) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        words = refusal(*folders.flags(), "--port", port)
    assert f"This port is already taken: {port} on 127.0.0.1." in words


def test_an_empty_secret_is_refused(folders: Folders, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("\n")
    assert "secret" in refusal(*folders.flags(), "--secret-file", str(tmp_path / "secret"))


def test_a_changed_parent_is_refused(folders: Folders) -> None:
    words = refusal(*folders.flags(), "--anchor", str(folders.augmenter))
    assert "is not the one that this composition was built on" in words


def test_sigterm_finishes_the_answers_under_way(
    start: Callable[..., AbstractContextManager[Running]],
) -> None:
    with start() as server, server.client() as client:
        settings = {**GREEDY, "max_tokens": 300}
        with client.chat.completions.create(messages=QUESTION, **settings, stream=True) as stream:
            chunks = iter(stream)
            next(chunks)
            server.process.send_signal(signal.SIGTERM)
            finishes = [chunk.choices[0].finish_reason for chunk in chunks]
        assert finishes[-1] == "length"
        assert server.process.wait(timeout=20) == 0
