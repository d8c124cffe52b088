"""The frames of a film as its packets tell them, without decoding, where decoding is certain to give the same.

A packet is a frame in most films, but not in all: a decoder gives none for a damaged packet, one for two fields, and
drops frames that come too late. So only H.264 in MP4 and Matroska is listed, where the headers say all of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from typing import Any

import av
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer
from av.video.stream import VideoStream

from model.media.h264_headers import Configuration, NotCertain, PresentationOrder, Slice, configuration_of, slices_of
from model.media.rationals import exact
from model.media.raw_frames import RawFrame, Unreadable

_FORMATS = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"}
_MARGIN = 16  # frames, because damage may cost some that are coded before it
_NOT_DECODED = Unreadable("this frame is counted and not decoded")


def listed_frames(
    container: InputContainer, stream: VideoStream, raise_failure: Callable[[], None]
) -> Generator[RawFrame, None, None]:
    """Frames in presentation order, from where the container stands: their times, and which are keys.

    It ends where decoding may give other frames than those to come. The pictures cannot be read. `raise_failure` raises
    the error that made the file end early.
    """
    if container.format.name not in _FORMATS or stream.codec_context.name != "h264":
        return
    time_base = exact(stream.time_base)
    if time_base is None:
        return
    try:
        for time, is_key in _timed(container, stream, raise_failure):
            yield RawFrame(float(time * time_base), is_key, _NOT_DECODED)
    except NotCertain:
        return
    except av.FFmpegError:
        raise_failure()


def _timed(
    container: InputContainer, stream: VideoStream, raise_failure: Callable[[], None]
) -> Generator[tuple[int, bool], None, None]:
    """Times and whether they are those of keys. A frame comes when 16 more after it are found whole."""
    configuration = configuration_of(stream.codec_context.extradata or b"")
    order = PresentationOrder(configuration.sequence)
    syntax = BitStreamFilterContext("h264_metadata", stream)  # it reads all headers, and fails where one makes no sense
    certain: deque[tuple[int, bool]] = deque()
    for packet in container.demux(stream):
        raise_failure()
        if not packet.size:
            break
        certain += order.add(*_checked(packet, syntax, configuration))
        while len(certain) > _MARGIN:
            yield certain.popleft()
    raise_failure()
    certain += order.rest()
    yield from certain


def _checked(packet: Any, syntax: BitStreamFilterContext, configuration: Configuration) -> tuple[Slice, int, bool]:
    """The first slice of a packet, its time, and whether decoding can begin with it."""
    if packet.is_corrupt or packet.is_discard or packet.pts is None:
        raise NotCertain("a packet that is damaged, not shown or without a time")
    slices = slices_of(bytes(packet), configuration)
    is_key, time = packet.is_keyframe and all(one.is_intra for one in slices), int(packet.pts)
    is_odd = slices[0].is_idr and not packet.is_keyframe
    if is_odd or len(syntax.filter(packet)) != 1:  # which takes the packet's content away
        raise NotCertain("headers that make no sense")
    return slices[0], time, is_key
