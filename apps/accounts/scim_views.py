"""The SCIM door: a directory's key in place of a session, answers in SCIM's own shape."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import wraps
from typing import Any
from uuid import UUID

import scim2_models as scim
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from pydantic import ValidationError

from apps.accounts import scim as rows
from apps.accounts.actions import key_from
from apps.accounts.models import ApiKey, Provisioned, ProvisionedGroup, Scope
from apps.tenants.models import Membership, Role
from apps.tenants.scope import tenant_scope

JSON = "application/scim+json"
PAGE, BODY_LIMIT = 200, 1 << 20  # resources in one answer; bytes
BY_NAME = re.compile(r'\s*userName\s+eq\s+"([^"\\]+)"\s*', re.IGNORECASE)
IN, OUT = scim.Context, scim.Context
View = Callable[..., Any]
PROVIDER = scim.ServiceProviderConfig(
    patch=scim.Patch(supported=True),
    bulk=scim.Bulk(supported=False, max_operations=0, max_payload_size=0),
    filter=scim.Filter(supported=True, max_results=PAGE),
    change_password=scim.ChangePassword(supported=False),
    sort=scim.Sort(supported=False),
    etag=scim.ETag(supported=False),
    authentication_schemes=[
        scim.AuthenticationScheme(
            type=scim.AuthenticationScheme.Type.oauthbearertoken,
            name="API key",
            description="A key of this site with the scope scim, in the header Authorization.",
        )
    ],
)


def door(*methods: str) -> Callable[[View], View]:
    """Guard a view of SCIM: the key's tenant in scope, one transaction, errors in SCIM's shape."""

    def guard(view: View) -> View:
        @csrf_exempt
        @wraps(view)
        def guarded(request: HttpRequest, **named: Any) -> HttpResponse:
            key = directory(request)
            if key is None:
                answer = told(scim.Error(status=401, detail="The key is missing or wrong."), 401)
                answer["WWW-Authenticate"] = "Bearer"
                return answer
            if request.method not in methods:
                return told(scim.Error(status=405, detail="Not here."), 405)
            try:
                with tenant_scope(key.tenant_id):
                    response: HttpResponse = view(request, key, **named)
                    return response
            except scim.SCIMException as refused:
                error = refused.to_error()
                return told(error, int(error.status or 400))
            except ValidationError as refused:
                (error, *_more) = scim.Error.from_validation_errors(refused)
                return told(error, int(error.status or 400))

        return guarded

    return guard


def directory(request: HttpRequest) -> ApiKey | None:
    """The key, if it was made for this and its owner still curates the tenant."""
    kind, _space, shown = request.headers.get("Authorization", "").partition(" ")
    key = key_from(shown.strip()) if kind.lower() == "bearer" else None
    if key is None or Scope.SCIM not in key.scopes:
        return None
    may = Membership.objects.filter(tenant=key.tenant, user=key.user, role=Role.CURATOR)
    return key if may.exists() else None


def told(resource: Any, status: int = 200, *, context: Any = None) -> HttpResponse:
    context = context or OUT.RESOURCE_QUERY_RESPONSE
    body = json.dumps(resource.model_dump(scim_ctx=context))
    return HttpResponse(body, content_type=JSON, status=status)


def body_of(request: HttpRequest) -> Any:
    raw = request.read(BODY_LIMIT + 1)
    if len(raw) > BODY_LIMIT:
        raise scim.PayloadTooLargeException
    try:
        found = json.loads(raw)
    except ValueError:
        raise scim.InvalidSyntaxException(detail="The body is no JSON.") from None
    if not isinstance(found, dict):
        raise scim.InvalidSyntaxException(detail="The body is no JSON object.")
    return found


def base() -> str:
    return f"{settings.SITE_URL}/scim/v2"


def nothing() -> scim.SCIMException:
    """Unknown and another tenant's alike."""
    return scim.NotFoundException(detail="There is no such resource here.")


def listed(request: HttpRequest, kind: Any, found: Any, made: Callable[[Any, str], Any]) -> Any:
    """A page of resources that match the filter, in the order in which they were made."""
    asked = scim.SearchRequest[kind].model_validate(
        {
            name: request.GET[name]
            for name in ("filter", "startIndex", "count")
            if name in request.GET
        }
    )
    every = [made(row, base()) for row in found.order_by("created_at", "pk")]
    some = [each for each in every if asked.filter is None or asked.filter.match(each)]
    first = max(1, asked.start_index or 1)
    count = min(PAGE, PAGE if asked.count is None else max(0, asked.count))
    shown = some[first - 1 : first - 1 + count]
    answer = scim.ListResponse[kind](
        total_results=len(some), start_index=first, items_per_page=len(shown), resources=shown
    )
    return told(answer)


