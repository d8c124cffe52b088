"""Endpoints below `api/fix/`: correcting a mask by clicks, from the job's own weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from pipeline.review_server.state import ReviewState


def fix_routes(state: ReviewState) -> list[BaseRoute]:
    """Routes of fix mode, with paths below `/api/fix/`; none where the job's model cannot be loaded."""
    return []
