"""`support`: one archive for whoever helps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from apps.operate.support import bundle


class Command(BaseCommand):
    help = "Write one archive of findings, figures and redacted logs; no content is in it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--to", type=Path, required=True)

    def handle(self, *_args: Any, **options: Any) -> None:
        for name in bundle(Path(settings.HOME), options["to"]):
            self.stdout.write(name)
