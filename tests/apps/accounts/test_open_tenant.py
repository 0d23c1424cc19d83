"""`manage.py open_tenant` and `import_anchor`: how an installation begins, and what they refuse."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from apps.accounts.models import User
from apps.tenants.models import Membership, Role, Tenant
from tests.cast import Cast

pytestmark = pytest.mark.django_db


def opened(monkeypatch: pytest.MonkeyPatch, password: str) -> str:
    monkeypatch.setenv("CURATOR_PASSWORD", password)
    out = StringIO()
    call_command("open_tenant", "West Works", "Wil@West.example", stdout=out)
    return out.getvalue()


def test_a_tenant_is_opened_with_its_first_curator(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "West Works (west-works)" in opened(monkeypatch, "a long enough passphrase")
    wil = User.objects.get(email="wil@west.example")
    assert Membership.objects.get(user=wil).role == Role.CURATOR


def test_a_weak_password_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CommandError, match="too short"):
        opened(monkeypatch, "short")


def test_an_anchor_for_an_unknown_tenant_is_refused() -> None:
    with pytest.raises(CommandError, match="no tenant"):
        call_command("import_anchor", "/nowhere", "--tenant", "nobody")


def test_an_anchor_with_a_pickle_is_refused_and_nothing_is_left(cast: Cast, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    tenant = Tenant.objects.get(pk=cast.north.pk)
    with pytest.raises(CommandError, match="pickle"):
        call_command("import_anchor", str(tmp_path), "--tenant", tenant.slug)
