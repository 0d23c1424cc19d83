"""Personal data and secrets: a document under its corpus's policy, and people's decisions.

Redaction changes the text that models learn, never the stored original nor the extracted text.
"""

from __future__ import annotations

import hashlib
import hmac
import io
from collections import Counter
from typing import TYPE_CHECKING
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from apps.audit import actions as audit
from apps.corpora.actions.access import must
from apps.corpora.actions.documents import locked, settle, text_of
from apps.corpora.models import (
    Corpus,
    Document,
    DocumentQuerySet,
    DocumentState,
    Flag,
    FlagState,
    Policy,
    Right,
)
from apps.corpora.repeats import paragraphs
from apps.corpora.screening import Finding, Group, Kind, found, redacted
from calm_engine.errors import InputError
from counterpoint.celery import send
from counterpoint.storage import blobs

if TYPE_CHECKING:
    from apps.accounts.models import User

MOST = 1000  # open flags of one document at a time; the next ones open as these are decided
AT_ONCE = 50  # documents screened again in one transaction


def screen(document: Document, text: str) -> None:
    """Find, apply the corpus's policy, and hold what a person must decide.

    Decisions that people made stand: they are kept by the passage's place. Saves the document but
    not its state; `settle` does.
    """
    corpus = document.corpus
    findings = found(text)
    document.found = dict(Counter(one.kind.value for one in findings))
    document.policy_version = corpus.policy_version
    document.flags.filter(state=FlagState.OPEN).delete()
    _ask(document, text, findings)
    _black_out(document, text, findings)
    document.screened = True
    document.save(update_fields=["found", "policy_version", "redacted_digest", "screened"])


def _ask(document: Document, text: str, findings: list[Finding]) -> None:
    """Open a flag for what a person must decide and nobody has; the next ones when many are."""
    corpus = document.corpus
    known = set(document.flags.values_list("start", "end", "kind"))
    room = MOST - document.flags.filter(state=FlagState.OPEN).count()
    asked = [
        one
        for one in findings
        if corpus.policy_for(one.kind) in (Policy.FLAG, Policy.BLOCK)
        and (one.start, one.end, one.kind.value) not in known
    ]
    Flag.objects.bulk_create(
        [
            Flag(
                corpus=corpus,
                document=document,
                kind=one.kind.value,
                start=one.start,
                end=one.end,
                mark=mark_of(document.tenant_id, text[one.start : one.end]),
            )
            for one in asked[:room]
        ],
        batch_size=500,
    )


def mark_of(tenant_id: UUID | None, words: str) -> str:
    """A keyed digest: equal for equal words of one tenant, and nothing can be guessed from it."""
    plain = " ".join(words.split()).casefold()
    key = f"flag:{tenant_id}:{settings.SECRET_KEY}".encode()
    return hmac.new(key, plain.encode(), hashlib.sha256).hexdigest()


def _black_out(document: Document, text: str, findings: list[Finding]) -> None:
    """Store the text that models learn: without what policy or people took out of it, and without
    paragraphs that many documents share where people said so."""
    corpus = document.corpus
    repeated = corpus.repeats.filter(left_out=True).values_list("key", flat=True)
    cut = [(one.start, one.end) for one in paragraphs(text, set(repeated))]
    out = [one for one in findings if corpus.policy_for(one.kind) == Policy.REDACT]
    decided = document.flags.filter(state=FlagState.REDACTED)
    out += [Finding(flag.start, flag.end, Kind(flag.kind)) for flag in decided]
    if out or cut:
        clean = redacted(text, out, cut).encode()
        document.redacted_digest = blobs().put("text", io.BytesIO(clean)).digest
    else:
        document.redacted_digest = ""


# --- decisions ---------------------------------------------------------------------------------


def approve(flag: Flag, *, by: User, alike: bool = False) -> int:
    """Let a passage in as it is. Raises InputError("flag.blocked") where the corpus forbids it."""
    if flag.corpus.policy_for(Kind(flag.kind)) == Policy.BLOCK:
        raise InputError("flag.blocked")
    return _decide(flag, FlagState.APPROVED, by, alike=alike)


def redact(flag: Flag, *, by: User, alike: bool = False) -> int:
    """Black a passage out of what models learn."""
    return _decide(flag, FlagState.REDACTED, by, alike=alike)


