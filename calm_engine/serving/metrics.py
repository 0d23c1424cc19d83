"""What the model server counts, for Prometheus. Knows no request's content."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

_WAITS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120)
_STEPS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)


class Meters:
    """The server's counters, in a registry of their own so that two servers can share a test."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = at = CollectorRegistry()
        self.requests = Counter(
            "calm_requests",
            "Requests by model and how they ended",
            ["model", "outcome"],
            registry=at,
        )
        self.prompt_tokens = Counter("calm_prompt_tokens", "Tokens of prompts read", registry=at)
        self.drawn_tokens = Counter("calm_drawn_tokens", "Tokens of answers drawn", registry=at)
        self.running = Gauge("calm_running", "Answers under way", registry=at)
        self.waiting = Gauge("calm_waiting", "Requests in the queue", registry=at)
        self.cache = Gauge("calm_cache_bytes", "Keys and values of answers", registry=at)
        self.cache_room = Gauge("calm_cache_room_bytes", "What those may fill", registry=at)
        self.ready = Gauge("calm_ready", "1 when weights are loaded and warm", registry=at)
        self.first_token = Histogram(
            "calm_first_token_seconds", "From request to first token", buckets=_WAITS, registry=at
        )
        self.step = Histogram(
            "calm_step_seconds", "One token for every row of a batch", buckets=_STEPS, registry=at
        )

    def page(self) -> bytes:
        """The figures in Prometheus' text form."""
        return generate_latest(self._registry)
