"""What every page may show: the tenant and the membership of whoever asks."""

from __future__ import annotations

from django.http import HttpRequest


def site(request: HttpRequest) -> dict[str, object]:
    """Names for templates: `tenant`, `membership`, `role` (a string, empty for strangers), and
    `brand`: the tenant's own name, colour and logo, to its members alone."""
    membership = getattr(request, "membership", None)
    tenant = getattr(request, "tenant", None)
    return {
        "tenant": tenant,
        "brand": tenant.settings.get("brand", {}) if tenant and membership else {},
        "membership": membership,
        "role": membership.role if membership else "",
    }
