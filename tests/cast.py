"""The people of every test. Ada is a curator of North and Bo an employee there, Otto its auditor;
Cy is a curator of South and sees nothing of North."""

from __future__ import annotations

from dataclasses import dataclass

from django.test import AsyncClient, Client

from apps.accounts.actions import invite, open_tenant
from apps.accounts.models import User
from apps.tenants.models import Role, Tenant

PASSWORD = "seven grey herons wade"  # the same for all four
BACKEND = "django.contrib.auth.backends.ModelBackend"


@dataclass(frozen=True)
class Cast:
    """Two tenants and four people."""

    north: Tenant
    south: Tenant
    ada: User
    bo: User
    cy: User
    otto: User

    def client(self, user: User | None = None) -> Client:
        """A browser in which this person is signed in; nobody by default."""
        client = Client()
        if user is not None:
            client.force_login(user, backend=BACKEND)
        return client

    def async_client(self, user: User | None = None) -> AsyncClient:
        """The same, for views that stream. Made outside the event loop."""
        client = AsyncClient()
        if user is not None:
            client.force_login(user, backend=BACKEND)
        return client


def make_cast() -> Cast:
    """Open both tenants and invite everybody."""
    north, south = open_tenant("North", "north"), open_tenant("South", "south")
    return Cast(
        north=north,
        south=south,
        ada=invite(north, "ada@north.example", "Ada Lind", Role.CURATOR, PASSWORD),
        bo=invite(north, "bo@north.example", "Bo Aster", Role.EMPLOYEE, PASSWORD),
        cy=invite(south, "cy@south.example", "Cy Moor", Role.CURATOR, PASSWORD),
        otto=invite(north, "otto@north.example", "Otto Veen", Role.AUDITOR, PASSWORD),
    )
