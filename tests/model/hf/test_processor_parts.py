"""What transformers' own tests of the processors ask, asked of ours and of `transformers` with the same settings."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

import model
from tests.reference.mini import mini_processor

pytestmark = pytest.mark.slow

SIZE = 64
RNG = np.random.default_rng(0)
IMAGES = [RNG.integers(0, 256, (*size, 3), np.uint8) for size in ((48, 64), (30, 20))]


def kit(library: Any) -> Any:
    """A processor made of its parts, as the tests' set-up makes it."""
    square = {"height": SIZE, "width": SIZE}
    image_processor = library.Sam2ImageProcessor(size=square, mask_size={"height": SIZE // 4, "width": SIZE // 4})
    video_processor = library.Sam2VideoVideoProcessor(size=square)
    return library.Sam2VideoProcessor(image_processor=image_processor, video_processor=video_processor)


@functools.cache
def ours() -> Any:
    return kit(model)


@functools.cache
def theirs() -> Any:
    """Not when the tests are collected: it loads much of `transformers`."""
    return kit(transformers)


def plain(settings: Any) -> Any:
    """Settings with lists for tuples, as JSON has them."""
    if isinstance(settings, dict):
        return {name: plain(value) for name, value in settings.items()}
    return [plain(value) for value in settings] if isinstance(settings, (list, tuple)) else settings


def test_a_processor_is_made_of_parts_and_has_their_settings() -> None:
    assert plain(ours().to_dict()) == plain(theirs().to_dict())
    assert ours().model_input_names == theirs().model_input_names
    for part in ("image_processor", "video_processor"):
        one, other = getattr(ours(), part), getattr(theirs(), part)
        assert plain(one.to_dict()) == plain(other.to_dict())
        assert one.model_input_names == other.model_input_names
        for name in ("do_resize", "do_rescale", "do_normalize", "rescale_factor", "do_convert_rgb"):
            assert getattr(one, name) == getattr(other, name)
        for name in ("image_mean", "image_std"):
            assert list(getattr(one, name)) == list(getattr(other, name))
        assert one.size == {"height": SIZE, "width": SIZE}
    assert ours().target_size == theirs().target_size == SIZE
    with pytest.raises(AttributeError, match="Sam2ImageProcessor has no attribute 'no_such_setting'"):
        _ = ours().image_processor.no_such_setting


@pytest.mark.parametrize("part", ["image_processor", "video_processor"])
def test_a_part_that_is_saved_is_read_by_both(part: str, tmp_path: Path) -> None:
    getattr(ours(), part).save_pretrained(tmp_path)
    name = type(getattr(ours(), part)).__name__
    for library in (model, transformers):
        again = getattr(library, name).from_pretrained(tmp_path)
        assert (again.size["height"], again.size["width"]) == (SIZE, SIZE)


def test_other_settings_of_parts_are_refused() -> None:
    for settings in ({"do_normalize": False}, {"image_mean": [0.5, 0.5, 0.5]}, {"resample": 3}):
        for part in (model.Sam2ImageProcessor, model.Sam2VideoVideoProcessor):
            with pytest.raises(ValueError, match=f"{part.__name__}: {next(iter(settings))} is .* supports only"):
                part(**settings)
    with pytest.raises(ValueError, match=r"Sam2ImageProcessor: size is .* supports only squares"):
        model.Sam2ImageProcessor(size={"height": 64, "width": 32})
    with pytest.raises(ValueError, match=r"several sizes, \[64, 128\]"):
        model.Sam2VideoProcessor(model.Sam2ImageProcessor(64), model.Sam2VideoVideoProcessor(128))
    with pytest.raises(ValueError, match=r"several sizes, \[64, 256\]"):
        model.Sam2VideoProcessor(model.Sam2ImageProcessor(64), target_size=256)


# `transformers` fails for maps as arrays.
@pytest.mark.parametrize(("return_tensors", "with_maps"), [("pt", False), ("pt", True), ("np", False)])
def test_the_image_part_gives_what_the_whole_gives(return_tensors: str, with_maps: bool) -> None:
    maps = [RNG.integers(0, 3, image.shape[:2], np.uint8) for image in IMAGES] if with_maps else None
    images: Any = [Image.fromarray(image) for image in IMAGES]
    encodings = [
        call(images, segmentation_maps=maps, return_tensors=return_tensors)
        for call in (ours().image_processor, ours(), theirs().image_processor, theirs())
    ]
    for encoding in encodings[:3]:
        for name in ("pixel_values", "original_sizes", *(["labels"] if with_maps else [])):
            one, expected = encoding[name], encodings[3][name]
            assert type(one) is type(expected)
            assert one.shape == expected.shape
            assert float(abs(one - expected).max()) < 2e-6


def test_prompts_come_as_arrays_too() -> None:
    given = {"input_points": [[[[10, 20]]]], "input_labels": [[[1]]], "original_sizes": [[48, 64]]}
    one, expected = ours()(**given, return_tensors="np"), theirs()(**given, return_tensors="np")
    assert isinstance(one.original_sizes, np.ndarray)
    for name in ("input_points", "input_labels", "original_sizes"):
        assert np.array_equal(np.asarray(one[name]), np.asarray(expected[name]))


def test_masks_are_brought_to_size_by_the_whole_and_by_its_part_whatever_a_script_adds() -> None:
    logits = [torch.randn(1, 3, 5, 5, generator=torch.Generator().manual_seed(0)) for _ in range(2)]
    sizes, reshaped = [[48, 64], [30, 20]], [[64, 64], [64, 64]]
    expected = theirs().post_process_masks([one.clone() for one in logits], sizes)
    for processor in (ours(), ours().image_processor):
        for options in ({}, {"reshaped_input_sizes": reshaped}):
            found = processor.post_process_masks(logits, sizes, **options)
            assert all(torch.equal(*both) for both in zip(found, expected, strict=True))
    with pytest.raises(TypeError, match="no_such_argument"):
        ours().post_process_masks(logits, sizes, no_such_argument=1)
    with pytest.raises(ValueError, match="2 entries of masks need as many sizes"):
        ours().post_process_masks(logits, [[48, 64]])


def test_a_processor_of_transformers_is_read_and_made_again(tmp_path: Path) -> None:
    mini_processor().save_pretrained(tmp_path)
    again = model.Sam2VideoProcessor.from_pretrained(tmp_path)
    assert plain(again.to_dict()) == plain(mini_processor().to_dict())
