"""Sessions saved between two frames and loaded elsewhere: they go on bit for bit, from files that cannot run code."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from safetensors.torch import save

from model.network.sam2 import Sam2
from model.prompts import BoxPrompt, MaskPrompt, PointPrompt
from model.tracking.frames import ArrayFrames
from model.tracking.history import HistoryRule
from model.tracking.session import VideoSession
from model.tracking.stream import VideoStream
from model.tracking.wire_names import KINDS
from tests.support.sessions import box, click, clip, frames_of, mask, same_bits, small

FRAMES = 8
OFF = PointPrompt(((3.0, 3.0),), (1,))


def new_session(history: HistoryRule | None = None, max_prompted: int | None = None) -> VideoSession:
    session = VideoSession(small(), frames_of(clip(FRAMES)), max_prompted, history=history)
    session.add_prompt(1, 2, click(clip(FRAMES), 1, 2))
    session.add_prompt(1, 6, box(clip(FRAMES), 1, 6))
    session.add_prompt(2, 4, mask(clip(FRAMES), 2, 4))
    return session


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
@pytest.mark.parametrize("kept", [{}, {"history": HistoryRule(3)}, {"max_prompted": 2}])
def test_a_session_saved_in_the_middle_goes_on_bit_for_bit(direction: str, kept: dict[str, Any]) -> None:
    whole = list(new_session(**kept).propagate(direction))
    session = new_session(**kept)
    walk = session.propagate(direction)
    for done in range(1, len(whole) + 1):
        next(walk)
        if done % 3 == 2:
            continue
        restored = VideoSession.from_bytes(session.to_bytes(), small(), frames_of(clip(FRAMES)))
        assert same_bits(restored.propagate(direction, resume=True), whole[done:])


@pytest.mark.slow
@pytest.mark.parametrize("uri", ["{tmp}/deep/session.safetensors", "file://{tmp}/a.safetensors", "memory://jobs/s"])
def test_a_session_is_saved_to_any_uri_and_prompts_need_not_be_given_again(uri: str, tmp_path: Path) -> None:
    session, expected = new_session(), new_session()
    session.save(uri.format(tmp=tmp_path))
    loaded = VideoSession.load(uri.format(tmp=tmp_path), small(), frames_of(clip(FRAMES)))
    assert same_bits(loaded.propagate("both"), expected.propagate("both"))
    if "memory" not in uri:
        assert [path.name.endswith(".safetensors") for path in tmp_path.rglob("*.*")] == [True], "nothing else is left"


@pytest.mark.slow
def test_corrections_and_history_survive() -> None:
    """Before and after: a correction made, one made after loading, and one changed after loading."""
    session = new_session(HistoryRule(3))
    list(session.propagate())
    session.add_prompt(1, 4, OFF)
    list(session.propagate())
    restored = VideoSession.from_bytes(session.to_bytes(), small(), frames_of(clip(FRAMES)))
    assert restored.objects[1].prompts[4].is_correction
    for each in (session, restored):
        each.add_prompt(1, 4, PointPrompt(((9.0, 9.0),), (0,)))
        each.add_prompt(2, 6, OFF)
    assert restored.objects[2].prompts[6].is_correction
    assert same_bits([session.segment_frame(5)], [restored.segment_frame(5)])
    assert same_bits(session.propagate(), restored.propagate())


@pytest.mark.fast_core(2)
@pytest.mark.parametrize("asks_for_the_mask", [False, True])
@pytest.mark.parametrize("frame_index", [2, 4])
def test_a_session_is_saved_in_the_middle_of_a_refinement(frame_index: int, asks_for_the_mask: bool) -> None:
    """On the frame of a seed and on a corrected one: after a refining click, with its mask or before, and the next."""
    session = new_session(HistoryRule(3))
    list(session.propagate())
    session.add_prompt(1, frame_index, OFF)
    session.condition()
    session.add_prompt(1, frame_index, PointPrompt(((9.0, 9.0),), (0,)))
    if asks_for_the_mask:
        session.condition()
    restored = VideoSession.from_bytes(session.to_bytes(), small(), frames_of(clip(FRAMES)))
    assert same_bits([session.segment_frame(frame_index)], [restored.segment_frame(frame_index)])
    for again in (1, 2):
        for each in (session, restored):
            each.add_prompt(1, frame_index, PointPrompt(((9.0, 9.0), (20.0, 20.0 + again)), (0, 1)))
        assert same_bits([session.segment_frame(frame_index)], [restored.segment_frame(frame_index)])
        assert same_bits(session.propagate(), restored.propagate())


def test_a_session_that_was_saved_after_a_walk_refines_the_masks_of_its_seeds() -> None:
    """With the memories of the walk that passed them."""
    session = new_session(HistoryRule(3))
    list(session.propagate())
    restored = VideoSession.from_bytes(session.to_bytes(), small(), frames_of(clip(FRAMES)))
    for each in (session, restored):
        each.add_prompt(1, 6, OFF)
        assert each.objects[1].prompts[6].is_correction
    assert same_bits([session.segment_frame(6)], [restored.segment_frame(6)])


def test_tensors_that_memories_share_are_stored_and_loaded_once() -> None:
    session = new_session(HistoryRule(snapshot_every=1))
    list(session.propagate())
    data = session.to_bytes()
    restored = VideoSession.from_bytes(data, small(), frames_of(clip(FRAMES)))
    history = restored.objects[1].history
    assert history is not None
    banks = [bank for walk in history.walks.values() for bank in walk.banks.values()]
    assert len(banks) > 2
    assert all(bank.prompted[2].spatial is restored.objects[1].bank.prompted[2].spatial for bank in banks)
    assert restored.to_bytes() == data


@pytest.mark.slow
def test_a_stream_goes_on_bit_for_bit_with_what_was_said_of_frames_to_come(tmp_path: Path) -> None:
    frames = [torch.from_numpy(pixels) for pixels in clip(FRAMES).frames_THW3]
    stream = VideoStream(small(), (48, 64), num_frames=FRAMES)
    stream.add_prompt(1, 0, box(clip(FRAMES), 1, 0))
    stream.add_prompt(2, 5, mask(clip(FRAMES), 2, 5))
    for pixels in frames[:4]:
        stream.push(pixels)
    stream.save(str(tmp_path / "stream"))
    loaded = VideoStream.load(str(tmp_path / "stream"), small())
    assert loaded.newest_index == 3
    for each in (stream, loaded):
        each.add_prompt(1, 3, OFF)
    assert same_bits([stream.newest_result()], [loaded.newest_result()])
    assert same_bits([stream.push(pixels) for pixels in frames[4:]], [loaded.push(pixels) for pixels in frames[4:]])


@pytest.mark.slow
def test_numbers_of_numpy_and_views_are_saved_as_any_others() -> None:
    x0, y0, x1, y1 = np.array(box(clip(FRAMES), 1, 0).box_xyxy, np.float32)
    flipped = MaskPrompt(clip(FRAMES).mask(2, 0)[:, ::-1])
    session = VideoSession(small(), ArrayFrames([frame[:, :, ::-1] for frame in clip(FRAMES).frames_THW3]))
    session.add_prompt(np.int64(1), 0, BoxPrompt((x0, y0, x1, y1), ((x0, y0),), tuple(np.array([0]))))
    session.add_prompt(2, 0, flipped)
    walk = session.propagate()
    next(walk)
    again = VideoSession.from_bytes(session.to_bytes(), small(), session.frames)
    assert same_bits(again.propagate(resume=True), walk)


def test_a_file_is_safetensors_and_json() -> None:
    data = new_session().to_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    state = json.loads(header["__metadata__"]["maskmill_session"])
    assert state["version"] == 2


def edited(data: bytes, edit: Callable[[dict[str, Any]], None]) -> bytes:
    """A saved session whose JSON text is changed by `edit`; its tensors stay."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    content = json.loads(header["__metadata__"]["maskmill_session"])
    edit(content)
    header["__metadata__"]["maskmill_session"] = json.dumps(content)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def records(value: Any) -> Iterator[dict[str, Any]]:
    """All records of a JSON text, the outermost first."""
    if isinstance(value, dict):
        if "kind" in value:
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for entry in value:
            yield from records(entry)


