from __future__ import annotations

from django.urls import path

from apps.look import views

app_name = "look"
urlpatterns = [
    path("", views.brand, name="brand"),
    path("brand.css", views.stylesheet, name="stylesheet"),
    path("logo", views.logo, name="logo"),
    path("components/", views.components, name="components"),
]
