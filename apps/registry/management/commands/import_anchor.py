"""`manage.py import_anchor`: bring an open model into a tenant, from a folder or a GGUF file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.registry.bringing import bring_anchor
from apps.tenants.named import tenant_named
from calm_engine.errors import EngineError
from calm_engine.wording import sentence


class Command(BaseCommand):
    help = "Import an open model as an anchor: safetensors only, verified, its licence recorded."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("source", type=Path, help="folder of safetensors, or a .gguf file")
        parser.add_argument("--tenant", required=True, help="short name of the tenant")
        parser.add_argument("--name", default="", help="what people will see")

    def handle(self, *_args: Any, **options: Any) -> None:
        tenant = tenant_named(options["tenant"])
        try:
            anchor = bring_anchor(tenant, options["source"], by=None, name=options["name"])
        except EngineError as error:
            raise CommandError(sentence(error)) from error
        licence = anchor.licence or "licence not stated"
        self.stdout.write(f"{anchor.name} is in: {licence}, {anchor.digest[:12]}.")
