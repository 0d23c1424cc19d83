"""The OpenAI-compatible door: keys, access, limits; the answer itself is the model server's.

Whoever holds a key may use what its owner may use at this moment, and no more: asked at the door,
and again every second while an answer is written. Never logs or keeps a prompt or an answer.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial, wraps
from typing import Any, TypeVar
from uuid import UUID

import structlog
from django.core.exceptions import RequestDataTooBig
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from apps.accounts import quotas
from apps.accounts.actions import key_from, may_act
from apps.accounts.models import ApiKey, Quota, Scope
from apps.api import errors, limits
from apps.api.errors import ApiError
from apps.api.schemas import BODY_LIMIT, Asking, ChatCompletion, Completion, PlainCompletion, read
from apps.audit.actions import record
from apps.corpora.lookup import Meaning, passages_for
from apps.corpora.models import Passage
from apps.registry import embedders, hosts
from apps.registry.closure import can_use
from apps.registry.models import Composition, Embedder
from apps.tenants.scope import tenant_scope
from calm_engine.errors import EngineError
from counterpoint.live import apart

log = structlog.get_logger(__name__)

LOOK_SECONDS = 1.0  # how soon a stream notices that a right, a key or a membership has ended
DONE = b"data: [DONE]\n\n"
ALIVE = b": still waiting\n\n"

Json = dict[str, Any]
Find = Callable[[ApiKey, str], Composition | Embedder | None]
View = Callable[..., Coroutine[Any, Any, HttpResponseBase]]
T = TypeVar("T")


def door(method: str) -> Callable[[View], View]:
    """An async view for programs: a key in place of a session, refusals in OpenAI's shape."""

    def guard(view: View) -> View:
        @wraps(view)
        async def guarded(request: HttpRequest, **named: Any) -> HttpResponseBase:
            if request.method != method:
                return ApiError(405, "method_not_allowed", f"Use {method} here.").response()
            try:
                return await view(request, **named)
            except ApiError as error:
                return error.response()
            except Exception:
                log.exception("api.broken")
                return ApiError(
                    500, "internal", "This did not work. The log of the site says more."
                ).response()

        return csrf_exempt(transaction.non_atomic_requests(guarded))

    return guard


# ---- what there is -------------------------------------------------------------------------------


@door("GET")
async def models(request: HttpRequest) -> HttpResponse:
    """Every live model that the key's owner may use."""
    listed = await apart(models_of, bearer(request))
    return JsonResponse({"object": "list", "data": listed})


@door("GET")
async def model(request: HttpRequest, name: str) -> HttpResponse:
    return JsonResponse(await apart(model_of, bearer(request), name))


@csrf_exempt
def unknown(_request: HttpRequest) -> HttpResponse:
    return ApiError(404, "unknown_url", "There is nothing at this address.").response()


def models_of(secret: str) -> list[Json]:
    key = known(secret, Scope.MODELS)
    with tenant_scope(key.tenant_id):
        live = Composition.objects.usable_by(key.user).live().order_by("name")
        found = [*live, *Embedder.objects.filter(in_use=True)]
        return [told(each, each.name) for each in found if key.may_name(each.name)]


def model_of(secret: str, name: str) -> Json:
    key = known(secret, Scope.MODELS)
    with tenant_scope(key.tenant_id):
        model = named(key, name) or embedder_named(key, name)
    if model is None:
        raise errors.no_model(name)
    return told(model, name)


def told(model: Composition | Embedder, name: str) -> Json:
    created = int(model.created_at.timestamp())
    return {"id": name, "object": "model", "created": created, "owned_by": "counterpoint"}


# ---- completions ---------------------------------------------------------------------------------


@door("POST")
async def chat_completions(request: HttpRequest) -> HttpResponseBase:
    return await completion(request, ChatCompletion, "chat/completions")


@door("POST")
async def completions(request: HttpRequest) -> HttpResponseBase:
    return await completion(request, PlainCompletion, "completions")


@dataclass(frozen=True)
class Admission:
    """One request that was let in.

    limits     of the key's owner, towards which it counts
    name       what the client calls the model; the model server knows it by its own
    passages   that go before the question, the best first
    """

    key: ApiKey
    model: Composition | Embedder
    name: str
    addresses: hosts.Addresses
    limits: Sequence[Quota]
    passages: Sequence[Passage] = ()

    @property
    def tenant_id(self) -> UUID:
        return self.key.tenant_id

    @property
    def theirs(self) -> Json:
        """What the model server is told: its name for the model, and who asks, by an id that says
        nothing but whose turn it is."""
        return {"model": self.model.name, "user": str(self.key.user_id)}


