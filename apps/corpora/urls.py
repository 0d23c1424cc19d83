from __future__ import annotations

from django.urls import path

from apps.corpora.views import corpora, documents, review, snapshots, transfers, uploads

app_name = "corpora"
urlpatterns = [
    path("", corpora.corpora, name="list"),
    path("new/", corpora.new, name="new"),
    path("<uuid:code>/", corpora.corpus, name="corpus"),
    path("<uuid:code>/upload/", uploads.receive, name="receive"),
    path("<uuid:code>/transfers/", transfers.transfers, name="transfers"),
    path("transfers/<uuid:code>/", transfers.transfer, name="transfer"),
    path("<uuid:code>/search/", corpora.search, name="search"),
    path("<uuid:code>/bulk/", corpora.bulk, name="bulk"),
    path("<uuid:code>/review/", review.review, name="review"),
    path("<uuid:code>/policies/", review.policies, name="policies"),
    path("flags/<uuid:code>/decide/", review.decide, name="decide"),
    path("<uuid:code>/examples/", snapshots.add_examples, name="examples"),
    path("<uuid:code>/freeze/", snapshots.freeze, name="freeze"),
    path("<uuid:code>/grant/", corpora.grant, name="grant"),
    path("grants/<uuid:code>/revoke/", corpora.revoke, name="revoke"),
    path("uploads/<uuid:code>/", uploads.upload, name="upload"),
    path("uploads/<uuid:code>/events", uploads.events, name="events"),
    path("uploads/<uuid:code>/outcomes.csv", uploads.outcomes, name="outcomes"),
    path("uploads/<uuid:code>/received", transfers.received, name="received"),
    path("uploads/<uuid:code>/pause/", uploads.pause, name="pause"),
    path("uploads/<uuid:code>/resume/", uploads.resume, name="resume"),
    path("uploads/<uuid:code>/cancel/", uploads.cancel, name="cancel"),
    path("uploads/<uuid:code>/retry/", uploads.retry, name="retry"),
    path("documents/<uuid:code>/", documents.document, name="document"),
    path("documents/<uuid:code>/original/", documents.original, name="original"),
    path("documents/<uuid:code>/page.png", documents.page_image, name="page"),
    path("documents/<uuid:code>/keep-apart/", review.keep_apart, name="keep_apart"),
    path("documents/<uuid:code>/fold-in/", review.fold_in, name="fold_in"),
    path("documents/<uuid:code>/include/", documents.include, name="include"),
    path("documents/<uuid:code>/exclude/", documents.exclude, name="exclude"),
    path("freezings/<uuid:code>/", snapshots.freezing, name="freezing"),
    path("snapshots/<uuid:code>/", snapshots.snapshot, name="snapshot"),
    path("snapshots/<uuid:code>/manifest.parquet", snapshots.manifest, name="manifest"),
]
