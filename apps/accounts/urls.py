"""Sign-in, keys and people."""

from __future__ import annotations

from django.urls import path

from apps.accounts import views

app_name = "accounts"
urlpatterns = [
    path("sign-in/", views.sign_in, name="sign_in"),
    path("sign-out/", views.sign_out, name="sign_out"),
    path("keys/", views.keys, name="keys"),
    path("keys/<uuid:code>/revoke", views.revoke, name="revoke"),
    path("people/", views.people, name="people"),
    path("people/<uuid:code>/remove", views.remove_person, name="remove_person"),
    path("tenants/<uuid:code>/switch", views.switch, name="switch"),
]
