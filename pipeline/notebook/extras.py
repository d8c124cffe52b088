"""What a notebook may use and a job does not need: packages of the extra `maskmill[notebook]`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def needs_extra(package: str) -> Iterator[None]:
    """Name the remedy where `package`, or what it needs, is not installed. Raises `ModuleNotFoundError`."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'{package} is not installed ({error}): pip install "maskmill[notebook]"', name=error.name
        ) from error
