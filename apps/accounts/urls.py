"""Sign-in, keys and people."""

from __future__ import annotations

from django.urls import path

from apps.accounts import machines, ruling, views

app_name = "accounts"
urlpatterns = [
    path("sign-in/", views.sign_in, name="sign_in"),
    path("by-provider/", views.by_provider, name="by_provider"),
    path("sign-out/", views.sign_out, name="sign_out"),
    path("keys/", machines.keys, name="keys"),
    path("keys/<uuid:code>/revoke", machines.revoke, name="revoke"),
    path("services/", machines.services, name="services"),
    path("services/<uuid:code>/key", machines.service_key, name="service_key"),
    path("rules/", ruling.rules, name="rules"),
    path("usage/", ruling.usage, name="usage"),
    path("usage/<uuid:code>/remove", ruling.remove_quota, name="remove_quota"),
    path("people/", views.people, name="people"),
    path("people/<uuid:code>/password", views.new_password, name="new_password"),
    path("people/<uuid:code>/remove", views.remove_person, name="remove_person"),
    path("people/<uuid:code>/sign-out", views.sign_out_person, name="sign_out_person"),
    path("tenants/<uuid:code>/switch", views.switch, name="switch"),
]
