"""`anchor_audit`: print a signed mark of where each tenant's log stands, one line of JSON each."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from apps.audit.anchors import anchor
from apps.tenants.models import Tenant
from apps.tenants.scope import tenant_scope


class Command(BaseCommand):
    help = "Sign where each tenant's audit log stands now. Keep the lines on another machine."

    def handle(self, *_args: Any, **_options: Any) -> None:
        for tenant in Tenant.objects.all():
            with tenant_scope(tenant):
                if line := anchor():
                    self.stdout.write(line)
