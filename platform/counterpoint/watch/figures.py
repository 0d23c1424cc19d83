"""The figures that processes count as they work, for Prometheus. Knows no request's content.

What can be computed from rows is not counted here: see `counterpoint.watch.state`.
"""

from __future__ import annotations

import os
from pathlib import Path

from prometheus_client import Counter, Gauge, Histogram, Info

# Set where a process counts through children: each figure below opens its file in it.
if FOLDER := os.environ.get("PROMETHEUS_MULTIPROC_DIR", ""):
    Path(FOLDER).mkdir(parents=True, exist_ok=True)

_ANSWERS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)  # seconds of a page
_TASKS = (0.1, 0.5, 1, 5, 15, 60, 300, 600, 3600, 14400)  # seconds of a task

RELEASE = Info("counterpoint_release", "The version of the code that runs")
REQUESTS = Counter(
    "counterpoint_http_requests",
    "Requests by method, route (its name, never its address) and status",
    ["method", "route", "status"],
)
TENANTS = Counter(
    "counterpoint_tenant_requests",
    "Requests of people who are signed in, by their tenant (its id) and class of status",
    ["tenant", "status"],
)
SECONDS = Histogram(
    "counterpoint_http_seconds",
    "Seconds from request to the head of the answer",
    ["route"],
    buckets=_ANSWERS,
)
UNDER_WAY = Gauge(
    "counterpoint_http_requests_under_way",
    "Requests that have no answer yet",
    multiprocess_mode="livesum",
)
TASKS = Counter("counterpoint_tasks", "Tasks by name and how they ended", ["task", "outcome"])
TASK_SECONDS = Histogram(
    "counterpoint_task_seconds", "Seconds that a task took", ["task"], buckets=_TASKS
)
