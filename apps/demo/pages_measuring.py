"""Measures the site's pages in a company of some size: how long the server takes, what it asks.

Judges no figure and opens no browser: `painting` does that.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import quantiles
from typing import Any

from django.urls import reverse

from apps.accounts.models import User
from apps.demo.company import Company
from apps.demo.measuring import asked_again, signed_in
from calm_engine.figures import Figure

ASKED = 40  # times each page is asked for
P95, QUERIES = 100, 12  # milliseconds, queries
PLAIN = {
    "home": "home",
    "chat": "chat:new",
    "shared": "chat:shares",
    "corpora": "corpora:list",
    "teach": "teaching:start",
    "runs": "runs:runs",
    "models": "registry:models",
    "reports": "evaluation:reports",
    "people": "accounts:people",
    "rules": "accounts:rules",
    "usage": "accounts:usage",
    "keys": "accounts:keys",
    "services": "accounts:services",
    "audit": "audit:list",
    "approvals": "audit:approvals",
    "forgetting": "forgetting:plans",
    "holds": "forgetting:holds",
    "webhooks": "runs:webhooks",
    "look": "look:brand",
}
TABS = ("uploads", "sources", "examples", "snapshots", "access")


def addresses(company: Company) -> dict[str, str]:
    """Every page by its name: the lists, the same narrowed, and one of each thing."""
    corpus = company.corpus.get_absolute_url()
    found = {name: reverse(view) for name, view in PLAIN.items()}
    found |= {f"corpus_{tab}": f"{corpus}?tab={tab}" for tab in TABS}
    found |= {
        "chat_search": f"{found['chat']}?q=sheet&with={company.composition.name}",
        "conversation": company.conversation.get_absolute_url(),
        "evidence": reverse("chat:evidence", kwargs={"code": company.answer.pk}),
        "corpus": corpus,
        "corpus_filtered": f"{corpus}?state=excluded",
        "corpus_found": f"{corpus}?q=sheet+77",
        "corpus_search": reverse("corpora:search", kwargs={"code": company.corpus.pk}) + "?q=bar",
        "review": reverse("corpora:review", kwargs={"code": company.corpus.pk}),
        "freeze": reverse("corpora:freeze", kwargs={"code": company.corpus.pk}),
        "runs_failed": f"{found['runs']}?state=failed",
        "models_found": f"{found['models']}?q=model+01",
    }
    things: dict[str, Any] = {
        "upload": company.upload,
        "document": company.document,
        "snapshot": company.snapshot,
        "run": company.run,
        "anchor": company.anchor,
        "augmenter": company.augmenter,
        "model": company.composition,
        "report_card": company.report,
    }
    return found | {name: each.get_absolute_url() for name, each in things.items()}


def pages(company: Company, by: User, told: str) -> Iterator[Figure]:
    """The 95th percentile of each page and its queries, the slowest first."""
    client = signed_in(by)
    measured = []
    for name, address in addresses(company).items():
        took, queries = asked_again(client, address, ASKED)
        measured.append((quantiles(took, n=20)[-1] * 1000, name, queries))
    for took_95, name, queries in sorted(measured, reverse=True):
        yield Figure(f"p95_{name}", took_95, "ms", told, P95)
        yield Figure(f"queries_{name}", queries, "queries", told, QUERIES)
