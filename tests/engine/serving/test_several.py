"""Several compositions on one anchor in one server: its weights once, and nobody disturbed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from calm_engine.costs import storage_bytes
from calm_engine.digests import write_manifest
from calm_engine.families import read_tokenizer
from calm_engine.generation import Sampling, answer
from calm_engine.modeling import CalmForCausalLM
from calm_engine.serving.roster import Part
from calm_engine.serving.server import Loader, Serving
from tests.engine.serving.conftest import CONTEXT, SECRET, Folders, Running, running
from tests.tiny import awaken, make_model, save_folder
from tests.waiting import wait_until

PROMPT = "Where is the MX-1 made?"
GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": 40}


@dataclass(frozen=True)
class Second:
    """Another composition on the anchor of `folders`."""

    composition: Path
    augmenter: Path

    def body(self) -> dict[str, Any]:
        return {
            "name": "theirs",
            "composition": str(self.composition),
            "augmenters": [str(self.augmenter)],
        }


@pytest.fixture(scope="session")
def second(folders: Folders, tmp_path_factory: pytest.TempPathFactory) -> Second:
    root = tmp_path_factory.mktemp("second")
    small = make_model("llama", width=64, layers=4, heads=2, positions=CONTEXT, seed=5)
    save_folder(small, root / "augmenter")
    model = awaken(CalmForCausalLM.compose(folders.anchor, [root / "augmenter"]), seed=6)
    model.save_pretrained(root / "composition")
    write_manifest(root / "composition")
    return Second(root / "composition", root / "augmenter")


@pytest.fixture(scope="module")
def house(folders: Folders) -> Iterator[Running]:
    """A server of this file's own: compositions come and go."""
    with running(*folders.flags(), "--rows", "4") as ready:
        yield ready


