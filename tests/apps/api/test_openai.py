"""The official client against the site, with a real model server behind it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from apps.accounts.actions import issue_key, remove, revoke_key
from apps.accounts.models import ApiKey
from apps.audit.models import AuditEvent
from apps.corpora.actions import revoke
from apps.corpora.models import Corpus, CorpusGrant
from apps.registry import hosts
from apps.registry.actions import quarantine
from apps.registry.models import Composition, Placement
from apps.tenants.scope import tenant_scope
from tests.apps.chat.making import (
    CONTEXT,
    FLAGS,
    LONG,
    MODEL,
    Server,
    folders,
    make_model,
    place,
    site,
    start_server,
    started,
    stop_server,
    write,
)
from tests.cast import Cast
from tests.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

Key = tuple[ApiKey, str]
QUESTION: Any = [{"role": "user", "content": "Where is it made?"}]
ENDLESS: Any = [{"role": "user", "content": LONG}]


def test_models_are_those_that_the_owner_may_use(
    cast: Cast, model: Composition, client: OpenAI
) -> None:
    make_model(cast.north, cast.ada, name="secret plans")
    assert [each.id for each in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).id == MODEL
    assert client.models.retrieve(f"{MODEL}@1").id == f"{MODEL}@1"
    for name in ("secret plans", "none", f"{MODEL}@2", f"{MODEL}@²", "@1"):
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve(name)


def test_a_chat_is_answered_the_same_streamed_or_not(model: Composition, client: OpenAI) -> None:
    whole = client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=40)
    events = client.chat.completions.create(
        model=f"{MODEL}@1",
        messages=QUESTION,
        max_tokens=40,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(events)
    streamed = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert whole.choices[0].message.content == streamed != ""  # greedy, unless told otherwise
    assert whole.model == MODEL
    assert {chunk.model for chunk in chunks} == {f"{MODEL}@1"}
    assert whole.usage is not None
    assert chunks[-1].usage == whole.usage
    assert whole.usage.completion_tokens == 40


def test_a_plain_completion_is_answered(model: Composition, client: OpenAI) -> None:
    whole = client.completions.create(model=MODEL, prompt="It is made in", max_tokens=20)
    events = client.completions.create(
        model=MODEL, prompt=["It is made in"], max_tokens=20, stream=True
    )
    assert whole.choices[0].text == "".join(chunk.choices[0].text for chunk in events)


def test_an_answer_is_held_to_a_schema(model: Composition, client: OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"country": {"enum": ["Norway", "Portugal"]}, "sold": {"type": "boolean"}},
        "required": ["country", "sold"],
        "additionalProperties": False,
    }
    form: Any = {"type": "json_schema", "json_schema": {"name": "place", "schema": schema}}
    answer = client.chat.completions.create(
        model=MODEL, messages=QUESTION, max_tokens=100, response_format=form
    )
    told = json.loads(answer.choices[0].message.content or "")
    assert told["country"] in ("Norway", "Portugal")
    assert isinstance(told["sold"], bool)


@pytest.mark.parametrize("is_streamed", [True, False])
def test_passages_are_read_where_a_program_asks_for_them(
    cast: Cast, model: Composition, client: OpenAI, is_streamed: bool
) -> None:
    with tenant_scope(cast.north):
        corpus = Corpus.objects.get(pk=model.closure[0])
        write(corpus, "where.md", "It is made in Portugal. ")
        write(corpus, "long.md", f"made {'x' * CONTEXT}")  # does not fit beside a question

    def ask(**extra: Any) -> Any:
        made = client.chat.completions.create(
            model=MODEL, messages=QUESTION, max_tokens=8, stream=is_streamed, extra_body=extra
        )
        return next(one for one in made if one.choices) if is_streamed else made

    assert "passages" not in ask().model_extra
    read = ask(look_up=True).model_extra["passages"]
    assert [one["title"] for one in read] == ["where.md"]
    assert ask(look_up=False).model_extra.get("passages") is None
    with pytest.raises(openai.BadRequestError, match="look_up"):
        ask(look_up="yes")


def test_chance_comes_with_a_temperature_and_a_seed(model: Composition, client: OpenAI) -> None:
    def say(seed: int) -> str | None:
        answer = client.chat.completions.create(
            model=MODEL, messages=QUESTION, temperature=1.5, seed=seed, max_tokens=20, stop=["zz"]
        )
        return answer.choices[0].message.content

    assert say(1) == say(1) != say(2)


@pytest.mark.parametrize("is_streamed", [True, False])
def test_a_client_that_leaves_frees_the_model(
    model: Composition, key: Key, server: Server, is_streamed: bool
) -> None:
    before = server.count("cancelled")
    body = {"model": MODEL, "messages": ENDLESS, "stream": is_streamed, "max_tokens": 1000}
    headers = {"Authorization": f"Bearer {key[1]}"}
    url = f"{site()}/v1/chat/completions"

    async def leave() -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as leaver:
            if is_streamed:
                async with leaver.stream("POST", url, json=body, headers=headers) as answer:
                    await anext(answer.aiter_lines())
                return
            asking = asyncio.create_task(leaver.post(url, json=body, headers=headers))
            assert await asyncio.to_thread(wait_until, server.is_answering)
            asking.cancel()
            with suppress(asyncio.CancelledError):
                await asking

    asyncio.run(leave())
    assert server.waits_for("cancelled", before + 1)


@pytest.mark.parametrize("ends", ["right", "key", "membership", "quarantine"])
def test_the_end_of_a_right_ends_the_stream(
    cast: Cast,
    model: Composition,
    client: OpenAI,
    key: Key,
    ends: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # More often than the little model takes to answer.
    monkeypatch.setattr("apps.api.openai.LOOK_SECONDS", 0.2)
    events = client.chat.completions.create(
        model=MODEL, messages=ENDLESS, max_tokens=1000, stream=True
    )
    with events:
        next(events)
        with tenant_scope(cast.north):
            if ends == "right":
                revoke(CorpusGrant.objects.get(user=cast.bo), by=cast.ada)
            elif ends == "key":
                revoke_key(key[0], by=cast.bo)
            elif ends == "membership":
                remove(cast.north, cast.bo, by=cast.ada)
            else:
                quarantine(model, by=cast.ada, reason="It tells too much.")
        with pytest.raises(openai.APIError, match="right to use this model ended"):
            list(events)


def test_unknown_and_forbidden_look_the_same(
    cast: Cast, model: Composition, connect: Callable[[str], OpenAI]
) -> None:
    _, otto = issue_key(cast.otto, cast.north, "no right to the corpus")
    _, cy = issue_key(cast.cy, cast.south, "another tenant")
    for secret in (otto, cy):
        told = []
        for name in (MODEL, "nothing"):
            with pytest.raises(openai.NotFoundError) as refused:
                connect(secret).chat.completions.create(model=name, messages=QUESTION)
            told.append(str(refused.value.body).replace(name, "x"))
        assert told[0] == told[1]
        assert "model_not_found" in told[0]


def test_wrong_keys_are_refused_alike(
    cast: Cast, model: Composition, key: Key, connect: Callable[[str], OpenAI]
) -> None:
    row, secret = key
    revoked, dead = issue_key(cast.bo, cast.north, "old")
    revoke_key(revoked, by=cast.bo)
    for wrong in (f"{secret}x", f"cp_{row.prefix}_", "cp__", "sk-1", dead):
        with pytest.raises(openai.AuthenticationError) as refused:
            connect(wrong).chat.completions.create(model=MODEL, messages=QUESTION)
        assert refused.value.code == "invalid_api_key"


def test_a_session_is_no_key(cast: Cast, model: Composition) -> None:
    answer = cast.client(cast.ada).get("/v1/models")
    assert answer.status_code == 401
    assert answer["WWW-Authenticate"] == "Bearer"


def test_a_model_that_is_not_running_says_when_to_come_back(
    cast: Cast, model: Composition, client: OpenAI
) -> None:
    with tenant_scope(cast.north):
        Placement.objects.update(address="http://127.0.0.1:9")  # nobody listens there
    for stream in (True, False):
        with pytest.raises(openai.InternalServerError) as refused:
            client.chat.completions.create(model=MODEL, messages=QUESTION, stream=stream)
        assert refused.value.status_code == 503
    with tenant_scope(cast.north):
        Placement.objects.all().delete()
    with pytest.raises(openai.InternalServerError) as refused:
        client.chat.completions.create(model=MODEL, messages=QUESTION)
    assert refused.value.response.headers["retry-after"] == "5"


def endless(client: OpenAI) -> Any:
    """A stream that goes on for seconds, its first words heard."""
    stream = client.chat.completions.create(
        model=MODEL, messages=ENDLESS, max_tokens=CONTEXT - 200, stream=True
    )
    while not next(stream).choices[0].delta.content:
        pass
    return stream


def test_a_sleeping_model_is_woken_by_a_request(cast: Cast, client: OpenAI) -> None:
    made = make_model(cast.north, cast.ada, cast.bo)
    with tenant_scope(cast.north):
        place(made, "", state="asleep")
    with pytest.raises(openai.InternalServerError) as refused:
        client.chat.completions.create(model=MODEL, messages=QUESTION)
    assert refused.value.code == "model_not_ready"
    assert refused.value.response.headers["retry-after"] == "5"
    with tenant_scope(cast.north):
        assert Placement.objects.exclude(asked_at=None).count() == 1


def test_a_server_that_dies_in_the_middle_of_a_stream_is_told_of(
    cast: Cast, client: OpenAI
) -> None:
    dying = start_server()
    make_model(cast.north, cast.ada, cast.bo, address=dying.address)
    try:
        stream = endless(client)
        dying.process.kill()
        with pytest.raises(openai.APIError) as told:
            list(stream)
    finally:
        stop_server(dying)
    assert told.value.code == "model_not_ready"
    with pytest.raises(openai.InternalServerError) as refused:  # the next one is told when
        client.chat.completions.create(model=MODEL, messages=QUESTION)
    assert refused.value.response.headers["retry-after"] == "5"


def test_a_full_model_server_says_when_to_come_back(cast: Cast, client: OpenAI) -> None:
    narrow = started(*FLAGS, "--rows", "1", "--queue", "2", cwd=folders())
    make_model(cast.north, cast.ada, cast.bo, address=narrow.address)
    asked: dict[str, Any] = {"model": MODEL, "messages": ENDLESS, "stream": True}
    try:
        with (
            endless(client),  # one is answered, one waits
            client.chat.completions.create(**asked),
            pytest.raises(openai.RateLimitError) as refused,
        ):
            client.chat.completions.create(**asked)
    finally:
        stop_server(narrow)
    assert refused.value.code == "server.busy"
    assert int(refused.value.response.headers["retry-after"]) > 0


def test_a_key_that_asks_too_often_waits(cast: Cast, model: Composition, client: OpenAI) -> None:
    cast.north.settings = {"api_requests_per_minute": 6}
    cast.north.save()
    for _ in range(2):
        client.models.list()
    with pytest.raises(openai.RateLimitError) as refused:
        client.models.list()
    assert 1 <= int(refused.value.response.headers["retry-after"]) <= 10


def test_the_audit_says_who_asked_and_not_what(
    cast: Cast, model: Composition, client: OpenAI, key: Key
) -> None:
    client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=4)
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="nothing", messages=QUESTION)
    with tenant_scope(cast.north):
        lines = list(AuditEvent.objects.filter(action="api.ask").order_by("sequence"))
    assert [line.outcome for line in lines] == ["ok", "refused"]
    assert [line.by_id for line in lines] == [cast.bo.pk] * 2
    assert lines[0].facts["key"] == key[0].prefix
    assert lines[0].facts["characters"] == len(QUESTION[0]["content"])
    assert "made" not in str([line.facts for line in lines])


@pytest.mark.parametrize("is_streamed", [True, False])
def test_what_cannot_be_noted_is_not_answered(
    model: Composition,
    client: OpenAI,
    is_streamed: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("the log is full")

    asked: list[object] = []
    monkeypatch.setattr(hosts, "_asked", lambda *at, **_: asked.append(at))
    monkeypatch.setattr("apps.api.openai.record", fail)
    with pytest.raises(openai.InternalServerError) as broken:
        client.chat.completions.create(
            model=MODEL, messages=ENDLESS, max_tokens=1000, stream=is_streamed
        )
    assert "full" not in str(broken.value)
    assert asked == []  # no model heard of it


def test_a_program_is_given_no_cookie_and_nobody_is_asked_under_another_name(
    model: Composition, key: Key
) -> None:
    headers = {"Authorization": f"Bearer {key[1]}"}
    answer = httpx.get(f"{site()}/v1/models", headers=headers)
    assert answer.status_code == 200
    assert "Set-Cookie" not in answer.headers
    assert "cookie" not in answer.headers.get("Vary", "").lower()
    other = httpx.get(f"{site()}/v1/models", headers=headers | {"Host": "elsewhere.example"})
    assert other.status_code == 400