# ---- people --------------------------------------------------------------------------------------


@door("GET", "POST")
def users(request: HttpRequest, key: ApiKey) -> HttpResponse:
    """Everybody whom the directory made, or somebody new."""
    if request.method == "GET":
        found = Provisioned.objects.select_related("user")
        if exact := BY_NAME.fullmatch(request.GET.get("filter", "")):
            found = found.filter(user__email=exact.group(1).strip().lower())
        return listed(request, scim.User, found, rows.person_of)  # type: ignore[no-any-return]  # it is one
    sent: scim.User[Any] = scim.User.model_validate(
        body_of(request), scim_ctx=IN.RESOURCE_CREATION_REQUEST
    )
    row = rows.make_person(key.tenant, sent, by=key.user)
    row.refresh_from_db()
    return told(rows.person_of(row, base()), 201, context=OUT.RESOURCE_CREATION_RESPONSE)


@door("GET", "PUT", "PATCH", "DELETE")
def user(request: HttpRequest, key: ApiKey, code: UUID) -> HttpResponse:
    """One person of the directory."""
    row = rows.locked(Provisioned, user_id=code)
    if row is None:
        raise nothing()
    if request.method == "DELETE":
        rows.forget_person(key.tenant, row, by=key.user)
        return HttpResponse(status=204)
    if request.method != "GET":
        sent = changed(request, scim.User, rows.person_of(row, base()))
        rows.change_person(key.tenant, row, sent, by=key.user)
    row = Provisioned.objects.select_related("user").get(pk=row.pk)
    return told(rows.person_of(row, base()))


@door("GET", "POST")
def groups(request: HttpRequest, key: ApiKey) -> HttpResponse:
    """Every group that the directory made, or a new one."""
    if request.method == "GET":
        found = ProvisionedGroup.objects.select_related("group")
        return listed(request, scim.Group, found, rows.group_of)  # type: ignore[no-any-return]  # it is one
    sent = scim.Group.model_validate(body_of(request), scim_ctx=IN.RESOURCE_CREATION_REQUEST)
    row = rows.make_group(sent, by=key.user)
    row.refresh_from_db()
    return told(rows.group_of(row, base()), 201, context=OUT.RESOURCE_CREATION_RESPONSE)


@door("GET", "PUT", "PATCH", "DELETE")
def group(request: HttpRequest, key: ApiKey, code: UUID) -> HttpResponse:
    """One group of the directory; those kept by hand are none of its."""
    row = rows.locked(ProvisionedGroup, group_id=code)
    if row is None:
        raise nothing()
    if request.method == "DELETE":
        rows.forget_group(row, by=key.user)
        return HttpResponse(status=204)
    if request.method != "GET":
        sent = changed(request, scim.Group, rows.group_of(row, base()))
        rows.change_group(row, sent, by=key.user)
    row = ProvisionedGroup.objects.select_related("group").get(pk=row.pk)
    return told(rows.group_of(row, base()))


def changed(request: HttpRequest, kind: Any, now: Any) -> Any:
    """The resource as it should be: what was put, or what is there with the patch applied."""
    sent = body_of(request)
    if request.method == "PUT":
        return kind.model_validate(sent, scim_ctx=IN.RESOURCE_REPLACEMENT_REQUEST)
    patch = scim.PatchOp[kind].model_validate(sent, scim_ctx=IN.RESOURCE_PATCH_REQUEST)
    patch.patch(now)
    return now


# ---- what there is -------------------------------------------------------------------------------


@door("GET")
def service(_request: HttpRequest, _key: ApiKey) -> HttpResponse:
    """What this door can do."""
    return told(PROVIDER)


@door("GET")
def schemas(_request: HttpRequest, _key: ApiKey, name: str = "") -> HttpResponse:
    found = [scim.User.to_schema(), scim.Group.to_schema()]
    return one_or_all(scim.Schema, found, name)


@door("GET")
def kinds(_request: HttpRequest, _key: ApiKey, name: str = "") -> HttpResponse:
    found = [
        scim.ResourceType.from_resource(scim.User),
        scim.ResourceType.from_resource(scim.Group),
    ]
    return one_or_all(scim.ResourceType, found, name)


def one_or_all(kind: Any, found: list[Any], name: str) -> HttpResponse:
    if not name:
        return told(scim.ListResponse[kind](total_results=len(found), resources=found))
    for each in found:
        if str(each.id) == name:
            return told(each)
    raise nothing()
