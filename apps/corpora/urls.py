from __future__ import annotations

from django.urls import path

from apps.corpora import views

app_name = "corpora"
urlpatterns = [
    path("", views.corpora, name="list"),
    path("new/", views.new, name="new"),
    path("<uuid:code>/", views.corpus, name="corpus"),
    path("<uuid:code>/upload/", views.receive, name="receive"),
    path("<uuid:code>/examples/", views.add_examples, name="examples"),
    path("<uuid:code>/freeze/", views.freeze, name="freeze"),
    path("<uuid:code>/grant/", views.grant, name="grant"),
    path("grants/<uuid:code>/revoke/", views.revoke, name="revoke"),
    path("uploads/<uuid:code>/", views.upload, name="upload"),
    path("uploads/<uuid:code>/events", views.events, name="events"),
    path("uploads/<uuid:code>/outcomes.csv", views.outcomes, name="outcomes"),
    path("uploads/<uuid:code>/retry/", views.retry, name="retry"),
    path("documents/<uuid:code>/", views.document, name="document"),
    path("documents/<uuid:code>/original/", views.original, name="original"),
    path("documents/<uuid:code>/include/", views.include, name="include"),
    path("documents/<uuid:code>/exclude/", views.exclude, name="exclude"),
    path("snapshots/<uuid:code>/", views.snapshot, name="snapshot"),
]
