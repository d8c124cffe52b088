"""The calls of the Hugging Face "SAM2 Video" page: model, processor, inference session, configs.

Doors: the names in `model`. Uses: tracking, weights, network, pixels, prompts. Nothing imports it but `model`.
"""
