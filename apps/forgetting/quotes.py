"""What quotes the documents of a plan and is no document: answers, reports, samples, examples.

Answers in conversations are their owners' words too, so the organisation's rules say whether they
go with the question that they answer, or stay shut with the models that gave them. Where people
pasted the documents themselves, or another model repeated them, the words alone are struck out: of
a conversation that nobody but its owner may read, no more is known. The rest are copies of corpus
text, and go.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from apps.accounts.rules import rules_of
from apps.audit import holds
from apps.audit.models import Hold
from apps.chat.actions import title_from
from apps.chat.models import Conversation, Message
from apps.corpora.models import Example
from apps.evaluation.models import Report
from apps.forgetting import stretches
from apps.forgetting.lineage import Affected, documents_of
from apps.forgetting.models import ForgetPlan
from apps.runs.models import Run, RunSample
from apps.runs.states import Control
from apps.tenants.scope import current_tenant

KEEPS = "keep_forgotten_answers"
NAMELESS = "forgotten"
LOOKED_AT = 20_000  # messages, the newest, for the page of a plan; at the end all are


def are_kept() -> bool:
    """Whether the organisation keeps such answers, shut to everybody."""
    tenant = current_tenant()
    return bool(tenant and rules_of(tenant)[KEEPS])


def answers(found: Affected) -> Any:
    """What the models that learned it have said."""
    return Message.objects.filter(composition__in=found.compositions)


def elsewhere(found: Affected) -> Any:
    """Messages that neither go with those answers nor are shut with them."""
    if are_kept():
        return Message.objects.exclude(conversation__in=answers(found).values("conversation"))
    going = answers(found).values("parent")
    return Message.objects.exclude(pk__in=going).exclude(parent__in=going)


@dataclass(frozen=True)
class Pasted:
    """Where else the documents are quoted.

    is_all   False: there are more documents or messages than were looked at
    """

    messages: int
    conversations: int
    is_all: bool


def pasted(plan: ForgetPlan, found: Affected) -> Pasted:
    """How many messages elsewhere quote the documents; only so much is looked at."""
    rows = elsewhere(found)
    newest = rows.order_by("-created_at")[:LOOKED_AT]
    batches = list(islice(stretches.quoted(documents_of(plan)), 2))
    hits = dict(stretches.quoting(newest, batches[0])) if batches else {}
    is_all = len(batches) < 2 and rows.count() <= LOOKED_AT
    return Pasted(len(hits), len(set(hits.values())), is_all)


def quoting(plan: ForgetPlan, found: Affected) -> set[Any]:
    """Primary keys of all messages elsewhere that quote the documents."""
    rows, documents = elsewhere(found), documents_of(plan)
    batches = stretches.quoted(documents)
    return {pk for words in batches for pk, _talk in stretches.quoting(rows, words)}


def require_free(found: Affected, said: Iterable[Any]) -> None:
    """Raises InputError("hold.stands") while somebody whose messages would change is held.

    said   messages elsewhere that quote the documents
    """
    held = set(holds.held(Hold.Kind.PERSON).values_list("subject", flat=True))
    owners = set(Message.objects.filter(pk__in=said).values_list("conversation__owner", flat=True))
    if not are_kept():
        owners.update(answers(found).values_list("conversation__owner", flat=True))
    for person in sorted({str(each) for each in owners} & held):
        holds.require_free(Hold.Kind.PERSON, person)


def files(found: Affected) -> dict[str, list[str]]:
    """Digests by kind: answers behind reports, and bridges that were trained as a control."""
    reports = Report.objects.filter(run__in=found.runs) | Report.objects.filter(
        composition__in=found.compositions
    )
    outcomes = (run.outcome or {} for run in found.runs if run.control != Control.NONE)
    return {
        "report": sorted(set(reports.values_list("items_digest", flat=True)) - {""}),
        "control": sorted({told["digest"] for told in outcomes if told.get("digest")}),
    }


def drop(plan: ForgetPlan, found: Affected) -> dict[str, int]:
    """Delete the rows; how many of what."""
    gone = {"samples": RunSample.objects.filter(run__in=found.runs).delete()[0]}
    Run.objects.filter(pk__in=[each.pk for each in found.runs]).update(samples=[])
    if plan.corpus_id and not plan.digest:
        gone["examples"] = Example.objects.filter(corpus=plan.corpus_id).delete()[0]
    return gone if are_kept() else gone | drop_answers(found)


def strike(plan: ForgetPlan, said: Iterable[Any]) -> int:
    """Strike the documents' words out of these messages; how many messages.

    A title that was the beginning of such a message begins like it again.
    """
    rows = Message.objects.filter(pk__in=said).select_related("conversation")
    touched = set()
    for words in stretches.quoted(documents_of(plan)):
        for message in rows.iterator(chunk_size=500):
            before = {name: getattr(message, name) for name in stretches.SAID}
            after = {n: stretches.struck(text, words.runs(text)) for n, text in before.items()}
            if after == before:
                continue
            Message.objects.filter(pk=message.pk).update(**after)
            talks = Conversation.objects.filter(pk=message.conversation_id)
            talks.filter(title=title_from(before["text"])).update(title=title_from(after["text"]))
            touched.add(message.pk)
    return len(touched)


def drop_answers(found: Affected) -> dict[str, int]:
    """Delete each answer with its question and what else answered that; then what is empty.

    A conversation that goes on loses its title where that was the words of a question that went.
    """
    said = answers(found)
    talks = list(said.values_list("conversation", flat=True).distinct())
    questions = Message.objects.filter(pk__in=list(said.values_list("parent", flat=True)))
    titles = {title_from(text) for text in questions.values_list("text", flat=True)}
    count = said.count()
    going = list(questions.values_list("pk", flat=True))
    # What was asked after such an answer stays, where another model answered it.
    after = Message.objects.filter(follows__parent__in=going).exclude(pk__in=going)
    after.update(follows=None)
    questions.delete()  # and, through them, every reply
    here = Conversation.objects.filter(pk__in=talks)
    empty = here.filter(messages=None)
    gone = {"answers": count, "conversations": empty.count()}
    empty.delete()
    here.filter(title__in=titles).update(title=NAMELESS)
    return gone
