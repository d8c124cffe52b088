"""Masks: COCO run-length code (RLE) from logits, on a CPU or a GPU; RLE read with checks, or its box; IoU; overlays.

Doors: `rle`, `run_lengths`, `crop` (numpy alone, no torch), `from_logits` (CPU), `from_logits_gpu`, `iou`, `overlay`.
Uses: arrays, and of model `upsample_logits`. Imported by inputs, worker, formats and demo.
"""
