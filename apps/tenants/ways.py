"""How somebody came in, and whether that is enough for the tenant in which they act."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allauth.account.authentication import get_authentication_records
from allauth.mfa.utils import is_mfa_enabled
from django.conf import settings
from django.http import HttpRequest

from apps.tenants.models import Tenant

if TYPE_CHECKING:
    from apps.accounts.models import User


def page_before(request: HttpRequest) -> str:
    """The name of the page that has to come first; "" when nothing is lacking.

    Whoever came by the tenant's own provider was asked there for all that it wants. An emergency
    account is for the day when that provider is away: it always has a second factor.
    """
    is_by_others = getattr(request.user, "must_change_password", False)  # nobody has none
    if is_by_others and not came_by_any_provider(request):
        return "account_change_password"
    tenant: Tenant | None = getattr(request, "tenant", None)
    rules = tenant.settings if tenant else {}
    named = rules.get("emergency", [])
    if tenant is None or not (rules.get("require_mfa") or rules.get("sso_only") or named):
        return ""
    if came_by_own_provider(request, tenant):
        return ""
    is_emergency = str(request.user.pk) in named
    if rules.get("sso_only") and not is_emergency:
        return "accounts:by_provider"
    wants = rules.get("require_mfa") or is_emergency
    return "mfa_index" if wants and not is_mfa_enabled(request.user) else ""


def came_by_own_provider(request: HttpRequest, tenant: Tenant) -> bool:
    """Whether this session began at a provider that speaks for this tenant, and not for another."""
    own = {app["provider_id"] for app in own_providers(tenant)}
    return any(
        each.get("method") == "socialaccount" and each.get("provider") in own
        for each in get_authentication_records(request, request.user)
    )


def came_by_any_provider(request: HttpRequest) -> bool:
    """Whether this session began without a password of ours."""
    told = get_authentication_records(request, request.user)
    return any(each.get("method") == "socialaccount" for each in told)


def own_providers(tenant: Tenant) -> list[dict[str, object]]:
    """The settings of every provider that speaks for this tenant."""
    oidc = settings.OIDC_APPS if settings.SSO_TENANT in ("", tenant.slug) else []
    return [*oidc, *(app for app in settings.SAML_APPS if app["client_id"] == tenant.slug)]


def is_emergency_account(user: User, tenant: Tenant) -> bool:
    return str(user.pk) in tenant.settings.get("emergency", [])
