"""Looks for paragraphs that many documents share, and keeps out of training what people decide.

Nothing is kept out by itself: a sentence in every handbook may be boilerplate or the very rule that
is to be learned. Taking a decision back brings the words back; originals are never touched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from apps.audit import actions as audit
from apps.corpora import repeats
from apps.corpora.actions.access import must
from apps.corpora.actions.documents import GONE, text_of
from apps.corpora.models import Corpus, Document, Repeat, Right
from calm_engine.errors import InternalError
from counterpoint.celery import send

if TYPE_CHECKING:
    from apps.accounts.models import User

AT_ONCE = 200  # texts read in one transaction
MOST = 500  # repeated paragraphs of a corpus that are kept, those in most documents first


@transaction.atomic
def ask_for_repeats(corpus: Corpus, *, by: User) -> None:
    """Have a worker look for what repeats in a corpus."""
    must(corpus, by, Right.CURATE)
    audit.record("corpus.look_for_repeats", corpus, by=by)
    send("ingestion.repeats", str(corpus.tenant_id), str(corpus.pk))


class Looking:
    """One look over the texts of a corpus, in the order of their ids, some at a time."""

    def __init__(self, corpus_id: UUID | str) -> None:
        self.corpus_id, self.counting = UUID(str(corpus_id)), repeats.Counting()
        self.at: UUID | None = None

    def step(self) -> bool:
        """Count the next texts; False behind the last. A text that is lost counts for nothing."""
        rows = Document.objects.filter(corpus=self.corpus_id).exclude(state__in=GONE)
        if self.at is not None:
            rows = rows.filter(pk__gt=self.at)
        some = list(rows.order_by("pk").only("text_digest")[:AT_ONCE])
        for document in some:
            try:
                self.counting.add(text_of(document))
            except InternalError:
                continue
        self.at = some[-1].pk if some else self.at
        return bool(some)

    @transaction.atomic
    def finish(self) -> int:
        """Keep what was found; decisions stand. How many paragraphs repeat."""
        found = self.counting.many()
        best = sorted(found.items(), key=lambda one: -one[1][0])[:MOST]
        Repeat.objects.bulk_create(
            [
                Repeat(corpus_id=self.corpus_id, key=key, documents=count, sample=sample)
                for key, (count, sample) in best
            ],
            update_conflicts=True,
            unique_fields=["tenant", "corpus", "key"],
            update_fields=["documents"],
        )
        known = Repeat.objects.filter(corpus=self.corpus_id, left_out=False)
        known.exclude(key__in=[key for key, _told in best]).delete()
        Corpus.objects.filter(pk=self.corpus_id).update(repeats_at=Now())
        return len(best)


@transaction.atomic
def decide_repeats(corpus: Corpus, keys: list[UUID], *, left_out: bool, by: User) -> int:
    """Keep these paragraphs out of what models learn, or in it again; how many moved.

    Every text that models learn is made anew by a worker; until then nothing can be frozen.
    """
    must(corpus, by, Right.CURATE)
    rows = Repeat.objects.filter(corpus=corpus, pk__in=keys).exclude(left_out=left_out)
    moved = rows.update(left_out=left_out, decided_by=by)
    if moved:
        Corpus.objects.filter(pk=corpus.pk).update(policy_version=F("policy_version") + 1)
        act = "corpus.leave_repeats_out" if left_out else "corpus.take_repeats_in"
        audit.record(act, corpus, by=by, paragraphs=moved)
        send("ingestion.screen", str(corpus.tenant_id), str(corpus.pk))
    return moved