def test_names_in_a_file_are_those_of_the_format_and_not_of_classes() -> None:
    session = new_session(HistoryRule(3))
    list(session.propagate())
    session.add_prompt(1, 4, OFF)
    session.condition()
    found: set[str] = set()
    edited(session.to_bytes(), lambda content: found.update(record["kind"] for record in records(content)))
    assert found <= set(KINDS)
    assert {"session", "rules", "network", "object", "bank", "memory", "past", "record", "walk", "points"} <= found
    assert not found & {kind.type.__name__ for kind in KINDS.values()}


def test_fields_that_a_later_program_adds_are_ignored() -> None:
    session = new_session(HistoryRule(3))
    walk = session.propagate()
    next(walk)

    def add_fields(content: dict[str, Any]) -> None:
        for record in list(records(content)):
            record["fields"]["added_later"] = {"kind": "added_later", "fields": {"x": 1}}

    restored = VideoSession.from_bytes(edited(session.to_bytes(), add_fields), small(), frames_of(clip(FRAMES)))
    assert same_bits(restored.propagate(resume=True), walk)


def no_version(content: dict[str, Any]) -> None:
    del content["version"]


def unknown_kind(content: dict[str, Any]) -> None:
    list(records(content))[-1]["kind"] = "hologram"


def newer_version(content: dict[str, Any]) -> None:
    content["version"] = 3


