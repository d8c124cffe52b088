"""Files that are damaged anywhere are read, or refused by an `InputError` that names them, and nothing else happens."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import InputError
from pipeline.formats.label import ReadOptions
from pipeline.formats.labels import FORMATS, read_labels

MASK = {"size": [4, 5], "counts": "52="}
COCO: Any = {
    "images": [{"id": 1, "file_name": "cup/3.jpg", "height": 4, "width": 5, "frame_id": 3, "video_id": 2}],
    "videos": [{"id": 2, "name": "cup"}],
    "categories": [{"id": 1, "name": "cup"}],
    "annotations": [
        {"image_id": 1, "category_id": 1, "segmentation": MASK, "score": 0.5, "attributes": {"track_id": 3}},
        {"image_id": 1, "category_id": 1, "segmentation": [[0, 0, 4, 0, 4, 3]]},
        {"image_id": 1, "category_id": 1, "bbox": [0, 1, 2, 3]},
    ],
}
YOUTUBE_VIS: Any = {
    "videos": [{"id": 1, "file_names": ["a/0.jpg", "a/1.jpg"], "length": 2, "height": 4, "width": 5}],
    "categories": [{"id": 1, "name": "cup"}],
    "annotations": [{"id": 1, "video_id": 1, "category_id": 1, "segmentations": [MASK, None], "bboxes": [None, None]}],
}
SA_V: Any = {"video_id": "v", "fps": 6, "masklet_id": [1], "masklet_category": ["cup"], "masklet": [[MASK], [None]]}
LABEL_STUDIO: Any = [
    {
        "id": 1,
        "data": {"video": "/data/cup.mp4"},
        "annotations": [
            {
                "result": [
                    {
                        "type": "videorectangle",
                        "value": {
                            "labels": ["cup"],
                            "sequence": [{"frame": 1, "x": 1, "y": 2, "width": 3, "height": 4, "rotation": 0}],
                        },
                    }
                ]
            }
        ],
    }
]
CVAT = """<annotations><meta><task><name>cup</name><original_size><width>5</width><height>4</height></original_size>
</task></meta><track id="0" label="cup"><polygon frame="2" keyframe="1" outside="0" points="0,0;4,0;4,3"/></track>
<image name="cup/1.jpg" width="5" height="4"><mask label="cup" rle="1, 2, 3" left="1" top="1" width="3" height="2"/>
</image></annotations>"""
TABLE = '{"video":"cup","frame":3,"track_id":1,"box_xywh":[1,2,3,4],"score":0.5}\n{"video":"a/1.jpg","box_xywh":null}\n'
TEXT = "1 2001 2 4 5 52=\n3 2001 2 4 5 52=\n"

FILES = {
    "coco": ("a.json", json.dumps(COCO)),
    "youtube_vis": ("a.json", json.dumps(YOUTUBE_VIS)),
    "sa_v": ("v_manual.json", json.dumps(SA_V)),
    "label_studio": ("a.json", json.dumps(LABEL_STUDIO)),
    "cvat_video": ("annotations.xml", CVAT),
    "boxes": ("a.jsonl", TABLE),
    "mots": ("cup.txt", TEXT),
    "yolo_seg": ("cup_1.txt", "0 0.1 0.1 0.9 0.1 0.5 0.9 0.75\n1 0.5 0.5 0.2 0.1\n"),
}
IN_PLACE = (b"null", b"-1", b"NaN", b"1e999", b"[]", b"{}", b'"x"', b"99999999999999999999", b"", b"\xff", b"[[0]]")


def damaged(data: bytes, chance: random.Random) -> bytes:
    """The bytes with one of them changed, cut off, or with another value in the place of one."""
    kind = chance.randrange(4)
    at = chance.randrange(len(data))
    if kind == 0:
        return data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
    if kind == 1:
        return data[:at]
    value = chance.choice(list(re.finditer(rb'"[^"]*"|-?\d+\.?\d*|null|\[|\{', data)))
    return data[: value.start()] + chance.choice(IN_PLACE) + data[value.end() :]


@pytest.mark.fast_core(2)
@pytest.mark.parametrize("format_name", FILES)
def test_a_damaged_file_is_read_or_refused_by_name(tmp_path: Path, format_name: str) -> None:
    name, text = FILES[format_name]
    path = tmp_path / name
    path.write_text(text)
    options = ReadOptions(size_hw=(4, 5) if "size" in FORMATS[format_name].takes else None)
    assert list(read_labels(str(tmp_path), format_name, options))
    chance = random.Random(7)
    num_refused = 0
    for number in range(40):
        path.write_bytes(damaged(text.encode(), chance))
        try:
            list(read_labels(str(tmp_path), "auto" if number % 4 == 0 else format_name, options))
        except InputError:
            num_refused += 1
    assert num_refused > 10


@pytest.mark.parametrize(
    ("annotation", "image", "message"),
    [
        (
            {"segmentation": {"size": [1 << 20, 1 << 20], "counts": [1 << 40]}},
            {},
            r"size \[1048576, 1048576\] .* picture",
        ),
        ({"segmentation": [[0, 0, 4, 0, 4, 3]]}, {"height": 1 << 20, "width": 1 << 20}, "is not that of a picture"),
        ({"segmentation": [[0, 0, 4, 0, 1e30, 3]]}, {}, r"the coordinate 1e\+30, far outside"),
    ],
)
def test_no_memory_is_taken_for_what_no_picture_can_hold(
    tmp_path: Path, annotation: dict[str, Any], image: dict[str, Any], message: str
) -> None:
    content = {**COCO, "images": [{"id": 1, "file_name": "a/3.jpg", "height": 4, "width": 5} | image]}
    content["annotations"] = [{"image_id": 1, "category_id": 1, **annotation}]
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"annotations\[0\]: .*{message}"):
        list(read_labels(str(tmp_path), "coco"))
