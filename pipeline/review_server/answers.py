"""What endpoints read and answer: JSON, and errors for people."""

from __future__ import annotations

import json
import math
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pipeline.redact import redact

_MOST_BYTES = 1 << 22


class ReviewError(HTTPException):
    """An error that the page shows to a person, as one sentence. `status` is that of HTTP."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(status, redact(message))


def answer(content: Any, status: int = 200, cached_seconds: int = 0) -> Response:
    """An answer of JSON. A float that is no number becomes null, because JSON has none.

    `cached_seconds`: so long a browser may keep it.
    """
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # A text of a table may hold half a surrogate pair, which UTF-8 has no letter for.
    data = text.encode("utf-8", "replace")
    return Response(data, status, _kept(cached_seconds), media_type="application/json")


def picture(data: bytes, cached_seconds: int = 3600) -> Response:
    """An answer of a JPEG."""
    return Response(data, 200, _kept(cached_seconds), media_type="image/jpeg")


def failed(request: Request, error: Exception) -> Response:
    """The answer where an endpoint has raised."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = error.detail if isinstance(error, HTTPException) else redact(f"{type(error).__name__}: {error}")
    return answer({"error": detail}, status)


def rounded(value: float | None, digits: int = 4) -> float | None:
    """A number as JSON has it, None for none and for nan."""
    return None if value is None or not math.isfinite(value) else round(value, digits)


async def json_body(request: Request) -> dict[str, Any]:
    """The JSON object of a request. Raises `ReviewError` if it is none."""
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > _MOST_BYTES:
        raise ReviewError("the request is too long", 413)
    try:
        found = json.loads(await request.body())
    except ValueError as error:
        raise ReviewError(f"the request is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise ReviewError("the request is no JSON object")
    return found


def track_of(request: Request) -> tuple[str, int]:
    """The video and the object that a request names. Raises `ReviewError`."""
    return video_of(request), number_of(request, "object")


def video_of(request: Request) -> str:
    """The video that a request names. Raises `ReviewError`."""
    video_id = request.query_params.get("video")
    if video_id is None:
        raise ReviewError("video= is missing")
    return video_id


def number_of(request: Request, name: str, default: int | None = None) -> int:
    """A whole number of the query. Raises `ReviewError`."""
    text = request.query_params.get(name)
    if text is None and default is not None:
        return default
    try:
        number = int(text or "")
    except ValueError as error:
        raise ReviewError(f"{name}= needs a whole number") from error
    if not -(2**63) <= number < 2**63:
        raise ReviewError(f"{name}= is too large")
    return number


def _kept(seconds: int) -> dict[str, str]:
    return {"cache-control": f"private, max-age={seconds}" if seconds else "no-store"}
