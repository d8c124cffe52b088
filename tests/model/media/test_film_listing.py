"""Frames that packets tell without decoding are those that a decoder gives, of whole films and of damaged ones."""

from __future__ import annotations

import functools
import io
import random
from fractions import Fraction

import av
import pytest

from model.media.films import FilmReader
from tests.support.films import Film, drawn
from tests.support.media_files import encode, pictures, with_edit_list

BFRAMES = (("bf", "3"), ("g", "8"))
PYRAMID = (*BFRAMES, ("x264-params", "b-pyramid=normal:scenecut=0"))
OPEN = (*BFRAMES, ("x264-params", "open-gop=1:scenecut=0"))
SLICES = (*BFRAMES, ("x264-params", "slices=3:cabac=0"))
REPEATED = (*BFRAMES, ("x264-params", "repeat-headers=1:aud=1:nal-hrd=vbr:vbv-maxrate=99:vbv-bufsize=99"))
REFRESHED = (("bf", "0"), ("g", "8"), ("x264-params", "intra-refresh=1"))
FIELDS = (*BFRAMES, ("x264-params", "interlaced=1:tff=1"))
SIMPLE = (("bf", "0"), ("g", "8"), ("profile", "baseline"))
QUICK = (("preset", "veryfast"), ("qp", "30"))

FILMS = [
    *(Film(options=(*QUICK, *options), times=tuple(range(32))) for options in (PYRAMID, OPEN, SLICES, REPEATED)),
    Film("mov", rate=Fraction(30000, 1001), options=(*QUICK, *REFRESHED), times=tuple(range(32))),
    Film("matroska", options=(*QUICK, *PYRAMID), times=tuple(range(32))),
    Film("matroska", options=(*QUICK, *SIMPLE), times=tuple(index + index // 3 * 2 for index in range(32))),
    Film(pix_fmt="yuv444p10le", options=(*QUICK, *BFRAMES), times=tuple(range(32))),
]
UNCERTAIN = [
    Film(options=(*QUICK, *FIELDS)),
    Film("mpegts", options=(*QUICK, *BFRAMES)),
    Film("avi", options=(*QUICK, *BFRAMES)),
    Film("flv", options=(*QUICK, *BFRAMES)),
    Film(codec="mpeg4", options=(("g", "8"),)),
]


def listed(data: bytes) -> list[tuple[float | None, bool]]:
    reader = FilmReader("film", functools.partial(io.BytesIO, data))
    return [(frame.pts_seconds, frame.is_key) for frame in reader.listed()]


def decoded(data: bytes) -> list[float]:
    """What PyAV makes of a film, with one thread."""
    found = []
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "SLICE", 1
        for packet in container.demux(stream):
            try:
                found += [float(picture.pts * stream.time_base) for picture in stream.decode(packet)]  # type: ignore[operator]
            except av.FFmpegError:
                continue
    return found


@pytest.mark.fast_core(2)
@pytest.mark.parametrize("film", FILMS, ids=str)
def test_the_packets_tell_all_frames_and_where_decoding_can_begin(film: Film) -> None:
    data = drawn(film)
    found = listed(data)
    assert [time for time, _ in found] == decoded(data)
    reader = FilmReader("film", functools.partial(io.BytesIO, data))
    assert [is_key for _, is_key in found] == [frame.is_key for frame in reader.read()]


@pytest.mark.parametrize("film", UNCERTAIN, ids=str)
def test_films_whose_packets_may_be_no_frames_are_not_listed(film: Film) -> None:
    assert listed(drawn(film)) == []


def test_a_film_of_which_some_frames_are_not_shown_is_not_listed() -> None:
    assert listed(with_edit_list(encode(pictures(24), options={"bf": "2", "g": "5"}), 0.5, 1.0)) == []


@pytest.mark.slow
def test_damage_ends_the_list_before_it_tells_another_frame_than_a_decoder_gives() -> None:
    rng = random.Random(0)
    num_listed = num_compared = 0
    for number in range(160):
        data = bytearray(drawn(FILMS[number % len(FILMS)]))
        for _ in range(rng.choice((1, 3))):
            place = rng.randrange(len(data))
            harm = rng.choice((bytes(rng.randrange(1, 60)), rng.randbytes(rng.randrange(1, 9))))
            data[place : place + len(harm)] = harm[: len(data) - place]
        try:
            found = [time for time, _ in listed(bytes(data))]
        except Exception:
            continue
        assert found == decoded(bytes(data))[: len(found)], f"film {number}"
        num_listed += len(found)
        num_compared += 1
    assert num_compared > 120
    assert num_listed > 16 * num_compared
