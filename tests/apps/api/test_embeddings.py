"""Vectors for programs: the official client against the site, a real embedding model behind it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI

from apps.accounts.actions import issue_key, remove
from apps.accounts.models import ApiKey, Quota
from apps.audit.models import AuditEvent
from apps.corpora.models import Corpus
from apps.registry.models import Composition, Embedder, Placement
from apps.tenants.scope import tenant_scope
from tests.apps.api.test_bad_input import Sender
from tests.apps.chat.making import MODEL, write
from tests.apps.registry.embedding import NAME, embedder_server, make_embedder
from tests.cast import Cast
from workers.ingestion import embed

pytestmark = pytest.mark.django_db(transaction=True)

Key = tuple[ApiKey, str]
TEXTS = ["Where is it made?", "b"]


@pytest.fixture
def embedder(cast: Cast, tmp_path: Path) -> Embedder:
    return make_embedder(cast.north, tmp_path / "model", address=embedder_server().address)


def test_the_official_client_gets_vectors(embedder: Embedder, client: OpenAI) -> None:
    told = client.embeddings.create(model=NAME, input=TEXTS)
    assert told.model == NAME
    assert [len(one.embedding) for one in told.data] == [embedder.width] * 2
    assert told.usage.total_tokens == sum(map(len, TEXTS))
    plain = client.embeddings.create(model=NAME, input=TEXTS, encoding_format="float")
    for one, other in zip(plain.data, told.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)
    assert [each.id for each in client.models.list()] == [NAME]
    assert client.models.retrieve(NAME).id == NAME


def test_who_may_not_use_it_hears_what_is_said_of_no_model(
    cast: Cast, embedder: Embedder, client: OpenAI, connect: Callable[[str], OpenAI]
) -> None:
    def refusal(asking: OpenAI, name: str) -> Any:
        with pytest.raises(openai.NotFoundError) as refused:
            asking.embeddings.create(model=name, input="a")
        told = refused.value.response
        return told.status_code, told.text.replace(name, "X")

    unknown = refusal(client, "nothing")
    stranger = connect(issue_key(cast.cy, cast.south, "script")[1])
    bound = connect(issue_key(cast.bo, cast.north, "one", only_models=["other"])[1])
    assert refusal(stranger, NAME) == refusal(bound, NAME) == unknown
    assert refusal(client, "a\0b")[0] == 404
    assert [each.id for each in stranger.models.list()] == []
    with tenant_scope(cast.north):
        Embedder.objects.update(in_use=False)
    assert refusal(client, NAME) == unknown


def test_a_key_that_is_not_for_it_or_whose_owner_left_is_refused(
    cast: Cast, embedder: Embedder, client: OpenAI, connect: Callable[[str], OpenAI]
) -> None:
    listing = connect(issue_key(cast.bo, cast.north, "list", scopes=["models"])[1])
    with pytest.raises(openai.PermissionDeniedError):
        listing.embeddings.create(model=NAME, input="a")
    remove(cast.north, cast.bo, by=cast.ada)
    with pytest.raises(openai.AuthenticationError):
        client.embeddings.create(model=NAME, input="a")


def test_tokens_count_towards_the_limits(cast: Cast, embedder: Embedder, client: OpenAI) -> None:
    with tenant_scope(cast.north):
        Quota.objects.create(kind=Quota.Kind.TOKENS, amount=30, user=cast.bo)
    for _ in range(2):  # the first leaves some
        client.embeddings.create(model=NAME, input="x" * 20)
    with pytest.raises(openai.RateLimitError) as refused:
        client.embeddings.create(model=NAME, input="a")
    assert int(refused.value.response.headers["retry-after"]) > 0


def test_one_that_is_not_running_says_when_to_come_back(
    cast: Cast, embedder: Embedder, client: OpenAI
) -> None:
    with tenant_scope(cast.north):
        Placement.objects.update(address="http://127.0.0.1:9")  # nobody listens there
    for _ in range(2):
        with pytest.raises(openai.InternalServerError) as refused:
            client.embeddings.create(model=NAME, input="a")
        assert refused.value.status_code == 503
        assert int(refused.value.response.headers["retry-after"]) > 0
        with tenant_scope(cast.north):
            Placement.objects.all().delete()


def test_the_audit_says_who_asked_and_not_what(
    cast: Cast, embedder: Embedder, client: OpenAI
) -> None:
    client.embeddings.create(model=NAME, input=["salary of the director"])
    with tenant_scope(cast.north):
        line = AuditEvent.objects.filter(action="api.ask").get()
        assert (line.facts["endpoint"], line.facts["characters"]) == ("embeddings", 22)
        assert "director" not in json.dumps(line.facts)


def test_a_program_is_given_what_is_near_by_meaning_to_read(
    cast: Cast, embedder: Embedder, model: Composition, client: OpenAI
) -> None:
    with tenant_scope(cast.north):
        write(Corpus.objects.get(pk=model.closure[0]), "where.md", "Made in Portugal. ")

    def titles() -> list[str]:
        asked: Any = [{"role": "user", "content": "Zeppelin?"}]  # shares no word with it
        told = client.chat.completions.create(
            model=MODEL, messages=asked, max_tokens=4, extra_body={"look_up": True}
        )
        return [one["title"] for one in (told.model_extra or {}).get("passages", [])]

    assert titles() == []
    embed(str(cast.north.pk), str(embedder.pk))
    assert titles() == ["where.md"]
    with tenant_scope(cast.north):  # the embedder is away: words alone, and no fault
        Placement.objects.filter(embedder=embedder).update(address="http://127.0.0.1:9")
    assert titles() == []


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"input": None}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": [""]}, "input"),
        ({"input": {"text": "a"}}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": [-1]}, "input"),
        ({"encoding_format": "int8"}, "encoding_format"),
        ({"dimensions": 0}, "dimensions"),
        ({"truncate": "yes"}, "truncate"),
        ({"model": ""}, "model"),
        ({"dimensions": 8}, "dimensions"),  # from here on it is the model server that knows
        ({"input": [10**6]}, "input[0]"),
        ({"input": "x" * 5000}, "input[0]"),
    ],
)
def test_a_wrong_field_is_named(
    cast: Cast, embedder: Embedder, key: Key, wrong: dict[str, Any], param: str
) -> None:
    sender = Sender(cast.client(), key[1])
    status, error = sender.post({"model": NAME, "input": "a", **wrong}, "/v1/embeddings")
    assert (status, error["param"]) == (400, param)


def test_what_is_no_request_or_too_large_is_refused(
    cast: Cast, embedder: Embedder, key: Key
) -> None:
    sender = Sender(cast.client(), key[1])
    for raw, status in ((b"\xff", 400), (b"[]", 400), (b"x" * 10_000_000, 413)):
        assert sender.post(raw, "/v1/embeddings")[0] == status
