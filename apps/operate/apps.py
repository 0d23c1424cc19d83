"""Running an installation, as a Django app: its commands."""

from __future__ import annotations

from django.apps import AppConfig


class OperateConfig(AppConfig):
    name = "apps.operate"