IsAllowed = Callable[[Admission], bool]


async def completion(request: HttpRequest, kind: type[Completion], path: str) -> HttpResponseBase:
    """Check, admit, and pass on what the model server says."""
    secret = bearer(request)
    asked = read(kind, body_of(request))
    admission = await apart(admit, secret, asked, path, named)
    if question := asked.to_look_up():
        admission = await looked_up(admission, question)
    while True:
        try:
            return await answered(asked, admission, path)
        except ApiError as error:
            given = admission.passages
            if error.code != "context_length_exceeded" or not given:
                raise
            # The model alone knows what fits: ask with less.
            admission = replace(admission, passages=given[: len(given) // 2])


def heard(source: AsyncGenerator[T], admission: Admission, allowed: IsAllowed) -> AsyncGenerator[T]:
    """What a model says, while the right to it lasts."""

    async def look() -> None:
        if not await hosts.step(admission.tenant_id, allowed, admission):
            said = "The right to use this model ended while it was answering."
            raise ApiError(403, "access_ended", said, param="model")

    return hosts.watched(source, look, every=LOOK_SECONDS)


async def answered(asked: Completion, admission: Admission, path: str) -> HttpResponseBase:
    """What the model server says, in one piece or as it comes. Raises ApiError."""
    if isinstance(asked, ChatCompletion) and admission.passages:
        asked = asked.reading([passage.body.strip() for passage in admission.passages])
    body = asked.body() | admission.theirs
    if asked.stream:
        source = hosts.stream(admission.addresses, path, body)
        return await streamed(heard(source, admission, is_allowed), admission)
    reply = hosts.whole(admission.addresses, path, body)
    async with aclosing(heard(reply, admission, is_allowed)) as answers:
        answer = await first_of(answers)
    await counted(admission, tokens_of(answer))
    return JsonResponse(answer | named_as(admission))


def named_as(admission: Admission) -> Json:
    """What is ours in an answer: the client's name for the model, and what the model read first."""
    read = [
        {"document": str(each.document_id), "title": each.document.title, "page": each.page}
        for each in admission.passages
    ]
    return {"model": admission.name} | ({"passages": read} if read else {})


async def streamed(
    events: AsyncGenerator[Json | None], admission: Admission
) -> StreamingHttpResponse:
    """The model server's events under the client's name for the model.

    The first is awaited here, so that a refusal is still an answer with its own status.
    """
    await first_of(events)

    async def lines() -> AsyncIterator[bytes]:
        tokens, ours = 0, named_as(admission)
        async with aclosing(events):
            try:
                async for event in events:
                    # A piece is a token or more; the server's own count, when it comes, is exact.
                    tokens = tokens_of(event) or tokens + 1 if event else tokens
                    yield line(event | ours) if event else ALIVE
                    if event:
                        ours.pop("passages", None)  # told once
            except (hosts.Refusal, EngineError, ApiError) as error:
                yield line(in_our_shape(error).body())
            finally:
                await counted(admission, tokens)
        yield DONE

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingHttpResponse(lines(), content_type="text/event-stream", headers=headers)


def tokens_of(answer: Json) -> int:
    return int((answer.get("usage") or {}).get("total_tokens") or 0)


async def counted(admission: Admission, tokens: int) -> None:
    if admission.limits:
        count = partial(quotas.count, admission.limits, Quota.Kind.TOKENS, tokens)
        await hosts.step(admission.tenant_id, count)


async def first_of(events: AsyncGenerator[Any]) -> Any:
    """The first event. Raises ApiError for a refusal, and for a server that is not there."""
    try:
        return await anext(events)
    except (hosts.Refusal, EngineError) as error:
        raise in_our_shape(error) from error


def line(event: Json) -> bytes:
    """ASCII inside, so that no proxy can break a character."""
    return b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n"


def in_our_shape(error: Exception) -> ApiError:
    """What the model server said, as far as it is the client's business."""
    if isinstance(error, ApiError):
        return error
    if not isinstance(error, hosts.Refusal):
        return errors.not_running()
    if error.status in (400, 413, 429):
        message, param = str(error.error.get("message")), error.error.get("param")
        return ApiError(
            error.status, error.code, message, param=param, retry_after=error.retry_after
        )
    if error.status == 500:
        return ApiError(500, "internal", "The model failed while it was answering.")
    log.warning("api.refused", status=error.status, code=error.code)
    return errors.not_running()


# ---- who may -------------------------------------------------------------------------------------


def bearer(request: HttpRequest) -> str:
    """The key's text. A session is no key: a page cannot be made to spend it.

    Raises ApiError 401 before anything is read for nobody.
    """
    kind, _, shown = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer" or not shown.strip():
        raise errors.no_key()
    return shown.strip()


def body_of(request: HttpRequest) -> bytes:
    """The body, never more than BODY_LIMIT of it. Raises ApiError 413."""
    try:
        raw = request.read(BODY_LIMIT + 1)
    except RequestDataTooBig as error:
        raise errors.too_large(BODY_LIMIT) from error
    if len(raw) > BODY_LIMIT:
        raise errors.too_large(BODY_LIMIT)
    return raw


def named(key: ApiKey, name: str) -> Composition | None:
    """What this key may use under this name; None: unknown, forbidden or not what it is for."""
    return hosts.model_named(name, by=key.user) if key.may_name(name) else None


def embedder_named(key: ApiKey, name: str) -> Embedder | None:
    """The same of embedders. One learned nothing of anybody's: every member may use it."""
    if "\0" in name or not key.may_name(name):  # PostgreSQL takes none
        return None
    found: Embedder | None = Embedder.objects.filter(in_use=True, name=name).first()
    return found


def known(secret: str, scope: str) -> ApiKey:
    """The key of this text, if it may do this now. Raises ApiError 401, 403 or 429."""
    key = key_from(secret) if secret.isascii() and "\0" not in secret else None
    if key is None:
        raise errors.no_key()
    if scope not in key.scopes:
        raise errors.not_for_this(str(Scope(scope).label))
    if wait := limits.seconds_to_wait(key):
        said = f"This key asks too often. Try again in {wait} seconds."
        raise ApiError(429, "rate_limit_exceeded", said, retry_after=wait)
    return key


def admit(secret: str, asked: Asking, path: str, find: Find) -> Admission:
    """Let one request in: counted, and noted in the audit before a model hears of it.

    find   the model of this name that the key may use, or None
    Raises ApiError, after the transaction: a refused one leaves its line too.
    """
    key = known(secret, Scope.CHAT)
    with tenant_scope(key.tenant_id):
        limits = quotas.limits_of(key.user, [Quota.Kind.REQUESTS, Quota.Kind.TOKENS])
        over = quotas.overstepped(limits)
        model = None if over else find(key, asked.model)
        addresses = hosts.addresses_of(model, caller=str(key.user_id)) if model else ()
        is_let_in = bool(model and addresses)
        if is_let_in:
            quotas.count(limits, Quota.Kind.REQUESTS)
        elif isinstance(model, Composition):
            hosts.wake(model)
        facts = {"key": key.prefix, "endpoint": path, "characters": asked.characters()}
        outcome = "ok" if is_let_in else "refused"
        record("api.ask", model, by=key.user, outcome=outcome, **facts)
    if model and addresses:
        return Admission(key, model, asked.model, addresses, limits)
    if over:
        raise errors.used_up(over)
    raise errors.not_running() if model else errors.no_model(asked.model)


async def looked_up(admission: Admission, question: str) -> Admission:
    """The same with what of the corpora behind its model fits the question."""
    meaning = await embedders.meaning_of(admission.tenant_id, question)
    found = await hosts.step(admission.tenant_id, read_for, admission, question, meaning)
    return replace(admission, passages=found)


def read_for(admission: Admission, question: str, meaning: Meaning | None) -> list[Passage]:
    """Whoever may use a model may read what it learned: asked here, where it is read."""
    if not is_allowed(admission):
        return []
    closure = Composition.objects.values_list("closure", flat=True).get(pk=admission.model.pk)
    return passages_for(closure, question, meaning)


def is_allowed(admission: Admission) -> bool:
    """Whether key, owner, membership and closure still allow what was admitted."""
    key = key_of(admission)
    composition = Composition.objects.filter(pk=admission.model.pk).first()
    return key is not None and composition is not None and can_use(key.user, composition)


def key_of(admission: Admission) -> ApiKey | None:
    """The key that was shown, if it may still be used."""
    keys: Any = ApiKey.objects.select_related("user__answers")
    key: ApiKey | None = keys.filter(pk=admission.key.pk).first()
    return key if key is not None and may_act(key, timezone.now()) else None
