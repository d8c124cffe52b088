"""Masks: COCO run-length codes from logits, on CPU or GPU; IoU; overlays.

Doors: `rle` (numpy only, no torch), `from_logits`, `from_logits_gpu`, `iou`, `overlay`.
Uses: model, arrays.
"""
