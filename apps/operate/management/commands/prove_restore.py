"""`prove_restore`: every digest that a row names, and with --ask one question to a live model."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from apps.operate import proof


class Command(BaseCommand):
    help = "Prove that what the rows name is there and whole; --ask lets a live model answer."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--ask", action="store_true")

    def handle(self, *_args: Any, **options: Any) -> None:
        proof.prove_rows(say=self.stdout.write)
        if options["ask"]:
            proof.ask_one_question(say=self.stdout.write)
