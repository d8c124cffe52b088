"""The worker, one process a GPU: loads a model, labels videos a few at a time, publishes segments.

Doors: `settings.WorkerSettings` (plain values that travel to the process) and `worker.Worker`.
`equipment.equip` loads what a worker needs. `stepping` says which videos step next. `video_in_flight.VideoInFlight` is
the life of one video: `fetch` gets its inputs, `labeler` turns frames into rows, `mask_encoder` encodes the masks.
`publisher` and `saving` publish and save beside the model.
Uses: inputs, video, masks, output, config, storage. Never: commits, because only the driver writes the log.
Imported by driver and cluster, which start workers. The rooms that it uses never import it.
"""
