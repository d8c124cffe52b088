"""One module a format: `Options`, a group of the keys that the format has of its own, and `Writer`.

`pipeline.formats.registry` names them all and imports one when it is asked for. A module imports the package of its
consumer, if it needs one, inside the functions that use it.
"""
