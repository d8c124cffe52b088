"""Objects that nobody pointed at: masks of everything on one image.

Doors: `everything.segment_everything`, `options`. Clicks are laid on a grid over the image and its crops. Masks that
the network believes in are kept, and each thing stays once.
May use `network` and `pixels`. `network` never imports it.
"""
