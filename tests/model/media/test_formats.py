"""The one table of file formats: what it names is read, and what it says of a format is so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from model.media.formats import IMAGE_SUFFIXES, VIDEO_FORMATS, can_seek, has_times
from pipeline.video.frames import VideoFrames
from pipeline.video.media import open_media
from tests.support.media_files import encode, item, media_of, pictures


@pytest.mark.fast_core(2)
@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_an_image_of_each_suffix_is_a_frame_of_a_folder(tmp_path: Path, suffix: str) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    drawn = [Image.fromarray(pixels).convert({".pbm": "1", ".pgm": "L"}.get(suffix, "RGB")) for pixels in pictures(2)]
    for number, image in enumerate(drawn):
        path = folder / f"{number}{suffix.upper()}"
        if suffix in (".heic", ".heif"):
            pillow_heif.from_pillow(image).save(path, quality=-1)
        else:
            image.save(path, quality=100)
    with open_media(item(folder)) as media, VideoFrames(media) as frames:
        assert not frames.info.has_times
        assert frames.remarks() == ()
        found = [frame.pixels_HW3.numpy().astype(int) for frame in frames.forward(0)]
    assert len(found) == 2
    for one, image in zip(found, drawn, strict=True):
        assert np.abs(one - np.asarray(image.convert("RGB"))).mean() < 6


def test_pictures_that_follow_each_other_have_no_times_and_every_other_format_may_have_some() -> None:
    names = VIDEO_FORMATS.split(",")
    assert [name for name in names if not has_times(name)] == [name for name in names if name.endswith("_pipe")]
    assert has_times("mov")


@pytest.mark.parametrize(("container", "codec", "expected"), [("mpeg", "mpeg4", False), ("mp4", "libx264", True)])
def test_a_program_stream_is_decoded_from_its_start(container: str, codec: str, expected: bool) -> None:
    with VideoFrames(media_of(encode(pictures(4), container=container, codec=codec))) as frames:
        assert can_seek(frames.info.format) is expected


@pytest.mark.parametrize(
    ("container", "codec", "size_hw", "rate"), [("nut", "mpeg4", (48, 64), 10), ("dv", "dvvideo", (576, 720), 25)]
)
def test_films_of_camcorders_and_of_ffmpeg_itself_are_read(
    container: str, codec: str, size_hw: tuple[int, int], rate: int
) -> None:
    drawn = pictures(3, size_hw)
    with VideoFrames(media_of(encode(drawn, container=container, codec=codec, rate=rate))) as frames:
        found = [frame.pixels_HW3.numpy() for frame in frames.forward(0)]
        assert frames.info.has_times
    assert len(found) == 3
    for one, pixels in zip(found, drawn, strict=True):
        assert np.abs(one.astype(int) - pixels).mean() < 6
