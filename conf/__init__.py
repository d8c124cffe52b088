"""Hydra groups: what a job can be made of."""
