"""`keys`: show, rewrap and rotate the tenants' data keys; nothing stops meanwhile."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from apps.tenants.models import DataKey
from apps.tenants.named import tenants_named
from apps.tenants.scope import tenant_scope
from counterpoint import keys


class Command(BaseCommand):
    help = (
        "Show the data keys of the tenants, wrap them under the newest site key, or add new ones."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("verb", choices=("show", "rewrap", "rotate"))
        parser.add_argument("--tenant", help="the short name of one tenant (default: all)")

    def handle(self, *_args: Any, **options: Any) -> None:
        for tenant in tenants_named(options["tenant"]):
            with tenant_scope(tenant):
                self.stdout.write(f"{tenant.slug}: {getattr(self, options['verb'])()}")

    def show(self) -> str:
        held = ", ".join(f"{key.version} under {key.wrapped_by}" for key in DataKey.objects.all())
        return held or "no data key yet"

    def rewrap(self) -> str:
        return f"{keys.rewrap()} data keys wrapped anew under {keys.site_keys().key_id()}"

    def rotate(self) -> str:
        return f"data key {keys.rotate_data_key()} writes from now on"
