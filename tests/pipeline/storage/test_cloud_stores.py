"""Jobs on Google Cloud Storage and on Azure: what their servers refuse, lose, throttle and list."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from model import MediaError
from pipeline import tables
from pipeline.commits.log import CommitLog
from pipeline.errors import AlreadyExists, InputError, LostOwnership, StorageError, UnusableStore
from pipeline.inputs.input_tables import InputTables
from pipeline.inputs.reading import ReadPolicy
from pipeline.inputs.table_files import table_files
from pipeline.inputs.video_files import find_videos
from pipeline.storage.file_versions import version_of
from pipeline.storage.job_storage import JobStorage
from pipeline.storage.listing import list_folder
from pipeline.storage.retry import Backoff
from pipeline.storage.uris import open_filesystem
from pipeline.video.media import open_media
from tests.pipeline.conftest import QUICK
from tests.support.azure_server import AzureServer
from tests.support.gcs_server import GcsServer
from tests.support.labeled import driver, labeled, publish
from tests.support.media_files import encode, item, pictures
from tests.support.proxy import Fault, Proxy, Rule, proxy_to

pytestmark = pytest.mark.slow

Cloud = GcsServer | AzureServer
WRITES = "PUT|POST"  # of one object: Azure has the one, Google the other


@pytest.fixture
def proxy(cloud: Cloud) -> Iterator[Proxy]:
    """In front of the server; each of its rules must have been met when the test ends."""
    with proxy_to(cloud.port) as proxy:
        yield proxy
        assert all(rule.times == 0 for rule in proxy.rules), "a fault that the test arranged was never met"


@pytest.fixture
def through(cloud: Cloud, proxy: Proxy) -> JobStorage:
    """A job whose requests go through the proxy."""
    return JobStorage(f"{cloud.new_folder()}/job", cloud.options(proxy.port), backoff=QUICK)


def direct(storage: JobStorage, cloud: Cloud) -> JobStorage:
    return JobStorage(storage.uri, cloud.options(), backoff=QUICK)


def writes(proxy: Proxy) -> int:
    return sum(method in WRITES.split("|") for method, _ in proxy.requests)


@pytest.mark.parametrize("fault", [Fault.ERROR_500, Fault.ERROR_503, Fault.ERROR_429, Fault.ERROR_401])
def test_what_passes_by_itself_is_tried_again_by_us_alone(through: JobStorage, proxy: Proxy, fault: Fault) -> None:
    """Else the pauses of the client's own retries, of 30 s and more, come on top of ours."""
    through.replace("a", b"1")
    proxy.requests.clear()
    proxy.rules.append(Rule(fault, method=WRITES, times=2))
    through.replace("a", b"2")
    assert writes(proxy) == 3
    proxy.rules.append(Rule(fault, method="GET", times=1))
    assert through.read("a") == b"2"
    once = JobStorage(through.uri, through.storage_options, backoff=Backoff(patience_seconds=0.0))
    proxy.rules.append(Rule(fault, method="GET", times=1))
    with pytest.raises(StorageError, match="failed 1 times") as caught:
        once.read("a")
    assert caught.value.transient


def test_an_upload_cut_in_the_middle_is_never_visible_in_part(
    through: JobStorage, proxy: Proxy, cloud: Cloud, tmp_path: Path
) -> None:
    local = tmp_path / "segment"
    local.write_bytes(bytes(range(256)) * 8192)
    impatient = JobStorage(through.uri, through.storage_options, backoff=Backoff(0.0))
    proxy.rules.append(Rule(Fault.CUT, method=WRITES, times=2))
    with pytest.raises(StorageError):
        impatient.put_file(local, "masks/s.parquet")
    assert direct(through, cloud).listing("masks") == []
    assert through.put_file(local, "masks/s.parquet") == 1 << 21
    assert direct(through, cloud).read("masks/s.parquet") == local.read_bytes()


def test_an_object_that_is_moved_is_whole_at_its_new_name(
    through: JobStorage, proxy: Proxy, cloud: Cloud, tmp_path: Path
) -> None:
    local = tmp_path / "segment"
    local.write_bytes(bytes(range(256)) * 8192)
    through.put_file(local, "masks/s.parquet")
    proxy.rules.append(Rule(Fault.CUT, method=WRITES, times=1))
    through.move("masks/s.parquet", "_former/masks/s.parquet")
    assert direct(through, cloud).listing("masks") == []
    assert direct(through, cloud).read("_former/masks/s.parquet") == local.read_bytes()
    through.move("masks/s.parquet", "_former/masks/s.parquet")  # by a driver that does not know that it is done
    assert direct(through, cloud).read("_former/masks/s.parquet") == local.read_bytes()


