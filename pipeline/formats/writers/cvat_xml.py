"""What CVAT's XML documents of videos and of images share: the head with the labels, the attributes of objects.

CVAT keeps an attribute only if the label of the task has it. `labels.json` is what its editor of labels takes as "Raw".
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from pipeline.formats.handing_out import HANDOUT, OBJECT_ID, TOLD, VERDICT, VERDICTS
from pipeline.formats.plan import PlannedTrack
from pipeline.formats.review_facts import COLUMNS
from pipeline.formats.source import ExportVideo
from pipeline.formats.writers.xml_text import attribute, element_text, hex_color, storable

LABELS = "labels.json"


def head(
    name: str,
    mode: str,
    categories: Mapping[str, int],
    details: Mapping[str, str | int] | None = None,
    attributes: Sequence[str] = (OBJECT_ID,),
) -> str:
    """A document up to its first image or track. `mode` is CVAT's: `annotation` of images, `interpolation` of videos.

    `categories` are names with their ids, by which they have their colors, `details` further elements of the task, and
    `attributes` those that objects have.
    """
    labels = "".join(_label(category, number, attributes) for category, number in categories.items())
    elements = "".join(f"      <{tag}>{element_text(str(value))}</{tag}>\n" for tag, value in (details or {}).items())
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        "<annotations>\n  <version>1.1</version>\n  <meta>\n    <task>\n"
        f"      <name>{element_text(name)}</name>\n      <mode>{mode}</mode>\n{elements}"
        f"      <labels>\n{labels}      </labels>\n    </task>\n  </meta>\n"
    )


def attributes_of(track: PlannedTrack, video: ExportVideo) -> str:
    """What is said of an object: its own id, and to reviewers why they should look at it.

    CVAT takes those of the last shape of a track for those of the track, so that each shape has all.
    """
    review = video.review
    if review is None:
        said = [(OBJECT_ID, str(track.object_id)), *((name, str(value)) for name, value in track.reviewed.items())]
    else:
        said = review.attributes(track)
    return "".join(f"<attribute name={attribute(name)}>{element_text(value)}</attribute>" for name, value in said)


def names_of_attributes(is_review: bool, has_reviews: bool) -> Sequence[str]:
    """The attributes that objects have; with `has_reviews` what reviewers said is among them."""
    return TOLD if is_review else (OBJECT_ID, *(COLUMNS if has_reviews else ()))


def label_specification(categories: Mapping[str, int]) -> bytes:
    """`labels.json`: the labels of a task whose objects keep what they say of themselves."""
    labels = [
        {
            "name": storable(category),
            "color": hex_color(number),
            "type": "any",
            "attributes": [
                {
                    "name": name,
                    "mutable": False,
                    "input_type": _input_type(name),
                    "default_value": _values(name)[0],
                    "values": list(_values(name)),
                }
                for name in TOLD
            ],
        }
        for category, number in categories.items()
    ]
    return json.dumps(labels, indent=2, ensure_ascii=False).encode()


def _input_type(name: str, is_review: bool = True) -> str:
    return "select" if name == VERDICT and is_review else "text"


def _values(name: str, is_review: bool = True) -> Sequence[str]:
    return VERDICTS if name == VERDICT and is_review else ("",)


def _label(category: str, number: int, attributes: Sequence[str]) -> str:
    return (
        f"        <label>\n          <name>{element_text(category)}</name>\n"
        f"          <color>{hex_color(number)}</color>\n"
        f"          <type>any</type>\n          <attributes>\n{''.join(_attributes(attributes))}"
        "          </attributes>\n        </label>\n"
    )


def _attributes(names: Sequence[str]) -> Iterator[str]:
    is_review = HANDOUT in names
    for name in names:
        kind, values = _input_type(name, is_review), _values(name, is_review)
        yield (
            f"            <attribute>\n              <name>{name}</name>\n"
            f"              <mutable>False</mutable>\n              <input_type>{kind}</input_type>\n"
            f"              <default_value>{values[0]}</default_value>\n"
            f"              <values>{chr(10).join(values)}</values>\n            </attribute>\n"
        )
