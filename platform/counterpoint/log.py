"""Structured logs: ids and numbers on every line, never a document, a prompt or a reply."""

from __future__ import annotations

import logging
import logging.config
import re
from typing import Any

import structlog
from django.conf import settings
from structlog.typing import EventDict, Processor, WrappedLogger

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
            # Exceptions become text before redaction, which then sees it.
            structlog.processors.format_exc_info,
            redact,
            renderer,
        ],
        "foreign_pre_chain": SHARED,
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
