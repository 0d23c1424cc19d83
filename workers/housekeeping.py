"""Short tasks on a timer: bring back what was lost. Each may run twice, late or never at once.

The rows are the truth and messages only wake, so here is who notices when a message, a worker or
the broker's whole memory is gone.
"""

from __future__ import annotations

import structlog
from django.utils import timezone

from apps.audit.sinks import ship
from apps.chat import actions as chat
from apps.chat import retention
from apps.corpora import actions as corpora
from apps.registry import embedders
from apps.teaching.actions import go_on, left_behind
from apps.tenants.models import Tenant
from apps.tenants.scope import tenant_scope
from counterpoint import plaincopies
from counterpoint.celery import app
from workers import task

log = structlog.get_logger(__name__)

# Seconds between two looks. Runs are looked after by `workers.watch`, which needs no broker.
SCHEDULE = {
    "deliver": {"task": "housekeeping.deliver", "schedule": 10.0, "options": {"expires": 10}},
    "lapse": {"task": "housekeeping.lapse", "schedule": 3600.0, "options": {"expires": 3600}},
    "rows": {"task": "housekeeping.rows", "schedule": 30.0, "options": {"expires": 30}},
}
app.conf.beat_schedule = SCHEDULE


@task("housekeeping.lapse", queue="short")
def lapse() -> None:
    """For each tenant: withdrawn documents that its corpora keep no longer."""
    for tenant in Tenant.objects.all():
        with structlog.contextvars.bound_contextvars(tenant=str(tenant.pk)), tenant_scope(tenant):
            corpora.delete_lapsed()


@task("housekeeping.rows", queue="short")
def rows() -> None:
    """For each tenant: files, replies and plans that were left behind, passages not read yet."""
    plaincopies.sweep()
    for tenant in Tenant.objects.all():
        with structlog.contextvars.bound_contextvars(tenant=str(tenant.pk)):
            with tenant_scope(tenant):
                corpora.reconcile()
                corpora.expire_transfers()
                corpora.reconcile_freezings()
                corpora.reconcile_connections()
            with tenant_scope(tenant):
                chat.close_left_behind(timezone.now())
            with tenant_scope(tenant):
                for plan in left_behind():
                    go_on(plan.pk)
            with tenant_scope(tenant):
                ship()
            with tenant_scope(tenant):
                retention.run()
            with tenant_scope(tenant):
                embedders.call_for_reading()
