"""Labels of other formats as they are read, held against files written from the formats' own specifications."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco
from pycocotools.coco import COCO

from pipeline.errors import InputError
from pipeline.formats.json_stream import entries
from pipeline.formats.label import Label, LabelBox, ReadOptions, mask_of_rle
from pipeline.formats.labels import read_labels
from pipeline.masks.rle import compress, parse_counts
from pipeline.storage.job_storage import JobStorage
from tests.support.labeled import driver, labeled, pixels, publish

SIZE = (20, 30)


def disc(x: float, y: float, radius: float, size_hw: tuple[int, int] = SIZE) -> np.ndarray:
    rows, columns = np.indices(size_hw)
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def rle(mask: np.ndarray) -> dict[str, Any]:
    code = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(code["size"]), "counts": code["counts"].decode()}


def runs(mask: np.ndarray) -> list[int]:
    """Uncompressed COCO counts, in column order, zeros first."""
    flat = mask.flatten(order="F")
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat.astype(int)])))
    return np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()


def instances(**more: Any) -> dict[str, Any]:
    """A COCO file with a polygon, compressed and uncompressed codes, and a box."""
    common = {"image_id": 7, "category_id": 3, "iscrowd": 0}
    return {
        "info": {"year": 2026},
        "images": [
            {"id": 7, "file_name": "cup/00012.jpg", "height": 20, "width": 30},
            {"id": 9, "file_name": "pan_0004.jpg", "height": 20, "width": 30},
        ],
        "categories": [{"id": 3, "name": "cup"}],
        "annotations": [
            common | {"id": 1, "segmentation": [[2.5, 3, 12, 3, 12.25, 9.5, 2, 9]], "bbox": [2, 3, 10, 6]},
            common | {"id": 2, "segmentation": rle(disc(9, 9, 5)), "track_id": 4},
            common | {"id": 3, "segmentation": {"size": [20, 30], "counts": runs(disc(20, 8, 4))}},
            common | {"id": 4, "image_id": 9, "bbox": [1.5, 2, 3, 4.25], "score": 0.5},
        ],
    } | more


def read(path: Path, format_name: str, content: Any = None, **options: Any) -> list[Label]:
    if content is not None:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return list(read_labels(str(path), format_name, ReadOptions(**options)))


def test_masks_of_coco_are_those_of_pycocotools(tmp_path: Path) -> None:
    path = tmp_path / "instances.json"
    found = read(path, "coco", instances())
    judge = COCO(str(path))
    for label, number in zip(found[:3], (1, 2, 3), strict=True):
        mask = label.mask()
        assert mask is not None
        np.testing.assert_array_equal(mask.decoded(), judge.annToMask(judge.anns[number]).astype(bool))
        assert (label.video, label.frame_index, label.category) == ("cup", 12, "cup")
    assert [label.object_key for label in found] == [None, 4, None, None]
    assert (found[3].video, found[3].frame_index, found[3].score) == ("pan", 4, 0.5)
    assert found[3].shape == LabelBox((1.5, 2.0, 4.5, 6.25))


def test_annotations_may_stand_before_what_they_refer_to(tmp_path: Path) -> None:
    backwards = dict(reversed(instances().items()))
    assert next(iter(backwards)) == "annotations"
    found = read(tmp_path / "a.json", "coco", backwards)
    assert [label.shape for label in found] == [label.shape for label in read(tmp_path / "b.json", "coco", instances())]


def test_coco_of_videos_names_video_frame_and_object(tmp_path: Path) -> None:
    content = {
        "images": [{"id": 1, "video_id": 5, "frame_id": 3, "file_name": "x.jpg", "height": 20, "width": 30}],
        "videos": [{"id": 5, "name": "kitchen/pan"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "instance_id": 2, "bbox": [0, 0, 5, 5]}],
        "categories": [{"id": 1, "name": "pan"}],
    }
    orders = ("images videos annotations categories", "categories images annotations videos")
    for number, written in enumerate((content, *({name: content[name] for name in one.split()} for one in orders))):
        (label,) = read(tmp_path / f"{number}.json", "coco", written)
        assert (label.video, label.frame_index, label.object_key) == ("kitchen/pan", 3, 2)


@pytest.mark.parametrize(
    ("said", "expected"),
    [({"track_id": -1}, None), ({"instance_id": -1, "track_id": 4}, 4), ({"object_id": -1}, -1), ({"track_id": 0}, 0)],
    ids=str,
)
def test_annotations_that_no_track_has_are_no_object(tmp_path: Path, said: dict, expected: int | None) -> None:
    content = {
        "images": [{"id": 1, "file_name": "v/00003.jpg", "height": 20, "width": 30}],
        "annotations": [{"id": 1, "image_id": 1, "bbox": [0, 0, 5, 5], **said}],
    }
    (label,) = read(tmp_path / "a.json", "coco", content)
    assert label.object_key == expected


def test_a_picture_without_annotations_is_labeled_and_empty(tmp_path: Path) -> None:
    content = instances()
    content["images"].append({"id": 11, "file_name": "cup/00013.jpg", "height": 20, "width": 30})
    *_, last = read(tmp_path / "a.json", "coco", content)
    assert (last.video, last.frame_index, last.object_key, last.is_hidden) == ("cup", 13, None, True)
    assert len(read(tmp_path / "a.json", "coco")) == 5
    assert [label.frame_index for label in read(tmp_path / "b.json", "coco", content | {"annotations": []})] == [
        12,
        4,
        13,
    ]


def test_a_list_of_results_takes_its_images_from_another_file(tmp_path: Path) -> None:
    (tmp_path / "instances.json").write_text(json.dumps(instances()))
    results = [{"image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 0.25}]
    (label,) = read(tmp_path / "results.json", "coco", results, images=str(tmp_path / "instances.json"))
    assert (label.video, label.frame_index, label.category, label.score) == ("cup", 12, "cup", 0.25)
    with pytest.raises(InputError, match="give images="):
        read(tmp_path / "results.json", "coco")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bbox": [1, float("nan"), 3, 4], "segmentation": None}, r"its box is \[1, nan, 3, 4\]"),
        ({"image_id": 70}, "no image has the id 70"),
        ({"category_id": 30}, r"no category has the id 30 \(the ids are 3"),
        ({"segmentation": rle(disc(9, 9, 5, (21, 30)))}, r"mask's size is \[21, 30\] .* its picture \[20, 30\]"),
        ({"segmentation": {"size": [20, 30], "counts": "00"}}, "covers 0 pixels, its size has 600"),
        ({"segmentation": [[1, 2, 3, 4]]}, "at least three points"),
        ({"score": float("inf"), "bbox": [1, 2, 3, 4]}, "its score is inf"),
    ],
)
def test_what_is_wrong_with_an_annotation_is_said_with_file_and_entry(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    content = instances()
    content["annotations"][1] |= change
    with pytest.raises(InputError, match=rf"a\.json, annotations\[1\]: .*{message}.*; correct the entry"):
        read(tmp_path / "a.json", "coco", content)


def test_broken_json_is_told_with_its_byte(tmp_path: Path) -> None:
    text = json.dumps(instances(), ensure_ascii=False).replace("cup/", "чашка/")
    cut = text[: text.index('"category_id"') + 4]
    with pytest.raises(InputError, match=rf"broken JSON at byte {len(cut.encode()) - 4}: Unterminated string"):
        read(tmp_path / "a.json", "coco", cut)


@pytest.mark.parametrize("num_bytes", [1, 2, 7, 64])
def test_entries_do_not_depend_on_where_the_file_is_cut_while_it_is_read(num_bytes: int) -> None:
    content = {"é": [1.5e3, -12, 'a\\u00e9"', {"x": [1, {"y": None}]}], "one": True, "none": [], "big": 10**20}
    data = json.dumps(content, indent=1, ensure_ascii=False).encode()
    stream = io.BytesIO(data)
    found: dict[str, Any] = {"none": []}
    for entry in entries(lambda _: stream.read(num_bytes), "x"):
        if entry.number is None:
            found[str(entry.key)] = entry.value
        else:
            found.setdefault(str(entry.key), []).append(entry.value)
    assert found == content


@pytest.mark.parametrize(
    "text", ["[1, 2] x", "[1 2]", '{"a": 1,}', '{"a" 1}', "nul", "[1.5ex]", "[" * 100_000, '["\xff"]']
)
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"x: broken JSON at (about )?byte"):
        list(entries(io.BytesIO(text.encode("latin-1")).read, "x"))


def palette_png(values: np.ndarray) -> bytes:
    picture = Image.fromarray(values.astype(np.uint8), "P")
    picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def test_pixels_of_a_palette_png_are_objects(tmp_path: Path) -> None:
    folder = tmp_path / "Annotations" / "480p" / "bear"
    folder.mkdir(parents=True)
    values = np.zeros(SIZE, np.uint8)
    (folder / "00000.png").write_bytes(palette_png(values))
    values[disc(9, 9, 5)] = 1
    values[disc(22, 9, 4)] = 3
    values[:, -1] = 255
    (folder / "00005.png").write_bytes(palette_png(values))
    (folder / "00010.png").write_bytes(palette_png(np.where(values == 3, 3, 0)))
    found = read(tmp_path, "davis")
    assert [(label.video, label.frame_index, label.object_key, label.is_hidden) for label in found] == [
        ("bear", 0, None, True),
        ("bear", 5, 1, False),
        ("bear", 5, 3, False),
        ("bear", 10, 1, True),
        ("bear", 10, 3, False),
    ]
    mask = found[1].mask()
    assert mask is not None
    np.testing.assert_array_equal(mask.decoded(), values == 1)
    Image.new("RGB", (30, 20)).save(folder / "00015.png")
    with pytest.raises(InputError, match=r"00015\.png: its pixels are colors \(RGB\)"):
        read(tmp_path, "davis")


def test_the_output_of_a_job_is_read_as_labels(tmp_path: Path) -> None:
    storage = JobStorage(str(tmp_path / "out"))
    spool = tmp_path / "spool"
    _, keeper = driver(storage, spool)
    keeper.commit([publish(storage, spool, labeled("clip", num_frames=5))])
    found = read(tmp_path / "out", "auto")
    assert [(label.object_key, label.frame_index, label.is_hidden) for label in found] == [
        (number, frame, frame == 4) for number in (1, 2) for frame in range(5)
    ]
    for label in found[:4]:
        mask = label.mask()
        assert mask is not None
        np.testing.assert_array_equal(mask.decoded(), pixels("clip", 1, label.frame_index or 0).astype(bool))
    with pytest.raises(InputError, match=r"truth: .*elsewhere.* does not exist"):
        list(read_labels(str(tmp_path / "elsewhere"), "maskmill", key="truth"))


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(
    runs=st.lists(st.one_of(st.integers(0, 40), st.integers(0, 1 << 20)), min_size=1, max_size=12),
    at=st.integers(0, 60),
    letter=st.integers(33, 126),
)
def test_codes_are_read_and_refused_as_by_the_reader_of_prompts(runs: list[int], at: int, letter: int) -> None:
    size = (1, max(1, sum(runs)))
    code = compress(np.array(runs, np.int64)).decode()
    damaged = code[: at % len(code)] + chr(letter) + code[at % len(code) + 1 :]
    for counts in (code, damaged, code[:-1]):
        try:
            expected = parse_counts(counts, size[1])
        except ValueError as error:
            with pytest.raises(ValueError, match=re.escape(str(error))):
                mask_of_rle({"size": size, "counts": counts})
            continue
        mask = mask_of_rle({"size": size, "counts": counts})
        assert (mask is None) == (not expected[1::2].any())
        assert mask is None or mask.counts == counts


def test_a_folder_without_files_is_told_as_one(tmp_path: Path) -> None:
    (tmp_path / ".hidden").write_text("x")
    with pytest.raises(InputError, match="is a folder without files; check the path"):
        read_labels(str(tmp_path), "coco")
    with pytest.raises(InputError, match="does not exist; check the path"):
        read_labels(str(tmp_path / "none"), "coco")


def test_an_archive_is_to_be_unpacked(tmp_path: Path) -> None:
    (tmp_path / "task.zip").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"task\.zip is an archive; unpack it, and name the folder"):
        list(read_labels(str(tmp_path / "task.zip"), "auto"))


@pytest.mark.parametrize(
    ("format_name", "options", "told"),
    [
        ("maskmill", ReadOptions(first_frame=1), "first_frame= is nothing that format maskmill takes: leave it out"),
        ("coco", ReadOptions(columns={"box": "xyxy"}), r"columns= is nothing .* It is for boxes, hf_datasets, parquet"),
        ("coco", ReadOptions(box_format="xyxy"), "box_format= is nothing that format coco takes"),
        ("boxes", ReadOptions(images="labels.json"), r"images= is nothing .* for coco, coco_video, youtube_vis"),
        ("boxes", ReadOptions(size_hw=(20, 30)), "size= is nothing that format boxes takes"),
    ],
)
def test_an_option_that_a_format_does_not_take_is_refused(
    tmp_path: Path, format_name: str, options: ReadOptions, told: str
) -> None:
    """Labels were read without it: frames of an output stayed as they were, and boxes had the form of COCO."""
    (tmp_path / "labels.json").write_text(json.dumps(instances()))
    with pytest.raises(InputError, match=told):
        read_labels(str(tmp_path / "labels.json"), format_name, options)
