from __future__ import annotations

from django.urls import path

from apps.runs import views

app_name = "runs"
urlpatterns = [
    path("", views.runs, name="runs"),
    path("compare", views.compare, name="compare"),
    path("compare/curves.json", views.curves, name="curves"),
    path("notices/read", views.read_notices, name="read-notices"),
    path("<uuid:code>/", views.run, name="run"),
    path("<uuid:code>/events", views.events, name="events"),
    path("<uuid:code>/metrics.json", views.metrics, name="metrics"),
    path("<uuid:code>/log", views.log, name="log"),
    path("<uuid:code>/stop", views.stop, name="stop"),
    path("<uuid:code>/discard", views.discard, name="discard"),
    path("<uuid:code>/pause", views.pause, name="pause"),
    path("<uuid:code>/go-on", views.go_on, name="go-on"),
    path("<uuid:code>/again", views.again, name="again"),
    path("<uuid:code>/repeat", views.repeat, name="repeat"),
    path("<uuid:code>/branch", views.branch, name="branch"),
]
