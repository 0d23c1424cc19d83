"""The object or 404; the role or a page that names it; the same for views that wait."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse

from apps.accounts.models import User
from apps.tenants.access import fetch, member
from apps.tenants.models import Group, Membership, Role
from apps.tenants.scope import tenant_scope
from tests.cast import Cast


def request_of(user: User | AnonymousUser) -> HttpRequest:
    request = HttpRequest()
    request.method, request.path = "GET", "/somewhere/"
    request.user = user
    membership = Membership.objects.filter(user_id=user.pk).first() if user.pk else None
    vars(request).update(membership=membership, tenant=membership.tenant if membership else None)
    return request


def make_group(cast: Cast) -> Group:
    with tenant_scope(cast.north):
        return Group.objects.create(name="Sales")


def test_the_object_or_404(cast: Cast) -> None:
    group = make_group(cast)
    with tenant_scope(cast.north):
        assert fetch(request_of(cast.bo), Group, group.pk) == group
        with pytest.raises(Http404):
            fetch(request_of(cast.bo), Group, uuid.uuid4())
        with pytest.raises(Http404):
            fetch(request_of(cast.bo), Group, "no code at all")
    with tenant_scope(cast.south), pytest.raises(Http404):
        fetch(request_of(cast.cy), Group, group.pk, role=Role.CURATOR)


def test_what_a_person_sees_but_may_not_use_names_the_role(cast: Cast) -> None:
    group = make_group(cast)
    with tenant_scope(cast.north):
        assert fetch(request_of(cast.ada), Group, group.pk, role=Role.CURATOR) == group
        assert fetch(request_of(cast.ada), Group, group.pk, role=Role.EMPLOYEE) == group
        with pytest.raises(PermissionDenied, match="needs the role curator or auditor in North"):
            fetch(request_of(cast.bo), Group, group.pk, role=(Role.CURATOR, Role.AUDITOR))


def test_a_guarded_view_lets_members_in_and_sends_strangers_to_sign_in(cast: Cast) -> None:
    @member(role=Role.AUDITOR)
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse("in")

    assert view(request_of(cast.otto)).content == b"in"
    with pytest.raises(PermissionDenied):
        view(request_of(cast.ada))
    assert view(request_of(AnonymousUser())).headers["Location"] == (
        "/accounts/sign-in/?next=/somewhere/"
    )


@pytest.mark.django_db(transaction=True)
def test_a_view_that_waits_is_guarded_the_same_way(cast: Cast) -> None:
    @member(role=Role.CURATOR)
    async def view(request: HttpRequest) -> HttpResponse:
        def count() -> int:
            with tenant_scope(cast.north):
                return Group.objects.count()

        return HttpResponse(str(await sync_to_async(count)()))

    def run(user: Any) -> HttpResponse:
        request = request_of(user)
        return asyncio.run(view(request))

    make_group(cast)
    assert view._non_atomic_requests == {"default"}
    assert run(cast.ada).content == b"1"
    assert run(AnonymousUser()).status_code == 302
    with pytest.raises(PermissionDenied):
        run(cast.bo)
