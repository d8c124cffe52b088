"""Times and memory of ours, `transformers` and `sam2`, in turn on the same frames, weights, dtype and threads."""
