"""Who may: the object or 404, and the role or a page that names it. The only permission code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote
from uuid import UUID

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist, PermissionDenied, ValidationError
from django.db import models, transaction
from django.http import Http404, HttpRequest
from django.shortcuts import redirect, resolve_url
from django.utils.translation import gettext

from apps.tenants.models import Membership, Role, Tenant
from apps.tenants.ways import page_before

if TYPE_CHECKING:
    from apps.accounts.models import User

M = TypeVar("M", bound=models.Model)
View = TypeVar("View", bound=Callable[..., Any])
Roles = Role | tuple[Role, ...] | None


class MemberRequest(HttpRequest):
    """What a view behind `member` receives: signed in, in a tenant. Only a name for the checker."""

    user: User
    tenant: Tenant
    membership: Membership


def fetch(
    request: HttpRequest,
    model: type[M],
    code: UUID | str,
    *,
    role: Roles = None,
    related: Sequence[str] = (),
) -> M:
    """The object that this person may see, or Http404: a stranger never learns that it exists.

    related   what its page names of other rows, fetched with it
    Raises PermissionDenied, naming the role, when the object is theirs to see but not to use so.
    """
    rows: Any = model._default_manager.all()
    if hasattr(rows, "visible_to"):
        rows = rows.visible_to(request.user)
    try:
        found: M = (rows.select_related(*related) if related else rows).get(pk=code)
    except (ObjectDoesNotExist, ValidationError):
        raise Http404(f"No {model._meta.verbose_name} here.") from None
    require(request, role)
    return found


def require(request: HttpRequest, role: Roles) -> None:
    """Raise PermissionDenied, naming what is lacking, unless this person has one of the roles."""
    wanted = role if isinstance(role, tuple) else (role,) if role else ()
    membership: Membership | None = getattr(request, "membership", None)
    if membership is None:
        raise PermissionDenied(
            gettext("You belong to no organisation yet. Ask an administrator to add you.")
        )
    if wanted and not membership.may(*wanted):
        words = gettext(
            "This needs the role %(wanted)s in %(here)s; yours is %(yours)s. "
            "A curator of %(here)s can change it."
        )
        told = {"here": membership.tenant.name, "yours": Role(membership.role).label.lower()}
        told["wanted"] = gettext(" or ").join(each.label.lower() for each in wanted)
        raise PermissionDenied(words % told)


def member(role: Roles = None) -> Callable[[View], View]:
    """Guard a function view, plain or async: signed in, in a tenant, with one of the roles.

    Strangers go to the sign-in page. `request.tenant` and `request.membership` are set by
    `counterpoint.middleware`. An async view is exempt from the one transaction per request, which
    Django cannot give it: each of its database steps opens `tenant_scope`.
    """

    def guard(view: View) -> View:
        if iscoroutinefunction(view):

            @wraps(view)
            async def guarded_async(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
                if not request.user.is_authenticated:
                    return to_sign_in(request)
                if page := await sync_to_async(page_before)(request):
                    return redirect(page)
                require(request, role)
                return await view(request, *args, **kwargs)

            return transaction.non_atomic_requests(guarded_async)  # type: ignore[return-value]  # same shape

        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            if not request.user.is_authenticated:
                return to_sign_in(request)
            if page := page_before(request):
                return redirect(page)
            require(request, role)
            return view(request, *args, **kwargs)

        return guarded  # type: ignore[return-value]  # same shape

    return guard


def to_sign_in(request: HttpRequest) -> Any:
    """The sign-in page, which comes back here; after a POST it comes home, with no act repeated."""
    page = resolve_url(settings.LOGIN_URL)
    if request.method != "GET":
        return redirect(page)
    return redirect(f"{page}?next={quote(request.get_full_path())}")
