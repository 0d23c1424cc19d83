"""`to_bucket`: what the home folder holds goes into the bucket that the settings name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import Tags
from django.core.management.base import BaseCommand, CommandError

from calm_engine.errors import EngineError
from counterpoint.bucket import bucket
from counterpoint.bucketblobs import take_in


class Command(BaseCommand):
    help = "Bring stored files from the home folder into S3_BUCKET; broken off, it goes on."
    requires_system_checks = [Tags.security]  # another would refuse what this command mends

    def handle(self, *_args: Any, **_options: Any) -> None:
        try:
            found = bucket()
            if found is None:
                raise CommandError(
                    "Set S3_BUCKET and what belongs to it (docs/operate/storage.md)."
                )
            found.prove()
            brought = take_in(Path(settings.HOME), say=self.stdout.write)
        except EngineError as error:
            raise CommandError(f"{error.code}: {error.message}") from error
        self.stdout.write(f"{brought} files and folders brought into {settings.S3_BUCKET}")
