"""A directory keeps people and groups of one tenant, and ends somebody's access by one word."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client

from apps.accounts.actions import issue_key, key_from
from apps.accounts.models import Provisioned, Scope, User
from apps.audit.models import AuditEvent
from apps.registry.closure import can_use
from apps.tenants.models import Group, GroupMember, Membership, Role
from apps.tenants.scope import tenant_scope
from tests.apps.chat.making import make_model
from tests.cast import Cast

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
DEE = {
    "schemas": [USER],
    "userName": "Dee@North.example",
    "externalId": "dir-7",
    "name": {"givenName": "Dee", "familyName": "Roth"},
    "emails": [{"value": "dee@north.example", "primary": True}],
    "password": "never kept",
    "active": True,
}


class Directory:
    """A directory with a key of its own."""

    def __init__(self, tenant: Any, curator: User, scopes: tuple[str, ...] = (Scope.SCIM,)) -> None:
        _, secret = issue_key(curator, tenant, "directory", scopes=scopes)
        self.client = Client(headers={"Authorization": f"Bearer {secret}"})

    def send(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        answer = getattr(self.client, method)(
            f"/scim/v2/{path}",
            json.dumps(body) if body is not None else None,
            content_type="application/scim+json",
        )
        return answer.status_code, json.loads(answer.content) if answer.content else None

    def look(self, path: str, **query: str) -> tuple[int, Any]:
        answer = self.client.get(f"/scim/v2/{path}", query)
        return answer.status_code, json.loads(answer.content)

    def patch(self, path: str, *operations: dict[str, Any]) -> tuple[int, Any]:
        return self.send("patch", path, {"schemas": [PATCH], "Operations": list(operations)})


@pytest.fixture
def north(cast: Cast) -> Directory:
    return Directory(cast.north, cast.ada)


@pytest.fixture
def south(cast: Cast) -> Directory:
    return Directory(cast.south, cast.cy)


@pytest.fixture
def dee(north: Directory) -> str:
    status, told = north.send("post", "Users", DEE)
    assert status == 201, told
    return str(told["id"])


def test_a_person_is_made_found_and_given_back_as_they_came(
    cast: Cast, north: Directory, dee: str
) -> None:
    user = User.objects.get(pk=dee)
    assert (user.email, user.name) == ("dee@north.example", "Dee Roth")
    assert not user.has_usable_password()
    assert Membership.objects.get(user=user).role == Role.EMPLOYEE
    _, told = north.look(f"Users/{dee}")
    assert told["externalId"] == "dir-7"
    assert told["emails"] == DEE["emails"]
    assert "password" not in told
    with tenant_scope(cast.north):
        assert "never kept" not in str(Provisioned.objects.get().resource)
    for asked in (
        'userName eq "dee@north.example"',
        'externalId eq "dir-7"',
        'name.familyName sw "Ro" and active eq true',
    ):
        _, found = north.look("Users", filter=asked)
        assert [each["id"] for each in found["Resources"]] == [dee]
    _, none = north.look("Users", filter='userName eq "nobody@north.example"')
    assert none["totalResults"] == 0


def test_the_same_person_twice_is_a_conflict(north: Directory, dee: str) -> None:
    status, told = north.send("post", "Users", DEE)
    assert (status, told["scimType"]) == (409, "uniqueness")


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "replace", "path": "active", "value": False},
        {"op": "Replace", "value": {"active": False}},
    ],
)
def test_one_word_ends_sessions_keys_and_rights(
    cast: Cast, north: Directory, dee: str, operation: dict[str, Any]
) -> None:
    user = User.objects.get(pk=dee)
    model = make_model(cast.north, cast.ada, user)
    _, secret = issue_key(user, cast.north, "script")
    client = cast.client(user)
    with tenant_scope(cast.north):
        assert can_use(user, model)
    assert client.get("/chat/").status_code == 200
    status, told = north.patch(f"Users/{dee}", operation)
    assert (status, told["active"]) == (200, False)
    assert client.get("/chat/").status_code == 302  # nobody is signed in any more
    assert key_from(secret) is None
    with tenant_scope(cast.north):
        assert not can_use(User.objects.get(pk=dee), model)
        assert AuditEvent.objects.filter(action="scim.deactivate").count() == 1
    north.patch(f"Users/{dee}", {"op": "replace", "path": "active", "value": True})
    assert Membership.objects.filter(user_id=dee).exists()
    assert key_from(secret) is None  # a key that was ended stays so
    assert client.get("/chat/").status_code == 302  # and a session
    assert cast.client(User.objects.get(pk=dee)).get("/chat/").status_code == 200


def test_a_role_comes_back_and_a_deleted_person_is_gone(
    cast: Cast, north: Directory, dee: str
) -> None:
    Membership.objects.filter(user_id=dee).update(role=Role.AUDITOR)
    for active in (False, True):
        north.patch(f"Users/{dee}", {"op": "replace", "path": "active", "value": active})
    assert Membership.objects.get(user_id=dee).role == Role.AUDITOR
    assert north.send("delete", f"Users/{dee}")[0] == 204
    assert north.look(f"Users/{dee}")[0] == 404
    assert not Membership.objects.filter(user_id=dee).exists()
    assert User.objects.filter(pk=dee).exists()  # the log goes on naming them


def test_put_replaces_and_an_address_moves_only_where_it_is_ours(
    cast: Cast, north: Directory, dee: str
) -> None:
    renamed = DEE | {"userName": "roth@north.example", "name": {"formatted": "D. Roth"}}
    assert north.send("put", f"Users/{dee}", renamed)[0] == 200
    assert User.objects.get(pk=dee).name == "D. Roth"
    taken = DEE | {"userName": "ada@north.example"}
    assert north.send("put", f"Users/{dee}", taken)[1]["scimType"] == "uniqueness"
    Membership.objects.create(tenant=cast.south, user_id=dee, role=Role.EMPLOYEE)
    assert north.send("put", f"Users/{dee}", DEE)[1]["scimType"] == "mutability"


def test_somebody_of_another_tenant_keeps_name_and_password(cast: Cast, north: Directory) -> None:
    sent = DEE | {"userName": "cy@south.example", "displayName": "Renamed"}
    status, told = north.send("post", "Users", sent)
    assert status == 201
    cy = User.objects.get(pk=told["id"])
    assert (cy.name, cy.has_usable_password()) == ("Cy Moor", True)
    north.patch(f"Users/{cy.pk}", {"op": "replace", "path": "active", "value": False})
    cy.refresh_from_db()
    assert cy.is_active  # south is not north's to close
    assert Membership.objects.get(user=cy).tenant == cast.south


def test_groups_hold_people_and_carry_rights(cast: Cast, north: Directory, dee: str) -> None:
    sent = {"schemas": [GROUP], "displayName": "Legal", "members": [{"value": dee}]}
    status, told = north.send("post", "Groups", sent)
    assert status == 201, told
    code = told["id"]
    assert [each["value"] for each in told["members"]] == [dee]
    north.patch(f"Groups/{code}", {"op": "remove", "path": f'members[value eq "{dee}"]'})
    with tenant_scope(cast.north):
        assert not GroupMember.objects.exists()
    north.patch(f"Groups/{code}", {"op": "add", "path": "members", "value": [{"value": dee}]})
    with tenant_scope(cast.north):
        assert GroupMember.objects.get().user_id == User.objects.get(pk=dee).pk
    north.patch(f"Groups/{code}", {"op": "replace", "path": "displayName", "value": "Law"})
    with tenant_scope(cast.north):
        assert Group.objects.get().name == "Law"
    assert north.send("delete", f"Groups/{code}")[0] == 204
    with tenant_scope(cast.north):
        assert not Group.objects.exists()


def test_a_group_in_a_group_a_loop_and_a_stranger_are_refused(
    cast: Cast, north: Directory, south: Directory, dee: str
) -> None:
    _, made = north.send("post", "Groups", {"schemas": [GROUP], "displayName": "Legal"})
    code = made["id"]
    for member in (
        {"value": code, "type": "Group"},
        {"value": code},
        {"value": str(uuid4())},
        {"value": "rubbish"},
        {"value": str(cast.cy.pk)},
    ):
        status, told = north.patch(
            f"Groups/{code}", {"op": "add", "path": "members", "value": [member]}
        )
        assert (status, told["scimType"]) == (400, "invalidValue"), member
    with tenant_scope(cast.north):
        assert not GroupMember.objects.exists()


def test_another_tenants_directory_finds_and_changes_nothing(
    cast: Cast, north: Directory, south: Directory, dee: str
) -> None:
    _, made = north.send("post", "Groups", {"schemas": [GROUP], "displayName": "Legal"})
    for path in (f"Users/{dee}", f"Groups/{made['id']}"):
        unknown = path.rpartition("/")[0] + f"/{uuid4()}"
        for method, body in (
            ("get", None),
            ("put", DEE),
            ("patch", {"schemas": [PATCH], "Operations": [{"op": "replace", "path": "active"}]}),
            ("delete", None),
        ):
            assert south.send(method, path, body) == south.send(method, unknown, body)
    assert south.look("Users")[1]["totalResults"] == 0
    assert south.look("Groups")[1]["totalResults"] == 0
    assert Membership.objects.filter(user_id=dee).exists()


def test_only_a_curators_key_that_was_made_for_it_opens_this_door(cast: Cast) -> None:
    for directory in (
        Directory(cast.north, cast.ada, (Scope.CHAT, Scope.MODELS)),
        Directory(cast.north, cast.bo),
        Directory(cast.north, cast.otto),
    ):
        assert directory.look("Users")[0] == 401
    assert cast.client(cast.ada).get("/scim/v2/Users").status_code == 401


@pytest.mark.parametrize("body", [b"", b"[]", b"rubbish", b'{"userName": 7}', b"\xff"])
def test_rubbish_is_refused_in_scims_shape(north: Directory, body: bytes) -> None:
    answer = north.client.post("/scim/v2/Users", body, content_type="application/scim+json")
    assert answer.status_code == 400
    assert "urn:ietf:params:scim:api:messages:2.0:Error" in answer.content.decode()


TWINS = ["\N{CYRILLIC SMALL LETTER A}da@north.example", "\N{KELVIN SIGN}ate@north.example"]


@pytest.mark.parametrize("name", ["", "no address", "x@" + "y" * 300, "a@b\x00c", *TWINS])
def test_a_user_name_has_to_be_an_address(north: Directory, name: str) -> None:
    status, _told = north.send("post", "Users", DEE | {"userName": name})
    assert status == 400


def test_a_wrong_filter_is_refused(north: Directory) -> None:
    status, told = north.look("Users", filter="userName eq")
    assert (status, told["scimType"]) == (400, "invalidFilter")


def test_the_service_describes_itself(north: Directory) -> None:
    assert north.look("ServiceProviderConfig")[1]["patch"]["supported"] is True
    assert {each["id"] for each in north.look("Schemas")[1]["Resources"]} == {USER, GROUP}
    assert north.look(f"Schemas/{USER}")[1]["id"] == USER
    assert north.look("ResourceTypes/Group")[1]["endpoint"].strip("/") == "Groups"
    assert north.look("ResourceTypes/Nothing")[0] == 404
