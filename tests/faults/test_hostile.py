"""A corpus of hostile and odd media, ids and prompts, through a whole job: each has its row, and nothing leaks."""

from __future__ import annotations

import http.server
import io
import os
import random
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import tables
from pipeline.inputs.write import prompts_table
from pipeline.run import main
from tests.support.drawn_pictures import encoded, heic, scene
from tests.support.media_files import (
    encode,
    encode_audio,
    encode_image,
    pictures,
    with_display_matrix,
    with_edit_list,
    without_frames,
)

pytestmark = pytest.mark.slow


def damaged(data: bytes) -> bytes:
    """A file whose packets are damaged here and there; its header and its index are whole."""
    generator, damaged_data = random.Random(5), bytearray(data)
    start = data.index(b"mdat") + 8
    for _ in range(20):
        damaged_data[generator.randrange(start + 200, max(start + 201, len(data) * 3 // 4))] ^= 0xFF
    return bytes(damaged_data)


def rgba_png() -> bytes:
    return encode_image(pictures(1)[0], pix_fmt="rgba")


def gif(num_frames: int) -> bytes:
    from PIL import Image

    images = [Image.fromarray(pixels) for pixels in pictures(num_frames)]
    buffer = io.BytesIO()
    images[0].save(buffer, "GIF", save_all=True, append_images=images[1:], duration=100)
    return buffer.getvalue()


def playlist(folder: Path) -> bytes:
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{folder}/private.mp4\n#EXT-X-ENDLIST\n".encode()


CLIP = encode(pictures(4))

# Name: how many frames it must give (None: it fails), and its bytes.
MEDIA: dict[str, tuple[int | None, Callable[[Path], bytes]]] = {
    "whole.mp4": (4, lambda _: CLIP),
    "empty.mp4": (None, lambda _: b""),
    "truncated.mp4": (None, lambda _: CLIP[: len(CLIP) // 2]),
    "noise.mp4": (None, lambda _: random.Random(1).randbytes(5000)),
    "text named.mp4": (None, lambda _: b"I am not a video\n" * 50),
    "audio only.mp4": (None, lambda _: encode_audio()),
    "concat.mp4": (None, lambda folder: f"ffconcat version 1.0\nfile '{folder}/private.mp4'\n".encode()),
    "concat.ffconcat": (None, lambda folder: f"ffconcat version 1.0\nfile '{folder}/private.mp4'\n".encode()),
    "playlist.m3u8": (None, playlist),
    "svg.png": (None, lambda _: b'<svg xmlns="http://www.w3.org/2000/svg"><image href="private.mp4"/></svg>'),
    "one frame.mp4": (1, lambda _: encode(pictures(1))),
    "zero frames.mkv": (None, lambda _: without_frames()),
    "edit list.mp4": (10, lambda _: with_edit_list(encode(pictures(20), options={"g": "99"}), 0.75, 1.0)),
    "no times.h264": (6, lambda _: encode(pictures(6), container="h264", options={"bf": "0"})),
    "odd size.mp4": (3, lambda _: encode(pictures(3, (49, 67)), pix_fmt="yuv444p")),
    "variable rate.mp4": (4, lambda _: encode(pictures(4), times=[0, 1, 7, 30])),
    "rotated.mp4": (4, lambda _: with_display_matrix(CLIP, (0, 1, -1, 0))),
    "odd.mkv": (3, lambda _: encode(pictures(3, (47, 33)), codec="ffv1", container="matroska", pix_fmt="bgr0")),
    "1x1.mkv": (2, lambda _: encode(pictures(2, (1, 1)), codec="ffv1", container="matroska", pix_fmt="bgr0")),
    "b frames.mp4": (8, lambda _: encode(pictures(8), options={"bf": "3", "g": "4"})),
    "ten bit.mkv": (3, lambda _: encode(pictures(3), codec="ffv1", container="matroska", pix_fmt="yuv420p10le")),
    "gray.mkv": (3, lambda _: encode(pictures(3), codec="ffv1", container="matroska", pix_fmt="gray")),
    "alpha.png": (1, lambda _: rgba_png()),
    "image.png": (1, lambda _: encode_image(pictures(1)[0])),
    "moving.gif": (3, lambda _: gif(3)),
    "moving.webp": (3, lambda _: encoded([scene(place) for place in range(3)], "WEBP")),
    "photo.heic": (1, lambda _: heic(scene())),
    "stack.tif": (3, lambda _: encoded([scene(place) for place in range(3)], "TIFF")),
    "half.tif": (None, lambda _: encoded(scene(), "TIFF")[:99]),
    "too large.ppm": (None, lambda _: b"P6\n60000 60000\n255\n"),
    "layers.psd": (None, lambda _: b"8BPS\0\1" + b"\0" * 40),
    "späces and ünicode ☃ #%20.mp4": (4, lambda _: CLIP),
}

IDS = ["a/b/c", "../../../escape", "/etc/passwd", "<b onload=alert(1)>&amp;", "x" * 500, "line\nbreak\t\x1b[31m", "☃ é"]
BOX = [8.0, 2.0, 30.0, 20.0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "input"
    made.mkdir()
    (made / "private.mp4").write_bytes(CLIP)
    for name, (_, content) in MEDIA.items():
        (made / name).write_bytes(content(made))
    frames = made / "frames with gaps"
    frames.mkdir()
    for index, pixels in zip((1, 2, 10), pictures(3), strict=True):
        (frames / f"{index}.png").write_bytes(encode_image(pixels))
    with tarfile.open(made / "shard.tar", "w") as tar:
        tar.add(made / "whole.mp4", "whole.mp4")
        link = tarfile.TarInfo("link.mp4")
        link.type, link.linkname = tarfile.SYMTYPE, str(made / "private.mp4")
        tar.addfile(link)
    return made


def write_job(folder: Path, videos: list[dict[str, Any]], prompts: list[dict[str, Any]]) -> list[str]:
    pq.write_table(pa.Table.from_pylist(videos), folder / "videos.parquet")
    pq.write_table(prompts_table(prompts), folder / "prompts.parquet")
    return [f"videos={folder / 'videos.parquet'}", f"prompts={folder / 'prompts.parquet'}", "cluster=serial"]


def everything_below(folder: Path, but: Path) -> dict[str, int]:
    return {
        str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and but not in path.parents
    }


def test_every_kind_of_media_has_its_row(folder: Path, tmp_path: Path) -> None:
    expected = {name: num_frames for name, (num_frames, _) in MEDIA.items()}
    videos = [{"video_id": name, "uri": name} for name in MEDIA]
    videos.append({"video_id": "folder", "uri": "frames with gaps"})
    videos.append({"video_id": "dots", "uri": "../input/./whole.mp4"})
    videos.append({"video_id": "member", "uri": "tar://whole.mp4::shard.tar"})
    videos.append({"video_id": "link", "uri": "tar://link.mp4::shard.tar"})
    (folder / "references.json").write_text(f'{{"video.mp4": ["file://{folder}/private.mp4"]}}')
    (folder / "relative.json").write_text(f'{{"video.mp4": ["{folder}/private.mp4"]}}')
    leading = [f"reference://video.mp4::{folder}/{name}.json" for name in ("references", "relative")]
    leading.append(f"simplecache::reference://video.mp4::file://{folder}/references.json")
    videos += [{"video_id": uri, "uri": uri} for uri in leading]
    expected |= dict.fromkeys(leading)
    expected |= {"folder": 3, "dots": 4, "member": 4, "link": None}
    prompts = [
        {"video_id": row["video_id"], "object_id": 1, "frame_index": 0, "box_xyxy": [0.0, 0.0, 1.0, 1.0]}
        for row in videos
    ]
    output = tmp_path / "out"
    before = everything_below(tmp_path, output)
    code = main([*write_job(folder, videos, prompts), f"output={output}", "max_failed_fraction=1"])
    assert code == 0
    after = everything_below(tmp_path, output)
    assert {path for path in after if path not in before} == {
        str(folder / f"{t}.parquet") for t in ("videos", "prompts")
    }
    rows = {row["video_id"]: row for row in tables.open(str(output)).videos().to_pylist()}
    found = {name: row["num_frames"] if row["status"] == "ok" else None for name, row in rows.items()}
    assert found == expected
    for name, num_frames in expected.items():
        if num_frames is None:
            assert rows[name]["error_class"] == "input", rows[name]
            assert rows[name]["message"]


def test_damaged_packets_cost_frames_and_not_the_job(folder: Path, tmp_path: Path) -> None:
    (folder / "damaged.mp4").write_bytes(damaged(encode(pictures(30), options={"g": "5"})))
    prompts = [{"video_id": "damaged", "object_id": 1, "frame_index": 0, "box_xyxy": BOX}]
    arguments = write_job(folder, [{"video_id": "damaged", "uri": "damaged.mp4"}], prompts)
    assert main([*arguments, f"output={tmp_path / 'out'}", "max_failed_fraction=1"]) == 0
    (row,) = tables.open(str(tmp_path / "out")).videos().to_pylist()
    assert row["status"] in ("ok", "failed")
    assert row["num_masks"] == row["num_frames"] if row["status"] == "ok" else row["error_class"] == "input"


def test_ids_of_any_kind_stay_ids(folder: Path, tmp_path: Path) -> None:
    videos = [{"video_id": video_id, "uri": "image.png"} for video_id in IDS]
    prompts = [{"video_id": v, "object_id": -(2**62), "frame_index": 0, "box_xyxy": BOX, "category": v} for v in IDS]
    output = tmp_path / "out"
    before = everything_below(tmp_path, output)
    arguments = [*write_job(folder, videos, prompts), f"output={output}"]
    assert main(arguments) == 0
    assert len(everything_below(tmp_path, output)) == len(before) + 2
    job = tables.open(str(output))
    assert job.videos()["video_id"].to_pylist() == sorted(IDS, key=str.encode)
    assert set(job.tracks()["category"].to_pylist()) == set(IDS)
    assert all(len(os.fsencode(path.name)) < 200 for path in output.rglob("*"))
    assert main(arguments) == 0, "finished: nothing to do again"


SECRET = "7f3c0ffee-do-not-show"


@pytest.fixture
def web_server(folder: Path) -> Iterator[str]:
    """Serves the input folder; `/refused…` is answered with 403, `/loop…` sends around in circles."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(folder))

        def do_GET(self) -> None:
            if "refused" in self.path:
                self.send_error(403)
            elif "loop" in self.path:
                self.send_response(302)
                self.send_header("Location", self.path)
                self.end_headers()
            else:
                super().do_GET()

        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def test_secrets_are_nowhere(
    folder: Path, tmp_path: Path, web_server: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Signed URIs that work, fail and are nonsense, and credentials in the options: not in logs, tables or job.json."""
    query = f"X-Amz-Signature={SECRET}&token={SECRET}"
    uris = {
        "good": f"http://{web_server}/image.png?{query}",
        "missing": f"http://{web_server}/nowhere.mp4?{query}",
        "refused": f"http://{web_server}/refused.mp4?{query}",
        "loop": f"http://{web_server}/loop.mp4?{query}",
        "no video": f"http://user:{SECRET}@{web_server}/noise.mp4?{query}",
        "unknown scheme": f"gopher://user:{SECRET}@example.invalid/a.mp4?{query}",
    }
    prompts = [{"video_id": name, "object_id": 1, "frame_index": 0, "box_xyxy": BOX} for name in uris]
    arguments = write_job(folder, [{"video_id": name, "uri": uri} for name, uri in uris.items()], prompts)
    output = tmp_path / "out"
    code = main(
        [
            *arguments,
            f"output={output}",
            "max_failed_fraction=1",
            "input.hosts=['*',127.0.0.1]",
            f"+storage_options.http.headers.Authorization={SECRET}",
            "worker.storage_patience_seconds=2",
        ]
    )
    printed = capfd.readouterr()
    assert code in (0, 1)
    assert SECRET not in printed.out + printed.err + caplog.text
    rows = {row["video_id"]: row for row in tables.open(str(output)).videos().to_pylist()}
    assert {name for name, row in rows.items() if row["status"] == "ok"} <= {"good"}
    assert rows["missing"]["message"]
    assert (rows["loop"]["status"], rows["loop"]["error_class"]) == ("failed", "input")
    assert "nowhere.mp4" in rows["missing"]["message"] + rows["missing"]["uri"]
    for path in output.rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes(), path
    for table in ("masks", "tracks", "videos"):
        for path in (output / table).glob("*.parquet"):
            assert SECRET not in str(pq.read_table(path).to_pylist()), path


def test_an_8k_image_and_an_8k_video_are_labeled(folder: Path, tmp_path: Path) -> None:
    pixels = np.zeros((4320, 7680, 3), np.uint8)
    pixels[1000:3000, 2000:5000] = (200, 40, 40)
    (folder / "8k.png").write_bytes(encode_image(pixels))
    (folder / "8k.mp4").write_bytes(encode([pixels, pixels], options={"preset": "ultrafast"}))
    box = [2000.0, 1000.0, 5000.0, 3000.0]
    prompts = [{"video_id": name, "object_id": 1, "frame_index": 0, "box_xyxy": box} for name in ("8k.png", "8k.mp4")]
    arguments = write_job(folder, [{"video_id": name, "uri": name} for name in ("8k.png", "8k.mp4")], prompts)
    assert main([*arguments, f"output={tmp_path / 'out'}"]) == 0
    masks = tables.open(str(tmp_path / "out")).masks().to_table().to_pylist()
    assert sorted(mask["video_id"] for mask in masks) == ["8k.mp4", "8k.mp4", "8k.png"]
    assert all(mask["rle"]["size"] == [4320, 7680] for mask in masks)
    assert all(5_000_000 < mask["area"] < 7_000_000 for mask in masks), [mask["area"] for mask in masks]
