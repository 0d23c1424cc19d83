"""Celery tasks: load, claim, call the engine, hand over. They stand above the apps.

A worker may read rows, move files and start child processes. It must not decide who may (that is
`apps.tenants.access`), invent state (the row is the truth, a message only wakes) or load torch
into its own process (the engine runs in a child). Database steps are short and inside
`tenant_scope`; none stays open while something is computed.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import ParamSpec, cast

import django
import structlog
from celery import shared_task
from django.apps import apps

from counterpoint.celery import queue_of

P = ParamSpec("P")

# Whoever comes in by this door finds Django ready: Celery, the model host, or a test.
if not apps.ready:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "counterpoint.settings")
    django.setup()


def task(
    name: str, *, queue: str, **options: object
) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Make a Celery task with a written-out name, typed: the one decorator for all workers.

    name     kept for ever: a message sent by the previous release must still find its task
    queue    "short", "ingest" or "gpu"
    options  further Celery options, such as `soft_time_limit` (seconds) or `acks_late`

    The task's name and, when the first argument is called `tenant_id`, the tenant stand on every
    log line. Nothing is swallowed: an exception reaches Celery, which logs it.
    """

    def decorate(function: Callable[P, None]) -> Callable[P, None]:
        code = function.__code__
        has_tenant = code.co_argcount > 0 and code.co_varnames[0] == "tenant_id"

        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> None:
            facts = {"task": name}
            if has_tenant:
                facts["tenant"] = str(args[0] if args else kwargs["tenant_id"])
            with structlog.contextvars.bound_contextvars(**facts):
                function(*args, **kwargs)

        # The queue is written at each task for its reader; the name's first word decides it.
        assert queue == queue_of(name), f"{name} goes to the queue {queue_of(name)}"
        made = shared_task(name=name, **options)(run)
        return cast("Callable[P, None]", made)

    return decorate
