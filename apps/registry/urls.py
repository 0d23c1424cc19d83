from __future__ import annotations

from django.urls import path

from apps.registry import views

app_name = "registry"
urlpatterns = [
    path("", views.models, name="models"),
    path("anchors/<uuid:code>/", views.anchor, name="anchor"),
    path("augmenters/<uuid:code>/", views.augmenter, name="augmenter"),
    path("<uuid:code>/", views.composition, name="composition"),
    path("<uuid:code>/roll-back", views.roll_back, name="roll_back"),
    path("augmenters/<uuid:code>/export", views.export_augmenter, name="export_augmenter"),
    path("<uuid:code>/export", views.export, name="export"),
    path("<uuid:code>/keep-warm", views.keep_warm, name="keep_warm"),
    path("<uuid:code>/quarantine", views.quarantine, name="quarantine"),
    path("<uuid:code>/lift", views.lift, name="lift"),
]
