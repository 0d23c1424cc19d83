"""The list of people: pages, finding by name or address, and what acts on it say."""

from __future__ import annotations

from apps.accounts.models import User
from apps.tenants.models import Membership, Role
from tests.apps.accounts.test_sessions import come
from tests.cast import PASSWORD, Cast
from tests.walking import walked


def test_many_people_have_pages_and_are_found(cast: Cast) -> None:
    people = User.objects.bulk_create(
        User(email=f"p{number:02}@north.example", name=f"Person {number:02}")
        for number in range(60)
    )
    Membership.objects.bulk_create(
        Membership(tenant=cast.north, user=each, role=Role.EMPLOYEE) for each in people
    )
    ada = cast.client(cast.ada)
    first, second = walked(ada, "/accounts/people/")
    assert "63 in all" in first
    assert "Person 59" not in first
    assert "Person 59" in second
    for words in ("person 59", "P59@NORTH"):
        found = ada.get("/accounts/people/", {"q": words}).content.decode()
        assert "Person 59" in found
        assert "Ada Lind</td>" not in found
    nobody = ada.get("/accounts/people/", {"q": "\0Moor"}).content.decode()  # of another tenant
    assert "Nobody of such a name" in nobody
    assert "Cy Moor" not in nobody


def test_one_session_that_ended_is_one(cast: Cast) -> None:
    come(cast.bo.email, PASSWORD)
    bo = Membership.objects.get(tenant=cast.north, user=cast.bo)
    ada = cast.client(cast.ada)
    page = ada.post(f"/accounts/people/{bo.pk}/sign-out", follow=True).content.decode()
    assert "1 session ended" in page


def test_a_name_of_ten_thousand_letters_breaks_no_page(cast: Cast) -> None:
    ada = cast.client(cast.ada)
    told = {"email": "l@north.example", "name": "n" * 10_000, "role": "employee"}
    answer = ada.post("/accounts/people/", told | {"password": PASSWORD})
    assert answer.status_code == 200  # refused beside its field
    assert not User.objects.filter(email="l@north.example").exists()
