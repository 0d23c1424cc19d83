"""What people and workers do with corpora, a file for each group of verbs.

Each act is one transaction with its audit line inside; bytes are stored before their row is
written. The right on the corpus is checked here, whoever calls; the role is the page's business.
"""

from __future__ import annotations

from apps.corpora.actions.access import create_corpus, grant, must, readers, revoke
from apps.corpora.actions.counting import begin_counts, count_some
from apps.corpora.actions.deleting import delete, delete_lapsed, set_withdrawn_days
from apps.corpora.actions.differences import Difference, difference
from apps.corpora.actions.documents import (
    act_on,
    exclude,
    fold_in,
    include,
    keep_apart,
    restore,
    text_of,
    withdraw,
)
from apps.corpora.actions.export import SnapshotFiles, export_snapshot, lines_of, once
from apps.corpora.actions.freezing import (
    carry_out,
    claim_freezing,
    order_freeze,
    reconcile_freezings,
)
from apps.corpora.actions.meaning import keep_vectors, unread_passages
from apps.corpora.actions.outcomes import (
    ATTEMPTS,
    begin,
    begin_next,
    call_for,
    cancel_rest,
    file_documents,
    file_known,
    pause,
    put_back,
    reconcile,
    reject,
    resume,
    retriable,
    retry,
    retry_scans,
    scans,
)
from apps.corpora.actions.questions import ExampleReceipt, add_examples
from apps.corpora.actions.receiving import IncomingFile, receive
from apps.corpora.actions.repeating import Looking, ask_for_repeats, decide_repeats
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
from apps.corpora.actions.snapshots import (
    AT_ONCE,
    LOOKED,
    Changes,
    changes,
    freeze,
    freeze_without,
    in_order,
)
from apps.corpora.actions.splits import Split, as_row
from apps.corpora.actions.synchronising import (
    Synchronisation,
    ask_to_synchronise,
    claim_connection,
    connect,
    disconnect,
    finish_synchronising,
    places,
    proposed,
    reconcile_connections,
    refusal_of,
    withdraw_gone,
)
from apps.corpora.actions.transfers import (
    begin_transfer,
    expire_transfers,
    files_of,
    give_up,
    go_on,
)
from apps.corpora.actions.writing import Written, write_examples

__all__ = [
    "ATTEMPTS",
    "AT_ONCE",
    "LOOKED",
    "Changes",
    "Difference",
    "ExampleReceipt",
    "IncomingFile",
    "Looking",
    "SnapshotFiles",
    "Split",
    "Synchronisation",
    "Written",
    "act_on",
    "add_examples",
    "alike",
    "approve",
    "as_row",
    "ask_for_repeats",
    "ask_to_synchronise",
    "begin",
    "begin_counts",
    "begin_next",
    "begin_transfer",
    "behind",
    "call_for",
    "cancel_rest",
    "carry_out",
    "changes",
    "claim_connection",
    "claim_freezing",
    "connect",
    "count_some",
    "create_corpus",
    "decide_repeats",
    "delete",
    "delete_lapsed",
    "difference",
    "disconnect",
    "exclude",
    "expire_transfers",
    "export_snapshot",
    "file_documents",
    "file_known",
    "files_of",
    "finish_synchronising",
    "fold_in",
    "freeze",
    "freeze_without",
    "give_up",
    "go_on",
    "grant",
    "in_order",
    "include",
    "keep_apart",
    "keep_vectors",
    "leave_out",
    "lines_of",
    "must",
    "once",
    "order_freeze",
    "pause",
    "places",
    "proposed",
    "put_back",
    "readers",
    "receive",
    "reconcile",
    "reconcile_connections",
    "reconcile_freezings",
    "redact",
    "refusal_of",
    "reject",
    "reopen",
    "restore",
    "resume",
    "retriable",
    "retry",
    "retry_scans",
    "revoke",
    "scans",
    "screen_again",
    "set_policies",
    "set_withdrawn_days",
    "text_of",
    "unread_passages",
    "withdraw",
    "withdraw_gone",
    "write_examples",
]
