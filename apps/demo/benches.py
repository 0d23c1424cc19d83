"""How a bench that writes rows begins and ends: an empty home, a table, 1 when a bar is missed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from secrets import token_urlsafe

from django.core.management.base import CommandError, OutputWrapper

from apps.accounts.actions import invite, open_tenant
from apps.accounts.models import User
from apps.tenants.models import Role, Tenant
from calm_engine.figures import Figure, table

EMAIL = "bench@bench.example"


@dataclass(frozen=True)
class Bench:
    """A tenant with one curator, whose password is known here alone."""

    tenant: Tenant
    by: User
    password: str


def require_empty_home() -> None:
    """Raises CommandError where somebody works: benches write rows by the thousand."""
    if User.objects.exists():
        raise CommandError("There are people here already: this bench wants an empty home.")


def begin() -> Bench:
    """Open the tenant that is measured. Raises CommandError in a home that is in use."""
    require_empty_home()
    tenant, password = open_tenant("Bench", "bench"), token_urlsafe()
    return Bench(tenant, invite(tenant, EMAIL, "Bench", Role.CURATOR, password), password)


def tell(figures: Sequence[Figure], out: OutputWrapper) -> None:
    """Print them for people, then for programs. Raises CommandError when a bar was missed."""
    out.write(table(figures))
    if not all(each.is_met for each in figures):
        raise CommandError("A bar was missed.")
