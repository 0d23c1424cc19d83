"""What has been learned and may be used: anchors, augmenters, compositions, aliases, placements."""
