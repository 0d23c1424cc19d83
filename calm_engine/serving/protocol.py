"""OpenAI's requests and replies as plain data. Knows no HTTP server, no torch and no model.

Everything a client sends is checked here, once; what is refused names its field.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from calm_engine.generation import Scored
    from calm_engine.influence import Judged

STOPS = 16
STOP_LENGTH = 256  # characters
SCHEMA_LENGTH = 1 << 16  # likewise
CALLER_LENGTH = 200  # likewise; of a longer name the beginning
MESSAGES = 1024
TOP_LOGPROBS = 20
ROLES = ("system", "developer", "user", "assistant")
SEEDS = 2**63

Json = dict[str, Any]


class RequestError(Exception):
    """A request that is turned away, in OpenAI's shape.

    retry_after   seconds after which it is worth asking again, or None
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str,
        param: str | None = None,
        kind: str = "invalid_request_error",
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code
        self.param, self.kind, self.retry_after = param, kind, retry_after

    def body(self) -> Json:
        return error_body(self.message, kind=self.kind, code=self.code, param=self.param)


def error_body(message: str, *, kind: str, code: str, param: str | None = None) -> Json:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def bad(param: str, why: str, code: str = "invalid_value") -> RequestError:
    return RequestError(400, f"`{param}` {why}.", code=code, param=param)


@dataclass(frozen=True)
class Ask:
    """One checked request, of a chat or of a plain completion.

    messages     chat only: {"role", "content"}, content always text
    prompt       completion only: text, or token ids
    max_tokens   None: as many as fit
    logprobs     None: none; n: with the n likeliest tokens beside each
    gate         0 is the anchor alone, 1 the composition
    influence    chat only, not streamed: tell what the parts of the composition did to each token
    caller       who asks, as far as the client says (`user`)
    schema       chat only: the JSON schema, as JSON, to which the answer is held; None: none
    """

    model: str
    messages: tuple[dict[str, str], ...] = ()
    prompt: str | tuple[int, ...] = ""
    max_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    gate: float | None = None
    stream: bool = False
    include_usage: bool = False
    influence: bool = False
    schema: str | None = None
    caller: str = ""


