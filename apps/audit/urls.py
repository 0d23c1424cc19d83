"""The audit log."""

from __future__ import annotations

from django.urls import path

from apps.audit import views

app_name = "audit"
urlpatterns = [
    path("", views.listing, name="list"),
    path("export", views.export, name="export"),
    path("verify", views.verify, name="verify"),
    path("approvals/", views.approvals, name="approvals"),
    path("approvals/<uuid:code>/decide", views.decide, name="decide"),
]
