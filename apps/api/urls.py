from __future__ import annotations

from django.urls import path, re_path

from apps.api import description, embeddings, openai

app_name = "api"
urlpatterns = [
    path("openapi.json", description.description, name="description"),
    path("models", openai.models, name="models"),
    path("models/<path:name>", openai.model, name="model"),
    path("chat/completions", openai.chat_completions, name="chat_completions"),
    path("completions", openai.completions, name="completions"),
    path("embeddings", embeddings.embeddings, name="embeddings"),
    re_path("", openai.unknown, name="unknown"),  # last: a program wants no page
]
