"""What people and workers do with corpora, a file for each group of verbs.

Each act is one transaction with its audit line inside; bytes are stored before their row is
written. The right on the corpus is checked here, whoever calls; the role is the page's business.
"""

from __future__ import annotations

from apps.corpora.actions.access import create_corpus, grant, must, readers, revoke
from apps.corpora.actions.counting import begin_counts, count_some
from apps.corpora.actions.differences import Difference, difference
from apps.corpora.actions.documents import act_on, exclude, fold_in, include, keep_apart, text_of
from apps.corpora.actions.export import SnapshotFiles, export_snapshot
from apps.corpora.actions.freezing import (
    carry_out,
    claim_freezing,
    order_freeze,
    reconcile_freezings,
)
from apps.corpora.actions.outcomes import (
    ATTEMPTS,
    begin,
    begin_next,
    call_for,
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
from apps.corpora.actions.review import (
    alike,
    approve,
    behind,
    leave_out,
    redact,
    reopen,
    screen_again,
    set_policies,
)
from apps.corpora.actions.snapshots import Changes, changes, freeze, in_order
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
    "Difference",
    "ExampleReceipt",
    "IncomingFile",
    "SnapshotFiles",
    "Split",
    "act_on",
    "add_examples",
    "alike",
    "approve",
    "as_row",
    "begin",
    "begin_counts",
    "begin_next",
    "begin_transfer",
    "behind",
    "call_for",
    "cancel_rest",
    "carry_out",
    "changes",
    "claim_freezing",
    "count_some",
    "create_corpus",
    "difference",
    "exclude",
    "expire_transfers",
    "export_snapshot",
    "file_documents",
    "file_known",
    "files_of",
    "fold_in",
    "freeze",
    "give_up",
    "go_on",
    "grant",
    "in_order",
    "include",
    "keep_apart",
    "leave_out",
    "must",
    "order_freeze",
    "pause",
    "readers",
    "receive",
    "reconcile",
    "reconcile_freezings",
    "redact",
    "reject",
    "reopen",
    "resume",
    "retriable",
    "retry",
    "revoke",
    "screen_again",
    "set_policies",
    "text_of",
]
