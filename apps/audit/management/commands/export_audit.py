"""`export_audit`: send what is new to every collector now, or print all as OCSF events."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from apps.audit.models import AuditEvent
from apps.audit.sinks import as_json, ship
from apps.tenants.models import Tenant
from apps.tenants.scope import tenant_scope


class Command(BaseCommand):
    help = "Send new audit lines to the collectors of AUDIT_SINKS; with --print, write all of them."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--print", action="store_true", help="to standard output instead")

    def handle(self, *_args: Any, **options: Any) -> None:
        for tenant in Tenant.objects.all():
            with tenant_scope(tenant):
                if options["print"]:
                    for line in AuditEvent.objects.order_by("sequence").iterator(chunk_size=1000):
                        self.stdout.write(as_json(line))
                else:
                    self.stdout.write(f"{tenant.slug}: {ship()} lines sent")
