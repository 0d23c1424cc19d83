"""Report cards inside pages of runs, which stand below them and may not know them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import template

from apps.accounts.models import User
from apps.evaluation.differences import are_comparable, differences, report_of
from apps.runs.models import Run

register = template.Library()


@register.inclusion_tag("evaluation/_differences.html")
def report_differences(named: Sequence[tuple[Run, str]], user: User) -> dict[str, Any]:
    """The report cards of these runs side by side, as far as this person may see them.

    named   each run with the name that it has on the page
    """
    runs = [run for run, _name in named]
    reports = [report_of(run, by=user) for run in runs]
    is_comparable = are_comparable(reports)
    return {
        "heads": [(name, report) for (_run, name), report in zip(named, reports, strict=True)],
        "count": sum(report is not None for report in reports),
        "is_comparable": is_comparable,
        "rows": differences(runs, reports) if is_comparable else [],
    }
