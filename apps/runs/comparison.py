"""Runs side by side: curves on one axis, and only the settings in which they differ."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Min

from apps.runs.models import Run, RunMetric
from apps.tenants.scope import current_tenant_id

LEAST, MOST = 2, 5
POINTS = 24  # of a sparkline
SERIES = ("loss", "held_out_loss", "recall", "gain_over_anchor", "general_loss")
WIDTH, HEIGHT = 96, 24  # of a sparkline, in the units of its drawing


def of(rows: Sequence[Run]) -> dict[str, Any]:
    """What the page of a comparison shows."""
    named = [(row, name_of(row)) for row in rows]
    held_out = {(row.snapshot_id, row.kind) for row in rows}
    least = lowest(rows)
    told = {name for _run, name in least}
    series = [(name, name.replace("_", " ").capitalize()) for name in SERIES if name in told]
    return {
        "rows": rows,
        "named": named,
        "differences": differences(rows),
        "best": [least.get((row.pk, "held_out_loss")) for row in rows],
        "samples": samples(rows),
        "series": series,
        "query": "&".join(f"run={row.pk}" for row in rows),
        "is_enough": len(rows) >= LEAST,
        "is_comparable": len(held_out) <= 1,
        "most": MOST,
    }


def differences(rows: Sequence[Run]) -> list[tuple[str, list[Any]]]:
    """Settings whose values differ, by name, with each run's value."""
    names = sorted({name for row in rows for name in row.asked})
    table = [(name, [row.asked.get(name) for row in rows]) for name in names]
    facts = [
        ("snapshot", [str(row.snapshot) for row in rows]),
        ("anchor", [str(row.anchor) for row in rows]),
        ("kind", [row.get_kind_display() for row in rows]),
    ]
    return [(name, values) for name, values in facts + table if any(v != values[0] for v in values)]


def samples(rows: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """Questions that two or more of them have answered, with each one's newest answer or ""."""
    told = [{each["question"]: each["answer"] for each in row.samples} for row in rows]
    asked = list(dict.fromkeys(question for answers in told for question in answers))
    return [
        (question, [answers.get(question, "") for answers in told])
        for question in asked
        if sum(question in answers for answers in told) >= LEAST
    ]


def lowest(rows: Sequence[Run]) -> dict[tuple[UUID, str], float]:
    """The lowest value of each series that each run has told, by run and name."""
    told = RunMetric.objects.filter(run__in=[row.pk for row in rows], name__in=SERIES)
    found = told.order_by().values_list("run", "name").annotate(Min("value"))
    return {(run, name): value for run, name, value in found}


def curves(rows: Sequence[Run], name: str) -> dict[str, list[list[float]]]:
    """One series of each run, under the run's name."""
    found: dict[UUID, list[list[float]]] = {row.pk: [] for row in rows}
    told = RunMetric.objects.filter(run__in=found, name=name).order_by("step")
    for run, step, value in told.values_list("run", "step", "value"):
        found[run].append([step, value])
    return {name_of(row): found[row.pk] for row in rows}


def name_of(row: Run) -> str:
    return f"{row.name} · {str(row.pk)[:8]}"


SPARKS = """
SELECT run_id, avg(value) FROM (
       SELECT run_id, value, ntile(%(points)s) OVER (PARTITION BY run_id ORDER BY step) AS part
         FROM runs_runmetric
        WHERE tenant_id = %(tenant)s AND run_id = ANY(%(runs)s) AND name = 'loss') AS thinned
 GROUP BY run_id, part ORDER BY run_id, part
"""


def sparklines(codes: Sequence[UUID]) -> dict[UUID, str]:
    """For each run with a loss, the points of a small line (SVG), thinned by the database."""
    facts = {"points": POINTS, "tenant": current_tenant_id(), "runs": list(codes)}
    found: dict[UUID, list[float]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(SPARKS, facts)
        for run_id, value in cursor.fetchall():
            found[run_id].append(value)
    return {run_id: drawn(values) for run_id, values in found.items() if len(values) > 1}


def drawn(values: Sequence[float]) -> str:
    """The values as points of a line in a box of WIDTH by HEIGHT."""
    low, high = min(values), max(values)
    reach = (high - low) or 1.0
    step = WIDTH / (len(values) - 1)
    return " ".join(
        f"{place * step:.1f},{HEIGHT - 2 - (value - low) / reach * (HEIGHT - 4):.1f}"
        for place, value in enumerate(values)
    )