def asked(server: Running, method: str, path: str, **how: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {SECRET}"}
    return httpx.request(method, f"{server.address}{path}", headers=headers, **how)


def told(server: Running) -> dict[str, dict[str, Any]]:
    return {one["key"]: one for one in asked(server, "GET", "/compositions").json()["data"]}


def come(server: Running, key: str, body: dict[str, Any]) -> None:
    assert asked(server, "PUT", f"/compositions/{key}", json=body).status_code == 202
    assert wait_until(lambda: told(server)[key]["state"] != "loading")


def go(server: Running, key: str) -> None:
    asked(server, "DELETE", f"/compositions/{key}")
    assert wait_until(lambda: key not in told(server))


def at(server: Running, key: str) -> openai.OpenAI:
    url = f"{server.address}/at/{key}/v1"
    return openai.OpenAI(base_url=url, api_key=SECRET, max_retries=0, timeout=30)


def said(client: openai.OpenAI, model: str) -> str:
    return client.completions.create(model=model, prompt=PROMPT, **GREEDY).choices[0].text


def alone(folders: Folders, composition: Path, augmenter: Path, gate: float = 1.0) -> str:
    """What the composition says by itself, without a server."""
    model = CalmForCausalLM.from_pretrained(
        composition, anchor=folders.anchor, augmenters=[augmenter]
    )
    tokenizer = read_tokenizer(composition)
    how = Sampling(max_new_tokens=40, temperature=0.0, gate=gate)
    pieces = answer(model, tokenizer, tokenizer(PROMPT)["input_ids"], how)
    return "".join(piece.text for piece in pieces)


def test_a_second_composition_costs_its_augmenter_and_bridges_alone(
    folders: Folders, second: Second
) -> None:
    ours = Part("ours", "ours", str(folders.composition), (str(folders.augmenter),))
    theirs = Part("theirs", "theirs", str(second.composition), (str(second.augmenter),))
    loader = Loader(Serving("ours", (ours, theirs), str(folders.anchor), threads=1))
    one, other = (loaded.model for loaded in loader.all().values())
    assert one.anchor is other.anchor
    own = [[*model.augmenters, *model.bridges, *model.output_gates] for model in (one, other)]
    apart = storage_bytes(one.anchor) + sum(storage_bytes(*parts) for parts in own)
    assert storage_bytes(one, other) == apart
    assert storage_bytes(one, other) - storage_bytes(one) == storage_bytes(*own[1])
    assert storage_bytes(*own[1]) < storage_bytes(other)


def test_it_comes_beside_a_stream_and_each_says_what_it_says_alone(
    house: Running, folders: Folders, second: Second
) -> None:
    with house.client() as client, at(house, "k2") as theirs:
        with client.completions.create(
            model="ours", prompt=PROMPT, temperature=0, max_tokens=600, stream=True
        ) as stream:
            chunks = iter(stream)
            next(chunks)
            come(house, "k2", second.body())
            assert told(house)["ours"]["under_way"] == 1
            assert said(theirs, "theirs") == alone(folders, second.composition, second.augmenter)
            finishes = [chunk.choices[0].finish_reason for chunk in chunks]
        assert finishes[-1] == "length"
        assert said(client, "ours") == alone(folders, folders.composition, folders.augmenter)
        bare = alone(folders, folders.composition, folders.augmenter, 0.0)
        assert said(client, "anchor") == said(theirs, "anchor") == bare
        assert [one.id for one in client.models.list()] == ["ours", "k2", "anchor"]
        assert [one.id for one in theirs.models.list()] == ["theirs", "anchor"]
        with pytest.raises(openai.NotFoundError):
            said(theirs, "ours")
    go(house, "k2")


def test_one_that_goes_finishes_its_answers_and_drops_no_others(
    house: Running, second: Second
) -> None:
    come(house, "k3", second.body())
    how: dict[str, Any] = {"prompt": PROMPT, "temperature": 0, "max_tokens": 400, "stream": True}
    with (
        house.client() as client,
        at(house, "k3") as theirs,
        client.completions.create(model="ours", **how) as stays,
        theirs.completions.create(model="theirs", **how) as goes,
    ):
        staying, going = iter(stays), iter(goes)
        next(staying)
        next(going)
        assert asked(house, "DELETE", "/compositions/k3").status_code == 202
        with pytest.raises(openai.NotFoundError):
            said(theirs, "theirs")
        for chunks in (staying, going):
            finishes = [chunk.choices[0].finish_reason for chunk in chunks]
            assert finishes[-1] in ("length", "stop")
    assert list(told(house)) == ["ours"]


def test_one_that_does_not_fit_is_refused_by_name_and_the_others_go_on(
    house: Running, folders: Folders, tmp_path: Path
) -> None:
    anchor = make_model("llama", width=48, layers=4, heads=4, positions=CONTEXT, seed=77)
    save_folder(anchor, tmp_path / "anchor")
    made = awaken(CalmForCausalLM.compose(tmp_path / "anchor", [folders.augmenter]))
    made.save_pretrained(tmp_path / "strange")
    body = {"name": "strange", "composition": str(tmp_path / "strange")}
    come(house, "bad", {**body, "augmenters": [str(folders.augmenter)]})
    assert told(house)["bad"]["state"] == "failed"
    assert "anchor" in told(house)["bad"]["reason"]
    with at(house, "bad") as client, pytest.raises(openai.InternalServerError) as refused:
        said(client, "strange")
    assert refused.value.code == "server.failed"
    with house.client() as client:
        assert said(client, "ours")
    go(house, "bad")


def test_how_long_nobody_asked_is_told(house: Running) -> None:
    with house.client() as client:
        said(client, "ours")
    assert told(house)["ours"]["idle"] < 5
    before = told(house)["ours"]["idle"]
    time.sleep(0.3)
    assert told(house)["ours"]["idle"] > before


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": "x", "composition": "y"},
        {"name": "x", "composition": "y", "augmenters": []},
        {"name": "x", "composition": "y", "augmenters": [1]},
        {"name": 1, "composition": "y", "augmenters": ["z"]},
    ],
)
def test_what_is_no_composition_is_400(house: Running, body: dict[str, Any]) -> None:
    assert asked(house, "PUT", "/compositions/k", json=body).status_code == 400
    assert list(told(house)) == ["ours"]


def test_a_stranger_changes_nothing(house: Running, second: Second) -> None:
    for method, path in (("GET", ""), ("PUT", "/k"), ("DELETE", "/ours")):
        url = f"{house.address}/compositions{path}"
        assert httpx.request(method, url, json=second.body()).status_code == 401
    assert list(told(house)) == ["ours"]


def test_without_a_secret_nothing_comes_or_goes(folders: Folders, second: Second) -> None:
    flags = folders.flags()
    spot = flags.index("--secret-file")
    beside = ("--beside", "theirs", str(second.composition), str(second.augmenter))
    with running(*flags[:spot], *flags[spot + 2 :], *beside) as server:
        reply = httpx.put(f"{server.address}/compositions/k", json=second.body())
        assert reply.status_code == 404
        names = [one["id"] for one in httpx.get(f"{server.address}/v1/models").json()["data"]]
    assert names == ["ours", "theirs", "anchor"]
