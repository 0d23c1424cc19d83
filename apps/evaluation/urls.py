from __future__ import annotations

from django.urls import path

from apps.evaluation import views

app_name = "evaluation"
urlpatterns = [
    path("", views.reports, name="reports"),
    path("<uuid:code>/", views.report, name="report"),
    path("<uuid:code>/items", views.items, name="items"),
    path("<uuid:code>/report.json", views.download, name="download"),
    path("<uuid:code>/card.md", views.card, name="card"),
    path("<uuid:code>/promote", views.promote, name="promote"),
]
