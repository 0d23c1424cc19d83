from __future__ import annotations

from django.urls import path

from apps.chat import views

app_name = "chat"
urlpatterns = [
    path("", views.new, name="new"),
    path("ask", views.ask, name="ask"),
    path("break-glass/", views.break_glass, name="break_glass"),
    path("break-glass/<uuid:code>/", views.opened, name="opened"),
    path("<uuid:code>/", views.conversation, name="conversation"),
    path("<uuid:code>/rename", views.rename, name="rename"),
    path("<uuid:code>/delete", views.delete, name="delete"),
    path("messages/<uuid:code>/events", views.events, name="events"),
    path("messages/<uuid:code>/stop", views.stop, name="stop"),
    path("messages/<uuid:code>/again", views.again, name="again"),
]
