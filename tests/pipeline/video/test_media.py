from __future__ import annotations

import io
import os
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.exceptions import ClientError

from model import MediaError
from pipeline.errors import InputError, StorageError, TableChanged
from pipeline.records import RowSpan
from pipeline.storage.retry import Backoff
from pipeline.storage.tars import tar_index
from pipeline.storage.uris import open_filesystem
from pipeline.video.frames import VideoFrames
from pipeline.video.media import open_media
from tests.support.faulty_store import FaultyStore, Request, faulty_store
from tests.support.media_files import ON_LOOPBACK, encode, encode_image, item, media_of, pictures, read_all
from tests.support.s3_server import S3Server
from tests.support.waiting import clock_moves_on

__all__ = ["faulty_store"]

NO_SUCH_FILE = "there is no such file; check the uri"


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    """An empty store in memory, which stands for remote ones."""
    filesystem = fsspec.filesystem("memory")
    filesystem.store.clear()
    clock_moves_on()  # an archive of the test before, of this name and size, has another version
    yield filesystem
    filesystem.store.clear()


def tar_of(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return file.getvalue()


@pytest.mark.parametrize(
    "name", ["clip.mp4", "a path with spaces/clip 1.mp4", "ünïcödé-视频.mp4", "a::b.mp4", "100%?#.mp4"]
)
def test_a_local_file_is_read_whatever_its_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"video")
    assert read_all(path) == b"video"
    (tmp_path / "other").mkdir()
    assert read_all(f"{tmp_path}/other/../{name}") == b"video"


def test_a_remote_file_is_read_by_ranges(faulty_store: type[FaultyStore]) -> None:
    data = os.urandom(10 << 20)
    faulty_store().pipe_file("/videos/clip.mp4", data)
    with open_media(item("faulty://videos/clip.mp4")) as media:
        for _ in range(2):  # the second reading finds everything in memory
            with media.files[0]() as file:
                file.seek(-100, io.SEEK_END)
                assert file.read() == data[-100:]
                file.seek(5 << 20)
                assert file.read(1000) == data[5 << 20 : (5 << 20) + 1000]
    ranges = [(start, stop) for method, _, start, stop in faulty_store.requests if method == "cat_file"]
    assert ranges == [(8 << 20, 10 << 20), (4 << 20, 8 << 20)]
    assert [method for method, *_ in faulty_store.requests].count("info") == 1, "size and version come with one answer"


def version(uri: object) -> tuple[int | None, str]:
    with open_media(item(str(uri))) as media:
        return media.num_bytes, media.version


def test_media_has_the_version_of_its_file_or_archive(tmp_path: Path, memory: fsspec.AbstractFileSystem) -> None:
    (tmp_path / "a.mp4").write_bytes(b"video")
    (tmp_path / "shard.tar").write_bytes(tar_of({"a": b"x"}))
    memory.pipe_file("/shard.tar", tar_of({"a": b"x"}))
    os.utime(tmp_path / "a.mp4", (0, 86400))
    assert version(tmp_path / "a.mp4") == (5, "1970-01-02T00:00:00.000+00:00")
    size = (tmp_path / "shard.tar").stat().st_size
    assert version(f"{tmp_path}/shard.tar::a")[0] == version("memory://shard.tar::a")[0] == size
    first = version("memory://shard.tar::a")
    clock_moves_on()
    memory.pipe_file("/shard.tar", tar_of({"a": b"y"}))
    assert version("memory://shard.tar::a") != first
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "0.png").write_bytes(b"picture")
    assert version(tmp_path / "frames") == (None, "")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("/no/such/clip.mp4", NO_SUCH_FILE),
        ("memory://no/such/clip.mp4", NO_SUCH_FILE),
        ("/no/such/shard.tar::clip.mp4", NO_SUCH_FILE),
        ("nosuchscheme://bucket/clip.mp4?token=abc", "is not a uri that can be read"),
        ("nosuchscheme://bucket/it's my clip.mp4?token=abc", "is not a uri that can be read"),
        ("/" + "x" * 5000, "is not a uri that can be read"),
        ("/tmp/nul\0byte.mp4", "is not a uri that can be read"),
        ("/dev/zero", "is neither a file nor a folder"),
        ("zip://clip.mp4::/dev/null", "File is not a zip file"),
        ("jupyter://host/clip.mp4", "is not a uri that can be read"),
    ],
)
def test_a_uri_that_leads_nowhere_is_the_videos_fault(uri: str, message: str) -> None:
    with pytest.raises(MediaError, match=message) as caught, open_media(item(uri)):
        pass
    assert "abc" not in str(caught.value)
    assert str(caught.value).startswith(uri.partition("?")[0])


