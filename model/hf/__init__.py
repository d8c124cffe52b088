"""The calls of the Hugging Face pages "SAM2 Video" and "SAM2": models, processors, inference session, configs.

Doors: the names in `model`. Uses: tracking, weights, network, pixels, prompts. Nothing imports it but `model`.
"""
