"""Which SAM 2 labels."""
