"""The two references behind one face: `sam2` (in a process of its own) and `transformers`, fed the same tensors."""
