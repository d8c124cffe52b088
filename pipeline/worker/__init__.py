"""The worker, one process a GPU: owns a model, labels videos a few at a time, publishes segments.

Doors: `settings.WorkerSettings` (plain, travels to the actor) and `worker.Worker`.
The life of one video is `video_in_flight.VideoInFlight`.
Uses: inputs, video, masks, output, config, storage. It has no door to `commits`: only the driver writes the log.
"""
