"""Spans for whoever watches an installation with OpenTelemetry; nothing where no endpoint is set.

A span tells what kind of work it was, how long it took, and under which ids and counts. It cannot
tell a text: the names of attributes are those of `TOLD`, a value is a number or one short word, and
of an error its kind alone. Knows no Django and no torch.
"""

from __future__ import annotations

import atexit
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span as Inner

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
PARENT = "traceparent"  # W3C Trace Context, the only thing that goes from one process to another
TOLD = frozenset(
    {
        "http.request.method",
        "http.response.status_code",
        "http.route",
        "counterpoint.tenant",
        "counterpoint.task",
        "counterpoint.queue",
        "counterpoint.outcome",
        "counterpoint.model",
        "counterpoint.prompt_tokens",
        "counterpoint.completion_tokens",
    }
)
WORD = re.compile(r"[\w.:@/+-]{1,120}\Z")  # no blank: a sentence is none
HIDDEN = "[hidden]"

Value = str | int | float | bool

_provider: TracerProvider | None = None


def begin(service: str, release: str = "") -> None:
    """Send the spans of this process to the endpoint that the environment names, if it names one.

    Once for each process, and again in a child after a fork: what sends is a thread.
    """
    global _provider
    if not os.environ.get(ENDPOINT, "").strip():
        return
    # For those who set an endpoint: nobody else loads what sends.
    import requests  # noqa: PLC0415
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    session = requests.Session()
    session.trust_env = False  # a proxy set for the outer world must not see what is inside
    told = {"service.name": service} | ({"service.version": release} if release else {})
    about = Resource.create(told)
    _provider = TracerProvider(resource=about)
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(session=session)))
    atexit.register(end)


def end() -> None:
    """Send what waits, and no more."""
    global _provider
    ending, _provider = _provider, None
    if ending is not None:
        ending.shutdown()


class Span:
    """One piece of work under way. Where nothing is traced, every call does nothing."""

    def __init__(self, inner: Inner | None) -> None:
        self._inner = inner

    def tell(self, **told: Value | None) -> None:
        """Add attributes; a double underscore in a name stands for its dot."""
        if self._inner is not None:
            for name, value in attributes(told).items():
                self._inner.set_attribute(name, value)

    def rename(self, name: str) -> None:
        if self._inner is not None:
            self._inner.update_name(word(name))

    def fail(self, kind: str) -> None:
        """It went wrong, in this way; what the error says stays here: it may quote a document."""
        if self._inner is None:
            return
        from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415  as in `begin`

        self._inner.set_status(Status(StatusCode.ERROR, word(kind)))

    def heading(self) -> dict[str, str]:
        """What another process needs, to go on with this trace."""
        if self._inner is None:
            return {}
        from opentelemetry.trace import set_span_in_context  # noqa: PLC0415  as in `begin`
        from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
            TraceContextTextMapPropagator,
        )

        told: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(told, context=set_span_in_context(self._inner))
        return {PARENT: told[PARENT]} if PARENT in told else {}

    def close(self) -> None:
        if self._inner is not None:
            self._inner.end()


def opened(
    name: str, *, kind: str = "internal", parent: Mapping[str, str] | None = None, **told: Value
) -> Span:
    """A span that its opener closes: below `parent`'s heading, else below the one it is opened in.

    kind   "server", "client", "producer", "consumer" or "internal"
    """
    if _provider is None:
        return Span(None)
    from opentelemetry.trace import SpanKind  # noqa: PLC0415  as in `begin`
    from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
        TraceContextTextMapPropagator,
    )

    context = None
    if parent and (heading := parent.get(PARENT)):
        context = TraceContextTextMapPropagator().extract({PARENT: heading})
    tracer = _provider.get_tracer("counterpoint")
    return Span(
        tracer.start_span(
            word(name), context=context, kind=SpanKind[kind.upper()], attributes=attributes(told)
        )
    )


@contextmanager
def span(
    name: str, *, kind: str = "internal", parent: Mapping[str, str] | None = None, **told: Value
) -> Iterator[Span]:
    """A span for the length of a block, and what is opened within lies below it."""
    found = opened(name, kind=kind, parent=parent, **told)
    if found._inner is None:
        yield found
        return
    from opentelemetry import context as contexts  # noqa: PLC0415  as in `begin`
    from opentelemetry.trace import set_span_in_context  # noqa: PLC0415

    token = contexts.attach(set_span_in_context(found._inner))
    try:
        yield found
    except BaseException as error:
        found.fail(type(error).__name__)
        raise
    finally:
        contexts.detach(token)
        found.close()


def heading() -> dict[str, str]:
    """What another process needs to go on with the trace that is under way here; else nothing."""
    if _provider is None:
        return {}
    from opentelemetry.trace import get_current_span  # noqa: PLC0415  as in `begin`

    return Span(get_current_span()).heading()


def attributes(told: Mapping[str, Any]) -> dict[str, Value]:
    """Those that may be told. Raises KeyError for a name that is not on the list: ours to mend."""
    found: dict[str, Value] = {}
    for name, value in told.items():
        dotted = name.replace("__", ".")
        if dotted not in TOLD:
            raise KeyError(dotted)
        if value is not None:
            found[dotted] = value if isinstance(value, int | float) else word(str(value))
    return found


def word(text: str) -> str:
    """The text, if it is one short word."""
    return text if WORD.match(text) else HIDDEN
