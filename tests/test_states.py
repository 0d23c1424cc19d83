"""Each screen when there is nothing, when something takes its time, when it failed, when it is not
one's own: it says so in words. Full screens are walked in a browser (tests/browser/test_pages.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from apps.chat.models import Conversation, Message
from apps.corpora.models import Corpus, CorpusGrant, Freezing, UploadItem
from apps.evaluation.models import Report
from apps.registry.models import Composition, Placement
from apps.runs.models import Run
from apps.teaching.models import Plan
from apps.tenants.scope import tenant_scope
from tests.browser.making import fill
from tests.cast import Cast

NEW_TENANT = {  # to its first curator
    "/": "From your documents to a model that your people can ask",
    "/chat/": "There is no model that you may ask yet",
    "/chat/?q=heron": "Conversations found: 0",
    "/chat/shared/": "Nothing is shared with you.",
    "/corpora/": "No corpus that you may read.",
    "/runs/": "No run yet.",
    "/runs/compare": "Pick two runs.",
    "/models/": "No model that you may read. Teach a corpus to make one.",
    "/reports/": "No report yet.",
    "/audit/?action=none": "No line matches.",
    "/audit/approvals/": "Nothing waits for a second person.",
    "/accounts/keys/": "You have no keys yet.",
    "/accounts/services/": "There is no service account yet.",
    "/accounts/usage/": "unlimited by choice",
}
TABS = {
    "documents": "No document yet.",
    "uploads": "No upload yet.",
    "sources": "connected to no folder and no bucket",
    "examples": "No questions yet.",
    "snapshots": "No snapshot yet.",
}
CURATORS = ("/runs/", "/teach/", "/accounts/people/", "/accounts/rules/", "/forget/", "/look/")
WATCHERS = ("/audit/", "/audit/approvals/", "/chat/break-glass/")


@pytest.mark.parametrize("path", NEW_TENANT)
def test_where_nothing_is_a_page_says_why(cast: Cast, path: str) -> None:
    answer = cast.client(cast.cy).get(path)
    assert answer.status_code == 200
    assert NEW_TENANT[path] in answer.content.decode()


@pytest.mark.parametrize("tab", TABS)
def test_an_empty_corpus_says_so_on_every_tab(cast: Cast, tab: str) -> None:
    with tenant_scope(cast.south):
        corpus = Corpus.objects.create(name="Empty", owner=cast.cy)
    page = cast.client(cast.cy).get(f"{corpus.get_absolute_url()}?tab={tab}").content.decode()
    assert TABS[tab] in page


# ---- what takes its time, and what failed --------------------------------------------------------

Change = Callable[[], Any]  # in North's scope; answers with the row whose page is looked at


def reading() -> Any:
    item = UploadItem.objects.filter(path="mx-200.md").get()
    UploadItem.objects.filter(pk=item.pk).update(state="received", document=None)
    return item.upload


def freezing(**facts: Any) -> Any:
    corpus = Corpus.objects.get()
    return Freezing.objects.create(corpus=corpus, by=corpus.owner, **facts)


def answering(**facts: Any) -> Any:
    Message.objects.filter(role="assistant").update(text="", **facts)
    return Conversation.objects.get()


def run_in(state: str) -> Any:
    return Run.objects.filter(state=state).first()


def waking() -> Any:
    Placement.objects.update(state="starting", seen_at=timezone.now())
    return Composition.objects.get()


def barred() -> Any:
    Composition.objects.update(state="quarantined", state_reason="It tells too much.")
    return Composition.objects.get()


def lost_run_of_plan() -> Any:
    plan = Plan.objects.get()
    Run.objects.filter(plan=plan.pk).update(plan=None)
    Run.objects.filter(state="failed").update(plan=plan.pk)
    return plan


def unmet() -> Any:
    """A card whose bar is higher than what it shows, of a version that is not live."""
    report = Report.objects.get()
    report.tenant.settings["least_private"] = 99
    report.tenant.save(update_fields=["settings"])
    report.composition.aliases.all().delete()
    return report


SLOW: dict[str, tuple[Change, str]] = {
    "upload": (reading, "1 in progress"),
    "freezing": (freezing, "A worker freezes it."),
    "run": (lambda: run_in("running"), "62"),
    "answer": (lambda: answering(state="waiting", finished_at=None), "Waiting for its turn"),
    "model": (waking, "Starting"),
}
FAILED: dict[str, tuple[Change, str]] = {
    "upload": (lambda: UploadItem.objects.get(path="scan.pdf").upload, "and no text"),
    "run": (lambda: run_in("failed"), "The worker went away twice."),
    "plan": (lost_run_of_plan, "failed"),
    "answer": (
        lambda: answering(
            state="failed", failure="model.gone", failure_text="The model stopped answering."
        ),
        "The model stopped answering.",
    ),
    "model": (barred, "In quarantine: nobody can use it."),
    "report card": (unmet, "Reason for promoting it all the same"),
}


@pytest.mark.parametrize("screen", SLOW)
def test_what_takes_its_time_is_said_to(cast: Cast, screen: str) -> None:
    look(cast, *SLOW[screen])


@pytest.mark.parametrize("screen", FAILED)
def test_what_failed_says_so(cast: Cast, screen: str) -> None:
    look(cast, *FAILED[screen])


def look(cast: Cast, change: Change, words: str) -> None:
    fill(cast)
    with tenant_scope(cast.north):
        address = change().get_absolute_url()
    answer = cast.client(cast.ada).get(address)
    assert answer.status_code == 200
    assert words in answer.content.decode()


# ---- what is not one's own -----------------------------------------------------------------------


@pytest.mark.parametrize("path", [*CURATORS, *WATCHERS])
def test_a_role_that_is_lacking_is_named(cast: Cast, path: str) -> None:
    answer = cast.client(cast.bo).get(path)
    assert answer.status_code == 403
    page = answer.content.decode()
    assert "You lack a right for this" in page
    assert "yours is employee" in page


def test_whose_right_was_taken_finds_no_trace_of_anything(cast: Cast) -> None:
    made = fill(cast)
    with tenant_scope(cast.north):
        addresses = [each.get_absolute_url() for each in made if not isinstance(each, Run | Plan)]
        CorpusGrant.objects.all().delete()
    bo = cast.client(cast.bo)
    for address in addresses:
        answer = bo.get(address)
        if "/anchors/" in address:  # public by declaration
            continue
        assert answer.status_code == 404, address
        assert "nothing here that you may open" in answer.content.decode()
