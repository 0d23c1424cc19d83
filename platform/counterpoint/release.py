"""Which version of the product this is; pyproject.toml and the chart say the same.

FORMER is the release before: the last migration of each app as it left the database. What has come
since only adds (tests/counterpoint/test_migrations.py), so that release's processes go on while
this one starts, and `counterpoint migrate --back` leads there again. Renewed when one goes out;
none has yet, and a state of our own from before 0.1.0 stands in its place.
"""

from __future__ import annotations

VERSION = "0.1.0"
FORMER = {
    "accounts": "0004_minutes_a_month",
    "audit": "0004_tenants_leave",
    "chat": "0001_conversations",
    "corpora": "0005_passages",
    "evaluation": "0002_figures",
    "forgetting": "0002_people_and_mentions",
    "registry": "0002_resting",
    "runs": "0003_sharing_and_dry_runs",
    "teaching": "0001_plans",
    "tenants": "0004_groups_follow",
}


def version() -> str:
    return VERSION
