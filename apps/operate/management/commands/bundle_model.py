"""`bundle_model`: one model version as one signed file, for a site that has no road to this one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.accounts.models import User
from apps.operate import carrying
from apps.tenants.models import Tenant
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from calm_engine.wording import sentence
from counterpoint.operate import bundle


class Command(BaseCommand):
    help = "Write one model version, with lineage, report and card, as one signed file."

    def add_arguments(self, parser: CommandParser) -> None:
        for name in ("tenant", "model", "by", "reason"):
            parser.add_argument(f"--{name}", required=True)
        for name in ("key", "to"):
            parser.add_argument(f"--{name}", type=Path, required=True)
        parser.add_argument("--with-anchor", action="store_true")

    def handle(self, *_args: Any, **options: Any) -> None:
        tenant = Tenant.objects.filter(slug=options["tenant"]).first()
        by = User.objects.filter(email=options["by"], is_active=True).first()
        if tenant is None or by is None:
            raise CommandError("There is no such organisation or person.")
        to, key = options["to"], options["key"]
        try:
            bundle.refuse_early(to, key)
            with (
                tenant_scope(tenant),
                carrying.gathered(
                    carrying.composition_named(options["model"], by=by),
                    by=by,
                    reason=options["reason"],
                    with_anchor=options["with_anchor"],
                ) as files,
            ):
                parts = bundle.pack(to, key, files)
        except InputError as refused:
            raise CommandError(f"{refused.code}: {sentence(refused)}") from refused
        size = sum(each.size for each in parts)
        self.stdout.write(f"{len(parts)} files, {size} bytes: {options['model']}")
