"""The check of a GPU: `python -m tests.bench --device cuda`, about twelve minutes.

`--device cpu --quick` tries the check itself where there is no GPU.

Each part is a module with one function that takes `Options` and returns what it found: plain values, for the report.
`parts.py` lists them with their time limits, `report.py` saves after each, `goals.py` says what must hold.
`bundle.py` (`make gpu-bundle`) gathers the wheels for a machine that has torch and cannot install from the network.
"""
