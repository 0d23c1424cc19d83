"""Every address and method of the site, asked for by people without the closure: no trace of it.

The walk is generated from the URL map and from `tests/apps/<app>/strangers.py`. Dee is a curator of
North, so no role stands in her way, and reads no corpus; Cy is a curator of South. What exists and
what does not must answer alike: status, headers and words.
"""

from __future__ import annotations

import json
import re
import statistics
import time
from collections.abc import Callable
from http.client import METHOD_NOT_ALLOWED
from uuid import uuid4

import pytest
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from apps.accounts.actions import invite, issue_key
from apps.accounts.models import User
from apps.tenants.models import Role, Tenant
from tests.browser.making import fill
from tests.cast import PASSWORD, Cast
from tests.test_strangers import ALL, OF_AN_OBJECT, objects

METHODS = ("get", "head", "post", "put", "patch", "delete", "options")
# Words of North's corpus that its names, documents, questions, samples, reports and chats hold.
PLANTED = ("mx-200", "gauges", "portugal", "4711", "handbook", "what does the")
# Objects that a member without any corpus may meet, each with its reason.
OPEN_TO_MEMBERS = {
    "accounts:remove_person": "people are a curator's to see",
    "accounts:new_password": "people are a curator's to see",
    "accounts:sign_out_person": "people are a curator's to see",
    "accounts:switch": "one's own tenant",
    "accounts:remove_quota": "limits are a curator's to see",
    "corpora:add_member": "groups are a curator's to see",
    "corpora:close_group": "groups are a curator's to see",
    "corpora:drop_member": "groups are a curator's to see",
    "person": "people are a curator's to see",
    "audit:decide": "wishes are a curator's to decide",
    "forgetting:lift": "holds are a curator's to see",
    "runs:remove-webhook": "where notices go is a curator's to see",
    "registry:anchor": "an open model is declared public; what stands on it is not shown",
}
TOKEN = re.compile(r'(name="csrfmiddlewaretoken" value=|data-csrf=)"\w+"')
PLAIN = [name for name, has_argument in ALL if not has_argument]


def dee(cast: Cast) -> User:
    """A curator of North who may read nothing; North does not let locked models be discovered."""
    Tenant.objects.filter(pk=cast.north.pk).update(settings={"show_locked_models": False})
    return invite(cast.north, "dee@north.example", "Dee Roth", Role.CURATOR, PASSWORD)


PEOPLE: dict[str, Callable[[Cast], User]] = {
    "a curator without the corpus": dee,
    "another tenant's curator": lambda cast: cast.cy,
}


def told(response: HttpResponse, *masked: object) -> tuple[object, ...]:
    """All that a stranger learns: status, headers, words; the ids that they sent are blanked."""
    body = b"" if getattr(response, "streaming", False) else response.content
    words = TOKEN.sub("", body.decode())
    headers = {name: value for name, value in response.items() if name != "Content-Length"}
    found = json.dumps([headers, words])
    for each in masked:
        found = found.replace(str(each), "X")
    return response.status_code, found


def leaks(response: HttpResponse) -> list[str]:
    """The planted words in it; digits inside a digest or an id are there by chance."""
    text = "" if getattr(response, "streaming", False) else response.content.decode().lower()
    return [word for word in PLANTED if re.search(rf"(?<![\w-]){re.escape(word)}(?!-?\w)", text)]


def another(kwargs: dict[str, object]) -> dict[str, object]:
    """The same shape of address, naming nothing."""
    return {name: unlike(value) for name, value in kwargs.items()}


def unlike(value: object) -> object:
    if isinstance(value, int):
        return value + 1_000_000
    return f"nothing-{uuid4().hex[:6]}" if isinstance(value, str) else uuid4()


@pytest.mark.parametrize("who", PEOPLE)
@pytest.mark.parametrize("name", OF_AN_OBJECT)
def test_what_is_forbidden_and_what_does_not_exist_look_the_same(
    cast: Cast, name: str, who: str
) -> None:
    kwargs = objects()[name](cast)
    person = PEOPLE[who](cast)
    if person.email.startswith("dee") and name in OPEN_TO_MEMBERS:
        assert leaks(cast.client(person).get(reverse(name, kwargs=kwargs))) == []
        return
    nothing = another(kwargs)
    for method in METHODS:
        client = cast.client(person)
        real = getattr(client, method)(reverse(name, kwargs=kwargs))
        none = getattr(cast.client(person), method)(reverse(name, kwargs=nothing))
        assert leaks(real) == [], method
        assert told(real, *kwargs.values()) == told(none, *nothing.values()), method


