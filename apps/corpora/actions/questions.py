"""Takes in the questions and answers that a curator wrote."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.db import transaction

from apps.audit import actions as audit
from apps.corpora.examples import NamedFile, row_from, rows_in
from apps.corpora.models import (
    Corpus,
    Example,
    Right,
)

if TYPE_CHECKING:
    from apps.accounts.models import User

from apps.corpora.actions.access import must


@dataclass
class ExampleReceipt:
    """What became of a delivery of examples. `rejected` holds (row number, reason)."""

    added: int = 0
    duplicates: int = 0
    rejected: list[tuple[int, str]] = field(default_factory=list)


def add_examples(
    corpus: Corpus, rows: NamedFile | Iterable[dict[str, Any]], *, by: User
) -> ExampleReceipt:
    """Add questions and answers from a CSV or JSON lines file, or from plain rows.

    Raises InputError: examples.type, examples.columns, file.too_large.
    """
    must(corpus, by, Right.CURATE)
    receipt = ExampleReceipt()
    wanted: dict[str, Example] = {}
    for number, values in rows_in(rows):
        if isinstance(values, str):
            receipt.rejected.append((number, values))
            continue
        try:
            row = row_from(values)
        except ValueError as error:
            receipt.rejected.append((number, str(error)))
            continue
        receipt.duplicates += row.digest in wanted
        wanted[row.digest] = Example(corpus=corpus, digest=row.digest, added_by=by, **vars(row))
    with transaction.atomic():
        known = set(
            corpus.examples.filter(digest__in=list(wanted)).values_list("digest", flat=True)
        )
        new = [example for digest, example in wanted.items() if digest not in known]
        Example.objects.bulk_create(new, ignore_conflicts=True, batch_size=500)
        receipt.duplicates += len(known)
        receipt.added = len(new)
        audit.record("examples.add", corpus, by=by, added=len(new), rejected=len(receipt.rejected))
    return receipt
