"""Sessions: objects, prompts, memories, and the walk through the frames of a video or a stream.

Doors: `session.VideoSession`, `stream.VideoStream`, `steps.advance`, `frames.FrameSource`.
Inside, `state.SessionState` is what a session holds. `steps` tracks, `replay` tracks again, `conditioning` segments
prompted frames, `walk` goes through all frames, and each of these uses only those named before it. `saved`,
`wire_names` and `session_files` are the way to disk.
Uses: network, pixels, prompts. It never imports weights or hf.
"""
