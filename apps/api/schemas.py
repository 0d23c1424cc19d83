"""What a client may send, as far as this door looks: shapes, ranges and sizes.

What only the model server can tell (tokens, unsupported options) passes through and is refused
there, in the same shape. Knows no person, key or model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from apps.api.errors import ApiError
from calm_engine.passages import with_passages

BODY_LIMIT = 1 << 20  # bytes
STOPS, STOP_LENGTH, MESSAGES, PARTS = 16, 256, 1024, 256

INPUTS = 2048  # texts of one request for vectors

Asked = TypeVar("Asked", bound="Asking")


def as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def as_whole(value: Any) -> Any:
    """1.0 is a whole number in JSON."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


# Bounds stand before what takes a value in: behind it they would be kept, and not be described.
Token = Annotated[int, Field(ge=0), BeforeValidator(as_whole)]
Count = Annotated[int, Field(ge=1), BeforeValidator(as_whole)]
Seed = Annotated[int, Field(ge=-(2**63), lt=2**63), BeforeValidator(as_whole)]
Stop = Annotated[str, Field(min_length=1, max_length=STOP_LENGTH)]
_Stops = Annotated[list[Stop], Field(max_length=STOPS)]
Stops = Annotated[_Stops, BeforeValidator(as_list, json_schema_input_type=Stop | _Stops)]


class _Strict(BaseModel):
    # Unknown fields go on to the model server, which knows whether it can do them.
    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class TextPart(_Strict):
    type: Literal["text"]
    text: str


class ChatMessage(_Strict):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[TextPart], Field(max_length=PARTS)]

    @property
    def text(self) -> str:
        parts = self.content
        return parts if isinstance(parts, str) else "".join(part.text for part in parts)


class StreamOptions(_Strict):
    include_usage: bool | None = None


class ResponseFormat(_Strict):
    """What an answer is held to; whether a schema can be kept is the model server's to say."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: dict[str, Any] | None = None


class Asking(_Strict):
    """What every request has."""

    model: Annotated[str, Field(min_length=1, max_length=200)]

    def characters(self) -> int:
        """How much was asked, for the audit; the text itself is nobody's business."""
        raise NotImplementedError


class Completion(Asking):
    """What both kinds of completion have in common."""

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    max_tokens: Count | None = None
    stop: Stops | None = None
    seed: Seed | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    def body(self) -> dict[str, Any]:
        """For the model server: as it came, but greedy unless the client asks for chance.

        OpenAI's own default is 1; these models are asked for what a company knows.
        """
        given = self.model_dump(exclude_unset=True)
        return given if given.get("temperature") is not None else given | {"temperature": 0}

    def to_look_up(self) -> str:
        """The question for which passages are wanted; empty where none are."""
        return ""


class ChatCompletion(Completion):
    """OpenAI's request, and one field of our own.

    look_up   whether passages of the corpora that the model learned go before the last question
    """

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MESSAGES)]
    max_completion_tokens: Count | None = None
    response_format: ResponseFormat | None = None
    look_up: bool | None = None

    def body(self) -> dict[str, Any]:
        given = super().body()
        given.pop("look_up", None)
        return given

    def reading(self, passages: Sequence[str]) -> Self:
        """The same with these passages before the last question."""
        asked = with_passages(self.messages[-1].text, passages)
        last = ChatMessage(role="user", content=asked)
        return self.model_copy(update={"messages": [*self.messages[:-1], last]})

    def to_look_up(self) -> str:
        last = self.messages[-1]
        return last.text if self.look_up and last.role == "user" else ""

    def characters(self) -> int:
        return sum(len(message.text) for message in self.messages)


class PlainCompletion(Completion):
    prompt: (
        Annotated[str, Field(min_length=1)]
        | Annotated[list[Token], Field(min_length=1)]
        | Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1, max_length=1)]
    )

    def characters(self) -> int:
        return len("".join(map(str, self.prompt)))


Text = Annotated[str, Field(min_length=1)]
Ids = Annotated[list[Token], Field(min_length=1)]


class Embedding(Asking):
    """OpenAI's request for vectors, and one field of our own.

    truncate   a text that is longer than the model reads is cut off, else refused
    """

    input: (
        Text
        | Ids
        | Annotated[list[Text], Field(min_length=1, max_length=INPUTS)]
        | Annotated[list[Ids], Field(min_length=1, max_length=INPUTS)]
    )
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Count | None = None
    truncate: bool | None = None

    def characters(self) -> int:
        given = self.input
        return len(given) if isinstance(given, str) else len("".join(map(str, given)))


def read(kind: type[Asked], raw: bytes) -> Asked:
    """Check a body. Raises ApiError 400 that names the field."""
    try:
        return kind.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
    if first["type"] == "json_invalid":
        raise ApiError(400, "invalid_json", "The body is not valid JSON in UTF-8.")
    if not first["loc"]:
        raise ApiError(400, "invalid_json", "The body must be one JSON object.")
    param = spelled(first["loc"])
    code = "missing_required_parameter" if first["type"] == "missing" else "invalid_value"
    raise ApiError(400, code, f"`{param}`: {first['msg']}.", param=param)


def spelled(place: tuple[int | str, ...]) -> str:
    """The field as a client would write it: messages[0].content."""
    name = str(place[0])
    if name == "messages":
        name += "".join(f"[{at}]" if isinstance(at, int) else f".{at}" for at in place[1:3])
    return name