def test_a_create_whose_answer_is_lost_is_recognized_as_ones_own(through: JobStorage, proxy: Proxy) -> None:
    proxy.rules.append(Rule(Fault.LOSE_ANSWER, method=WRITES))
    through.create("_log/0.json", b"mine")
    with pytest.raises(AlreadyExists):
        through.create("_log/0.json", b"theirs")
    assert through.read("_log/0.json") == b"mine"


def test_a_create_that_is_answered_with_412_is_compared(through: JobStorage, proxy: Proxy, cloud: Cloud) -> None:
    direct(through, cloud).create("_log/0.json", b"mine")
    proxy.rules.append(Rule(Fault.ERROR_412, method=WRITES, times=2))
    through.create("_log/0.json", b"mine")
    with pytest.raises(AlreadyExists):
        through.create("_log/0.json", b"theirs")


def test_a_server_of_google_that_ignores_the_condition_is_refused(gcs_server: GcsServer) -> None:
    with proxy_to(gcs_server.port) as careless:
        careless.rewrite = lambda path: path.replace("ifGenerationMatch=0", "")
        place, options = f"{gcs_server.new_folder()}/job", gcs_server.options(careless.port)
        with pytest.raises(UnusableStore, match=r"ignores the condition of create-only writes.*single_driver=true"):
            JobStorage(place, options, backoff=QUICK).probe()
        JobStorage(place, options, single_driver=True, backoff=QUICK).probe()


@pytest.mark.parametrize("scheme", ["gs", "gcs", "az", "abfs", "abfss"])
def test_a_store_has_one_content_by_each_of_its_schemes(
    gcs_server: GcsServer, azure_server: AzureServer, scheme: str
) -> None:
    server = gcs_server if scheme in gcs_server.schemes else azure_server
    storage = JobStorage(server.new_folder(scheme), server.options(), backoff=QUICK)
    storage.probe()
    storage.create("a", b"1")
    usual = JobStorage(storage.uri.replace(f"{scheme}://", f"{server.schemes[0]}://"), server.options(), backoff=QUICK)
    assert usual.read("a") == b"1"


def test_what_is_missing_is_said_at_once(cloud: Cloud) -> None:
    scheme = cloud.schemes[0]
    nowhere = JobStorage(f"{scheme}://no-such-place-here/job", cloud.options(), backoff=QUICK)
    with pytest.raises(StorageError, match=rf"create {scheme}://no-such-place-here.*was refused") as caught:
        nowhere.probe()
    assert not caught.value.transient
    assert str(caught.value).count("\n") == 0
    with pytest.raises(FileNotFoundError):
        JobStorage(f"{cloud.new_folder()}/job", cloud.options(), backoff=QUICK).read("a")


def test_a_refusal_is_told_with_its_status(through: JobStorage, proxy: Proxy) -> None:
    """It is the video's fault, or ends the job: nobody waits for it."""
    through.replace("clip.mp4", encode(pictures(2)))
    options = through.storage_options
    proxy.rules.append(Rule(Fault.ERROR_403, times=99))
    with pytest.raises(StorageError, match=r"write .*/job/a was refused: .*") as caught:
        through.replace("a", b"1")
    assert not caught.value.transient
    with pytest.raises(MediaError, match="may not be read; check its permissions or storage_options"):
        open_media(item(f"{through.uri}/clip.mp4"), options).__enter__()
    with pytest.raises(InputError, match=r"^prompts: .*/p\.parquet may not be read; check its permissions or"):
        InputTables(None, f"{through.uri}/p.parquet", options, ReadPolicy(backoff=QUICK))
    proxy.rules.clear()
    with pytest.raises(MediaError, match="there is no such file"):
        open_media(item(f"{through.uri}/nowhere.mp4"), options).__enter__()
    with open_media(item(f"{through.uri}/clip.mp4"), options) as media, media.files[0]() as file:
        assert file.read() == encode(pictures(2))


