"""`manage.py import_embedder`: bring an embedding model into a tenant, from a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.registry.bringing import bring_embedder
from apps.tenants.named import tenant_named
from calm_engine.errors import EngineError
from calm_engine.wording import sentence


class Command(BaseCommand):
    help = "Import an open model that finds passages by their meaning, and put it to use."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("source", type=Path, help="folder of safetensors")
        parser.add_argument("--tenant", required=True, help="short name of the tenant")
        parser.add_argument("--name", default="", help="what programs call it")

    def handle(self, *_args: Any, **options: Any) -> None:
        tenant = tenant_named(options["tenant"])
        try:
            made = bring_embedder(tenant, options["source"], by=None, name=options["name"])
        except EngineError as error:
            raise CommandError(sentence(error)) from error
        licence = made.licence or "licence not stated"
        self.stdout.write(f"{made.name} is in use: {licence}, {made.width} wide.")
