"""`verify_audit`: walk every tenant's chain; exit 1 and say which lines are wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.audit.actions import faults
from apps.audit.anchors import faults_against
from apps.audit.models import AuditEvent
from apps.tenants.named import tenants_named
from apps.tenants.scope import tenant_scope


class Command(BaseCommand):
    help = "Prove that no audit line was edited, removed or reordered."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", help="the short name of one tenant (default: all)")
        parser.add_argument("--anchors", type=Path, help="a file of lines that anchor_audit wrote")

    def handle(self, *_args: Any, **options: Any) -> None:
        anchors = told_anchors(options["anchors"])
        wrong = 0
        for tenant in tenants_named(options["tenant"]):
            with tenant_scope(tenant):
                found = [*faults(), *faults_against(anchors)]
                count = AuditEvent.objects.count()
            wrong += len(found)
            self.stdout.write(f"{tenant.slug}: {count} lines, {len(found)} faults")
            for fault in found:
                self.stdout.write(f"  {fault}")
        if wrong:
            raise CommandError("The audit log is not whole.")


def told_anchors(path: Path | None) -> str:
    try:
        return path.read_text(encoding="utf-8") if path else ""
    except OSError as error:
        raise CommandError(f"{path} cannot be read ({error.strerror}).") from error
