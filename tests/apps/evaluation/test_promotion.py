"""A report is filed once and whole; its gates decide what may go live without a reason."""

from __future__ import annotations

import pytest
from django.db import DatabaseError, transaction
from django.utils import translation

from apps.accounts.rules import change_rules
from apps.corpora import actions as corpora
from apps.corpora.models import Corpus, Right
from apps.evaluation import gates
from apps.evaluation.actions import promote, question_set, start_evaluate
from apps.evaluation.gates import Verdict
from apps.evaluation.models import Report
from apps.registry.models import Alias, AliasChange
from apps.runs.actions import start_compose
from apps.runs.models import Run
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from tests.apps.evaluation.making import GOOD, cells, file, make_model, public
from tests.cast import Cast

BOTH = cells("recall", GOOD) + cells("private_times_public", GOOD) + public(0.6, 0.6)


def verdicts(report: Report) -> list[str]:
    return [gate.verdict for gate in gates.check(report)]


def test_a_report_with_good_numbers_passes_every_gate(cast: Cast) -> None:
    with tenant_scope(cast.north):
        report = file(make_model(cast), BOTH, cast)
        assert verdicts(report) == [Verdict.PASSED] * 4
        promote("live", report, by=cast.ada)
        alias = Alias.objects.get(name="live")
        assert alias.composition == report.composition
        move = AliasChange.objects.get(name="live")
        assert [gate["verdict"] for gate in move.gates] == ["passed"] * 4
        assert move.report_id == report.pk


def test_gates_speak_the_readers_language_and_the_history_keeps_the_sites(cast: Cast) -> None:
    with tenant_scope(cast.north), translation.override("de"):
        report = file(make_model(cast), BOTH, cast)
        first = gates.check(report)[0]
        assert (first.name, first.verdict.label) == ("Weiß, was der Anker nicht weiß", "Bestanden")
        assert " bis " in first.words
        promote("live", report, by=cast.ada)
        kept = AliasChange.objects.get(name="live").gates[0]
    assert (kept["name"], kept["verdict"]) == ("Knows what the anchor does not", "passed")
    assert " to " in kept["words"]


def test_overlapping_intervals_are_no_pass(cast: Cast) -> None:
    with tenant_scope(cast.north):
        close = cells("recall", GOOD | {"random": 0.88}) + cells("private_times_public", GOOD)
        report = file(make_model(cast), close, cast)
        assert verdicts(report)[:3] == [Verdict.PASSED, Verdict.PASSED, Verdict.FAILED]


@pytest.mark.parametrize(("ours", "verdict"), [(0.59, "passed"), (0.58, "failed"), (0.7, "passed")])
def test_public_skill_may_fall_by_one_point_and_no_more(
    cast: Cast, ours: float, verdict: str
) -> None:
    with tenant_scope(cast.north):
        report = file(make_model(cast), cells("recall", GOOD) + public(ours, 0.6), cast)
        assert verdicts(report)[3] == verdict


@pytest.mark.parametrize(("ours", "verdict"), [(0.59, "passed"), (0.5, "failed")])
def test_each_task_of_lm_eval_holds_the_gate_on_public_skill(
    cast: Cast, ours: float, verdict: str
) -> None:
    task = [row | {"kind": "lm_eval:arc"} for row in public(ours, 0.6)]
    with tenant_scope(cast.north):
        report = file(make_model(cast), [*BOTH, *task], cast)
        gate = gates.check(report)[3]
    assert gate.verdict == verdict
    assert "; lm_eval:arc: " in gate.words


def test_not_measured_is_no_pass(cast: Cast) -> None:
    with tenant_scope(cast.north):
        report = file(make_model(cast), cells("recall", {"composition": 1.0, "anchor": 0.0}), cast)
        assert verdicts(report) == [Verdict.PASSED, *[Verdict.UNMEASURED] * 3]


def test_the_rules_of_a_tenant_set_the_bars(cast: Cast) -> None:
    with tenant_scope(cast.north):
        report = file(make_model(cast), cells("recall", GOOD) + public(0.55, 0.6), cast)
        assert [gate.verdict for gate in gates.check(report)][-1] == Verdict.FAILED
        wanted = {"least_private": 90, "most_public_lost": 5}
        change_rules(cast.north, wanted, by=cast.ada)
        report = Report.objects.get()
        first, *_, last = gates.check(report)
        assert (first.name, first.verdict) == (
            "Answers enough private questions",
            Verdict.PASSED,
        )
        assert last.verdict == Verdict.PASSED
        change_rules(cast.north, {"least_private": 96}, by=cast.ada)
        assert gates.check(Report.objects.get())[0].verdict == Verdict.FAILED