@pytest.mark.parametrize("who", PEOPLE)
@pytest.mark.parametrize("name", PLAIN)
def test_no_list_search_or_form_holds_a_word_of_a_corpus_without_the_right(
    cast: Cast, name: str, who: str
) -> None:
    fill(cast)
    client = cast.client(PEOPLE[who](cast))
    told = {"q": "measure", "after": "x", "sort": "new", "state": "succeeded", "show": "all"}
    for asked in ({}, told):
        assert leaks(client.get(reverse(name), asked)) == []
    for method in METHODS[1:]:
        assert leaks(getattr(client, method)(reverse(name))) == [], method


@pytest.mark.parametrize("name", PLAIN)
def test_the_probe_finds_what_whoever_may_read_is_shown(cast: Cast, name: str) -> None:
    """A walk that finds nothing anywhere would prove nothing."""
    fill(cast)
    shown = leaks(cast.client(cast.ada).get(reverse(name)))
    if name in {"corpora:list", "registry:models", "runs:list", "evaluation:reports", "chat:new"}:
        assert shown, name


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("who", PEOPLE)
def test_every_operation_of_the_api_hides_what_is_forbidden(cast: Cast, who: str) -> None:
    model = objects()["api:model"](cast)["name"]
    person = PEOPLE[who](cast)
    tenant = cast.south if person == cast.cy else cast.north
    _, secret = issue_key(person, tenant, "probe")
    client = Client(headers={"Authorization": f"Bearer {secret}"})
    assert json.loads(client.get("/v1/models").content)["data"] == []
    for path, body in (
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hello"}]}),
        ("/v1/completions", {"prompt": "Hello"}),
    ):
        answers = []
        for name in (model, f"{model}@1", "nothing", "nothing@1"):
            for stream in (False, True):
                sent = {"model": name, "stream": stream} | body
                answer = client.post(path, sent, content_type="application/json")
                answers.append(told(answer, name))
        assert len(set(answers)) == 1, path
    assert {client.get(f"/v1/models/{name}").status_code for name in (model, "nothing")} == {404}


def takes_alike(ask: Callable[[bool], object]) -> bool:
    """Whether what is there and what is not are answered as fast, within the spread of either.

    Asked in turns; a busy machine may blur one round, and never blurs three the same way.
    """
    for _round in range(3):
        times: dict[bool, list[float]] = {True: [], False: []}
        for turn in range(60):
            is_real = turn % 2 == 0
            began = time.perf_counter()
            ask(is_real)
            times[is_real].append(time.perf_counter() - began)
        real, none = (statistics.median(times[each]) for each in (True, False))
        low, _, high = statistics.quantiles(times[False], n=4)
        if abs(real - none) <= max(high - low, 0.25 * none):
            return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize("who", PEOPLE)
@pytest.mark.parametrize("name", sorted(set(OF_AN_OBJECT) - OPEN_TO_MEMBERS.keys()))
def test_unknown_and_forbidden_take_the_same_time(cast: Cast, name: str, who: str) -> None:
    kwargs = objects()[name](cast)
    client = cast.client(PEOPLE[who](cast))
    acts = client.get(reverse(name, kwargs=another(kwargs))).status_code == METHOD_NOT_ALLOWED
    ask = client.post if acts else client.get
    assert takes_alike(
        lambda is_real: ask(reverse(name, kwargs=kwargs if is_real else another(kwargs)))
    )


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("who", PEOPLE)
def test_the_api_takes_as_long_for_a_forbidden_model_as_for_none(cast: Cast, who: str) -> None:
    model = objects()["api:model"](cast)["name"]
    person = PEOPLE[who](cast)
    _, secret = issue_key(person, cast.south if person == cast.cy else cast.north, "probe")
    client = Client(headers={"Authorization": f"Bearer {secret}"})
    assert takes_alike(lambda is_real: client.get(f"/v1/models/{model if is_real else 'nothing'}"))
    body = {"messages": [{"role": "user", "content": "Hello"}]}

    def ask(is_real: bool) -> None:
        sent = {"model": model if is_real else "nothing"} | body
        client.post("/v1/chat/completions", sent, content_type="application/json")

    assert takes_alike(ask)
