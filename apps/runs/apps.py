"""The Django app `runs`, and how it measures accelerator time."""

from django.apps import AppConfig


class RunsConfig(AppConfig):
    name = "apps.runs"

    def ready(self) -> None:
        from apps.accounts import quotas  # noqa: PLC0415  models are there only now
        from apps.runs import usage  # noqa: PLC0415  as above

        quotas.measured(quotas.Kind.GPU_MINUTES, usage.METER)
