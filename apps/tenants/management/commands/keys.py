"""`keys`: show, rewrap, rotate and drop the tenants' data keys, seal anew; nothing stops."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from apps.tenants.models import DataKey, Tenant
from apps.tenants.named import tenants_named
from apps.tenants.scope import tenant_scope
from counterpoint import keys, resealing
from counterpoint.database import current_tenant_id

STILL_WRITING = timedelta(days=1)  # an upload that began under the older key has ended by then


class Command(BaseCommand):
    help = (
        "Show the data keys of the tenants, wrap them under the newest site key, add new ones, "
        "seal what is stored under the newest, or drop those that nothing is sealed under."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("verb", choices=("show", "rewrap", "rotate", "reseal", "drop"))
        parser.add_argument("--tenant", help="the short name of one tenant (default: all)")

    def handle(self, *_args: Any, **options: Any) -> None:
        damaged = 0
        for tenant in tenants_named(options["tenant"]):
            if options["verb"] == "reseal":
                damaged += self.reseal(tenant)
                continue
            if options["verb"] == "drop":
                self.drop(tenant)
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
        columns = f"{done.columns} secrets in rows"
        self.stdout.write(f"{tenant.slug}: {done.moved} files and {columns} sealed anew, {right}")
        return len(done.faults)

    def drop(self, tenant: Tenant) -> None:
        """Delete older keys under which nothing lies; say what keeps the others."""
        with tenant_scope(tenant):
            used = resealing.in_use(settings.HOME)
            gone = keys.drop_former(used, before=timezone.now() - STILL_WRITING)
            left = list(DataKey.objects.order_by("version").values_list("version", flat=True))[:-1]
        told = ", ".join(map(str, gone)) or "no key"
        self.stdout.write(f"{tenant.slug}: {told} dropped")
        for version in left:
            count = used.get(version, 0)
            why = f"seals {count} files or secrets" if count else "was writing within the last day"
            self.stdout.write(f"{tenant.slug}: key {version} stays: it {why}")

    def rotate(self) -> str:
        return f"data key {keys.rotate_data_key()} writes from now on"