def test_what_is_wrong_with_a_uri_of_the_web_is_said() -> None:
    options = {"http": {"headers": {"Authorization": "abc"}}}
    uri = "http://me:abc@127.0.0.1:9/clip.mp4"
    with (
        pytest.raises(MediaError, match="Cannot combine AUTHORIZATION") as caught,
        open_media(item(uri), options, rules=ON_LOOPBACK),
    ):
        pass
    assert "abc" not in str(caught.value)


def test_a_file_that_may_not_be_read_is_the_videos_fault(faulty_store: type[FaultyStore]) -> None:
    def refuse(_: Request) -> None:
        raise PermissionError("denied")

    faulty_store.before = staticmethod(refuse)
    with pytest.raises(MediaError, match="may not be read; check its permissions"):
        read_all("faulty://videos/clip.mp4")


def test_a_storage_fault_is_not_the_videos_fault(faulty_store: type[FaultyStore]) -> None:
    def time_out(request: Request) -> None:
        if request[0] == "cat_file":
            raise TimeoutError("no answer")

    faulty_store().pipe_file("/videos/clip.mp4", encode(pictures(3)))
    faulty_store.before = staticmethod(time_out)
    impatient = Backoff(patience_seconds=0.1, first_seconds=0.01)
    with (
        pytest.raises(StorageError, match=r"reading faulty://videos/clip.mp4 failed .* TimeoutError: no answer"),
        open_media(item("faulty://videos/clip.mp4"), backoff=impatient) as media,
    ):
        VideoFrames(media)


class WebHandler(SimpleHTTPRequestHandler):
    """Serves a folder and counts its answers to GET; like many simple servers, it does not know ranges."""

    num_sent = 0

    def copyfile(self, source: Any, outputfile: Any) -> None:
        type(self).num_sent += 1
        with suppress(ConnectionError):  # who reads may have enough
            super().copyfile(source, outputfile)

    def log_message(self, *_: Any) -> None:
        pass


class RangeHandler(WebHandler):
    """One that knows ranges."""

    def do_GET(self) -> None:
        data = Path(self.translate_path(self.path)).read_bytes()
        first, last = (int(number) for number in self.headers["Range"].removeprefix("bytes=").split("-"))
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.end_headers()
        self.copyfile(io.BytesIO(data[first : last + 1]), self.wfile)


@contextmanager
def serving(folder: Path, handler: type[WebHandler]) -> Iterator[str]:
    handler.num_sent = 0
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def web_server(tmp_path: Path) -> Iterator[str]:
    """Serves `tmp_path`, whole files only."""
    with serving(tmp_path, WebHandler) as address:
        yield address


def test_a_file_on_a_web_server_that_knows_ranges_is_read_by_them(tmp_path: Path) -> None:
    data = os.urandom(5 << 20)
    (tmp_path / "clip.mp4").write_bytes(data)
    with (
        serving(tmp_path, RangeHandler) as address,
        open_media(item(f"{address}/clip.mp4"), rules=ON_LOOPBACK) as media,
        media.files[0]() as file,
    ):
        file.seek(-100, io.SEEK_END)
        assert file.read() == data[-100:]
        assert RangeHandler.num_sent == 2  # the last byte, to find out, and the last block
        file.seek(0)
        assert file.read() == data


