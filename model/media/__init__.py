"""Files to frames: one set of readers for the job and for the documented calls (`load_video`, `init_video_session`).

It knows files and bytes, never storage: whoever opens a URI hands over a file object.
Below it: `pixels`. It never imports `network`, `tracking`, `weights` or `hf`.
"""
