"""What the product tells those who watch it: figures, and whether its database fits its code.

Figures have names that docs/reference/metrics.md lists, ids and counts, and never content.
"""
