"""Plans to forget, and legal holds."""

from __future__ import annotations

from django.urls import path

from apps.forgetting import views

app_name = "forgetting"
urlpatterns = [
    path("", views.plans, name="plans"),
    path("leave", views.leave, name="leave"),
    path("person", views.person, name="person"),
    path("documents/<uuid:code>/", views.document, name="document"),
    path("holds/", views.hold_list, name="holds"),
    path("holds/<uuid:code>/lift", views.lift, name="lift"),
    path("<uuid:code>/", views.plan, name="plan"),
    path("<uuid:code>/act", views.act, name="act"),
    path("<uuid:code>/decide", views.decide, name="decide"),
    path("<uuid:code>/certificate", views.certificate, name="certificate"),
]
