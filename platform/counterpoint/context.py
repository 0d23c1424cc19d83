"""What every page may show: the tenant and the membership of whoever asks."""

from __future__ import annotations

from django.http import HttpRequest


def site(request: HttpRequest) -> dict[str, object]:
    """Names for templates: `tenant`, `membership` and `role` (a string, empty for strangers)."""
    membership = getattr(request, "membership", None)
    return {
        "tenant": getattr(request, "tenant", None),
        "membership": membership,
        "role": membership.role if membership else "",
    }
