"""Numbers of PyAV are exact, whichever of its versions gives them."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

import pytest

from model.media.rationals import exact


class Rational(NamedTuple):
    """A number as PyAV 19 gives it: false where the file has none."""

    numerator: int
    denominator: int

    def __bool__(self) -> bool:
        return self.numerator != 0 and self.denominator != 0


@pytest.mark.parametrize("given", [Fraction(1001, 30000), Rational(1001, 30000)])
def test_a_unit_of_time_is_a_fraction(given: Fraction | Rational) -> None:
    assert exact(given) == Fraction(1001, 30000)
    assert type(exact(given)) is Fraction


@pytest.mark.parametrize("given", [None, Fraction(0), Rational(0, 1), Rational(1, 0), Rational(0, 0)])
def test_what_a_file_does_not_say_is_none(given: Fraction | Rational | None) -> None:
    assert exact(given) is None
