"""Which tenant this request is for, and the headers that no other middleware sets."""

from __future__ import annotations

from http import HTTPStatus
from inspect import iscoroutinefunction
from uuid import UUID

from asgiref.sync import sync_to_async
from django.http import HttpRequest
from django.utils.decorators import sync_and_async_middleware
from structlog.contextvars import bound_contextvars

from apps.accounts import sessions
from apps.accounts.models import User
from apps.audit.actions import record
from apps.tenants.models import Membership, Tenant
from apps.tenants.scope import tenant_scope
from counterpoint.database import current_tenant_id
from counterpoint.watch.requests import Door, Response

# The page asks for none of these; what a browser offers by default is switched off.
POLICY = "camera=(), geolocation=(), microphone=(), payment=(), usb=(), browsing-topics=()"


@sync_and_async_middleware
def permissions_policy(get_response: Door) -> Door:
    """Set Permissions-Policy on every answer."""
    if iscoroutinefunction(get_response):

        async def door(request: HttpRequest) -> Response:
            response: Response = await get_response(request)
            response.headers.setdefault("Permissions-Policy", POLICY)
            return response

        return door

    def plain_door(request: HttpRequest) -> Response:
        response: Response = get_response(request)  # type: ignore[assignment]  # not a coroutine
        response.headers.setdefault("Permissions-Policy", POLICY)
        return response

    return plain_door


@sync_and_async_middleware
def tenant_of_request(get_response: Door) -> Door:
    """Set `request.tenant` and `request.membership`, and name the tenant to the database.

    A person acts in one tenant at a time: the one in the session, if they still belong to it, else
    the one they joined first. A streamed body is made after this middleware is gone: its generator
    opens `tenant_scope` itself, per piece of work.
    """
    if iscoroutinefunction(get_response):

        async def door(request: HttpRequest) -> Response:
            tenant = await sync_to_async(name_tenant)(request)
            token = current_tenant_id.set(tenant.pk if tenant else None)
            try:
                with bound_contextvars(**log_facts(request, tenant)):
                    response: Response = await get_response(request)
                keep_from_caches(request, response)
                await sync_to_async(tell_refusal)(request, tenant, response)
                return response
            finally:
                current_tenant_id.reset(token)

        return door

    def plain_door(request: HttpRequest) -> Response:
        tenant = name_tenant(request)
        token = current_tenant_id.set(tenant.pk if tenant else None)
        try:
            with bound_contextvars(**log_facts(request, tenant)):
                response: Response = get_response(request)  # type: ignore[assignment]  # no coroutine
            keep_from_caches(request, response)
            tell_refusal(request, tenant, response)
            return response
        finally:
            current_tenant_id.reset(token)

    return plain_door


def name_tenant(request: HttpRequest) -> Tenant | None:
    """Put tenant and membership of whoever asks on the request; None for strangers."""
    sessions.end_if_over(request)
    membership = membership_of(request)
    tenant = membership.tenant if membership else None
    # Django's own way of adding to a request; views behind `member` see them as MemberRequest.
    vars(request).update(membership=membership, tenant=tenant)
    return tenant


def membership_of(request: HttpRequest) -> Membership | None:
    if not request.user.is_authenticated:
        return None
    mine = list(
        Membership.objects.filter(user=request.user)
        .select_related("tenant")
        .order_by("created_at", "pk")
    )
    chosen = request.session.get("tenant")
    for membership in mine:
        if chosen and membership.tenant_id == UUID(chosen):
            return membership
    return mine[0] if mine else None


def keep_from_caches(request: HttpRequest, response: Response) -> None:
    """What somebody who is signed in is shown stays in no cache, unless the view says otherwise."""
    if request.user.is_authenticated:
        response.headers.setdefault("Cache-Control", "no-store")


def tell_refusal(request: HttpRequest, tenant: Tenant | None, response: Response) -> None:
    """Write a refused act into the log, in a transaction of its own: the view's was rolled back."""
    if response.status_code != HTTPStatus.FORBIDDEN or tenant is None:
        return
    by = request.user if isinstance(request.user, User) else None
    with tenant_scope(tenant):
        record(
            "access.refuse",
            None,
            by=by,
            outcome="refused",
            method=request.method,
            path=request.path,
        )


def log_facts(request: HttpRequest, tenant: Tenant | None) -> dict[str, str]:
    """Ids alone: who, for which tenant. Never a name or an address."""
    facts = {"user": str(request.user.pk)} if request.user.is_authenticated else {}
    return facts | ({"tenant": str(tenant.pk)} if tenant else {})
