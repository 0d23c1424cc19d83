"""Other clients than OpenAI's for Python: LangChain, OpenAI's for Node, and one that tries all."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from frontend.build import npm
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as limits
from langchain_openai import ChatOpenAI
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.openapi import from_dict
from schemathesis.specs.openapi import checks

from apps.accounts.models import ApiKey
from apps.api.description import document
from apps.registry.models import Composition, Embedder
from tests.apps.chat.making import MODEL, site
from tests.apps.registry.embedding import NAME, embedder_server, make_embedder
from tests.cast import Cast

pytestmark = pytest.mark.django_db(transaction=True)

Key = tuple[ApiKey, str]


@pytest.fixture
def embedder(cast: Cast, tmp_path: Path) -> Embedder:
    return make_embedder(cast.north, tmp_path / "model", address=embedder_server().address)


ASKED = ("/chat/completions", "/completions", "/embeddings")
TRIES = 25  # of each operation and mode
ANSWER = (
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
)
# Wrong requests may be answered here: those with more tokens than the tests allow themselves. That
# wrong fields are refused by name stands in test_bad_input.py.
BY_MODE = {
    GenerationMode.POSITIVE: [checks.positive_data_acceptance],
    GenerationMode.NEGATIVE: [],
}


def test_langchain_asks_whole_and_streamed(model: Composition, key: Key) -> None:
    chain = ChatOpenAI(
        base_url=f"{site()}/v1", api_key=lambda: key[1], model=MODEL, max_tokens=20, max_retries=0
    )
    whole = chain.invoke("Where is it made?")
    streamed = "".join(str(piece.content) for piece in chain.stream("Where is it made?"))
    assert whole.content == streamed != ""
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["output_tokens"] == 20


def test_the_client_for_node_asks_whole_streamed_and_is_told_what_is_wrong(
    model: Composition, key: Key
) -> None:
    told = asked_from_node(f"{site()}/v1", key[1], MODEL)
    assert told["models"] == [MODEL]
    assert told["whole"] == told["streamed"] != ""
    assert told["tokens"] == 20
    assert told["unknown"] == [404, "model_not_found"]
    assert told["wrong"] == [400, "temperature"]


def asked_from_node(*words: str) -> dict[str, Any]:
    _npm, folder = npm()
    script = Path(__file__).with_name("asking.mjs")
    done = subprocess.run(
        [str(folder / "node"), str(script), *words],
        cwd=Path(settings.ROOT) / "platform" / "frontend",
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


# ---- what is described is what is done -----------------------------------------------------------


def narrowed(mode: GenerationMode) -> Any:
    """The description with a model that is there, and answers of a few tokens.

    Right requests hold no field that only some model servers know, no token ids, of which each
    model has its own, and no more messages than the model has positions for.
    """
    told = document()
    for kind in ("ChatCompletion", "PlainCompletion"):
        shape = told["components"]["schemas"][kind]
        shape["properties"]["model"] = {"const": MODEL}
        shape["properties"].pop("max_completion_tokens", None)
        shape["properties"]["max_tokens"] = {"type": "integer", "minimum": 1, "maximum": 4}
        shape["required"] = [*shape["required"], "max_tokens"]
        if mode is GenerationMode.POSITIVE:
            shape["additionalProperties"] = False
            shape["properties"].pop("response_format", None)  # any schema is right there
            if "messages" in shape["properties"]:
                shape["properties"]["messages"]["maxItems"] = 6
            if "prompt" in shape["properties"]:
                shape["properties"]["prompt"] = {"type": "string", "minLength": 1}
    _narrow_embedding(told["components"]["schemas"]["Embedding"], mode)
    return from_dict(told)


def _narrow_embedding(shape: dict[str, Any], mode: GenerationMode) -> None:
    """Vectors of the model that is there: of its width, of ids that it has; long texts are cut."""
    shape["properties"]["model"] = {"const": NAME}
    if mode is GenerationMode.POSITIVE:
        text: dict[str, Any] = {"type": "string", "minLength": 1}
        ids = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 255}}
        ids |= {"minItems": 1, "maxItems": 40}
        lists = [{"type": "array", "minItems": 1, "maxItems": 4, "items": it} for it in (text, ids)]
        shape["additionalProperties"] = False
        shape["properties"]["input"] = {"anyOf": [text, ids, *lists]}
        shape["properties"]["dimensions"] = {"const": 32}
        shape["properties"]["truncate"] = {"const": True}
        shape["required"] = [*shape["required"], "truncate"]


@pytest.mark.parametrize("name", ["ge", "gt", "le", "lt", "min_length", "max_length"])
def test_every_bound_is_described_in_words_that_clients_know(name: str) -> None:
    """Bounds behind a validator are held, and written by the names that they have in Python."""
    assert f'"{name}":' not in json.dumps(document())


def test_a_lone_stop_word_is_described_beside_a_list_of_them() -> None:
    told = document()["components"]["schemas"]["ChatCompletion"]["properties"]["stop"]
    assert [one["type"] for one in told["anyOf"]] == ["string", "array", "null"]


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize("path", ASKED)
def test_what_is_described_is_what_is_done(
    model: Composition, embedder: Embedder, key: Key, path: str, mode: GenerationMode
) -> None:
    operation = narrowed(mode)[path]["POST"]
    headers = {"Authorization": f"Bearer {key[1]}"}

    @given(case=operation.as_strategy(generation_mode=mode))
    @limits(
        max_examples=TRIES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def tried(case: Case) -> None:
        answer = case.call(base_url=f"{site()}/v1", headers=headers)
        case.validate_response(answer, checks=[*ANSWER, *BY_MODE[mode]], headers=headers)

    tried()
