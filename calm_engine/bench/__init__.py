"""What a composition costs beside its anchor alone, as ratios measured in one run: `make bench`.

Nothing here is imported by the engine or the product.
"""
