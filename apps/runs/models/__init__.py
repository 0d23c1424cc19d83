"""Rows of runs: the work itself, who may work when and on what, and who is told of it."""

from apps.runs.models.notice import Delivery, Notice, Webhook
from apps.runs.models.run import (
    Run,
    RunCheckpoint,
    RunEvent,
    RunMetric,
    RunSample,
)
from apps.runs.models.share import Reservation, Share, Slot

__all__ = [
    "Delivery",
    "Notice",
    "Reservation",
    "Run",
    "RunCheckpoint",
    "RunEvent",
    "RunMetric",
    "RunSample",
    "Share",
    "Slot",
    "Webhook",
]
