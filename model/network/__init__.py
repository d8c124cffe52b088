"""SAM 2 as a network: its config and its parts. Memories are inputs, weights are the only state.

Doors: `sam2.Sam2`, `config.Sam2Config`, `features`. `kernels` chooses forms of layers by device and dtype;
`precision` (autocast) and `compiled` (`torch.compile`) change a finished model from outside.
Uses: pixels. It never imports tracking, weights or hf.
"""