LEAKS = {
    "most_verbatim": ("verbatim", "documents"),
    "most_canaries": ("canary", "planted"),
    "most_other_corpus": ("other_corpus", "not_learned"),
}


@pytest.mark.parametrize("rule", LEAKS)
def test_what_comes_out_stops_a_promotion_where_the_tenant_says_so(cast: Cast, rule: str) -> None:
    kind, part = LEAKS[rule]
    (leak, _other) = cells(kind, {"composition": 0.1})  # its interval reaches to 0.2
    with tenant_scope(cast.north):
        report = file(make_model(cast), [*BOTH, leak | {"slice": part}], cast)
        assert len(verdicts(report)) == 4
        change_rules(cast.north, {rule: 20}, by=cast.ada)
        assert verdicts(Report.objects.get()) == [Verdict.PASSED] * 5
        change_rules(cast.north, {rule: 19}, by=cast.ada)
        last = gates.check(Report.objects.get())[-1]
        assert last.verdict == Verdict.FAILED
        assert "10% (0 to 20, n=60); at most 19%" in last.words
        with pytest.raises(InputError, match=r"gates\.failed"):
            promote("live", Report.objects.get(), by=cast.ada)
        assert not Alias.objects.filter(name="live").exists()


def test_a_leak_that_nobody_looked_for_is_no_pass(cast: Cast) -> None:
    with tenant_scope(cast.north):
        report = file(make_model(cast), BOTH, cast)
        change_rules(cast.north, dict.fromkeys(LEAKS, 99), by=cast.ada)
        assert verdicts(Report.objects.get(pk=report.pk))[4:] == [Verdict.UNMEASURED] * 3


def test_a_failed_gate_needs_a_reason_and_the_reason_is_kept(cast: Cast) -> None:
    with tenant_scope(cast.north):
        report = file(make_model(cast), cells("recall", GOOD), cast)
        with pytest.raises(InputError, match=r"gates\.failed"):
            promote("live", report, by=cast.ada, reason="  ")
        assert not Alias.objects.filter(name="live").exists()
        promote("live", report, by=cast.ada, reason="A trial for one week.")
        assert AliasChange.objects.get(name="live").reason == "A trial for one week."


def test_nobody_promotes_what_they_may_not_use(cast: Cast) -> None:
    with tenant_scope(cast.north):
        report = file(make_model(cast), BOTH, cast)
        with pytest.raises(InputError, match=r"composition\.closure"):
            promote("live", report, by=cast.bo)
        corpora.grant(Corpus.objects.get(), cast.bo, Right.READ, by=cast.ada)
        promote("live", report, by=cast.bo)


def test_the_page_refuses_without_a_reason_and_says_which_gate(cast: Cast) -> None:
    with tenant_scope(cast.north):
        report = file(make_model(cast), cells("recall", GOOD), cast)
    client = cast.client(cast.ada)
    address = f"/reports/{report.pk}/promote"
    answer = client.post(address, {"seen": ""}, follow=True)
    assert "Joins private facts with public skill" in answer.content.decode()
    with tenant_scope(cast.north):
        assert not Alias.objects.filter(name="live").exists()
    client.post(address, {"seen": "", "reason": "A trial."})
    with tenant_scope(cast.north):
        assert Alias.objects.filter(name="live").exists()


def test_the_verdict_names_the_winner_also_when_it_is_not_ours(cast: Cast) -> None:
    with tenant_scope(cast.north):
        rows = cells("recall", GOOD | {"composition": 0.8, "augmenter": 1.0})
        report = file(make_model(cast), rows, cast)
        assert "80% (70 to 90, n=60)" in report.verdict
        assert "fewer than the augmenter (100%)" in report.verdict


def test_a_report_is_never_edited(cast: Cast) -> None:
    with tenant_scope(cast.north):
        report = file(make_model(cast), BOTH, cast)
        for edit in (lambda: Report.objects.update(verdict="Perfect"), report.delete):
            with pytest.raises(DatabaseError), transaction.atomic():
                edit()


def test_without_questions_kept_back_nothing_is_measured(cast: Cast) -> None:
    with tenant_scope(cast.north):
        model = make_model(cast)
        model.snapshot.manifest = {"examples": [["0" * 64, "bridge"]]}
        with pytest.raises(InputError, match=r"snapshot\.questions"):
            question_set(model.snapshot)


def test_a_control_that_is_not_done_is_refused(cast: Cast) -> None:
    with tenant_scope(cast.north):
        model = make_model(cast)
        (part,) = model.parts()
        control = start_compose(
            model.anchor, part, model.snapshot, control="random", by=cast.ada, name="Devices"
        )
        with pytest.raises(InputError, match=r"control\.mismatch"):
            start_evaluate(model, control_run=control, by=cast.ada)
        assert not Run.objects.filter(kind="evaluate").exists()