def test_a_signature_that_azure_refuses_is_in_no_message(azure_server: AzureServer) -> None:
    parts = [part for part in azure_server.options()["connection_string"].split(";") if "Key=" not in part]
    text = ";".join([*parts, "SharedAccessSignature=sv=2025-05-05&se=2020-01-01&sp=rw&sig=hunter2"])
    with proxy_to(azure_server.port) as proxy:
        text = text.replace(str(azure_server.port), str(proxy.port))
        proxy.rules.append(Rule(Fault.ERROR_403, times=9))
        with pytest.raises(StorageError, match="was refused") as caught:
            JobStorage(azure_server.new_folder(), {"connection_string": text}, backoff=QUICK).replace("a", b"1")
        assert any("sig=hunter2" in path for _, path in proxy.requests)
    assert "hunter2" not in f"{caught.value} {caught.value!r}"


def test_listings_of_several_pages_are_whole(through: JobStorage, proxy: Proxy, cloud: Cloud) -> None:
    storage = through
    if isinstance(cloud, GcsServer):
        proxy.rewrite = lambda path: re.sub(r"maxResults=\d{4}", "maxResults=5", path)
    names = [f"_log/{number:03}.json" for number in range(12)]
    storage.in_parallel(lambda name: storage.replace(name, name.encode()), [*names, "_log/deep/er", "_logs", "other"])
    assert [stored.path for stored in storage.listing("_log")] == names
    assert [stored.path for stored in storage.listing("_log", "00")] == names[:10]
    pages = [path for method, path in proxy.requests if method == "GET"]
    assert len(pages) > 4 or (isinstance(cloud, AzureServer) and not cloud.has_small_pages)
    assert all("prefix=" in page for page in pages)
    assert storage.tree("_log") == [*names, "_log/deep/er"]
    assert storage.names_below() == ["_log", "_logs", "other"]
    storage.delete_tree("_log")
    assert storage.names_below() == ["_logs", "other"]


def test_a_range_is_read_and_no_more(cloud: Cloud) -> None:
    uri, data = f"{cloud.new_folder()}/clip.mp4", bytes(range(256)) * 40
    filesystem, path = open_filesystem(uri, cloud.options())
    filesystem.pipe_file(path, data)
    assert filesystem.cat_file(path, start=300, end=700) == data[300:700]
    before = version_of(filesystem.info(path))
    assert before is not None
    (listed,) = filesystem.find(uri.rpartition("/")[0], detail=True).values()
    assert version_of(listed) == before
    filesystem.pipe_file(path, data[::-1])
    assert version_of(filesystem.info(path)) != before


def test_folders_and_globs_of_videos_are_found(cloud: Cloud) -> None:
    place = cloud.new_folder()
    filesystem, path = open_filesystem(place, cloud.options())
    filesystem.pipe({f"{path}/{name}": b"x" for name in ("a.mp4", "day/b.mp4", "day/b.json", "day/deep/c.mov")})
    usual = place.replace("az://", "abfs://")
    for name, found in (
        ("", ["a", "day/b", "day/deep/c"]),
        ("/*.mp4", ["a"]),
        ("/**/*.mp4", ["a", "day/b"]),
        ("/d*", ["day/b", "day/deep/c"]),
    ):
        videos = find_videos(f"{place}{name}", cloud.options())
        assert videos is not None
        rows = [row for batch in videos.read(["video_id", "uri"]) for row in batch.rows.to_pylist()]
        assert [row["video_id"] for row in rows] == found, name
        assert {row["uri"].rpartition("/")[0] for row in rows} <= {usual, f"{usual}/day", f"{usual}/day/deep"}
        assert videos.versions()[1].has_text().all()


def test_a_table_of_prompts_beside_its_videos_is_none_of_videos(cloud: Cloud) -> None:
    """A listing calls az:// by its other name abfs://."""
    place = cloud.new_folder(cloud.schemes[1])
    filesystem, path = open_filesystem(place, cloud.options())
    filesystem.pipe({f"{path}/{name}": b"x" for name in ("a.mp4", "p.parquet")})
    prompts = table_files("prompts", f"{place}/p.parquet", cloud.options()).files
    videos = find_videos(place, cloud.options(), no_tables=prompts)
    assert videos is not None
    assert [row["video_id"] for batch in videos.read(["video_id"]) for row in batch.rows.to_pylist()] == ["a"]


