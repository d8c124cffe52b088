"""Tensors of pixels and masks: resizing, normalizing, copies between devices, clean-up, orientation.

Uses: torch alone. Everything in `model` may use it.
"""
