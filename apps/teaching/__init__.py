"""The guided road: one plan teaches one snapshot, run after run."""
