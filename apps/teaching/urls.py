from __future__ import annotations

from django.urls import path

from apps.teaching import views

app_name = "teaching"
urlpatterns = [
    path("", views.start, name="start"),
    path("dry-run", views.dry_run, name="dry-run"),
    path("<uuid:code>/", views.plan, name="plan"),
    path("<uuid:code>/events", views.events, name="events"),
]
