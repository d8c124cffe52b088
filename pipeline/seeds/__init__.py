"""Seeds of videos that nobody prompted: which objects there are, found on key frames while the video is walked.

Doors: `discovery.Discovery` decides, `walk.discover_steps` walks.
May use `model` and lower floors. Workers use it; it knows nothing of Ray, config or storage.
"""
