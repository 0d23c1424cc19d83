from __future__ import annotations

from django.urls import path

from apps.runs import views

app_name = "runs"
urlpatterns = [
    path("", views.runs, name="runs"),
    path("<uuid:code>/", views.run, name="run"),
    path("<uuid:code>/events", views.events, name="events"),
    path("<uuid:code>/metrics.json", views.metrics, name="metrics"),
    path("<uuid:code>/stop", views.stop, name="stop"),
    path("<uuid:code>/again", views.again, name="again"),
]
