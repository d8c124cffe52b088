"""Pictures and prompts to what the model takes, beside what `transformers` makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from model.hf.part_processors import Sam2VideoVideoProcessor
from model.hf.processing import Sam2VideoProcessor
from model.tracking.frames import ArrayFrames
from tests.reference.mini import mini_folder, mini_processor
from tests.support.sessions import clip

ours = Sam2VideoProcessor.from_pretrained("mini")
FRAME = clip(2).frames_THW3[0]


def alike(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Equal but for the last bits of normalizing; another level of one pixel would be 0.017."""
    return first.shape == second.shape and float((first - second).abs().max()) < 2e-6


@pytest.mark.slow
@pytest.mark.parametrize("size", [(48, 64), (300, 200), (1080, 1920), (17, 400), (256, 256)])
def test_pictures_are_resized_and_normalized_as_by_transformers(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    for picture in (pixels, Image.fromarray(pixels)):
        encoded = ours(images=picture, return_tensors="pt")
        theirs = mini_processor()(images=picture, return_tensors="pt")
        assert alike(encoded.pixel_values, theirs.pixel_values)
        assert torch.equal(encoded.original_sizes, theirs.original_sizes)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK"])
def test_images_of_other_modes_become_rgb(mode: str) -> None:
    picture = Image.fromarray(FRAME).convert(mode)
    theirs = mini_processor()(images=picture.convert("RGB"), return_tensors="pt")
    assert alike(ours(images=picture).pixel_values, theirs.pixel_values)


def test_several_images_of_different_sizes_are_one_batch() -> None:
    images = [FRAME, Image.fromarray(FRAME[:20]), torch.from_numpy(FRAME[:, :30]).permute(2, 0, 1)]
    encoded = ours(images=images)
    assert encoded.pixel_values.shape == (3, 3, 256, 256)
    assert encoded["original_sizes"].tolist() == [[48, 64], [20, 64], [48, 30]]
    for row, image in enumerate(images):
        assert torch.equal(ours(images=image).pixel_values[0], encoded.pixel_values[row])
    assert torch.equal(ours(images=np.stack([FRAME, FRAME])).pixel_values[1], encoded.pixel_values[0])


@pytest.mark.slow
def test_prompts_are_scaled_and_filled_up_as_by_transformers() -> None:
    prompts = {
        "input_points": [[[[1, 2]]], [[[3, 4], [5, 6]], [[60, 48]]]],
        "input_labels": [[[1]], [[1, 0], [1]]],
    }
    encoded, theirs = (
        processor(images=[FRAME, FRAME], **prompts, return_tensors="pt") for processor in (ours, mini_processor())
    )
    assert torch.equal(encoded.input_labels, theirs.input_labels)
    assert torch.allclose(encoded.input_points, theirs.input_points)
    boxes = {"input_boxes": [[[1, 2, 30, 40], [5, 6, 7, 8]]]}
    encoded, theirs = (p(images=FRAME, **boxes, return_tensors="pt") for p in (ours, mini_processor()))
    assert torch.allclose(encoded.input_boxes, theirs.input_boxes)


def test_prompts_may_come_with_sizes_instead_of_images() -> None:
    encoded = ours(original_sizes=[[48, 64]], input_points=[[[[32, 24]]]], input_labels=[[[1]]])
    assert encoded.input_points.tolist() == [[[[128.0, 128.0]]]]
    assert "pixel_values" not in encoded
    with pytest.raises(ValueError, match="either images or original_sizes must be given"):
        ours(input_points=[[[[32, 24]]]], input_labels=[[[1]]])


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        (
            {"input_points": [[[[99, 1]]]], "input_labels": [[[1]]]},
            r"image 0, object 0: points: \(99, 1\) lies outside",
        ),
        ({"input_boxes": [[[1, 1, 5, 5], [9, 9, 2, 2]]]}, "image 0, object 1: box: expected x0 < x1"),
        ({"input_labels": [[[1]]]}, "labels need points: there are labels alone"),
        ({"input_boxes": [[[1, 1, 5, 5]], [[1, 1, 5, 5]]]}, "1 images need as many entries"),
        ({"input_boxes": [[[1, 1, 5, 5]], None]}, r"input_boxes: expected numbers .* got NoneType"),
        ({"input_boxes": [5]}, "image 0: expected a list with an entry for each object, got 5"),
        (
            {"input_points": [[]], "input_labels": [[]]},
            r"image 0: expected a list with an entry for each object, got \[\]",
        ),
        ({"return_tensors": "tf"}, r"expected 'pt' .* or 'np' \(arrays\), got 'tf'"),
    ],
)
def test_bad_prompts_of_images_are_named(prompts: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ours(images=FRAME, **prompts)


@pytest.mark.slow
def test_segmentation_maps_become_labels_at_the_size_of_the_logits() -> None:
    maps = np.repeat(np.arange(3, dtype=np.uint8), 16)[:, None].repeat(64, 1)
    encoded = ours(images=FRAME, segmentation_maps=maps)
    theirs = mini_processor()(images=FRAME, segmentation_maps=maps, return_tensors="pt")
    assert torch.equal(encoded.labels, theirs.labels)


def test_numbers_of_classes_stay_exact_beyond_those_of_float32() -> None:
    maps = np.full((48, 64), 2**24 + 1, np.int64)
    assert set(ours(images=FRAME, segmentation_maps=maps).labels.flatten().tolist()) == {2**24 + 1}


@pytest.mark.parametrize(
    ("maps", "shapes"),
    [
        (np.zeros((48, 64), np.uint8), r"got 1: \[\[48, 64\]\]"),
        (np.zeros((48, 64, 3), np.uint8), r"got 48: \[\[64, 3\], "),
        ([np.zeros((48, 64), np.uint8), np.zeros((48, 64, 3), np.uint8)], r"got 2: \[\[48, 64\], \[48, 64, 3\]\]"),
    ],
    ids=["one for two images", "a picture", "a picture among them"],
)
def test_maps_that_are_not_one_for_each_image_are_refused(maps: Any, shapes: str) -> None:
    with pytest.raises(ValueError, match=r"segmentation_maps: 2 images need one \[H, W\] each, " + shapes):
        ours(images=[FRAME, FRAME], segmentation_maps=maps)


def test_no_images_and_images_without_pixels_are_named() -> None:
    with pytest.raises(ValueError, match="images: expected at least one, got none"):
        ours(images=[])
    with pytest.raises(ValueError, match=r"image 1: has no pixels, its shape is \[0, 64, 3\]"):
        ours(images=[FRAME, FRAME[:0]])


def test_an_encoding_is_a_dictionary_with_attributes_that_moves() -> None:
    encoded = ours(images=FRAME)
    assert encoded.pixel_values is encoded["pixel_values"]
    with pytest.raises(AttributeError, match="input_masks"):
        _ = encoded.input_masks


@pytest.mark.parametrize(
    "moves",
    [
        (("cpu", torch.bfloat16), {}),
        ((torch.float16,), {}),
        (("cpu",), {"dtype": torch.float16, "non_blocking": True}),
        ((), {"dtype": torch.float64}),
        ((), {}),
    ],
)
def test_an_encoding_moves_in_place_as_there(moves: tuple[tuple[Any, ...], dict[str, Any]]) -> None:
    encoded, theirs = ours(images=FRAME), mini_processor()(images=FRAME, return_tensors="pt")
    assert encoded.to(*moves[0], **moves[1]) is encoded
    theirs.to(*moves[0], **moves[1])
    for name in ("pixel_values", "original_sizes"):
        assert encoded[name].dtype == theirs[name].dtype


@pytest.mark.slow
def test_the_video_processor_prepares_whole_videos_as_transformers_does() -> None:
    frames = clip(3).frames_THW3
    encoded = Sam2VideoVideoProcessor(256)(frames)
    theirs = mini_processor().video_processor(videos=list(frames), return_tensors="pt")
    assert alike(encoded.pixel_values_videos, theirs.pixel_values_videos)
    assert torch.equal(encoded.original_sizes, theirs.original_sizes)
    assert torch.equal(encoded.reshaped_input_sizes, theirs.reshaped_input_sizes)
    logits = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    (mask,) = ours.video_processor.post_process_masks([logits], [[48, 64]], encoded.reshaped_input_sizes)
    assert mask.shape == (2, 1, 48, 64)


def test_the_video_processor_resizes_frames_of_a_source() -> None:
    frames = clip(3).frames_THW3
    from_source = Sam2VideoVideoProcessor(256)(ArrayFrames(frames))
    assert torch.equal(from_source.pixel_values_videos, Sam2VideoVideoProcessor(256)(frames).pixel_values_videos)


@pytest.mark.slow
def test_settings_are_saved_and_read_by_both(tmp_path: Path) -> None:
    import transformers

    ours.save_pretrained(tmp_path / "ours")
    theirs = transformers.Sam2VideoProcessor.from_pretrained(tmp_path / "ours")
    encoded = theirs(images=FRAME, return_tensors="pt")
    assert alike(encoded.pixel_values, ours(images=FRAME).pixel_values)
    theirs.save_pretrained(tmp_path / "theirs")
    again = Sam2VideoProcessor.from_pretrained(tmp_path / "theirs")
    assert (again.target_size, again.point_pad_value) == (256, -10)


def test_the_files_of_older_repositories_are_read(tmp_path: Path) -> None:
    settings = json.loads((mini_folder() / "processor_config.json").read_text())
    parts = {
        "preprocessor_config.json": settings.pop("image_processor"),
        "video_preprocessor_config.json": settings.pop("video_processor"),
        "processor_config.json": settings,
    }
    for name, part in parts.items():
        (tmp_path / name).write_text(json.dumps(part))
    assert Sam2VideoProcessor.from_pretrained(tmp_path).target_size == 256
    for name in parts:
        (tmp_path / name).unlink()
    (tmp_path / "config.json").write_text('{"image_size": 512}')
    assert Sam2VideoProcessor.from_pretrained(tmp_path).target_size == 512


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"image_mean": [0.5, 0.5, 0.5]}, "image_mean is"),
        ({"do_resize": False}, "do_resize is False"),
        ({"size": {"height": 256, "width": 128}}, "only squares"),
        ({"size": {"height": 128, "width": 128}}, r"several sizes, \[128, 256\]"),
    ],
)
def test_other_settings_are_refused(changed: dict[str, Any], message: str, tmp_path: Path) -> None:
    settings = json.loads((mini_folder() / "processor_config.json").read_text())
    settings["image_processor"] |= changed
    (tmp_path / "processor_config.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=message):
        Sam2VideoProcessor.from_pretrained(tmp_path)


@pytest.mark.slow
def test_the_video_processor_is_loaded_and_saved_on_its_own(tmp_path: Path) -> None:
    import transformers

    assert Sam2VideoVideoProcessor.from_pretrained("mini").size == {"height": 256, "width": 256}
    Sam2VideoVideoProcessor(64).save_pretrained(tmp_path)
    assert Sam2VideoVideoProcessor.from_pretrained(tmp_path).image_size == 64
    theirs = transformers.Sam2VideoVideoProcessor.from_pretrained(tmp_path)
    frames = clip(2).frames_THW3
    expected = theirs(videos=list(frames), return_tensors="pt")
    assert alike(Sam2VideoVideoProcessor(64)(frames).pixel_values_videos, expected.pixel_values_videos)
