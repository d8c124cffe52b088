"""Tensors of pixels and masks: resizing, normalizing, copies between devices, clean-up, orientation.

Uses no other room; torch, numpy, and PyAV for the orientation of pictures. Everything in `model` may use it.
"""
