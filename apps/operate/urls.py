from __future__ import annotations

from django.urls import path

from apps.operate import views

app_name = "operate"
urlpatterns = [
    path("about/", views.about, name="about"),
    path("health/", views.health, name="health"),
    path("health/examine", views.examine, name="examine"),
]
