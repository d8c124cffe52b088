"""One Hydra file per job: `conf=NAME` picks `NAME.yaml`."""
