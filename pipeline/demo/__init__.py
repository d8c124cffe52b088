"""`conf=demo`: draws clips with known masks, labels them, scores the result and shows it in a picture.

Door: `demo.run(config)`. `clips` and `scenes` also draw the clips of the tests.
Uses: driver, tables and the floors below. Imported by `run` alone.
"""
