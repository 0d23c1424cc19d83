"""Sends the log on to collectors: a file, syslog, a signed webhook. At least once, in order.

Which ones is the operator's choice (AUDIT_SINKS). A collector that is away loses nothing: its place
in each tenant's chain is kept, and the next round goes on from there.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import structlog
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from apps.audit.models import AuditEvent, AuditSent
from apps.audit.ocsf import event
from calm_engine.errors import InputError
from counterpoint import outbound

log = structlog.get_logger(__name__)

AT_ONCE = 500  # lines in one delivery
PATIENCE = 5.0  # seconds
PRIORITY = 13 * 8 + 5  # RFC 5424: facility "log audit", severity "notice"


class Sink(Protocol):
    def send(self, lines: Sequence[AuditEvent]) -> None:
        """Deliver all of them, or raise OSError: they are sent again."""


class FileSink:
    """JSON lines at the end of a file, on disk before the place in the chain moves."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def send(self, lines: Sequence[AuditEvent]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(f"{as_json(line)}\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())


class SyslogSink:
    """RFC 5424 messages over TCP, each with its length before it (RFC 6587)."""

    def __init__(self, host: str, port: int) -> None:
        self.address = (host, port)

    def send(self, lines: Sequence[AuditEvent]) -> None:
        with socket.create_connection(self.address, timeout=PATIENCE) as there:
            for line in lines:
                message = self.message(line)
                there.sendall(f"{len(message)} ".encode() + message)

    def message(self, line: AuditEvent) -> bytes:
        head = f"<{PRIORITY}>1 {line.at.isoformat()} - counterpoint - {line.action} -"
        return f"{head} {as_json(line)}".encode()


class WebhookSink:
    """A POST of JSON lines, signed: `X-Counterpoint-Signature: sha256=HMAC(key, time.body)`."""

    def __init__(self, address: str) -> None:
        self.address = address

    def send(self, lines: Sequence[AuditEvent]) -> None:
        body = "".join(f"{as_json(line)}\n" for line in lines).encode()
        at = str(int(timezone.now().timestamp()))
        outbound.post(
            self.address,
            body,
            headers={
                "Content-Type": "application/jsonl",
                "X-Counterpoint-Time": at,
                "X-Counterpoint-Signature": f"sha256={signature(at, body)}",
            },
        )


def signature(at: str, body: bytes) -> str:
    """What a receiver computes too, with the same key, before it believes the lines."""
    return outbound.signature(settings.WEBHOOK_KEY, at, body)


def as_json(line: AuditEvent) -> str:
    return json.dumps(event(line), sort_keys=True, separators=(",", ":"))


def sink_of(address: str) -> Sink:
    """The collector at this address. Raises InputError("setting.value")."""
    parts = urlsplit(address)
    if parts.scheme == "file" and parts.path:
        return FileSink(Path(parts.path))
    if parts.scheme == "syslog" and parts.hostname:
        return SyslogSink(parts.hostname, parts.port or 601)
    if parts.scheme in ("http", "https") and parts.hostname:
        return WebhookSink(address)
    wanted = "file:///path, syslog://host:port or https://host/path, comma-separated"
    raise InputError("setting.value", f"AUDIT_SINKS should be {wanted}.", setting="AUDIT_SINKS")


def ship() -> int:
    """Send what is new in the log of the tenant in scope to every collector; lines sent.

    Two senders at once do not send twice: the second finds the place locked and leaves.
    """
    count = 0
    for address in filter(None, settings.AUDIT_SINKS):
        AuditSent.objects.get_or_create(sink=address[:200])
        with transaction.atomic():
            place = (
                AuditSent.objects.select_for_update(skip_locked=True)
                .filter(sink=address[:200])
                .first()
            )
            count += ship_to(address, place) if place else 0
    return count


def ship_to(address: str, place: AuditSent) -> int:
    waiting = AuditEvent.objects.filter(sequence__gt=place.sequence).order_by("sequence")
    lines = list(waiting[:AT_ONCE])
    if not lines:
        return 0
    try:
        sink_of(address).send(lines)
    except OSError as error:
        place.failed_at, place.failure = timezone.now(), type(error).__name__
        place.save(update_fields=["failed_at", "failure"])
        log.warning("audit.unsent", lines=len(lines), error=type(error).__name__)
        return 0
    place.sequence, place.failed_at, place.failure = lines[-1].sequence, None, ""
    place.save()
    return len(lines)
