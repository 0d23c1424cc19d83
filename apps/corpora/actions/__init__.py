"""What people and workers do with corpora, a file for each group of verbs.

Each act is one transaction with its audit line inside; bytes are stored before their row is
written. The right on the corpus is checked here, whoever calls; the role is the page's business.
"""

from __future__ import annotations

from apps.corpora.actions.access import create_corpus, grant, must, revoke
from apps.corpora.actions.documents import exclude, include, text_of
from apps.corpora.actions.export import SnapshotFiles, export_snapshot
from apps.corpora.actions.outcomes import (
    ATTEMPTS,
    begin,
    begin_next,
    cancel_rest,
    file_documents,
    file_known,
    pause,
    reconcile,
    reject,
    resume,
    retriable,
    retry,
)
from apps.corpora.actions.questions import ExampleReceipt, add_examples
from apps.corpora.actions.receiving import IncomingFile, receive
from apps.corpora.actions.snapshots import Changes, changes, freeze
from apps.corpora.actions.splits import Split, as_row
from apps.corpora.actions.transfers import (
    begin_transfer,
    expire_transfers,
    files_of,
    give_up,
    go_on,
)

__all__ = [
    "ATTEMPTS",
    "Changes",
    "ExampleReceipt",
    "IncomingFile",
    "SnapshotFiles",
    "Split",
    "add_examples",
    "as_row",
    "begin",
    "begin_next",
    "begin_transfer",
    "cancel_rest",
    "changes",
    "create_corpus",
    "exclude",
    "expire_transfers",
    "export_snapshot",
    "file_documents",
    "file_known",
    "files_of",
    "freeze",
    "give_up",
    "go_on",
    "grant",
    "include",
    "must",
    "pause",
    "receive",
    "reconcile",
    "reject",
    "resume",
    "retriable",
    "retry",
    "revoke",
    "text_of",
]