def read_json(body: bytes) -> Json:
    """Parse a body. Raises RequestError 400 for bytes that are no UTF-8, no JSON or no object."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RequestError(400, "The body is not valid UTF-8.", code="invalid_utf8") from error
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RequestError(400, "The body is not valid JSON.", code="invalid_json") from error
    if not isinstance(values, dict):
        raise RequestError(400, "The body must be one JSON object.", code="invalid_json")
    return values


def read_chat(values: Json) -> Ask:
    """Check a body of /v1/chat/completions. Raises RequestError 400."""
    wanted = read_flag(values, "logprobs")
    top = read_whole(values, "top_logprobs", 0, TOP_LOGPROBS)
    if top is not None and not wanted:
        raise bad("top_logprobs", "needs `logprobs` to be true")
    _refuse_other_forms(values, ("tools", "functions", "logit_bias", "audio", "modalities"))
    if read_flag(values, "influence") and read_flag(values, "stream"):
        raise bad("influence", "needs `stream` to be false", "unsupported_value")
    limit = read_whole(values, "max_completion_tokens", 1)
    return Ask(
        messages=_messages(values),
        max_tokens=limit if limit is not None else read_whole(values, "max_tokens", 1),
        logprobs=(top or 0) if wanted else None,
        influence=read_flag(values, "influence"),
        schema=_schema(values.get("response_format")),
        **_common(values),
    )


def read_completion(values: Json) -> Ask:
    """Check a body of /v1/completions. Raises RequestError 400."""
    _refuse_other_forms(values, ("suffix", "logit_bias", "echo", "response_format"))
    if values.get("best_of") not in (None, 1):
        raise bad("best_of", "can only be 1", "unsupported_value")
    limit = read_whole(values, "max_tokens", 1)
    return Ask(
        prompt=_prompt(values),
        max_tokens=16 if limit is None else limit,
        logprobs=read_whole(values, "logprobs", 0, TOP_LOGPROBS),
        **_common(values),
    )


def _common(values: Json) -> Json:
    model = read_model(values)
    if values.get("n") not in (None, 1):
        raise bad("n", "can only be 1", "unsupported_value")
    for name in ("presence_penalty", "frequency_penalty"):
        if values.get(name) not in (None, 0):
            raise bad(name, "can only be 0", "unsupported_value")
    options = values.get("stream_options") or {}
    if not isinstance(options, dict):
        raise bad("stream_options", "must be an object")
    return {
        "model": model,
        "temperature": _real(values, "temperature", 0.0, 2.0, 1.0),
        "top_p": _share(values),
        "seed": read_whole(values, "seed", -SEEDS, SEEDS),
        "stop": _stops(values),
        "gate": _real(values, "gate", 0.0, 1.0, None),
        "stream": read_flag(values, "stream"),
        "include_usage": read_flag(options, "include_usage"),
        "caller": read_caller(values),
    }


def read_model(values: Json) -> str:
    """The name of the model that is asked for. Raises RequestError 400."""
    model = values.get("model")
    if not isinstance(model, str) or not model:
        raise bad("model", "must name a model", "missing_required_parameter")
    return model


def read_caller(values: Json) -> str:
    """Who asks, as far as the client says. Raises RequestError 400."""
    return read_text(values.get("user") or "", "user")[:CALLER_LENGTH]


def _refuse_other_forms(values: Json, names: Sequence[str]) -> None:
    for name in names:
        if values.get(name) and values[name] != ["text"]:
            raise bad(name, "is not supported by this model", "unsupported_parameter")


def _schema(form: object) -> str | None:
    """The JSON schema that `response_format` asks for; None: any text."""
    if form is None or form == {"type": "text"}:
        return None
    if form == {"type": "json_object"}:
        return '{"type": "object"}'
    if not isinstance(form, dict) or form.get("type") != "json_schema":
        raise bad("response_format", "must be of type text, json_object or json_schema")
    told = form.get("json_schema")
    schema = told.get("schema") if isinstance(told, dict) else None
    if not isinstance(schema, dict):
        raise bad("response_format", "must hold an object `json_schema.schema`")
    found = json.dumps(schema)
    if len(found) > SCHEMA_LENGTH:
        raise bad("response_format", f"may hold a schema of at most {SCHEMA_LENGTH} characters")
    return found


def read_flag(values: Json, name: str) -> bool:
    """True or false; false where nothing is said. Raises RequestError 400."""
    value = values.get(name)
    if value is not None and not isinstance(value, bool):
        raise bad(name, "must be true or false", "invalid_type")
    return bool(value)


def read_whole(values: Json, name: str, least: int, most: int | None = None) -> int | None:
    """A whole number in these bounds, or None. Raises RequestError 400."""
    value = values.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise bad(name, "must be a whole number", "invalid_type")
    if value < least or (most is not None and value > most):
        upper = "" if most is None else f" and at most {most}"
        raise bad(name, f"must be at least {least}{upper}")
    return value


def _real(values: Json, name: str, least: float, most: float, default: Any) -> Any:
    value = values.get(name)
    if value is None:
        return default
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise bad(name, "must be a number", "invalid_type")
    if math.isnan(value) or not least <= value <= most:
        raise bad(name, f"must lie between {least:g} and {most:g}")
    return float(value)


def _share(values: Json) -> float:
    top_p: float = _real(values, "top_p", 0.0, 1.0, 1.0)
    if top_p == 0.0:
        raise bad("top_p", "must be above 0; use `temperature` 0 for the likeliest token")
    return top_p


def _stops(values: Json) -> tuple[str, ...]:
    given = values.get("stop")
    if given is None:
        return ()
    stops = [given] if isinstance(given, str) else given
    if not isinstance(stops, list):
        raise bad("stop", "must be text or a list of texts", "invalid_type")
    if len(stops) > STOPS:
        raise bad("stop", f"may hold at most {STOPS} texts")
    for stop in stops:
        read_text(stop, "stop")
        if not 0 < len(stop) <= STOP_LENGTH:
            raise bad("stop", f"needs texts of 1 to {STOP_LENGTH} characters")
    return tuple(stops)


def read_text(value: object, param: str) -> str:
    """Text that can be written down. Raises RequestError 400."""
    if not isinstance(value, str):
        raise bad(param, "must be text", "invalid_type")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:  # JSON may spell half a character: \ud800
        raise RequestError(
            400, f"`{param}` holds half a character.", code="invalid_utf8", param=param
        ) from error
    return value


def _messages(values: Json) -> tuple[dict[str, str], ...]:
    given = values.get("messages")
    if not isinstance(given, list) or not given:
        raise bad("messages", "must hold at least one message", "missing_required_parameter")
    if len(given) > MESSAGES:
        raise bad("messages", f"may hold at most {MESSAGES} messages")
    return tuple(_message(message, f"messages[{i}]") for i, message in enumerate(given))


def _message(message: object, param: str) -> dict[str, str]:
    if not isinstance(message, dict):
        raise bad(param, "must be an object", "invalid_type")
    role = message.get("role")
    if role not in ROLES:
        raise bad(f"{param}.role", f"must be one of {', '.join(ROLES)}")
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(_part(part, f"{param}.content") for part in content)
    text = read_text(content, f"{param}.content")
    return {"role": "system" if role == "developer" else role, "content": text}


def _part(part: object, param: str) -> str:
    if not isinstance(part, dict) or part.get("type") != "text":
        raise bad(param, "may hold parts of type text only", "unsupported_value")
    return read_text(part.get("text"), param)


def _prompt(values: Json) -> str | tuple[int, ...]:
    prompt = values.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str | list):
        prompt = prompt[0]
    if isinstance(prompt, str):
        return read_text(prompt, "prompt")
    if not isinstance(prompt, list) or not prompt:
        raise bad("prompt", "must be one text or one list of token ids", "invalid_type")
    if not all(isinstance(token, int) and not isinstance(token, bool) for token in prompt):
        raise bad("prompt", "must be one text or one list of token ids", "invalid_type")
    return tuple(prompt)


@dataclass(frozen=True)
class Usage:
    prompt: int
    completion: int

    def body(self) -> Json:
        total = self.prompt + self.completion
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": total,
        }


def _listed(text: str, logprob: float) -> Json:
    # A token may be half a character; its bytes are then not known from its text.
    whole = None if "\ufffd" in text else list(text.encode())
    return {"token": text, "logprob": logprob, "bytes": whole}


@dataclass(frozen=True)
class Form:
    """The shape of replies of one endpoint, for one request.

    id, created   the same in every chunk of one reply; created in seconds since 1970
    fingerprint   names the weights that answered
    """

    id: str
    created: int
    model: str
    fingerprint: str
    chat: bool

    def whole(
        self,
        text: str,
        tokens: Sequence[Scored] | None,
        finish: str,
        usage: Usage,
        judged: Judged | None = None,
    ) -> Json:
        """The reply of a request that did not stream."""
        message = {"role": "assistant", "content": text}
        choice = {
            "index": 0,
            **({"message": message} if self.chat else {"text": text}),
            "logprobs": self._logprobs(tokens, 0),
            "finish_reason": finish,
            **({} if judged is None else {"influence": _influence(judged)}),
        }
        kind = "chat.completion" if self.chat else "text_completion"
        return {**self._head(kind), "choices": [choice], "usage": usage.body()}

    def first(self) -> Json | None:
        """The chunk that opens a streamed chat."""
        return self._chunk({"delta": {"role": "assistant", "content": ""}}) if self.chat else None

    def piece(self, text: str, tokens: Sequence[Scored] | None, offset: int = 0) -> Json:
        """A chunk of text; `offset` counts the characters sent before it."""
        said: Json = {"delta": {"content": text}} if self.chat else {"text": text}
        return self._chunk(said, self._logprobs(tokens, offset))

    def last(self, finish: str) -> Json:
        return self._chunk({"delta": {}} if self.chat else {"text": ""}, finish=finish)

    def bill(self, usage: Usage) -> Json:
        """The chunk after the last that holds the usage, when it was asked for."""
        return {**self._head(self._streamed()), "choices": [], "usage": usage.body()}

    def _streamed(self) -> str:
        return "chat.completion.chunk" if self.chat else "text_completion"

    def _chunk(self, said: Json, logprobs: Json | None = None, finish: str | None = None) -> Json:
        choice = {"index": 0, **said, "logprobs": logprobs, "finish_reason": finish}
        return {**self._head(self._streamed()), "choices": [choice]}

    def _head(self, kind: str) -> Json:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }

    def _logprobs(self, tokens: Sequence[Scored] | None, offset: int) -> Json | None:
        if tokens is None:
            return None
        return _chat_logprobs(tokens) if self.chat else _plain_logprobs(tokens, offset)


def _chat_logprobs(tokens: Sequence[Scored]) -> Json:
    content = [
        {**_listed(t.text, t.logprob), "top_logprobs": [_listed(*other) for other in t.top]}
        for t in tokens
    ]
    return {"content": content, "refusal": None}


def _plain_logprobs(tokens: Sequence[Scored], offset: int) -> Json:
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token.text)
    return {
        "tokens": [t.text for t in tokens],
        "token_logprobs": [t.logprob for t in tokens],
        "top_logprobs": [dict(t.top) for t in tokens],
        "text_offset": offsets,
    }


def _influence(judged: Judged) -> list[Json]:
    """Ours, beside OpenAI's: a line for each token of the answer; places are told by their text."""
    told = []
    for one in judged.tokens:
        line = dataclasses.asdict(one) | {"token": judged.texts[one.position]}
        for augmenter in line["augmenters"]:
            for bridge in augmenter["bridges"]:
                bridge["attention"] = [
                    {"position": place, "token": judged.texts[place], "share": share}
                    for place, share in bridge["attention"]
                ]
        told.append(line)
    return told


def model_body(name: str, created: int) -> Json:
    return {"id": name, "object": "model", "created": created, "owned_by": "counterpoint"}


def event(body: Json) -> bytes:
    """One server-sent event. ASCII inside, so that no proxy can break a character."""
    return b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
WAITING = b": still waiting\n\n"
