"""The site as a Django app: its checks and its own `migrate`."""

from __future__ import annotations

from django.apps import AppConfig


class CounterpointConfig(AppConfig):
    name = "counterpoint"

    def ready(self) -> None:
        from counterpoint import checks, log  # noqa: F401, PLC0415  they register themselves
