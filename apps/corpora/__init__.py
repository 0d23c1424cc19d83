"""Corpora: what a company's own documents are, how they come in and how they are frozen."""
