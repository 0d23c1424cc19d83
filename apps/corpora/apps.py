from __future__ import annotations

from django.apps import AppConfig


class CorporaConfig(AppConfig):
    name = "apps.corpora"
