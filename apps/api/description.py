"""The door for programs described as OpenAPI 3.1, from the very shapes that check what comes in.

It says the same to everybody, and nothing of anybody: no model, person or tenant stands in it.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe
from pydantic.json_schema import models_json_schema

from apps.api.schemas import BODY_LIMIT, Asking, ChatCompletion, Embedding, PlainCompletion

Json = dict[str, Any]

REFUSALS = {
    "400": "the request is wrong; `param` names the field",
    "401": "the key is missing, wrong, expired or revoked",
    "403": "the key is not for this, or the right ended meanwhile",
    "404": "there is no such model, or its owner may not use it",
    "413": f"the body is over {BODY_LIMIT} bytes",
    "429": "too many requests or a used-up limit; `Retry-After` says when",
    "500": "a fault of the site",
    "503": "the model is not running now",
}
KINDS: tuple[type[Asking], ...] = (ChatCompletion, PlainCompletion, Embedding)


@require_safe
def description(_request: HttpRequest) -> JsonResponse:
    return JsonResponse(document())


def document() -> Json:
    """The whole description, as JSON."""
    _, shapes = models_json_schema(
        [(kind, "validation") for kind in KINDS], ref_template="#/components/schemas/{model}"
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Counterpoint",
            "version": "1",
            "description": "OpenAI's protocol, for the models that the key's owner may use.",
        },
        "servers": [{"url": "/v1"}],
        "security": [{"key": []}],
        "paths": {
            "/models": {"get": _operation("models", "The models that may be asked", _list())},
            "/models/{name}": {
                "get": _operation("model", "One of them", _model())
                | {"parameters": [_name_in_path()]}
            },
            "/chat/completions": {"post": _asking("chat", "Answer a conversation", KINDS[0])},
            "/completions": {"post": _asking("completion", "Go on with a text", KINDS[1])},
            "/embeddings": {"post": _whole("embeddings", "Texts as vectors", KINDS[2], _vectors())},
        },
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": shapes["$defs"] | {"Refusal": _refusal()},
        },
    }


def _asking(name: str, told: str, kind: type[Asking]) -> Json:
    operation = _whole(name, told, kind, _answer())
    streamed = {"description": "server-sent events of JSON; after the last one, `[DONE]`"}
    operation["responses"]["200"]["content"]["text/event-stream"] = {"schema": streamed}
    return operation


def _whole(name: str, told: str, kind: type[Asking], answer: Json) -> Json:
    body = {"schema": {"$ref": f"#/components/schemas/{kind.__name__}"}}
    return _operation(name, told, answer) | {
        "requestBody": {"required": True, "content": {"application/json": body}},
    }


def _operation(name: str, told: str, answer: Json) -> Json:
    refusal = {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}}
    responses = {code: {"description": why, "content": refusal} for code, why in REFUSALS.items()}
    done = {"description": told, "content": {"application/json": {"schema": answer}}}
    return {"operationId": name, "summary": told, "responses": {"200": done} | responses}


def _name_in_path() -> Json:
    return {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}


# ---- what comes back -----------------------------------------------------------------------------


def _object(**properties: Json) -> Json:
    return {"type": "object", "required": list(properties), "properties": properties}


def _model() -> Json:
    text: Json = {"type": "string"}
    return _object(id=text, object={"const": "model"}, created={"type": "integer"}, owned_by=text)


def _list() -> Json:
    return _object(object={"const": "list"}, data={"type": "array", "items": _model()})


def _answer() -> Json:
    usage = {"type": "integer", "minimum": 0}
    return _object(
        id={"type": "string"},
        object={"type": "string"},
        model={"type": "string"},
        choices={"type": "array", "minItems": 1, "items": {"type": "object"}},
        usage=_object(prompt_tokens=usage, completion_tokens=usage, total_tokens=usage),
    )


def _vectors() -> Json:
    count = {"type": "integer", "minimum": 0}
    numbers = {"type": "array", "items": {"type": "number"}}
    vector = _object(
        object={"const": "embedding"},
        index=count,
        embedding={"anyOf": [numbers, {"type": "string", "description": "32-bit floats, base64"}]},
    )
    return _object(
        object={"const": "list"},
        model={"type": "string"},
        data={"type": "array", "minItems": 1, "items": vector},
        usage=_object(prompt_tokens=count, total_tokens=count),
    )


def _refusal() -> Json:
    text: Json = {"type": "string"}
    perhaps: Json = {"type": ["string", "null"]}
    return _object(error=_object(message=text, type=text, code=text, param=perhaps))
