"""Limits: for a person, a group together, everybody together; told, counted, and begun anew."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from apps.accounts import quotas
from apps.accounts.actions import invite, issue_key, key_from, open_service, remove
from apps.accounts.models import ApiKey, Quota, Scope
from apps.chat.actions import ask, finish_reply, open_conversation
from apps.chat.models import State
from apps.registry.models import Composition
from apps.tenants.models import Group, GroupMember, Role
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from tests.apps.chat.making import MODEL, make_model
from tests.cast import PASSWORD, Cast

KIND = Quota.Kind


@pytest.fixture
def model(cast: Cast) -> Composition:
    return make_model(cast.north, cast.ada, cast.bo)


def limit(kind: str, amount: int, **whom: Any) -> Quota:
    return Quota.objects.create(kind=kind, amount=amount, **whom)


def test_the_narrowest_limit_refuses_and_says_which(cast: Cast) -> None:
    with tenant_scope(cast.north):
        group = Group.objects.create(name="Sales")
        for person in (cast.ada, cast.bo):
            GroupMember.objects.create(group=group, user=person)
        limit(KIND.TOKENS, 1000)
        limit(KIND.TOKENS, 50, group=group)
        quotas.require(cast.bo, KIND.TOKENS)
        quotas.spend(cast.ada, KIND.TOKENS, 50)  # of the group's budget, and so of bo's
        with pytest.raises(InputError) as refused:
            quotas.require(cast.bo, KIND.TOKENS)
        assert refused.value.facts["whom"] == "Sales"
        quotas.require(cast.otto, KIND.TOKENS)
        told = {budget.whom: budget.left for budget in quotas.budgets(cast.bo)}
        assert told == {"Sales": 0, "everybody together": 950}


def test_another_tenants_limit_and_use_do_not_count(cast: Cast) -> None:
    with tenant_scope(cast.north):
        limit(KIND.TOKENS, 0)
    with tenant_scope(cast.south):
        quotas.require(cast.cy, KIND.TOKENS)
        assert quotas.budgets(cast.cy) == []


def test_every_key_of_the_broker_begins_with_its_tenant(cast: Cast) -> None:
    with tenant_scope(cast.north):
        assert quotas.key_of(limit(KIND.TOKENS, 1)).startswith(f"t:{cast.north.pk}:")


def test_a_counter_begins_anew(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    with tenant_scope(cast.north):
        limit(KIND.REQUESTS, 1, user=cast.bo)
        quotas.spend(cast.bo, KIND.REQUESTS)
        assert quotas.refusal(cast.bo, KIND.REQUESTS)
        later = quotas.time.time() + 61
        monkeypatch.setattr(quotas.time, "time", lambda: later)
        assert quotas.refusal(cast.bo, KIND.REQUESTS) is None


def test_without_the_broker_everybody_is_let_through(cast: Cast, settings: Any) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    with tenant_scope(cast.north):
        limit(KIND.REQUESTS, 1)
        quotas.spend(cast.bo, KIND.REQUESTS)
        quotas.require(cast.bo, KIND.REQUESTS)


def test_the_chat_counts_questions_and_tokens_and_refuses_in_words(
    cast: Cast, model: Composition
) -> None:
    with tenant_scope(cast.north):
        limit(KIND.REQUESTS, 1)
        limit(KIND.TOKENS, 100, user=cast.bo)
        reply = ask(open_conversation(MODEL, by=cast.bo), "Hello?", by=cast.bo)
        finish_reply(reply.pk, "Yes.", state=State.COMPLETE, usage={"total_tokens": 30})
        finish_reply(reply.pk, "Yes.", state=State.COMPLETE, usage={"total_tokens": 30})
        (mine,) = [each for each in quotas.budgets(cast.bo) if each.whom == "you"]
        assert mine.used == 30
    answer = cast.client(cast.bo).post("/chat/ask", {"text": "Again?", "model": MODEL})
    assert answer.status_code == 429
    assert "The limit of 1 questions a minute is used up" in answer.content.decode()
    assert "Again?" in answer.content.decode()  # nothing that was written is lost


@pytest.mark.django_db(transaction=True)
def test_the_api_refuses_in_its_own_shape_and_says_when_to_come_back(
    cast: Cast, model: Composition
) -> None:
    with tenant_scope(cast.north):
        limit(KIND.TOKENS, 0)
    _, secret = issue_key(cast.bo, cast.north, "script")
    client = Client(headers={"Authorization": f"Bearer {secret}"})
    asked = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]}
    answer = client.post("/v1/chat/completions", asked, content_type="application/json")
    told = json.loads(answer.content)["error"]
    assert (answer.status_code, told["type"]) == (429, "rate_limit_error")
    assert told["code"] == "insufficient_quota"
    assert 0 < int(answer["Retry-After"]) <= 86_400


def test_everybody_sees_their_budget_and_curators_set_it(cast: Cast) -> None:
    ada, bo = cast.client(cast.ada), cast.client(cast.bo)
    assert b"unlimited by choice" in bo.get("/accounts/usage/").content
    sent = {"kind": "tokens", "whom": f"user:{cast.bo.pk}", "amount": "500"}
    assert bo.post("/accounts/usage/", sent).status_code == 403
    ada.post("/accounts/usage/", sent)
    ada.post("/accounts/usage/", sent | {"amount": "700"})
    assert b"700 tokens a day" in bo.get("/accounts/usage/").content
    with tenant_scope(cast.north):
        quota = Quota.objects.get()
    assert bo.post(f"/accounts/usage/{quota.pk}/remove").status_code == 403
    ada.post(f"/accounts/usage/{quota.pk}/remove")
    assert b"unlimited by choice" in bo.get("/accounts/usage/").content


# ---- keys and service accounts -------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_key_does_what_it_was_made_for_and_no_more(cast: Cast, model: Composition) -> None:
    asked = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]}
    _, lists = issue_key(cast.bo, cast.north, "lists", scopes=[Scope.MODELS])
    client = Client(headers={"Authorization": f"Bearer {lists}"})
    assert json.loads(client.get("/v1/models").content)["data"][0]["id"] == MODEL
    answer = client.post("/v1/chat/completions", asked, content_type="application/json")
    assert (answer.status_code, json.loads(answer.content)["error"]["code"]) == (
        403,
        "insufficient_scope",
    )
    _, other = issue_key(cast.bo, cast.north, "another model", only_models=["something else"])
    client = Client(headers={"Authorization": f"Bearer {other}"})
    assert json.loads(client.get("/v1/models").content)["data"] == []
    answer = client.post("/v1/chat/completions", asked, content_type="application/json")
    assert answer.status_code == 404


def test_a_key_lasts_as_long_as_was_asked_and_never_longer_than_the_site_allows(
    cast: Cast, settings: Any
) -> None:
    settings.API_KEY_DAYS = 60
    client = cast.client(cast.bo)
    client.post("/accounts/keys/", {"name": "short", "days": "30", "scopes": ["chat"]})
    client.post("/accounts/keys/", {"name": "long", "days": "365"})
    lasts = {key.name: (key.expires_at - key.created_at).days for key in ApiKey.objects.all()}
    assert lasts["short"] in (29, 30)
    assert lasts["long"] in (59, 60)
    assert ApiKey.objects.get(name="short").scopes == ["chat"]


def test_a_service_account_dies_with_whoever_answers_for_it(cast: Cast) -> None:
    dee = invite(cast.north, "dee@north.example", "Dee", Role.CURATOR, PASSWORD)
    service = open_service(cast.north, "Report maker", by=dee)
    key, secret = issue_key(service, cast.north, "nightly", by=dee)
    assert key_from(secret) == key
    assert not service.has_usable_password()
    remove(cast.north, dee, by=cast.ada)
    assert key_from(secret) is None


def test_keys_of_a_service_are_made_and_ended_by_whoever_answers_for_it_alone(cast: Cast) -> None:
    client = cast.client(cast.ada)
    client.post("/accounts/services/", {"name": "Report maker"})
    assert b"Report maker" in client.get("/accounts/services/").content
    service = cast.ada.service_accounts.get()
    page = client.post(f"/accounts/services/{service.pk}/key", {"name": "nightly"})
    assert b"cp_" in page.content
    key = ApiKey.objects.get(user=service)
    assert b"Report maker" not in client.get("/accounts/people/").content
    dee = invite(cast.north, "dee@north.example", "Dee", Role.CURATOR, PASSWORD)
    other = cast.client(dee)
    assert other.get(f"/accounts/services/{service.pk}/key").status_code == 404
    assert other.post(f"/accounts/keys/{key.pk}/revoke").status_code == 404
    assert client.post(f"/accounts/keys/{key.pk}/revoke").status_code == 302
    with pytest.raises(InputError, match=r"service\.name"):
        open_service(cast.north, "!!", by=cast.ada)


def test_inviting_somebody_known_answers_like_inviting_somebody_new(cast: Cast) -> None:
    for email in ("cy@south.example", "nobody@south.example"):
        with pytest.raises(InputError, match=r"password\.weak"):
            invite(cast.north, email, "Who", Role.EMPLOYEE, "weak", by=cast.ada)
