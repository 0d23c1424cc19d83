"""The list of documents: what its page costs at many rows against few, as a person asks for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median
from uuid import uuid4

from django.conf import settings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.corpora.models import Corpus
from apps.tenants.models import Tenant
from apps.tenants.scope import tenant_scope
from calm_engine.figures import Figure

ROUNDS = 25
FILL = """
    INSERT INTO corpora_document (id, tenant_id, corpus_id, title, path, media_type, size,
        original_digest, text_digest, tokens, language, facts, state, pages, left_out, kept_apart,
        redacted_digest, policy_version, found)
    SELECT gen_random_uuid(), %s, %s, 'Document ' || n, 'folder ' || n %% 97 || '/' || n || '.txt',
        'text/plain', 1000, md5(n::text) || md5(%s || n::text), repeat('0', 64), 250, 'eng', '{}',
        CASE WHEN n %% 10 = 0 THEN 'duplicate' ELSE 'ready' END, '[]', false, false, '', 1, '{}'
    FROM generate_series(1, %s) AS n
"""


def fill(corpus: Corpus, count: int) -> None:
    """So many rows without files behind them: the list reads rows alone."""
    with connection.cursor() as cursor:
        cursor.execute(FILL, [corpus.tenant_id, corpus.pk, uuid4().hex, count])


def measure(tenant: Tenant, client: Client, small: Corpus, large: Corpus) -> Iterator[Figure]:
    """Ratios of medians, taken in turns so that the machine's moods meet both."""
    with tenant_scope(tenant):
        counts = [corpus.documents.count() for corpus in (small, large)]
        far = [_key_of_the_middle(corpus) for corpus in (small, large)]
    against = f"{counts[0]:,} rows"
    for name, tails in (("first page", ["", ""]), ("page in the middle", far)):
        spent: list[list[float]] = [[], []]
        asked = [0, 0]
        for _ in range(ROUNDS):
            for at, corpus in enumerate((small, large)):
                seconds, queries = _once(client, f"{corpus.get_absolute_url()}{tails[at]}")
                spent[at].append(seconds)
                asked[at] = queries
        few, many = (median(times[3:]) for times in spent)
        label = f"list, {name} at {counts[1]:,} rows"
        yield Figure(f"{label}, time", many / few, "ratio", against, 1.5)
        yield Figure(f"{label}, median", many * 1000, "ms", "one request, templates included", 200)
        yield Figure(f"{label}, queries more", asked[1] - asked[0], "", against, 0)


def _key_of_the_middle(corpus: Corpus) -> str:
    rows = corpus.documents.order_by("sorting", "pk")
    return f"?after={rows.values_list('pk', flat=True)[rows.count() // 2]}"


def _once(client: Client, address: str) -> tuple[float, int]:
    host = settings.ALLOWED_HOSTS[0]
    with CaptureQueriesContext(connection) as queries:
        began = time.perf_counter()
        answer = client.get(address, SERVER_NAME=host)
        seconds = time.perf_counter() - began
    assert answer.status_code == 200, answer.status_code
    return seconds, len(queries)
