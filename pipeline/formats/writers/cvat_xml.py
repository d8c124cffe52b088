"""What CVAT's XML documents of videos and of images share: the head with the labels, the attribute `object_id`."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.formats.plan import PlannedTrack
from pipeline.formats.writers.xml_text import element_text, hex_color


def head(name: str, mode: str, categories: Mapping[str, int], details: Mapping[str, str | int] | None = None) -> str:
    """A document up to its first image or track. `mode` is CVAT's: `annotation` of images, `interpolation` of videos.

    `categories` are names with their ids, by which they have their colors, and `details` further elements of the task.
    """
    labels = "".join(_label(category, number) for category, number in categories.items())
    elements = "".join(f"      <{tag}>{element_text(str(value))}</{tag}>\n" for tag, value in (details or {}).items())
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        "<annotations>\n  <version>1.1</version>\n  <meta>\n    <task>\n"
        f"      <name>{element_text(name)}</name>\n      <mode>{mode}</mode>\n{elements}"
        f"      <labels>\n{labels}      </labels>\n    </task>\n  </meta>\n"
    )


def object_id_attribute(track: PlannedTrack) -> str:
    """The object's own id, which CVAT keeps as a text where the label of the task has this attribute."""
    return f'<attribute name="object_id">{track.object_id}</attribute>'


def _label(category: str, number: int) -> str:
    return (
        f"        <label>\n          <name>{element_text(category)}</name>\n"
        f"          <color>{hex_color(number)}</color>\n"
        "          <type>any</type>\n          <attributes>\n            <attribute>\n"
        "              <name>object_id</name>\n              <mutable>False</mutable>\n"
        "              <input_type>text</input_type>\n              <default_value></default_value>\n"
        f"              <values></values>\n            </attribute>\n          </attributes>\n        </label>\n"
    )
