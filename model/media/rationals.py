"""Rates, ratios and units of time as PyAV gives them, exactly, whichever of its versions is installed."""

from __future__ import annotations

from fractions import Fraction
from typing import Any


def exact(given: Any) -> Fraction | None:
    """A number of PyAV; `None` where the file has none.

    PyAV 18 gives a `Fraction` or `None`. PyAV 19 gives numbers of its own, whose products with one another are rounded,
    and 0, 1/0 or 0/0 where the file has none: these are false.
    """
    return Fraction(given.numerator, given.denominator) if given else None
