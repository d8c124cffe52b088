"""Fixtures of the tests of deployment files."""

from __future__ import annotations

from tests.pipeline.conftest import small_checkpoint

__all__ = ["small_checkpoint"]