def leave_out(flag: Flag, *, by: User, alike: bool = False) -> int:
    """Leave the whole document out of snapshots."""
    return _decide(flag, FlagState.EXCLUDED, by, alike=alike)


def alike(flag: Flag) -> list[Flag]:
    """Every open passage of the corpus with the same words, this one first."""
    others = Flag.objects.filter(
        corpus=flag.corpus_id, mark=flag.mark, kind=flag.kind, state=FlagState.OPEN
    )
    return [flag, *others.exclude(pk=flag.pk).select_related("document").order_by("document_id")]


@transaction.atomic
def _decide(flag: Flag, state: FlagState, by: User, *, alike: bool) -> int:
    """How many passages this call decided; 0 when somebody else was first."""
    must(flag.corpus, by, Right.CURATE)
    rows = Flag.objects.filter(state=FlagState.OPEN, corpus=flag.corpus_id)
    rows = rows.filter(mark=flag.mark, kind=flag.kind) if alike else rows.filter(pk=flag.pk)
    chosen = list(rows.select_for_update().values_list("pk", "document_id"))
    Flag.objects.filter(pk__in=[pk for pk, _document in chosen]).update(
        state=state, decided_by=by, decided_at=Now()
    )
    for document_id in {document for _pk, document in chosen}:
        _after(document_id, left_out=state == FlagState.EXCLUDED)
    if chosen:
        audit.record(
            "flag.decide", flag.document, by=by, decision=state.value, kind=flag.kind, n=len(chosen)
        )
    return len(chosen)


@transaction.atomic
def reopen(flag: Flag, *, by: User) -> bool:
    """Take a decision back. False when it was open already."""
    must(flag.corpus, by, Right.CURATE)
    now = Flag.objects.select_for_update().get(pk=flag.pk)
    if now.state == FlagState.OPEN:
        return False
    was = now.state
    now.state, now.decided_by, now.decided_at = FlagState.OPEN, None, None
    now.save(update_fields=["state", "decided_by", "decided_at"])
    others = Flag.objects.filter(document=now.document_id, state=FlagState.EXCLUDED)
    back = was == FlagState.EXCLUDED and not others.exists()
    _after(now.document_id, left_out=False if back else None)
    audit.record("flag.reopen", flag.document, by=by, was=was, kind=flag.kind)
    return True


def _after(document_id: UUID, *, left_out: bool | None) -> None:
    """Bring a document's learning text and state up to what was decided about its passages."""
    document = locked(Document(pk=document_id))
    if left_out is not None and (left_out or document.left_out):
        document.left_out = left_out
    text = text_of(document)
    findings = found(text)
    _ask(document, text, findings)
    _black_out(document, text, findings)
    document.save(update_fields=["redacted_digest"])
    settle(document)


# --- policies ----------------------------------------------------------------------------------


@transaction.atomic
def set_policies(corpus: Corpus, policies: dict[str, str], *, by: User) -> None:
    """Change what becomes of findings; every document is screened again under the new rule.

    policies  {"contact" | "identity" | "secret": a Policy}. Only the corpus's owner may.
    """
    must(corpus, by, Right.CURATE)
    values = {f"{Group(name).value}_policy": Policy(said) for name, said in policies.items()}
    Corpus.objects.filter(pk=corpus.pk).update(policy_version=F("policy_version") + 1, **values)
    corpus.refresh_from_db()
    audit.record("corpus.policies", corpus, by=by, **{k: str(v) for k, v in values.items()})
    send("ingestion.screen", str(corpus.tenant_id), str(corpus.pk))


@transaction.atomic
def screen_again(corpus_id: UUID | str) -> int:
    """Screen some documents that an older policy judged; how many. 0 when all are up to date."""
    corpus = Corpus.objects.filter(pk=corpus_id).first()
    if corpus is None:  # it went while the message was on its way
        return 0
    some = list(behind(corpus).order_by("pk").select_for_update(skip_locked=True)[:AT_ONCE])
    for document in some:
        document.corpus = corpus
        screen(document, text_of(document))
        settle(document)
    return len(some)


def behind(corpus: Corpus) -> DocumentQuerySet:
    """Documents that were not yet screened under the corpus's present policies, or never."""
    late = Q(policy_version__lt=corpus.policy_version) | Q(screened=False)
    rows: DocumentQuerySet = Document.objects.filter(late, corpus=corpus)
    return rows.exclude(state=DocumentState.DELETED)