def test_an_open_object_is_fetched_where_it_is_read_and_nowhere_else(through: JobStorage, proxy: Proxy) -> None:
    """Readers of Parquet ask for the ranges that they need; the clients would fetch 5 and 50 MiB more with each."""
    data = bytes(range(256)) * 4096
    through.replace("masks/s.parquet", data)
    with through.open_input("masks/s.parquet") as file:
        file.seek(-8, 2)
        assert file.read(8) == data[-8:]
        file.seek(1000)
        assert file.read(24) == data[1000:1024]
    assert [asked.removeprefix("bytes=") for asked in proxy.ranges] == [
        f"{len(data) - 8}-{len(data) - 1}",
        "1000-1023",
    ]


def test_large_segments_go_in_parts_and_come_whole(cloud: Cloud, tmp_path: Path) -> None:
    """Google takes more than 5 MiB, and Azure more than 64 MiB, by several requests."""
    local = tmp_path / "segment"
    num_bytes = (6 << 20) if isinstance(cloud, GcsServer) else (65 << 20)
    local.write_bytes(bytes(range(251)) * (num_bytes // 251))
    storage = JobStorage(f"{cloud.new_folder()}/job", cloud.options(), backoff=QUICK)
    assert storage.put_file(local, "masks/s.parquet") == local.stat().st_size
    assert storage.read("masks/s.parquet") == local.read_bytes()


def test_a_listing_begins_after_a_key_where_the_store_can(gcs_server: GcsServer) -> None:
    with proxy_to(gcs_server.port) as proxy:
        proxy.rewrite = lambda path: re.sub(r"maxResults=\d{4}", "maxResults=3", path)
        filesystem, path = open_filesystem(gcs_server.new_folder(), gcs_server.options(proxy.port))
        names = [f"{path}/day/{number:02}.mp4" for number in range(10)]
        filesystem.pipe(dict.fromkeys([*names, f"{path}/night/00.mp4"], b"x"))
        proxy.requests.clear()

        def listed(after: str | None = None) -> list[str]:
            return [one.name for one in list_folder(filesystem, f"{path}/day", lambda call: call(), after)]

        assert listed() == names
        assert len(proxy.requests) == 4
        assert listed(names[6]) == names[7:]
        assert len(proxy.requests) == 4 + 2, "pages before the key cost nothing"
        (first, *_) = list_folder(filesystem, f"{path}/day", lambda call: call())
        assert first.version == version_of(filesystem.info(names[0]))
        assert first.changed_at is not None


def test_of_two_drivers_the_second_takes_over_and_the_first_writes_nothing(cloud: Cloud, tmp_path: Path) -> None:
    storage = JobStorage(f"{cloud.new_folder()}/job", cloud.options(), backoff=QUICK)
    _, first = driver(storage, tmp_path, "first")
    first.commit([publish(storage, tmp_path, labeled("a", 5))])
    _, second = driver(storage, tmp_path, "second")
    with pytest.raises(LostOwnership):
        first.commit([publish(storage, tmp_path, labeled("b", 5))])
    second.commit([publish(storage, tmp_path, labeled("b", 4))])
    videos = tables.open(storage.uri, cloud.options()).videos().select(["video_id", "num_frames"]).to_pylist()
    assert videos == [{"video_id": "a", "num_frames": 5}, {"video_id": "b", "num_frames": 4}]


class Died(BaseException):
    """What stands for SIGKILL: nothing catches it, nothing after it runs."""


@dataclass(repr=False)
class Dying(JobStorage):
    """Its process dies at a create-only write: before it, or after it and before the answer."""

    after: bool = False

    def create(self, path: str, data: bytes) -> None:
        if self.after:
            super().create(path, data)
        raise Died


@pytest.mark.parametrize("dies_after", [False, True])
def test_a_job_whose_driver_died_at_its_commit_goes_on(cloud: Cloud, tmp_path: Path, dies_after: bool) -> None:
    storage = JobStorage(f"{cloud.new_folder()}/job", cloud.options(), backoff=QUICK)
    log, keeper = driver(storage, tmp_path)
    keeper.commit([publish(storage, tmp_path, labeled("a", 5))])
    segment = publish(storage, tmp_path, labeled("b", 5))
    keeper._storage = log._storage = Dying(storage.uri, cloud.options(), after=dies_after)
    with pytest.raises(Died):
        keeper.commit([segment])
    log, keeper = driver(storage, tmp_path, "next")
    assert sorted(log.state.finished) == (["a", "b"] if dies_after else ["a"])
    if not dies_after:
        keeper.commit([publish(storage, tmp_path, labeled("b", 5))])
    assert log.state == CommitLog(storage, "reader").load()
    assert tables.open(storage.uri, cloud.options()).masks().to_table().num_rows == 20
