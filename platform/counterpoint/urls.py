"""The site's map, a line per app."""

from __future__ import annotations

from django.urls import include, path

from apps.home import persons
from apps.home import views as front
from counterpoint import programs, views

handler500 = "counterpoint.views.broken"
urlpatterns = [
    path("", front.home, name="home"),
    path("people/<uuid:code>/", persons.person, name="person"),
    path("healthz", views.healthz, name="healthz"),
    path("readyz", views.readyz, name="readyz"),
    path("streamz", views.streamz, name="streamz"),
    path("accounts/", include("apps.accounts.urls")),
    path("", include("apps.accounts.identity_urls")),
    path("audit/", include("apps.audit.urls")),
    path("corpora/", include("apps.corpora.urls")),
    path("models/", include("apps.registry.urls")),
    path("runs/", include("apps.runs.urls")),
    path("reports/", include("apps.evaluation.urls")),
    path("teach/", include("apps.teaching.urls")),
    path("chat/", include("apps.chat.urls")),
    path("forget/", include("apps.forgetting.urls")),
    path("look/", include("apps.look.urls")),
    path("", include("apps.operate.urls")),
    path("i18n/", include("django.conf.urls.i18n")),
    path(programs.PATH.removeprefix("/"), include("apps.api.urls")),
]
