"""Prints constraints for pip: the lowest version that pyproject.toml allows of each package that a user installs.

The tools of the tests stay at their newest, but for the packages that have to fit to one of those. `make lowest` calls
this.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
REFERENCES = ("torchvision", "transformers")


def lowest_versions(pyproject: str) -> list[str]:
    """`name==version` for each `name>=version` of the package and of its extras, of `test` the references alone."""
    project = tomllib.loads(pyproject)["project"]
    extras = dict(project["optional-dependencies"])
    references = [line for line in extras.pop("test") if line.startswith(REFERENCES)]
    lines = [*project["dependencies"], *(line for extra in extras.values() for line in extra), *references]
    bounds = [re.match(r"([\w.-]+)(?:\[[\w,]+\])?>=([\w.]+)", line) for line in lines]
    return [f"{bound[1]}=={bound[2]}" for bound in bounds if bound]


if __name__ == "__main__":
    print("\n".join(lowest_versions(PYPROJECT.read_text(encoding="utf-8"))))
