"""What `make lowest` installs."""

from __future__ import annotations

import tomllib

from tests.support.lowest import PYPROJECT, lowest_versions


def test_every_requirement_of_a_user_is_pinned_to_its_lower_bound() -> None:
    text = """
    [project]
    dependencies = ["av>=18", "hydra-core>=1.3.2,<1.4", "ray[default]>=2.48"]
    [project.optional-dependencies]
    s3 = ["s3fs>=2025.3"]
    test = ["maskmill[s3]", "pytest>=8.4", "transformers>=5.6"]
    """
    assert lowest_versions(text) == ["av==18", "hydra-core==1.3.2", "ray==2.48", "s3fs==2025.3", "transformers==5.6"]


def test_no_requirement_of_ours_is_without_a_lower_bound() -> None:
    pinned = {line.partition("==")[0] for line in lowest_versions(PYPROJECT.read_text())}
    assert {"av", "torch", "ray", "pydantic", "s3fs", "transformers"} <= pinned
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    assert len(pinned) >= len(project["dependencies"])
