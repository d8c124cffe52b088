"""Weights: safetensors and `.pt` files, folders, URIs and the Hub; names of the original weights.

Door: `checkpoint.load_model`. Uses: network. It never imports tracking or hf.
"""
