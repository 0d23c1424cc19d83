"""`verify_audit`: walk every tenant's chain; exit 1 and say which lines are wrong."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.audit.actions import faults
from apps.audit.models import AuditEvent
from apps.tenants.models import Tenant
from apps.tenants.scope import tenant_scope


class Command(BaseCommand):
    help = "Prove that no audit line was edited, removed or reordered."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", help="the short name of one tenant (default: all)")

    def handle(self, *_args: Any, **options: Any) -> None:
        tenants = Tenant.objects.all()
        if options["tenant"]:
            tenants = tenants.filter(slug=options["tenant"])
            if not tenants:
                raise CommandError(f"There is no tenant {options['tenant']!r}.")
        wrong = 0
        for tenant in tenants:
            with tenant_scope(tenant):
                found, count = list(faults()), AuditEvent.objects.count()
            wrong += len(found)
            self.stdout.write(f"{tenant.slug}: {count} lines, {len(found)} faults")
            for fault in found:
                self.stdout.write(f"  {fault}")
        if wrong:
            raise CommandError("The audit log is not whole.")
