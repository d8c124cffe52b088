"""The command that draws masks onto videos: its files, judged by PyAV and Pillow, and what it says."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from pipeline.masks.overlay import color_of, outline
from pipeline.overlay import OverlayArguments, Task, _make_painter, door
from pipeline.records import Status
from pipeline.storage.job_storage import JobStorage
from pipeline.video.frames import VideoFrames
from pipeline.video.media import open_media
from tests.pipeline.notebook.conftest import Filmed, filmed, gray
from tests.support.drawn_job import USUAL, DrawnVideo, write_job
from tests.support.drawn_rounds import Rounds
from tests.support.films import Film, drawn
from tests.support.full_disk import full_disk
from tests.support.media_files import item
from tests.support.reviewed import say_of, verdict

__all__ = ["filmed"]


ELSEWHERE = Path(__file__).parent
"""A folder without the videos."""


@pytest.fixture
def draw(filmed: Filmed, tmp_path: Path) -> Callable[..., Path]:
    """Run the command on the filmed job; the folder of its files."""

    def run(*words: str, code: int = 0) -> Path:
        assert door([f"output={filmed.uri}", f"to={tmp_path / 'to'}", *words]) == code
        return tmp_path / "to"

    return run


def frames_of(path: Path) -> tuple[list[float], list[np.ndarray]]:
    """Times and pixels of a video."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [round(float(frame.pts * frame.time_base), 3) for frame in frames], [
        frame.to_ndarray(format="rgb24") for frame in frames
    ]


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


