"""Starting a run: refused at the door, or written whole with its event and audit line."""

from __future__ import annotations

from typing import Any

import pytest

from apps.audit.models import AuditEvent
from apps.runs.actions import start_augment, start_compose
from apps.runs.models import Run
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError
from calm_engine.specs import AugmentSpec
from tests.apps.runs.making import make_anchor, make_run, make_snapshot
from tests.cast import Cast


def test_a_queued_run_holds_its_whole_spec_and_no_path_of_this_machine(cast: Cast) -> None:
    with tenant_scope(cast.north):
        run = make_run(cast.ada, steps=7)
        spec = AugmentSpec.from_dict(run.spec)
        assert spec.steps == 7
        assert {spec.output, spec.work, spec.tokenizer, spec.documents, spec.examples} == {
            "@output",
            "@work",
            "@anchor",
            "@documents",
            "@examples",
        }
        assert run.closure == [run.snapshot.corpus_id]
        assert [event.kind for event in run.events.all()] == ["queued"]
        assert AuditEvent.objects.filter(action="run.start", resource_id=str(run.pk)).exists()


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 0},
        {"stepz": 3},
        {"output": "/etc"},
        {"documents": "/etc/passwd"},
        {"device": "abacus"},
    ],
)
def test_a_bad_setting_is_refused_at_the_door(cast: Cast, settings: dict[str, Any]) -> None:
    with tenant_scope(cast.north):
        with pytest.raises(InputError, match=r"spec\."):
            start_augment(
                make_snapshot(cast.ada),
                anchor=make_anchor(cast.ada),
                settings=settings,
                by=cast.ada,
            )
        assert not Run.objects.exists()


def test_nobody_teaches_what_they_may_not_read(cast: Cast) -> None:
    with tenant_scope(cast.north):
        snapshot, anchor = make_snapshot(cast.ada), make_anchor(cast.ada)
        with pytest.raises(InputError, match=r"run\.closure"):
            start_augment(snapshot, anchor=anchor, by=cast.bo)


def test_an_augmenter_of_another_tokenizer_is_refused(cast: Cast) -> None:
    from tests.apps.registry.making import make_augmenter  # noqa: PLC0415  beside its one use

    with tenant_scope(cast.north):
        snapshot = make_snapshot(cast.ada)
        augmenter = make_augmenter([snapshot], anchor=make_anchor(cast.ada))
        other = make_anchor(cast.ada, "Other")
        other.vocabulary = 999
        with pytest.raises(InputError, match=r"tokenizer\.mismatch"):
            start_compose(other, augmenter, snapshot, by=cast.ada)
