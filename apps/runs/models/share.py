"""Who may work when and on what: shares of tenants, reservations, and the slots of the machines.

Read by the claim alone (`runs.claims`), which crosses tenants under the dispatcher's role.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from apps.tenants.models import TenantManager, TenantModel

LISTENS_FOR = timedelta(seconds=60)  # a worker tells of itself every ten: six misses are silence


class Share(TenantModel):
    """What a tenant may take of the accelerators, and what it has taken.

    weight         twice the weight, twice the time while others wait too
    spent          accelerator seconds taken, halved with every half-life since `spent_at`
    minutes        quota of accelerator minutes in a calendar month; None: no limit
    month, month_seconds   what was taken in that month
    quiet_from, quiet_until   hours of the day (TIME_ZONE) in which no run of it starts; may pass
                   midnight
    """

    weight = models.FloatField(default=1.0)
    spent = models.FloatField(default=0.0)
    spent_at = models.DateTimeField(db_default=Now())
    minutes = models.PositiveIntegerField(null=True, blank=True)
    month = models.DateField(null=True, blank=True)
    month_seconds = models.FloatField(default=0.0)
    quiet_from = models.TimeField(null=True, blank=True)
    quiet_until = models.TimeField(null=True, blank=True)

    objects: TenantManager[Share] = TenantManager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant"], name="share_once_per_tenant"),
            models.CheckConstraint(condition=Q(weight__gt=0), name="share_weighs_something"),
            models.CheckConstraint(
                condition=Q(quiet_from=None, quiet_until=None)
                | Q(quiet_from__isnull=False, quiet_until__isnull=False),
                name="share_quiet_from_and_until",
            ),
        ]

    def __str__(self) -> str:
        return f"weight {self.weight:g}"

    def is_quiet(self, local: datetime) -> bool:
        """Whether this local time lies in the quiet hours."""
        if self.quiet_from is None or self.quiet_until is None:
            return False
        time = local.time()
        if self.quiet_from <= self.quiet_until:
            return self.quiet_from <= time < self.quiet_until
        return time >= self.quiet_from or time < self.quiet_until

    def seconds_in(self, month: datetime) -> float:
        """Accelerator seconds taken in the month of this local time."""
        is_this_month = self.month == month.date().replace(day=1)
        return self.month_seconds if is_this_month else 0.0

    def has_quota_left(self, local: datetime) -> bool:
        return self.minutes is None or self.seconds_in(local) < self.minutes * 60


class Reservation(TenantModel):
    """For a time, a slot takes the runs of this tenant alone."""

    slot = models.CharField(max_length=120)
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()

    objects: TenantManager[Reservation] = TenantManager()

    class Meta:
        ordering = ["starts_at"]
        constraints = [
            models.CheckConstraint(
                condition=Q(ends_at__gt=F("starts_at")), name="reservation_lasts"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.slot} until {self.ends_at:%Y-%m-%d %H:%M}"


class Slot(models.Model):
    """One place where a run can work, told by its worker again and again: silence is not ready.

    memory_bytes   of the accelerator, or of the machine where there is none
    facts          what the device panel shows: utilisation, memory in use, temperature, power
    disk_free, disk_total   of the disk that holds run folders
    orphans        processes and folders on that machine that belong to no run
    serving_until, serving_bytes   the lease by which a model host holds the device, and how much
    training_asked_at, serving_asked_at   who found it held and asks for it: see `runs.sharing`
    """

    name = models.CharField(max_length=120, primary_key=True)
    queue = models.CharField(max_length=20, default="gpu")
    device = models.CharField(max_length=120, blank=True)
    memory_bytes = models.BigIntegerField(default=0)
    facts = models.JSONField(default=dict)
    disk_free = models.BigIntegerField(default=0)
    disk_total = models.BigIntegerField(default=0)
    is_disk_low = models.BooleanField(default=False)
    orphans = models.JSONField(default=list)
    release = models.CharField(max_length=40, blank=True)
    serving_until = models.DateTimeField(null=True, blank=True)
    serving_bytes = models.BigIntegerField(default=0)
    training_asked_at = models.DateTimeField(null=True, blank=True)
    serving_asked_at = models.DateTimeField(null=True, blank=True)
    seen_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def listens(self, now: datetime) -> bool:
        return now - self.seen_at < LISTENS_FOR

    def serves(self, now: datetime) -> bool:
        """Whether a model host holds it."""
        return self.serving_until is not None and self.serving_until > now
