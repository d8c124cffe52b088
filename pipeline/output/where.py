"""Conditions on the rows of a table as a short text: `predicted_iou < 0.7 and area > 100`.

    condition  = column (= | == | != | <> | < | <= | > | >=) value
               | column [not] in (value, …) | column [not] between value and value
               | column [not] like 'clip-%' | column is [not] null | column (of true and false)
               | not condition | condition and condition | condition or condition | (condition)
    value      = a number, 'text', "text", true or false

A name with other letters than a-z, 0-9 and _ stands in backticks. As in SQL, a comparison with null holds for no row.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import reduce
from typing import NoReturn, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import ConfigError

Condition: TypeAlias = str | pc.Expression
Value = int | float | str | bool

_TOKEN = re.compile(
    r"\s*(?:(?P<number>-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?![\w.])"
    r"|'(?P<single>(?:[^']|'')*)'|\"(?P<double>(?:[^\"]|\"\")*)\"|`(?P<quoted>[^`]+)`"
    r"|(?P<word>[^\W\d]\w*)|(?P<sign><=|>=|==|!=|<>|[<>=(),]))"
)
_COMPARE: dict[str, Callable[[pc.Expression, pc.Scalar], pc.Expression]] = {
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_KEYWORDS = {"and", "or", "not", "in", "is", "null", "between", "like", "true", "false"}
_MANY_VALUES = 64
_MOST_PARTS = 200  # Python's and Arrow's stacks hold them


def quoted(text: str) -> str:
    """A text as a value of a condition: `'it''s'`."""
    return "'{}'".format(text.replace("'", "''"))


class WrongCondition(ConfigError, ValueError):
    """A condition that cannot be read, or that does not fit the table: names the place, the column and the remedy."""


def condition(where: Condition, schema: pa.Schema) -> pc.Expression:
    """A condition on rows of `schema` as Arrow takes it for a filter; an expression of Arrow is returned as it is.

    Numbers become those of their column, so that statistics of files can rule out rows and `predicted_iou = 0.9` finds
    the float32 that is nearest to 0.9. Raises `WrongCondition`, and `TypeError` for what is neither.
    """
    if isinstance(where, pc.Expression):
        return where
    if not isinstance(where, str):
        raise TypeError(
            f"where= is a {type(where).__module__}.{type(where).__name__}: give a text, as where='area > 100', or an "
            "expression of pyarrow.compute"
        )
    return _Parser(where, schema).parse()


def columns_of(expression: pc.Expression | None, schema: pa.Schema) -> set[str]:
    """Columns of the schema that an expression reads; maybe more, where one of its texts has the name of a column."""
    text = "" if expression is None else str(expression)
    return {name for name in schema.names if name in text}


@dataclass(frozen=True)
class _Token:
    """`kind` is `number`, `text`, `column`, `word` (a keyword), `sign` or `end`; `text` is what it says."""

    kind: str
    text: str
    start: int


class _Parser:
    """Reads a condition from left to right: `or` binds least, then `and`, then `not`."""

    def __init__(self, where: str, schema: pa.Schema) -> None:
        self._where = where
        self._schema = schema
        self._tokens = self._split()
        self._next = 0

    def parse(self) -> pc.Expression:
        """The whole text."""
        found = self._alternatives()
        if self._token.kind != "end":
            self._fail("expected 'and', 'or' or the end")
        return found

    # Rules, the one that binds least first

    def _alternatives(self) -> pc.Expression:
        found = self._conjunction()
        while self._takes("or"):
            found = found | self._conjunction()
        return found

    def _conjunction(self) -> pc.Expression:
        found = self._negation()
        while self._takes("and"):
            found = found & self._negation()
        return found

    def _negation(self) -> pc.Expression:
        if self._takes("not"):
            return ~self._negation()
        if self._takes("("):
            found = self._alternatives()
            self._expect(")")
            return found
        return self._comparison()

    def _comparison(self) -> pc.Expression:
        if self._token.kind in ("number", "text"):
            value, sign, name = self._value(), self._sign(), self._column()
            return self._compared(name, _TURNED.get(sign, sign), value)
        name = self._column()
        field = pc.field(name)
        if self._takes("is"):
            is_not = self._takes("not")
            self._expect("null")
            return field.is_valid() if is_not else field.is_null()
        if self._token.text in _COMPARE and self._token.kind == "sign":
            return self._compared(name, self._sign(), self._value())
        is_not = self._takes("not")
        found = self._member(name)
        if found is None:
            if is_not:
                self._fail("expected 'in', 'between' or 'like' after 'not'")
            if not pa.types.is_boolean(self._schema.field(name).type):
                quotes = f"; a shell takes > for a file unless quotes stand around it: 'where={name} > 0'"
                self._fail(f"expected a comparison after {name}, as in {name} > 0", quotes)
            return field
        return ~found if is_not else found

    def _member(self, name: str) -> pc.Expression | None:
        """`in`, `between` or `like` after a column; None if none of them comes."""
        if self._takes("in"):
            self._expect("(")
            values = [self._value()]
            while self._takes(","):
                values.append(self._value())
            self._expect(")")
            return self._one_of(name, values)
        if self._takes("between"):
            low = self._compared(name, ">=", self._value())
            self._expect("and")
            return low & self._compared(name, "<=", self._value())
        if self._takes("like"):
            pattern = self._value()
            if not isinstance(pattern, str) or not _is_text(self._schema.field(name).type):
                self._fail("like compares a column of texts with a text, as in video_id like 'clip-%'")
            return pc.match_like(pc.field(name), pattern)
        return None

    # Columns and values

    def _compared(self, name: str, sign: str, value: Value) -> pc.Expression:
        scalar = self._as_in(name, value)
        field = pc.field(name)
        if scalar.type != self._schema.field(name).type:
            # Arrow would cut 100.5 to the column's 100. Ids of 17 digits are rounded, which decides nothing here: the
            # value has a fraction, or is beyond all integers.
            field = field.cast(scalar.type, safe=False)
        return _COMPARE[sign](field, pc.scalar(scalar))

    def _one_of(self, name: str, values: Sequence[Value]) -> pc.Expression:
        """By equalities, of which statistics rule out rows; many values by a set, because Arrow crashes on 20,000."""
        if len(values) <= _MANY_VALUES:
            return reduce(operator.or_, [self._compared(name, "=", value) for value in values])
        kind, field = self._schema.field(name).type, pc.field(name)
        scalars = [self._as_in(name, value) for value in values]
        # Those of another type have a fraction, or are beyond all integers: no row of the column has them.
        found = field.isin(pa.array([scalar.as_py() for scalar in scalars if scalar.type == kind], kind))
        return found | (field < field)  # which is null for null, where `isin` says false

    def _as_in(self, name: str, value: Value) -> pa.Scalar:
        """A value in the type of a column, or a float64 for an integer column that cannot hold it (0.5 pixels)."""
        kind = self._schema.field(name).type
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if (pa.types.is_boolean(kind) and isinstance(value, bool)) or (_is_text(kind) and isinstance(value, str)):
            return pa.scalar(value, kind)
        if pa.types.is_timestamp(kind) and isinstance(value, str):
            return pa.scalar(self._time(name, value), kind)
        if pa.types.is_floating(kind) and is_number:
            return pa.scalar(float(value), kind)
        if pa.types.is_integer(kind) and is_number:
            try:
                return pa.scalar(int(value), kind) if value == int(value) else pa.scalar(value, pa.float64())
            except (pa.ArrowInvalid, OverflowError):
                return pa.scalar(float(value), pa.float64())
        raise WrongCondition(
            f"{self._said()}: {name} {_kind_in_words(kind)}, so that it cannot be compared with {value!r}"
        )

    def _time(self, name: str, value: str) -> datetime:
        try:
            moment = datetime.fromisoformat(value)
        except ValueError as error:
            raise WrongCondition(
                f"{self._said()}: {name} is a time, and {value!r} is none; write '2026-01-31 12:00'"
            ) from error
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    def _column(self) -> str:
        token = self._token
        if token.kind != "column":
            self._fail("expected the name of a column")
        self._next += 1
        if token.text not in self._schema.names:
            near = get_close_matches(token.text, self._schema.names, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(self._schema.names)}"
            raise WrongCondition(f"{self._said()}: the table has no column {token.text!r}; {hint}")
        return token.text

    def _value(self) -> Value:
        token = self._token
        if token.kind not in ("number", "text") and token.text not in ("true", "false"):
            hint = "; texts stand in quotes, as in 'dog'" if token.kind == "column" else ""
            self._fail(f"expected a number, a text, true or false{hint}")
        self._next += 1
        if token.kind == "text":
            return token.text
        if token.kind == "word":
            return token.text == "true"
        return int(token.text) if token.text.lstrip("-").isdigit() else float(token.text)

    def _sign(self) -> str:
        token = self._token
        if token.kind != "sign" or token.text not in _COMPARE:
            self._fail("expected a comparison (=, !=, <, <=, >, >=)")
        self._next += 1
        return token.text

    # Tokens

    @property
    def _token(self) -> _Token:
        return self._tokens[self._next]

    def _takes(self, text: str) -> bool:
        """Go on behind this keyword or sign if it comes next."""
        is_next = self._token.text == text and self._token.kind in ("word", "sign")
        self._next += is_next
        return is_next

    def _expect(self, text: str) -> None:
        if not self._takes(text):
            self._fail(f"expected {text!r}")

    def _split(self) -> list[_Token]:
        tokens: list[_Token] = []
        end = 0
        text = self._where.rstrip()
        while end < len(text):
            match = _TOKEN.match(text, end)
            if match is None:
                hint = "; write and, or, not in words" if text[end:].lstrip()[:1] in "&|~!" else ""
                raise WrongCondition(f"{self._said()}: {text[end:].strip()!r} cannot be read{hint}")
            tokens.append(_token_of(match))
            end = match.end()
        if sum(token.text in ("and", "or", "not", "(") and token.kind != "text" for token in tokens) > _MOST_PARTS:
            raise WrongCondition(f"where= has more than {_MOST_PARTS} parts; name many values by column in (…)")
        return [*tokens, _Token("end", "", len(text))]

    def _fail(self, expected: str, hint: str = "") -> NoReturn:
        token = self._token
        place = "at its end" if token.kind == "end" else f"at {self._where[token.start :].strip()!r}"
        raise WrongCondition(f"{self._said()}: {expected} {place}{hint}")

    def _said(self) -> str:
        return f"where={self._where!r}"


def _token_of(match: re.Match[str]) -> _Token:
    kind, text = next((kind, text) for kind, text in match.groupdict().items() if text is not None)
    start = match.start(kind)
    if kind == "single":
        return _Token("text", text.replace("''", "'"), start - 1)
    if kind == "double":
        return _Token("text", text.replace('""', '"'), start - 1)
    if kind == "quoted":
        return _Token("column", text, start - 1)
    if kind == "word":
        is_keyword = text.lower() in _KEYWORDS
        return _Token("word", text.lower(), start) if is_keyword else _Token("column", text, start)
    return _Token(kind, text, start)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _kind_in_words(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return "is true or false"
    if _is_text(kind):
        return "holds texts"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return "holds numbers"
    return "holds times" if pa.types.is_timestamp(kind) else f"holds values of type {kind}"