def lost_field(content: dict[str, Any]) -> None:
    next(record for record in records(content) if record["kind"] == "object")["fields"].pop("bank")


def lost_tensor(content: dict[str, Any]) -> None:
    next(record for record in records(content) if record["kind"] == "memory")["fields"]["spatial"]["tensor"] = "model.x"


def other_kind(content: dict[str, Any]) -> None:
    content["state"] = content["state"]["fields"]["rules"]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (no_version, r"no saved session, or not whole \(KeyError: 'version'\)"),
        (unknown_kind, "the saved session holds a 'hologram', which this code does not know"),
        (newer_version, "saved in format 3, this code reads formats 1 to 2: start the video anew"),
        (lost_field, r"damaged \(TypeError: .*'bank'\)"),
        (lost_tensor, r"damaged \(KeyError: 'model.x'\)"),
        (other_kind, r"damaged \(it holds a SavedRules\)"),
    ],
)
def test_what_this_code_cannot_read_is_refused_in_one_line(
    edit: Callable[[dict[str, Any]], None], message: str
) -> None:
    session = new_session()
    session.condition()
    with pytest.raises(ValueError, match=message) as caught:
        VideoSession.from_bytes(edited(session.to_bytes(), edit), small(), frames_of(clip(FRAMES)))
    assert len(str(caught.value).splitlines()) == 1


def test_a_class_that_format_1_did_not_have_is_refused() -> None:
    data = save({}, metadata={"maskmill_session": '{"version": 1, "state": {"class": "Ghost", "fields": {}}}'})
    with pytest.raises(ValueError, match="holds a 'Ghost', which this code does not know"):
        VideoSession.from_bytes(data, small(), frames_of(clip(FRAMES)))


def test_how_many_frames_are_encoded_together_is_saved() -> None:
    """Bits depend on the batches of the image encoder, so a session goes on with those that it had."""
    session = VideoSession(small(), frames_of(clip(FRAMES)), encode_ahead=4)
    restored = VideoSession.from_bytes(session.to_bytes(), small(), frames_of(clip(FRAMES)), encode_ahead=2)
    assert restored.encode_ahead == 4


def other_network() -> Sam2:
    network = Sam2(replace(small().config, image_size=128))
    network.load_state_dict(small().state_dict())
    return network


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no saved session"),
        (b"PK\x03\x04 something else altogether", "no saved session"),
        (save({"x": torch.zeros(1)}), "no saved session"),
        (
            save({}, metadata={"maskmill_session": '{"version": 99, "state": {}}'}),
            "format 99, this code reads formats 1 to 2",
        ),
    ],
)
def test_other_files_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VideoSession.from_bytes(data, small(), frames_of(clip(FRAMES)))


def test_a_truncated_file_another_model_and_other_frames_are_refused() -> None:
    session = new_session()
    session.condition()
    data = session.to_bytes()
    with pytest.raises(ValueError, match="not whole"):
        VideoSession.from_bytes(data[:-100], small(), frames_of(clip(FRAMES)))
    with pytest.raises(ValueError, match="saved with another model"):
        VideoSession.from_bytes(data, other_network(), frames_of(clip(FRAMES)))
    with pytest.raises(ValueError, match=r"frames of \(48, 64\) pixels, not \(64, 48\)"):
        VideoSession.from_bytes(data, small(), ArrayFrames(clip(FRAMES).frames_THW3.swapaxes(1, 2)))
    with pytest.raises(ValueError, match="session of a video, not of a stream"):
        VideoStream.from_bytes(data, small())


def test_the_session_of_a_stream_is_not_taken_for_that_of_a_video() -> None:
    with pytest.raises(ValueError, match="this is the session of a stream, not of a video"):
        VideoSession.from_bytes(VideoStream(small(), (48, 64)).to_bytes(), small(), frames_of(clip(FRAMES)))


def test_what_was_there_stays_where_a_new_file_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "session"
    (path / "full").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        new_session(HistoryRule()).save(str(path))
    assert sorted(tmp_path.rglob("*")) == [path, path / "full"]


def test_storage_options_reach_the_file_system() -> None:
    session = new_session()
    session.save("memory://options/session", {"skip_instance_cache": True})
    assert fsspec.filesystem("memory").exists("/options/session")
