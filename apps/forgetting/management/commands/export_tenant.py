"""`export_tenant north --to north.tar`: everything of a tenant, readable without the product."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.forgetting import taking_out
from apps.tenants.named import tenant_named
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from calm_engine.wording import sentence


class Command(BaseCommand):
    help = "Write everything of a tenant to a tar file, in plain. A curator of it agrees first."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant", help="the tenant's short name")
        parser.add_argument("--to", type=Path, required=True, help="a file that is not there yet")

    def handle(self, *, tenant: str, to: Path, **_options: Any) -> None:
        found = tenant_named(tenant)
        if not to.absolute().parent.is_dir():
            raise CommandError(f"There is no folder {to.absolute().parent}.")
        try:
            with tenant_scope(found):
                told = taking_out.take_out(found, to.absolute())
        except InputError as error:
            raise CommandError(sentence(error)) from error
        rows = sum(told["rows"].values())
        self.stdout.write(f"{to}: {rows} rows of {len(told['rows'])} tables, {told['files']} files")
        for name in told["damaged"]:
            self.stderr.write(f"does not open, and is missing: {name}")
