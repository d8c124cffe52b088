"""maskmill by Ray Jobs, on a Ray cluster that stays."""
