"""`delete_tenant north --dry-run`, then `--confirm north --certificate north.json`: for ever."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.forgetting import ending
from apps.tenants.models import Tenant
from apps.tenants.named import tenant_named
from calm_engine.errors import InputError
from calm_engine.wording import sentence


class Command(BaseCommand):
    help = "Delete a tenant for ever, its key first. A curator of it agrees before."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant", help="the tenant's short name")
        way = parser.add_mutually_exclusive_group(required=True)
        way.add_argument(
            "--dry-run", action="store_true", help="count what would go, touch nothing"
        )
        way.add_argument("--confirm", metavar="TENANT", help="the short name once more")
        parser.add_argument("--certificate", type=Path, help="where the signed certificate goes")

    def handle(self, *, tenant: str, **told: Any) -> None:
        if told["dry_run"]:
            self.show(tenant_named(tenant))
            return
        file = told["certificate"]
        if told["confirm"] != tenant:
            raise CommandError(f"--confirm must repeat {tenant!r}. Nothing was deleted.")
        if file is None or not file.absolute().parent.is_dir():
            raise CommandError("--certificate names a file in a folder that is there.")
        if not Tenant.objects.filter(slug=tenant).exists() and ending.is_certified(tenant, file):
            self.stdout.write(f"{tenant} was deleted before: {file}")
            return
        try:
            done = ending.delete(tenant_named(tenant), file.absolute())
        except InputError as error:
            raise CommandError(sentence(error)) from error
        rows = sum(done["rows"].values())
        self.stdout.write(f"{tenant} is deleted: {rows} rows, {done['files']} files. {file}")

    def show(self, tenant: Tenant) -> None:
        found = ending.looked_at(tenant)
        for table, rows in found.rows.items():
            self.stdout.write(f"{rows:>10} {table}")
        self.stdout.write(f"{found.files:>10} files, {found.bytes} bytes")
        for name in found.holds:
            self.stdout.write(f"held, so it would be refused: {name}")
        if found.running:
            self.stdout.write(f"{found.running} runs work now; they would be cancelled first")
        self.stdout.write("Nothing was touched.")
