"""`conf=demo`: draws clips with known masks, labels them, scores the result and shows it in a picture.

Door: `demo.run(config)`. Uses: driver, tables, and the floors below. Imported by `run` only.
"""
