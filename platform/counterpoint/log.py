"""Structured logs: ids and numbers on every line, never a document, a prompt or a reply."""

from __future__ import annotations

import logging
import logging.config
import re
import traceback
from typing import Any

import structlog
from django.conf import settings
from structlog.typing import EventDict, Processor, WrappedLogger

from calm_engine.errors import EngineError

# Values under these names never reach a line, whoever passes them.
HIDDEN = re.compile(
    r"password|secret|token|cookie|authorization|content|prompt|answer|question|text"
)
KEYS = re.compile(
    r"cp_[0-9a-f]{6,}_[\w-]+|(?<=:)[^:@/\s]+(?=@)"
)  # API keys, passwords in addresses
KEPT = {"tokens"}  # a count


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Hide values by their name, and keys and passwords wherever they stand."""
    for name, value in event.items():
        if name != "event" and name not in KEPT and HIDDEN.search(name):
            event[name] = "[hidden]"
        elif isinstance(value, str):
            event[name] = KEYS.sub("[hidden]", value)
    return event


def without_addresses(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Of lines that others write, only what was chosen before anything was known of the request.

    Django quotes the address, which may hold search words; Celery quotes the arguments and the
    exception of a task.
    """
    record = event.get("_record")
    name = str(getattr(record, "name", ""))
    if name.startswith(("django.request", "django.security")):
        event["event"] = str(event["event"]).partition(":")[0]
        event["status"] = getattr(record, "status_code", None)
    elif name == "celery.app.trace":
        told = getattr(record, "data", {})
        event["event"] = f"task.{told.get('description', 'ended').split()[0]}"
        event["task"], event["task_id"] = told.get("name"), told.get("id")
    return event


def where(exc_info: structlog.typing.ExcInfo) -> str:
    """Kinds of exception and lines of code, never what they say: that may quote a document.

    A code of ours stands beside its kind.
    """
    told: list[str] = []
    error: BaseException | None = exc_info[1]
    while error is not None and len(told) < 8:
        frames = traceback.extract_tb(error.__traceback__)[-12:]
        path = " < ".join(f"{short(f.filename)}:{f.lineno} {f.name}" for f in reversed(frames))
        code = f" {error.code}" if isinstance(error, EngineError) else ""
        told.append(f"{type(error).__qualname__}{code} at {path}")
        error = error.__cause__ or error.__context__
    return "; from ".join(told)


def short(path: str) -> str:
    """The last folders of a path: enough to find the file."""
    return "/".join(path.split("/")[-3:])


SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.stdlib.PositionalArgumentsFormatter(),
]


def configure() -> None:
    """Send our lines and everybody else's through one formatter to standard error."""
    renderer: Processor = (
        structlog.processors.JSONRenderer()
        if settings.LOG_FORMAT == "json"
        else structlog.dev.ConsoleRenderer(colors=False)
    )
    formatter: dict[str, Any] = {
        "()": structlog.stdlib.ProcessorFormatter,
        "processors": [
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            # Exceptions become text before redaction, which then sees it. On a developer's own
            # terminal they say everything; in what is kept, nothing that they quote.
            structlog.processors.ExceptionRenderer(where)
            if settings.LOG_FORMAT == "json"
            else structlog.processors.format_exc_info,
            redact,
            renderer,
        ],
        "foreign_pre_chain": [*SHARED, without_addresses],
    }
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": formatter},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
            "root": {"handlers": ["stderr"], "level": settings.LOG_LEVEL},
            "loggers": {
                # Addresses of pages hold ids and search words; httpx logs each request of ours.
                "uvicorn.access": {"level": "WARNING"},
                "httpx": {"level": "WARNING"},
                "httpx2": {"level": "WARNING"},
                # These quote cookies, values of queries and what pages are drawn from.
                "django.template": {"level": "INFO"},
                "django.db.backends": {"level": "INFO"},
            },
        }
    )
    structlog.configure(
        processors=[*SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


configure()
