"""Text in XML: what others wrote, so that every parser reads it."""

from __future__ import annotations

import re
from xml.sax.saxutils import escape, quoteattr

from pipeline.masks.overlay import color_of

_NOT_OF_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that an XML 1.0 document may not hold, not even as references."""


def element_text(text: str) -> str:
    """A text as the content of an element, in one line; characters that XML does not have are written as `\\x07`."""
    return escape(storable(text), {"\r": "&#13;", "\n": "&#10;"})


def attribute(text: str | int | float) -> str:
    """A value as an attribute, with its quotes. Line feeds and tabs survive as references."""
    return quoteattr(storable(str(text)), {"\n": "&#10;", "\t": "&#9;", "\r": "&#13;"})


def storable(text: str) -> str:
    """The text with each character that XML 1.0 does not have written out, as `\\x07` or `\\ud800`."""
    return _NOT_OF_XML.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def hex_color(number: int) -> str:
    """The color of a label or an object as `#009eff`."""
    return "#{:02x}{:02x}{:02x}".format(*color_of(number))
