"""Measures corpora at size: lists, near copies, reading. `make bench-corpora` runs it."""
