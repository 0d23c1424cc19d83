"""The pages of models, runs, reports and plans: what each person finds there, and what acts do."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.http import HttpResponse

from apps.audit.models import AuditEvent
from apps.corpora.models import Corpus
from apps.evaluation.models import Report
from apps.registry import views
from apps.registry.models import Alias, Anchor, Augmenter, Composition
from apps.runs.models import Run
from apps.teaching.models import Plan
from apps.tenants.scope import tenant_scope
from tests.browser.making import fill
from tests.cast import Cast
from tests.walking import walked


def made(cast: Cast, model: type) -> Any:
    """The first row of this kind in North."""
    return next(row for row in fill(cast) if isinstance(row, model))


def page(cast: Cast, user: object, row: Any) -> HttpResponse:
    with tenant_scope(cast.north):
        address = row.get_absolute_url()
    return cast.client(user).get(address)  # type: ignore[arg-type]  # one of the cast


@pytest.mark.parametrize("model", [Anchor, Augmenter, Composition, Report, Run, Plan])
def test_a_curator_reads_every_page(cast: Cast, model: type) -> None:
    assert page(cast, cast.ada, made(cast, model)).status_code == 200


@pytest.mark.parametrize("address", ["/models/", "/reports/", "/teach/", "/runs/"])
def test_a_curator_reads_every_list(cast: Cast, address: str) -> None:
    row = made(cast, Composition)
    answer = cast.client(cast.ada).get(address)
    assert answer.status_code == 200
    assert row.name in answer.content.decode()


def test_an_employee_reads_the_models_of_their_corpora(cast: Cast) -> None:
    row = made(cast, Composition)
    answer = page(cast, cast.bo, row)
    assert answer.status_code == 200
    assert b"Quarantine" not in answer.content
    assert str(row) in cast.client(cast.bo).get("/models/").content.decode()


def test_whoever_may_not_read_the_corpus_finds_no_trace_of_the_model(cast: Cast) -> None:
    row = made(cast, Composition)
    assert page(cast, cast.otto, row).status_code == 404
    assert str(row) not in cast.client(cast.otto).get("/models/").content.decode()


def test_many_models_have_pages_and_are_found_by_name(cast: Cast) -> None:
    row = made(cast, Composition)
    with tenant_scope(cast.north):
        Augmenter.objects.bulk_create(
            Augmenter(
                name=f"Model {number:02}",
                version=1,
                digest="a" * 64,
                run_id=uuid4(),
                anchor=row.anchor,
                closure=row.closure,
            )
            for number in range(25)
        )
    ada = cast.client(cast.ada)
    pages = list(walked(ada, "/models/"))
    assert "Model 03 v1" in pages[0]
    assert "Model 24 v1" not in pages[0]
    assert "Model 24 v1" in pages[-1]
    newest = ada.get("/models/", {"sort": "new"}).content.decode()
    assert str(row) not in newest  # it was the first to be made
    found = ada.get("/models/", {"q": "model 24"}).content.decode()
    assert "Model 24 v1" in found
    assert str(row) not in found
    assert "No model of such a name." in ada.get("/models/", {"q": "\0no"}).content.decode()
    assert "Model 24" not in cast.client(cast.otto).get("/models/", {"q": "24"}).content.decode()


def test_of_many_people_the_access_grid_shows_some_and_finds_the_others(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "PEOPLE", 1)
    model = next(row for row in fill(cast) if isinstance(row, Composition))
    ada, address = cast.client(cast.ada), model.get_absolute_url()
    page = ada.get(address).content.decode()
    assert "more people." in page
    assert 'name="who"' in page
    found = ada.get(address, {"who": cast.otto.name.upper()}).content.decode()
    assert f">{cast.otto.name}</th>" in found
    assert f">{cast.ada.name}</th>" not in found
    assert "2 people may use it" in found


def test_the_access_grid_names_the_corpus_that_is_missing(cast: Cast) -> None:
    rows = fill(cast)
    corpus = next(row for row in rows if isinstance(row, Corpus))
    model = next(row for row in rows if isinstance(row, Composition))
    answer = page(cast, cast.ada, model)
    text = answer.content.decode()
    assert "2 people may use it" in text
    assert f"no: {corpus.name}" in text  # otto


def test_quarantine_asks_for_the_name(cast: Cast) -> None:
    row = made(cast, Composition)
    client = cast.client(cast.ada)
    client.post(f"/models/{row.pk}/quarantine", {"reason": "It leaks.", "name": row.name})
    with tenant_scope(cast.north):
        row.refresh_from_db()
        assert row.state == "ready"
    client.post(f"/models/{row.pk}/quarantine", {"reason": "It leaks.", "name": str(row)})
    with tenant_scope(cast.north):
        row.refresh_from_db()
        assert row.state == "quarantined"
    assert b"It leaks." in client.get(f"/models/{row.pk}/").content
    client.post(f"/models/{row.pk}/lift", {"reason": "It does not.", "name": str(row)})
    with tenant_scope(cast.north):
        row.refresh_from_db()
        assert row.state == "ready"


def test_an_employee_may_not_quarantine(cast: Cast) -> None:
    row = made(cast, Composition)
    asked = {"reason": "Mine!", "name": str(row)}
    assert cast.client(cast.bo).post(f"/models/{row.pk}/quarantine", asked).status_code == 403


def test_a_curator_keeps_a_live_model_warm_and_lets_it_sleep_again(cast: Cast) -> None:
    row = made(cast, Composition)
    client = cast.client(cast.ada)
    for sent, kept in (({"kept": "on"}, True), ({}, False)):
        answer = client.post(f"/models/{row.pk}/keep-warm", sent, follow=True)
        assert (b"is kept warm" in answer.content) == kept
        with tenant_scope(cast.north):
            assert Alias.objects.get(name="live").keep_warm == kept
    with tenant_scope(cast.north):
        assert AuditEvent.objects.filter(action="alias.change").count() == 2
        Alias.objects.filter(name="live").delete()
    answer = client.post(f"/models/{row.pk}/keep-warm", {"kept": "on"}, follow=True)
    assert b"Only a model that is live" in answer.content
    assert cast.client(cast.bo).post(f"/models/{row.pk}/keep-warm").status_code == 403


def test_rolling_back_without_an_earlier_version_is_told(cast: Cast) -> None:
    row = made(cast, Composition)
    answer = cast.client(cast.ada).post(f"/models/{row.pk}/roll-back", follow=True)
    assert b"no earlier model" in answer.content


def test_promoting_from_the_report_moves_live(cast: Cast) -> None:
    report = made(cast, Report)
    with tenant_scope(cast.north):
        Alias.objects.all().delete()
    answer = cast.client(cast.ada).post(f"/reports/{report.pk}/promote", {"seen": ""}, follow=True)
    assert b"is live now" in answer.content
    with tenant_scope(cast.north):
        assert Alias.objects.get(name="live").composition_id == report.composition_id


def test_reports_are_found_by_their_model(cast: Cast) -> None:
    report = made(cast, Report)
    ada, name = cast.client(cast.ada), report.composition.name
    assert report.verdict in ada.get("/reports/", {"q": name[:3].upper()}).content.decode()
    none = ada.get("/reports/", {"q": "no such model"}).content.decode()
    assert report.verdict not in none
    assert "No report of such a model." in none