@pytest.mark.slow
def test_each_video_becomes_a_video_with_its_times_and_masks(
    draw: Callable[..., Path], filmed: Filmed, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = draw("labels=none", "masks=fills", "quality=1")
    names = sorted(path.name for path in folder.iterdir())
    assert [name[:2] for name in names] == ["b_", "c.", "cl"]
    said = capsys.readouterr().out
    assert "3 videos made" in said
    assert "left out: videos that failed: 1" in said
    times, frames = frames_of(folder / names[0])
    assert times == [0.0, 0.167, 0.333, 0.5]
    for frame_index, frame in zip((0, 4, 8, 12), frames, strict=True):
        mask = filmed.truth["b/odd name.mp4", 0, frame_index]
        inside = frame[mask].astype(float).mean(axis=0)
        expected = (gray(frame_index)[0, 0] + np.array(color_of(0))) / 2
        assert np.abs(inside - expected).max() < 25 if mask.any() else True  # 4:2:0 blurs colors at the border


@pytest.mark.slow
def test_pictures_show_fills_contours_or_both_of_the_chosen_objects_and_frames(
    draw: Callable[..., Path], filmed: Filmed
) -> None:
    chosen = ("form=png", "videos=clip-1", "objects=[3]", "labels=none", "start=1", "stop=4", "every=2")
    color = np.array(color_of(3))
    for masks, tinted, lined in (("fills", True, False), ("contours", False, True), ("both", True, True)):
        folder = draw(*chosen, f"masks={masks}", "again=true") / "clip-1"
        assert sorted(path.name for path in folder.iterdir()) == ["000001.png", "000003.png"]
        for frame_index in (1, 3):
            mask, plain = filmed.truth["clip-1", 3, frame_index], decoded(filmed.paths["clip-1"])[frame_index]
            expected = plain.astype(float)
            if tinted:
                expected[mask] = (expected[mask] + color) / 2
            if lined:
                expected[outline(mask, thickness_px=2)] = color
            np.testing.assert_allclose(pixels(folder / f"{frame_index:06d}.png"), expected, atol=0.5)


def decoded(path: Path) -> list[np.ndarray]:
    return frames_of(path)[1]


@pytest.mark.slow
def test_what_is_there_is_kept_and_the_rest_is_made(
    draw: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = draw()
    (folder / "c.mp4").unlink()
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    draw()
    assert "1 video made, 2 were there already (again=true makes them anew)" in capsys.readouterr().out
    assert len(list(folder.iterdir())) == 3
    assert {path: path.stat().st_mtime_ns for path in before} == before
    draw("again=true")
    assert all(path.stat().st_mtime_ns > time for path, time in before.items())
    pictures = draw("form=png", "videos=c") / "c"
    (pictures / "000003.png").unlink()
    capsys.readouterr()
    draw("form=png", "videos=c")
    assert "1 picture made, 5 were there already" in capsys.readouterr().out


@pytest.mark.slow
def test_files_of_other_keys_are_made_anew_without_being_asked_for(
    draw: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    draw("videos=[clip-1,c]", "stop=2")
    film = (draw("videos=c", "stop=3") / "c.mp4").read_bytes()
    assert "1 video made, 1 of them in place of those of other keys or masks, in" in capsys.readouterr().out
    assert len(frames_of(draw("videos=c", "stop=3") / "c.mp4")[0]) == 3
    assert "0 videos made, 1 was there already (again=true makes it anew)" in capsys.readouterr().out
    assert (draw("videos=c", "stop=3", "masks=fills") / "c.mp4").read_bytes() != film

    folder = draw("form=png", "videos=c", "stop=2") / "c"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    capsys.readouterr()
    draw("form=png", "videos=c", "stop=3")
    assert "1 picture made, 2 were there already" in capsys.readouterr().out
    draw("form=png", "videos=c", "stop=3", "strength=1")
    assert "3 pictures made, 3 of them in place of" in capsys.readouterr().out
    assert all((folder / name).read_bytes() != data for name, data in before.items())


@pytest.mark.slow
def test_rejected_objects_are_not_drawn_unless_a_condition_names_them(
    filmed: Filmed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = shutil.copytree(filmed.uri, tmp_path / "reviewed")
    words = [f"output={uri}", f"to={tmp_path / 'to'}", "form=png", "videos=clip-1", "start=1", "stop=2", "labels=none"]
    ring, boxes = (filmed.truth["clip-1", object_id, 1] for object_id in (3, 7))

    def is_drawn() -> list[bool]:
        drawn = pixels(tmp_path / "to" / "clip-1" / "000001.png").astype(int)
        changed = np.abs(drawn - gray(1)).max(axis=2) > 8
        return [bool(changed[mask].any()) for mask in (ring & ~boxes, boxes & ~ring)]

    assert door([*words]) == 0
    assert is_drawn() == [True, True]
    say_of(str(uri), verdict("clip-1", 3, "reject"))
    assert door([*words]) == 0
    assert is_drawn() == [False, True]
    assert "1 picture made, 1 of them in place of those of other keys or masks" in capsys.readouterr().out
    assert door([*words, 'where=verdict = "reject"']) == 0
    assert is_drawn() == [True, False]
    say_of(str(uri), verdict("clip-1", 7, "reject"))
    assert door([*words]) == 2
    assert "none of its finished videos is to be drawn (videos without a chosen object: 1)" in capsys.readouterr().err


@pytest.mark.slow
def test_two_jobs_stand_side_by_side_with_frames_matched_by_time(
    draw: Callable[..., Path], filmed: Filmed, tmp_path: Path
) -> None:
    (usual,) = (video for video in USUAL if video.video_id == "clip-1")
    other = replace(usual, num_frames=3, stride=2, uri=str(filmed.paths["clip-1"]), objects={3: "dog"})
    uri, truth = write_job(tmp_path / "other", (other,), broken=())
    folder = draw("form=png", f"with={uri}", "videos=[clip-1]", "labels=none", "masks=fills") / "clip-1"
    for frame_index in range(6):
        shown = pixels(folder / f"{frame_index:06d}.png")
        assert shown.shape == (48 + 19, 64 + 4 + 64, 3)
        right = shown[19:, 68:].astype(int)
        plain = decoded(filmed.paths["clip-1"])[frame_index].astype(int)
        mask = truth.get(("clip-1", 3, frame_index), np.zeros((48, 64), bool))
        np.testing.assert_array_equal((right != plain).any(axis=2), mask)
    assert "clip-1" in {path.name for path in folder.parent.iterdir()}


@pytest.mark.slow
def test_frames_of_one_time_have_their_own_pixels_and_the_masks_of_both_jobs(tmp_path: Path) -> None:
    """A file that counts milliseconds has 2000 frames a second in pairs. Each had the masks of the frame before."""
    path = tmp_path / "fast.mkv"
    fast = Film(container="matroska", codec="ffv1", rate=Fraction(2000), options=(), times=tuple(range(7)))
    path.write_bytes(drawn(fast))
    with open_media(item(path)) as media, VideoFrames(media) as frames:
        height, width = frames.size_hw
        shown = [(frames.position(one.index).pts_seconds or 0.0, one.pixels_HW3.numpy()) for one in frames.forward(0)]
    times = tuple(at for at, _ in shown)
    assert len(set(times)) < len(times)
    bands = {side: {(1, frame): np.zeros((height, width), bool) for frame in range(7)} for side in ("one", "other")}
    for frame in range(7):
        bands["one"][1, frame][:, 4 * frame : 4 * frame + 4] = True
        bands["other"][1, frame][3 * frame : 3 * frame + 3] = True
    for side, masks in bands.items():
        video = DrawnVideo("fast", {1: None}, 7, uri=str(path), masks=masks, times=times)
        (tmp_path / side).mkdir()
        write_job(tmp_path / side, (video,), broken=())
    words = [f"output={tmp_path / 'one/job'}", f"with={tmp_path / 'other/job'}", "form=png", "labels=none"]
    assert door([*words, f"to={tmp_path / 'to'}", "masks=fills", "strength=1"]) == 0
    for frame, (_, plain) in enumerate(shown):
        both = pixels(tmp_path / f"to/fast/{frame:06d}.png")[-height:]
        for side, part in (("one", both[:, :width]), ("other", both[:, -width:])):
            np.testing.assert_array_equal((part != plain).any(axis=2), bands[side][1, frame])


@pytest.mark.slow
def test_masks_of_an_earlier_round_stand_beside_those_of_now(
    filmed: Filmed, tmp_path: Path, disk_storage: JobStorage
) -> None:
    """The next round labeled a video again, and its mask is elsewhere."""
    rounds = Rounds(disk_storage, tmp_path)
    boxes = []
    for left in (4, 30):
        boxes.append(np.zeros((48, 64), bool))
        boxes[-1][10:30, left : left + 16] = True
        rounds.commit(DrawnVideo("clip-1", {3: "dog"}, 1, uri=str(filmed.paths["clip-1"]), masks={(3, 0): boxes[-1]}))
        if left == 4:
            rounds.begin("clip-1")
    words = [f"output={disk_storage.uri}", f"to={tmp_path / 'to'}", "form=png", "labels=none", "masks=fills"]
    assert door([*words, "round=1", f"with={disk_storage.uri}"]) == 0
    shown = pixels(tmp_path / "to/clip-1/000000.png")[19:].astype(int)
    plain = decoded(filmed.paths["clip-1"])[0].astype(int)
    for side, mask in zip((shown[:, :64], shown[:, 68:]), boxes, strict=True):
        np.testing.assert_array_equal((side != plain).any(axis=2), mask)
    assert door([*words, f"with={disk_storage.uri}", "with_round=9"]) == 2


def test_videos_and_objects_are_chosen_by_a_condition(draw: Callable[..., Path], filmed: Filmed) -> None:
    folder = draw(
        "form=png", "where=category = 'dog' and num_visible > 2", "labels=none", "masks=fills", "frames=[5,2]"
    )
    assert sorted(path.name for path in folder.iterdir()) == ["c", "clip-1"]
    assert sorted(path.name for path in (folder / "c").iterdir()) == ["000002.png", "000005.png"]
    changed = (pixels(folder / "clip-1" / "000002.png") != decoded(filmed.paths["clip-1"])[2]).any(axis=2)
    np.testing.assert_array_equal(changed, filmed.truth["clip-1", 3, 2])


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["videos=[clip-1,clip-2]"], 2, "no finished video 'clip-2'; did you mean 'clip-1'?"),
        (["videos=17"], 2, "no finished video '17'"),
        (["videos=c, clip-1"], 2, "'c, clip-1'; several are written as a list, in brackets: '[c,clip-1]'"),
        (["videos=c,clip-2"], 2, "no finished video 'c,clip-2'"),
        (["objects=[dog]"], 2, "objects='dog': expected a list, as in objects=[a,b]"),
        (["with=/nowhere/at/all"], 2, "no job"),
        (["where=colour = 'red'"], 2, "no column 'colour'; it has video_id"),
        (["where=num_masks > 99"], 2, "none of its finished videos is to be drawn (videos without a chosen object: 3"),
        (["masks=lines"], 2, "masks=lines: allowed are both, fills, contours"),
        (["strength=2"], 2, "strength=2: allowed is from 0 to 1"),
        (["videos=clip-1", "objects=[9]"], 4, "'clip-1' is not drawn: video 'clip-1' has no object 9; it has 3, 7"),
        (["videos=c", "objects=9"], 4, "object 9 of video 'c' failed and has no masks: no such frame; correct its"),
        (["videos=broken"], 4, "'broken' is not drawn: video 'broken' has no masks on the chosen frames"),
        (["videos=clip-1", "frames=[2,6]"], 4, "no masks on frame 6; those with masks are 0 to 5"),
        (["videos=clip-1", "start=77"], 4, "has no masks on the chosen frames; those with masks are 0 to 5"),
        (["videos=clip-1", f"videos_root={ELSEWHERE}"], 4, f"'clip-1' is not below videos_root={ELSEWHERE}"),
        (["videos=clip-1", "videos_root=/nowhere"], 2, "videos_root: /nowhere: there is no folder /nowhere; check"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_left(
    draw: Callable[..., Path], capsys: pytest.CaptureFixture[str], words: list[str], code: int, said: str
) -> None:
    folder = draw(*words, code=code)
    assert said in capsys.readouterr().err
    assert not [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.slow
def test_a_video_whose_file_is_gone_does_not_keep_the_others_from_being_drawn(
    filmed: Filmed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos = (replace(USUAL[0], uri="/nowhere/film.mp4"), replace(USUAL[2], uri=str(filmed.paths["c"])))
    uri, _ = write_job(tmp_path, videos, broken=())
    assert door([f"output={uri}", f"to={tmp_path / 'to'}"]) == 4
    told = capsys.readouterr()
    assert "'clip-1' is not drawn: /nowhere/film.mp4: there is no such file" in told.err
    assert "name its folder with videos_root=" in told.err
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["c.mp4"]


@pytest.mark.parametrize("form", ["mp4", "png"])
def test_a_full_disk_is_told_and_leaves_no_half_file(
    draw: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    with full_disk(room_bytes=80):
        folder = draw(f"form={form}", "videos=clip-1", f"spool_dir={tmp_path}", code=1)
    assert "File too large" in capsys.readouterr().err
    assert not [path for path in folder.rglob("*") if path.is_file()]
    draw(f"form={form}", "videos=clip-1")
    assert [path for path in folder.rglob("*") if path.is_file()]


def test_a_painter_can_be_made_in_another_process(filmed: Filmed, tmp_path: Path) -> None:
    arguments = OverlayArguments(output=filmed.uri, to=str(tmp_path / "to"))
    make = pickle.loads(pickle.dumps(partial(_make_painter, arguments)))
    assert make("painter-0").work(Task("c", None)).num_made == 1
    assert (tmp_path / "to" / "c.mp4").is_file()


@pytest.mark.slow
def test_videos_are_written_to_s3_and_kept_there(
    filmed: Filmed, s3_server: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    to, options = JobStorage(s3_server.new_folder(), s3_server.options()), s3_server.options()
    words = [f"output={filmed.uri}", f"to={to.uri}"]
    words += [f"to_storage_options.{name}={options[name]}" for name in ("key", "secret")]
    words.append(f"to_storage_options.client_kwargs.endpoint_url={options['client_kwargs']['endpoint_url']}")
    assert door(words) == 0
    assert len(to.names_below()) == 3
    assert b"ftyp" in to.read("c.mp4")[:16]
    assert door(words) == 0
    assert "0 videos made, 3 were there already" in capsys.readouterr().out


def test_before_any_video_is_finished_nothing_is_to_be_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, _ = write_job(tmp_path, (), ())
    assert door([f"output={output}", f"to={tmp_path / 'to'}"]) == 2
    said = capsys.readouterr().err
    assert "nothing is to be drawn: the job has no videos yet: none of them is finished" in said
    assert "where=" not in said


def test_videos_without_masks_are_left_out_by_how_they_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, _ = write_job(tmp_path, (), {"a": Status.NO_PROMPTS, "b": Status.QUARANTINED})
    assert door([f"output={output}", f"to={tmp_path / 'to'}"]) == 2
    assert "(videos without prompts: 1, videos that are quarantined: 1)" in capsys.readouterr().err
