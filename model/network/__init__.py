"""SAM 2 as a network: its config and its parts. Memories are inputs, weights are the only state.

Doors: `sam2.Sam2`, `config.Sam2Config`, `features`. `kernels` and `precision` choose forms by device and dtype.
Uses: pixels. It never imports tracking, weights or hf.
"""
