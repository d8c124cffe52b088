"""Renders a page: a template with the values it needs, the style in it, every text escaped.

A text of a table (an id, a category, a message) may hold anything. jinja2 escapes what HTML takes for its own; the
filter `name` also writes control characters out, keeps the direction of other scripts inside of the text, and cuts it.
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import ConfigError
from pipeline.storage.uris import absolute_uri
from pipeline.text import bytes_in_words, counted, escaped, one_line

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

_MOST_LETTERS = 80
_NOTHING = "–"


def render(template: str, **values: Any) -> str:
    """The page as HTML. `template` is a file of `templates/`; a value that it needs and does not get is an error.

    Raises `ConfigError` if jinja2 is not installed.
    """
    return _environment().get_template(template).render(**values)


def check_installed() -> None:
    """Raises `ConfigError` if jinja2 is not installed, before anything is gathered for nothing."""
    _environment()


@cache
def _environment() -> Environment:
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise ConfigError('pages need jinja2: pip install "maskmill[report]"') from error
    loader = PackageLoader("pipeline.pages")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "name": name,
        "place": place,
        "plainly": plainly,
        "number": number,
        "capitalize_first": capitalize_first,
        "compact": compact,
        "counted": counted,
        "fixed": fixed,
        "percent": percent,
        "score": score,
        "duration": duration,
        "bytes": bytes_in_words,
    }
    environment.globals["style"] = _style
    return environment


def _style() -> Markup:
    """The style of all pages. It is ours, and must not be escaped."""
    from importlib.resources import files

    from markupsafe import Markup

    return Markup(files("pipeline.pages").joinpath("templates/style.css").read_text(encoding="utf-8"))


def name(text: object, most: int = _MOST_LETTERS) -> Markup:
    """A text of a table for a page: in one line, cut, and isolated, so that letters from right to left move no others.

    The whole text is in the tooltip if it was cut.
    """
    from markupsafe import Markup

    whole = "" if text is None else str(text)
    shown = one_line(whole, most)
    if len(escaped(whole)) > most:
        return Markup('<bdi title="{}">{}</bdi>').format(one_line(whole, 2000), shown)
    return Markup("<bdi>{}</bdi>").format(shown)


def place(uri: str, most: int = 200) -> Markup:
    """A path or URI for a page. A relative path becomes absolute, because the page is read in other places."""
    return name(absolute_uri(uri, str(Path.cwd())), most)


def plainly(text: object, most: int = 4000) -> str:
    """A text of a table where no element may stand, as in an attribute; jinja2 escapes it."""
    return one_line("" if text is None else str(text), most)


def capitalize_first(text: str) -> str:
    """A text that begins a sentence; the case of its other letters stays."""
    return text[:1].upper() + text[1:]


def number(value: float | None) -> str:
    """A count with thin spaces between thousands: `12 345`."""
    return _NOTHING if value is None else f"{value:,.0f}".replace(",", "\u202f")


def compact(value: float | None) -> str:
    """A count that fits where little room is: from ten millions on in millions, `12.3 M`."""
    if value is None or value < 10_000_000:
        return number(value)
    return f"{value / 1e6:.1f} M" if value < 1e10 else f"{value / 1e9:.1f} G"


def fixed(value: float | None, digits: int = 2) -> str:
    """A number with so many digits after the point."""
    return _NOTHING if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def percent(share: float | None, digits: int = 0) -> str:
    """A share as percent. One that is not all and not nothing never looks like either."""
    if share is None or not math.isfinite(share):
        return _NOTHING
    smallest = 10.0**-digits
    value = 100 * share
    if 0 < value < smallest:
        return f"< {smallest:.{digits}f}\u202f%"
    if 100 - smallest < value < 100:
        return f"> {100 - smallest:.{digits}f}\u202f%"
    return f"{value:.{digits}f}\u202f%"


def score(share: float | None) -> str:
    """A score of 0 … 1 as papers print it: in percent, without the sign."""
    return _NOTHING if share is None else fixed(100 * share, 1)


def duration(seconds: float | None) -> str:
    """A time for people, in its two largest units: `3 h 20 min`."""
    if seconds is None or not math.isfinite(seconds):
        return _NOTHING
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"
