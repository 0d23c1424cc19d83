"""Pages about the installation: the doctor's findings, and what it is made of."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from functools import cache as remembered
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from apps.tenants.access import MemberRequest, member
from apps.tenants.models import Role
from counterpoint.operate import doctor
from counterpoint.operate.licences import Package, packages
from counterpoint.release import version

FOUND = "health"  # of the installation and of no tenant: it holds no name and no word of anybody
KEPT = 30 * 86_400  # seconds
WATCHERS = (Role.CURATOR, Role.AUDITOR)
LOOK = {"ok": "ok", "warning": "warn", "fault": "bad", "skipped": "off"}
WORST_FIRST = ("fault", "warning", "ok", "skipped")


@require_safe
@member(WATCHERS)
def health(request: MemberRequest) -> HttpResponse:
    """What the doctor found when it last looked, the worst first, with the time of that look."""
    kept: dict[str, Any] = cache.get(FOUND) or {}
    rows = sorted(kept.get("findings", []), key=lambda row: WORST_FIRST.index(row["state"]))
    facts: dict[str, Any] = {"rows": [(row, LOOK[row["state"]]) for row in rows]}
    if kept:
        facts["at"] = datetime.fromisoformat(kept["at"])
        facts["unwell"] = sum(row["state"] in ("fault", "warning") for row in rows)
    return render(request, "operate/health.html", facts)


@require_POST
@transaction.non_atomic_requests  # a check that fails in the database spoils no transaction
@member(WATCHERS)
def examine(_request: MemberRequest) -> HttpResponse:
    """Let the doctor look now; some seconds."""
    found = doctor.examine(site=settings.SITE_URL)
    told = {"at": timezone.now().isoformat(), "findings": [asdict(each) for each in found]}
    cache.set(FOUND, told, KEPT)
    return redirect("operate:health")


@require_safe
@member()
def about(request: MemberRequest) -> HttpResponse:
    """The release, and every part of it with its licence."""
    return render(request, "operate/about.html", {"version": version(), "packages": parts()})


@remembered
def parts() -> tuple[Package, ...]:
    """What this process is made of; the same until it ends."""
    return tuple(packages())
