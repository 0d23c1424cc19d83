"""Pages of corpora, a file for each thing shown.

GET reads, POST acts. Who may see a corpus is `readable_by`; what else they may, the action checks.
"""
