from __future__ import annotations

from django.urls import path

from apps.chat import composing_views, keeping_views, sharing_views, views

app_name = "chat"
urlpatterns = [
    path("", views.new, name="new"),
    path("ask", views.ask, name="ask"),
    path("draft", composing_views.draft, name="draft"),
    path("formulas", composing_views.mathml, name="formulas"),
    path("break-glass/", views.break_glass, name="break_glass"),
    path("break-glass/<uuid:code>/", views.opened, name="opened"),
    path("usage.json", keeping_views.usage_by_day, name="usage"),
    path("shared/", sharing_views.shared_with_me, name="shares"),
    path("shared/<uuid:code>/", sharing_views.shared, name="shared"),
    path("shared/<uuid:code>/withdraw", sharing_views.withdraw, name="withdraw"),
    path("<uuid:code>/share", sharing_views.share, name="share"),
    path("<uuid:code>/", views.conversation, name="conversation"),
    path("<uuid:code>/rename", views.rename, name="rename"),
    path("<uuid:code>/delete", views.delete, name="delete"),
    path("<uuid:code>/pin", keeping_views.pin, name="pin"),
    path("<uuid:code>/folder", keeping_views.file_under, name="folder"),
    path("<uuid:code>/export.md", keeping_views.export, name="export"),
    path("messages/<uuid:code>/events", views.events, name="events"),
    path("messages/<uuid:code>/stop", views.stop, name="stop"),
    path("messages/<uuid:code>/again", views.again, name="again"),
    path("messages/<uuid:code>/edit", views.edit, name="edit"),
    path("messages/<uuid:code>/anchor", views.anchor, name="anchor"),
    path("messages/<uuid:code>/rate", keeping_views.rate, name="rate"),
    path("messages/<uuid:code>/fork", keeping_views.fork, name="fork"),
    path("messages/<uuid:code>/evidence", keeping_views.evidence, name="evidence"),
    path("messages/<uuid:code>/beside", keeping_views.beside, name="beside"),
    path("messages/<uuid:code>/influence", keeping_views.influence, name="influence"),
]
