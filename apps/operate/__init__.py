"""What an installation tells of itself across all tenants: figures, proof of a restore, support.

It stands over the other apps and reads their rows; it keeps none of its own, and shows no page.
"""
