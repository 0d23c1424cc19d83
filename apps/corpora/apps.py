"""The app's name, and how it measures what is stored."""

from __future__ import annotations

from django.apps import AppConfig


class CorporaConfig(AppConfig):
    name = "apps.corpora"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from apps.accounts import quotas  # noqa: PLC0415  models are there only now
        from apps.corpora.actions import quota  # noqa: PLC0415  as above

        quotas.measured(quotas.Kind.STORAGE, quota.METER)
