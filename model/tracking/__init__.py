"""Sessions: objects, prompts, memories, and the walk through the frames of a video or a stream.

Doors: `session.VideoSession`, `stream.VideoStream`, `steps.advance`, `frames.FrameSource`.
Uses: network, pixels, prompts. It never imports weights or hf.
"""
