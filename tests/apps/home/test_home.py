"""The home page: the next step of each corpus, each role's own page, and a bounded price."""

from __future__ import annotations

from apps.corpora.actions import create_corpus, revoke
from apps.corpora.models import Corpus, CorpusGrant, Flag, Snapshot
from apps.home.standing import Standing, standings
from apps.registry.models import Alias
from apps.runs.models import Run
from apps.teaching.models import Plan
from apps.tenants.scope import tenant_scope
from tests.apps.chat.making import make_model
from tests.browser.making import digest, fill, make_corpus, make_run, make_snapshot
from tests.cast import Cast


def of(cast: Cast, corpus: Corpus) -> Standing:
    found, _more = standings(cast.ada)
    return next(each for each in found if each.corpus == corpus)


def states(found: Standing) -> list[str]:
    return [step.state for step in found.steps]


def test_each_stage_of_a_corpus_names_the_next_one(cast: Cast) -> None:
    with tenant_scope(cast.north):
        empty = create_corpus("Empty", by=cast.ada)
        assert of(cast, empty).next.action == "Add documents"
        corpus, upload, documents = make_corpus(cast)
        flag = Flag.objects.create(
            corpus=corpus, document=documents[0], kind="iban", start=0, end=4, mark=digest("x")
        )
        assert of(cast, corpus).next.action == "Decide"
        flag.delete()
        assert of(cast, corpus).next.action == "Freeze a snapshot"
        make_snapshot(cast, corpus, documents)
        assert of(cast, corpus).next.action == "Teach it"
        upload.items.filter(path="scan.pdf").update(state="received", code="")
        assert states(of(cast, corpus))[0] == "busy"


def test_a_taught_corpus_leads_to_its_card_and_then_to_the_chat(cast: Cast) -> None:
    made = fill(cast)
    corpus = next(each for each in made if isinstance(each, Corpus))
    with tenant_scope(cast.north):
        done = of(cast, corpus)
        assert (states(done), done.next.action) == (["done"] * 6, "Chat with it")
        assert done.next.href == "/chat/?model=Gauges"
        Alias.objects.all().delete()
        assert of(cast, corpus).next.action == "Read the card and promote"
        cast.north.settings["least_private"] = 99  # the card shows 96
        cast.north.save(update_fields=["settings"])
        assert of(cast, corpus).next.action == "Read the card"
        first = Plan.objects.get()
        again = Plan.objects.create(
            name="Gauges", corpus=corpus, snapshot=first.snapshot, anchor=first.anchor, by=cast.ada
        )
        assert of(cast, corpus).next.action == "Watch the training"
        lost = make_run(again, "augment", "failed", cast)
        Run.objects.filter(pk=lost.pk).update(plan=again.pk)
        assert of(cast, corpus).next.href == lost.get_absolute_url()


def test_a_snapshot_of_several_corpora_is_the_newest_of_each(cast: Cast) -> None:
    made = fill(cast)
    corpus = next(each for each in made if isinstance(each, Corpus))
    with tenant_scope(cast.north):
        other = create_corpus("Seals", by=cast.ada)
        first = Plan.objects.get()
        both = Snapshot.objects.create(
            corpus=other,
            further=[corpus.pk],
            digest=digest("both"),
            manifest={},
            documents=3,
            tokens=9,
            frozen_by=cast.ada,
        )
        assert of(cast, corpus).next.action == "Teach it"
        assert of(cast, corpus).next.href.endswith(str(both.pk))
        plan = Plan.objects.create(
            name="Both", corpus=other, snapshot=both, anchor=first.anchor, by=cast.ada
        )
        make_run(plan, "augment", "failed", cast)
        Run.objects.filter(state="failed").update(plan=plan.pk)
        assert of(cast, corpus).next.action == "See what happened"


def test_a_corpus_that_one_may_not_curate_is_no_step_of_ones_own(cast: Cast) -> None:
    with tenant_scope(cast.north):
        make_corpus(cast)  # bo may read it
        assert standings(cast.bo) == ([], False)


def test_a_new_tenant_is_shown_the_way(cast: Cast) -> None:
    page = cast.client(cast.cy).get("/").content.decode()
    assert "Bring a corpus" in page
    assert 'href="/corpora/new/"' in page
    assert "import_anchor FOLDER --tenant south" in page


def test_an_employee_asks_and_finds_again(cast: Cast) -> None:
    make_model(cast.north, cast.ada, cast.bo)
    bo = cast.client(cast.bo)
    asked = bo.post("/chat/ask", {"text": "Where is it made?", "model": "handbook"}, follow=True)
    assert asked.status_code == 200
    page = bo.get("/").content.decode()
    assert 'href="/chat/?model=handbook"' in page
    assert "Where is it made?" in page
    with tenant_scope(cast.north):
        revoke(CorpusGrant.objects.get(user=cast.bo), by=cast.ada)
    page = bo.get("/").content.decode()
    assert "Where is it made?" not in page
    assert "There is no model that you may ask yet" in page
