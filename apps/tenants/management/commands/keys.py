"""`keys`: show, rewrap and rotate the tenants' data keys, seal files anew; nothing stops."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.tenants.models import DataKey, Tenant
from apps.tenants.named import tenants_named
from apps.tenants.scope import tenant_scope
from counterpoint import keys, resealing
from counterpoint.database import current_tenant_id


class Command(BaseCommand):
    help = (
        "Show the data keys of the tenants, wrap them under the newest site key, add new ones, or "
        "seal stored files under the newest."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("verb", choices=("show", "rewrap", "rotate", "reseal"))
        parser.add_argument("--tenant", help="the short name of one tenant (default: all)")

    def handle(self, *_args: Any, **options: Any) -> None:
        damaged = 0
        for tenant in tenants_named(options["tenant"]):
            if options["verb"] == "reseal":
                damaged += self.reseal(tenant)
                continue
            with tenant_scope(tenant):
                self.stdout.write(f"{tenant.slug}: {getattr(self, options['verb'])()}")
        if damaged:
            raise CommandError(f"{damaged} files do not open. Restore them from a backup.")

    def show(self) -> str:
        held = ", ".join(f"{key.version} under {key.wrapped_by}" for key in DataKey.objects.all())
        return held or "no data key yet"

    def rewrap(self) -> str:
        return f"{keys.rewrap()} data keys wrapped anew under {keys.site_keys().key_id()}"

    def reseal(self, tenant: Tenant) -> int:
        """How many files would not open. No transaction stays open over the hours it may take."""
        token = current_tenant_id.set(tenant.pk)
        try:
            done = resealing.reseal(settings.HOME)
        finally:
            current_tenant_id.reset(token)
        for fault in done.faults:
            self.stderr.write(f"{tenant.slug}: {fault}")
        right = f"{done.right} were right already"
        self.stdout.write(f"{tenant.slug}: {done.moved} files sealed anew, {right}")
        return len(done.faults)

    def rotate(self) -> str:
        return f"data key {keys.rotate_data_key()} writes from now on"
