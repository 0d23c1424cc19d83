"""What learned the documents of a plan: asked of lineage as it stands now. Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import Q

from apps.chat.models import Message
from apps.corpora import manifests
from apps.corpora.models import Document, DocumentState, Snapshot
from apps.forgetting.models import ForgetPlan, Mention
from apps.registry.models import Alias, Augmenter, AugmenterSnapshot, Composition
from apps.runs.models import Run


@dataclass(frozen=True)
class Affected:
    """Everything that lineage reaches from what is to be forgotten."""

    snapshots: list[Snapshot]
    augmenters: list[Augmenter]
    compositions: list[Composition]
    runs: list[Run]
    answers: int

    @property
    def learning(self) -> list[Run]:
        """Those that have not ended: what they make would come after the forgetting."""
        return [each for each in self.runs if not each.is_final]

    @property
    def live(self) -> list[Composition]:
        """Those that some alias still names."""
        named = set(Alias.objects.values_list("composition_id", flat=True))
        return [each for each in self.compositions if each.pk in named]


def documents_of(plan: ForgetPlan) -> Any:
    """The documents that go: all of a corpus, one, or those that a curator confirmed.

    Those that were deleted before have nothing left to forget.
    """
    there = Document.objects.exclude(state=DocumentState.DELETED)
    if plan.person_id:
        chosen = plan.mentions.filter(verdict=Mention.Verdict.FORGET).values("document")
        return there.filter(pk__in=chosen)
    rows = there.filter(corpus=plan.corpus_id)
    return rows.filter(pk=plan.document_id) if plan.document_id else rows


def twins(plan: ForgetPlan) -> Any:
    """Documents that stay and say the same or nearly the same as those that go.

    Copies that were set aside for one of them, what one of them was set aside for, and the same
    text in whatever corpus. Models may have learned it from these too: other plans tell.
    """
    going = documents_of(plan)
    texts = going.exclude(text_digest="").values("text_digest")
    alike = (
        Q(duplicate_of__in=going.values("pk"))
        | Q(pk__in=going.exclude(duplicate_of=None).values("duplicate_of"))
        | Q(text_digest__in=texts)
    )
    rows = Document.objects.exclude(state=DocumentState.DELETED).filter(alike)
    return rows.exclude(pk__in=going.values("pk"))


def corpora_of(plan: ForgetPlan) -> set[Any]:
    """The corpora that lose a document."""
    if plan.corpus_id:
        return {plan.corpus_id}
    return set(documents_of(plan).values_list("corpus", flat=True))


def affected(plan: ForgetPlan) -> Affected:
    """What learned it since the plan was opened is found too."""
    snapshots = snapshots_of(plan)
    learned = AugmenterSnapshot.objects.filter(snapshot__in=snapshots).values("augmenter")
    augmenters = list(Augmenter.objects.filter(pk__in=learned))
    compositions = list(
        (
            Composition.objects.filter(augmenters__in=augmenters)
            | Composition.objects.filter(snapshot__in=snapshots)
        ).distinct()
    )
    runs = _runs(snapshots, augmenters, compositions)
    answers = Message.objects.filter(composition__in=compositions).count()
    return Affected(snapshots, augmenters, compositions, runs, answers)


def _runs(
    snapshots: list[Snapshot], augmenters: list[Augmenter], compositions: list[Composition]
) -> list[Run]:
    """Those that read it, and those that went on from what had: an update's own snapshot may hold
    it no more. One that was trained again without documents is only asked beside what knew them."""
    reads = Q(snapshot__in=snapshots)
    goes_on = Q(augmenter__in=augmenters) | Q(composition__in=compositions)
    ids = {each.pk for each in snapshots}
    found = Run.objects.filter(reads | goes_on)
    return [run for run in found if run.snapshot_id in ids or not run.spec.get("forget")]


def carriers(document: Document) -> Affected:
    """What learned one document, as a plan to forget it would find."""
    asked = ForgetPlan(corpus=document.corpus, document=document, digest=document.original_digest)
    return affected(asked)


def snapshots_of(plan: ForgetPlan) -> list[Snapshot]:
    """Those whose manifest names one of the documents; of a whole corpus, all."""
    found = Snapshot.objects.touching(corpora_of(plan))
    if plan.corpus_id and not plan.digest:
        return list(found)
    going = {plan.digest} if plan.digest else set()
    if plan.person_id:
        going = set(documents_of(plan).values_list("original_digest", flat=True))
    return [each for each in found if manifests.names_any(each, going)]


def is_barred(plan: ForgetPlan, found: Affected) -> bool:
    """Whether it was quarantined, and nothing was confirmed, learned or let back in since."""
    opened = any(each.state == Composition.State.READY for each in found.compositions)
    staying = documents_of(plan).exclude(state=DocumentState.WITHDRAWN)
    return plan.quarantined_at is not None and not opened and not staying.exists()
