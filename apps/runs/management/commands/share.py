"""`share north --weight 2 --minutes 6000 --quiet 08:00-18:00 --reserve host/gpu0 --hours 12`.

What a tenant may take of the accelerators, and `--storage 5000` of the disk, in megabytes. Told on
the server alone: no tenant weighs itself.
"""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from apps.audit.actions import record
from apps.corpora.models import StorageUse
from apps.runs.models import Reservation, Share, Slot
from apps.tenants.named import tenant_named
from apps.tenants.scope import tenant_scope

NO_BOUND = 1 << 62  # bytes: no disk has as many


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant", help="the tenant's short name")
        parser.add_argument("--weight", type=float, help="its part of the time, beside the others'")
        parser.add_argument("--minutes", help="accelerator minutes a month, or none")
        parser.add_argument("--storage", help="megabytes of originals, none, or site for its rule")
        parser.add_argument("--quiet", help="hours in which no run begins: 08:00-18:00, or none")
        parser.add_argument("--reserve", metavar="SLOT", help="a slot for this tenant alone")
        parser.add_argument("--hours", type=float, default=12.0, help="how long it is reserved")

    def handle(self, *, tenant: str, **told: Any) -> None:
        found = tenant_named(tenant)
        with tenant_scope(found):
            share, _ = Share.objects.get_or_create(tenant=found)
            self._set(share, told)
            share.save()
            if told["storage"]:
                allow(told["storage"])
            if told["reserve"]:
                self._reserve(told["reserve"], told["hours"])
            record("share.set", share, by=None, weight=share.weight, minutes=share.minutes)
        quiet = f"{share.quiet_from}-{share.quiet_until}" if share.quiet_from else "none"
        limit = share.minutes if share.minutes is not None else "no limit"
        self.stdout.write(f"{found}: weight {share.weight:g}, minutes {limit}, quiet hours {quiet}")

    def _set(self, share: Share, told: dict[str, Any]) -> None:
        if told["weight"] is not None:
            if told["weight"] <= 0:
                raise CommandError("The weight must be more than 0.")
            share.weight = told["weight"]
        if told["minutes"]:
            share.minutes = None if told["minutes"] == "none" else whole(told["minutes"])
        if told["quiet"]:
            share.quiet_from, share.quiet_until = hours(told["quiet"])

    def _reserve(self, slot: str, duration: float) -> None:
        if not Slot.objects.filter(name=slot).exists():
            names = ", ".join(Slot.objects.values_list("name", flat=True)) or "none yet"
            raise CommandError(f"There is no slot {slot!r}. Known: {names}.")
        if duration <= 0:
            raise CommandError("A reservation must last.")
        now = timezone.now()
        Reservation.objects.create(
            slot=slot, starts_at=now, ends_at=now + timedelta(hours=duration)
        )


def allow(text: str) -> None:
    """How much the tenant in scope may store."""
    own = {"none": NO_BOUND, "site": None}
    allowed = own[text] if text in own else whole(text) << 20
    account, _ = StorageUse.objects.get_or_create()
    StorageUse.objects.filter(pk=account.pk).update(allowed=allowed)
    record("storage.allow", account, by=None, allowed=text)


def whole(text: str) -> int:
    if not text.isdigit() or len(text) > 12:
        raise CommandError(f"Give a whole number or none, not {text!r}.")
    return int(text)


def hours(text: str) -> tuple[time | None, time | None]:
    """From and until, such as 08:00-18:00; neither for none."""
    if text == "none":
        return None, None
    try:
        first, last = (datetime.strptime(part, "%H:%M").time() for part in text.split("-"))  # noqa: DTZ007  an hour of the day
    except ValueError:
        raise CommandError(f"Give hours as 08:00-18:00 or none, not {text!r}.") from None
    return first, last
