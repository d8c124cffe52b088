"""SAM 2 video in torch: the network, its checkpoints, and sessions that track objects through a video."""