@pytest.mark.slow
def test_a_web_server_need_not_know_ranges(web_server: str, tmp_path: Path) -> None:
    data = os.urandom(9 << 20)
    (tmp_path / "clip.mp4").write_bytes(data)
    (tmp_path / "shard.tar").write_bytes(tar_of({"a": b"no", "clip.mp4": data}))
    for number, name in enumerate(("clip.mp4?signature=abc", "shard.tar::clip.mp4"), start=1):
        assert read_all(f"{web_server}/{name}") == data
        assert WebHandler.num_sent == 2 * number  # one that is broken off, and the download
    with pytest.raises(MediaError, match=NO_SUCH_FILE) as caught:
        read_all(f"{web_server}/missing.mp4?signature=abc")
    assert "abc" not in str(caught.value)


def test_a_download_lies_in_the_folder_that_was_given_for_it(web_server: str, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(os.urandom(9 << 20))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with open_media(item(f"{web_server}/clip.mp4"), scratch=scratch, rules=ON_LOOPBACK):
        (download,) = (path for path in scratch.rglob("*") if path.is_file())
        assert download.stat().st_size == 9 << 20
    assert list(scratch.iterdir()) == []


def test_an_error_of_whoever_uses_the_media_is_passed_on(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"video")
    with pytest.raises(FileNotFoundError, match="spool"), open_media(item(tmp_path / "clip.mp4")):
        raise FileNotFoundError("spool")


def test_a_folder_without_images_is_the_videos_fault(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing to see")
    with pytest.raises(MediaError, match=r"the folder holds no images \(\.jpg"):
        read_all(tmp_path)


@pytest.mark.parametrize("is_tar", [False, True])
def test_a_link_whose_target_is_gone_is_told_as_that(tmp_path: Path, is_tar: bool) -> None:
    link = tmp_path / "clip.tar" if is_tar else tmp_path / "clip.mp4"
    link.symlink_to("../gone/away")
    with pytest.raises(MediaError) as refused:
        read_all(f"{link}::bear" if is_tar else link)
    assert f"{link}" in str(refused.value)
    assert ": is a symbolic link, and its target ../gone/away is gone; put that back, or remove" in str(refused.value)
    assert "relative" not in str(refused.value)


def test_a_file_below_a_link_whose_target_is_gone_is_told_with_the_link(tmp_path: Path) -> None:
    (tmp_path / "disk").symlink_to("/gone/disk")
    with pytest.raises(MediaError, match=f"{tmp_path}/disk is a symbolic link, and its target /gone/disk is gone"):
        read_all(tmp_path / "disk" / "clip.mp4")


def test_an_image_that_is_a_link_to_nothing_has_its_place_among_the_others(tmp_path: Path) -> None:
    """Without it all frames after it would get other numbers."""
    for number, pixels in enumerate(pictures(3)):
        (tmp_path / f"{number}.png").write_bytes(encode_image(pixels))
    (tmp_path / "1.png").unlink()
    (tmp_path / "1.png").symlink_to("gone.png")
    (tmp_path / "notes.txt").symlink_to("gone.txt")
    (tmp_path / "3.png").mkdir()
    with open_media(item(tmp_path)) as media:
        assert media.file_names == ("0.png", "1.png", "2.png")
        with media.files[2]() as file:
            assert file.read() == (tmp_path / "2.png").read_bytes()
        with pytest.raises(MediaError, match=r"^is a symbolic link, and its target gone\.png is gone"):
            media.files[1]()


def test_a_remote_folder_of_images_is_a_video(memory: fsspec.AbstractFileSystem) -> None:
    for number, pixels in zip((3, 20, 100), pictures(3), strict=True):
        memory.pipe_file(f"/frames/{number}.png", encode_image(pixels))
    for uri in ("memory://frames", "memory://frames/"):
        with open_media(item(uri)) as media, VideoFrames(media) as frames:
            assert [frame.pixels_HW3.numpy().tobytes() for frame in frames.forward(0)] == [
                pixels.tobytes() for pixels in pictures(3)
            ]


def test_a_listing_of_a_web_server_names_no_image_outside_of_the_folder(web_server: str, tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames/1.png").write_bytes(encode_image(pictures(1)[0]))
    (tmp_path / "secret.png").write_bytes(encode_image(pictures(2)[1]))
    links = ("1.png", "../secret.png", "%2e%2e/secret.png", "x/..%2F../secret.png", "/secret.png", "http://[::1]/z.png")
    (tmp_path / "frames/index.html").write_text("".join(f'<a href="{link}">x</a>' for link in links))
    with open_media(item(f"{web_server}/frames/"), rules=ON_LOOPBACK) as media:
        assert len(media.files) == 1
        with media.files[0]() as file:
            assert file.read() == (tmp_path / "frames/1.png").read_bytes()


@pytest.mark.parametrize("uri", ["{tar}::clips/b.mp4", "{tar}::./clips/b.mp4", "tar://clips/b.mp4::{tar}"])
@pytest.mark.parametrize("where", ["disk", "memory"])
def test_a_member_of_a_tar_is_read(tmp_path: Path, memory: fsspec.AbstractFileSystem, where: str, uri: str) -> None:
    members = {"clips/a.mp4": os.urandom(100_000), "clips/b.mp4": os.urandom(70_001), "./c": b""}
    (tmp_path / "shard.tar").write_bytes(tar_of(members))
    memory.pipe_file("/shard.tar", tar_of(members))
    tar = str(tmp_path / "shard.tar") if where == "disk" else "memory://shard.tar"
    assert read_all(uri.format(tar=tar)) == members["clips/b.mp4"]


@pytest.mark.parametrize("where", ["disk", "memory"])
def test_a_folder_of_images_in_a_tar_is_a_video(tmp_path: Path, memory: fsspec.AbstractFileSystem, where: str) -> None:
    images = {f"day/v1/{name}": name.encode() for name in ("10.png", "9.png")}
    others = {"day/v1/notes.txt": b"x", "day/v1/thumbs/1.png": b"x", "day/v10/1.png": b"x", "day/v2/a.mp4": b"x"}
    (tmp_path / "shard.tar").write_bytes(tar_of(images | others))
    memory.pipe_file("/shard.tar", tar_of(images | others))
    tar = str(tmp_path / "shard.tar") if where == "disk" else "memory://shard.tar"
    for name in ("day/v1", "day/v1/", "./day/v1"):
        with open_media(item(f"{tar}::{name}")) as media:
            assert media.is_folder
            assert media.file_names == ("9.png", "10.png")
            assert [open_file().read() for open_file in media.files] == [
                images["day/v1/9.png"],
                images["day/v1/10.png"],
            ]
    for name in ("day/v2", "day/v3"):
        with pytest.raises(MediaError, match=f"has no member '{name}'"), open_media(item(f"{tar}::{name}")):
            pass


def test_a_tar_is_indexed_once(tmp_path: Path) -> None:
    opened = []
    path = tmp_path / "shard.tar"
    path.write_bytes(tar_of({str(number): b"x" * 600 for number in range(50)}))

    def open_archive() -> io.IOBase:
        opened.append(1)
        return path.open("rb")

    for _ in range(3):
        index = tar_index(str(path), path.stat().st_size, open_archive)  # type: ignore[arg-type]
    assert len(index) == 50
    assert len(opened) == 1


def test_an_archive_that_was_replaced_by_one_of_its_size_is_indexed_again(memory: fsspec.AbstractFileSystem) -> None:
    memory.pipe_file("/shard.tar", tar_of({"first": b"1", "clip": b"1"}))
    assert read_all("memory://shard.tar::clip") == b"1"
    clock_moves_on()  # versions of stores without tags count to the millisecond
    memory.pipe_file("/shard.tar", tar_of({"clip": b"2", "last": b"3"}))
    assert read_all("memory://shard.tar::clip") == b"2"


def test_what_cannot_be_read_from_a_tar_is_said(tmp_path: Path) -> None:
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(b"secret")
    path = tmp_path / "shard.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind in (
            ("symbolic.mp4", tarfile.SYMTYPE),
            ("hard.mp4", tarfile.LNKTYPE),
            ("folder", tarfile.DIRTYPE),
        ):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, str(secret)
            archive.addfile(entry)
    for name, message in (
        ("symbolic.mp4", "is a link, which is not followed"),
        ("hard.mp4", "is a link, which is not followed"),
        ("folder", "is not a file"),
        ("missing.mp4", "has no member 'missing.mp4'"),
    ):
        with pytest.raises(MediaError, match=message):
            read_all(f"{path}::{name}")


def header_with_size(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A header that claims a size that `tarfile` would not write."""
    entry = tarfile.TarInfo(name)
    entry.type = kind
    header = bytearray(entry.tobuf(tarfile.USTAR_FORMAT))
    header[124:136] = (b"\xff" if size < 0 else b"\x80") + (size % (1 << 88)).to_bytes(11, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.GNUTYPE_SPARSE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
@pytest.mark.parametrize("size", [-1, -512, -1024, -(1 << 62), 1 << 62, 1 << 80])
def test_a_tar_with_absurd_sizes_is_refused(tmp_path: Path, size: int, kind: bytes) -> None:
    path = tmp_path / "shard.tar"
    path.write_bytes(header_with_size("a.mp4", 0) + header_with_size("b.mp4", size, kind) + bytes(1024))
    with pytest.raises(MediaError, match=r"cannot be read as an uncompressed tar|is stored as a sparse file"):
        read_all(f"{path}::b.mp4")


@pytest.mark.parametrize("kind", ["compressed", "cut off", "no tar"])
def test_a_tar_that_cannot_be_indexed_is_the_videos_fault(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "shard.tar"
    data = tar_of({"a.mp4": b"a" * 3000, "b.mp4": b"b" * 3000})
    if kind == "compressed":
        with tarfile.open(path, "w:gz") as archive:
            archive.addfile(tarfile.TarInfo("a.mp4"))
    else:
        path.write_bytes(data[:5000] if kind == "cut off" else b"no tar at all" * 100)
    with pytest.raises(MediaError, match="cannot be read as an uncompressed tar"):
        read_all(f"{path}::a.mp4")


def bytes_table(path: Path, values: list[bytes | None]) -> Path:
    table = pa.table({"video_id": ["clip"] * len(values), "bytes": pa.array(values, pa.binary())})
    pq.write_table(table, path, row_group_size=4, use_dictionary=False)
    return path


def test_bytes_are_read_from_the_row_in_any_order(tmp_path: Path) -> None:
    values = [bytes([number]) * 1000 for number in range(10)]
    path = bytes_table(tmp_path / "videos.parquet", list(values))
    for number in (0, 1, 3, 2, 9, 5):
        span = RowSpan(str(path), number // 4, number % 4, number % 4 + 1)
        with open_media(item(None, bytes_at=span)) as media, media.files[0]() as file:
            assert file.read() == values[number]


def test_a_row_without_bytes_is_the_videos_fault(tmp_path: Path) -> None:
    path = bytes_table(tmp_path / "videos.parquet", [None, b""])
    for row in (0, 1):
        with (
            pytest.raises(MediaError, match="bytes of video 'clip': the row has neither uri nor bytes"),
            open_media(item(None, bytes_at=RowSpan(str(path), 0, row, row + 1))),
        ):
            pass
    with pytest.raises(MediaError, match="neither uri nor bytes"), open_media(item(None)):
        pass


def test_a_row_that_is_gone_is_said(tmp_path: Path) -> None:
    path = bytes_table(tmp_path / "videos.parquet", [b"video"])
    for span in (RowSpan(str(path), 0, 5, 6), RowSpan(str(path), 3, 0, 1), RowSpan(str(tmp_path / "gone"), 0, 0, 1)):
        with pytest.raises(TableChanged, match="was changed while the job ran"), open_media(item(None, bytes_at=span)):
            pass


def test_the_bytes_of_another_video_are_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "videos.parquet"
    pq.write_table(pa.table({"video_id": ["other", "clip"], "bytes": [b"other", b"clip"]}), path)
    taken = item(None, bytes_at=RowSpan(str(path), 0, 0, 1))
    with pytest.raises(TableChanged, match="the row of 'clip' is another's"), open_media(taken):
        pass


@pytest.mark.slow
def test_every_kind_of_media_comes_from_s3(s3_server: S3Server) -> None:
    folder = s3_server.new_folder()
    options = s3_server.options()
    filesystem, root = fsspec.core.url_to_fs(folder, **options)
    clip = encode(pictures(5))
    filesystem.pipe_file(f"{root}/a clip ü.mp4", clip)
    filesystem.pipe_file(f"{root}/shard.tar", tar_of({"x.mp4": b"no", "clip.mp4": clip}))
    for number, pixels in enumerate(pictures(3)):
        filesystem.pipe_file(f"{root}/frames/{number}.png", encode_image(pixels))
    expected = [frame.pixels_HW3.numpy().tobytes() for frame in VideoFrames(media_of(clip)).forward(0)]
    for uri in (f"{folder}/a clip ü.mp4", f"{folder}/shard.tar::clip.mp4"):
        with open_media(item(uri), options) as media, VideoFrames(media) as frames:
            assert [frame.pixels_HW3.numpy().tobytes() for frame in frames.forward(0)] == expected
    with open_media(item(f"{folder}/frames"), options) as media, VideoFrames(media) as frames:
        assert frames.length_up_to(16) == 3
    with pytest.raises(MediaError, match=NO_SUCH_FILE), open_media(item(f"{folder}/missing.mp4"), options):
        pass


def test_a_damaged_table_of_videos_is_no_fault_of_maskmill(tmp_path: Path) -> None:
    path = tmp_path / "videos.parquet"
    pq.write_table(pa.table({"video_id": ["a"], "bytes": [b"video" * 1000]}), path)
    data = path.read_bytes()
    path.write_bytes(data[:4] + b"\xff" * 8 + data[12:])
    said = r"videos\.parquet is damaged \(.*\): write it again, or copy it anew"
    with pytest.raises(InputError, match=said) as told, open_media(item(None, bytes_at=RowSpan(str(path), 0, 0, 1))):
        pass
    assert str(told.value).isprintable()


def test_expired_credentials_of_videos_are_read_anew(faulty_store: type[FaultyStore]) -> None:
    """Else each later video of the worker would be read with those that have expired, and be given back."""
    filesystem, _ = open_filesystem("faulty://videos/a.mp4")
    filesystem.pipe_file("/videos/a.mp4", b"video")
    opened = open_media(item("faulty://videos/a.mp4"), backoff=Backoff(patience_seconds=0.0))

    def before(request: Request) -> None:
        if request[0] == "cat_file":
            answer = {"Error": {"Code": "ExpiredToken", "Message": "The provided token has expired."}}
            raise OSError("not understood") from ClientError(answer, "GetObject")  # type: ignore[arg-type]

    with opened as media, media.files[0]() as file:
        assert open_filesystem("faulty://videos/a.mp4")[0] is filesystem
        faulty_store.before = staticmethod(before)
        with pytest.raises(StorageError, match="expired"):
            file.read()
    assert open_filesystem("faulty://videos/a.mp4")[0] is not filesystem
