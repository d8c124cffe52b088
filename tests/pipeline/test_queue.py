"""`python -m pipeline.queue`: the command on a drawn job."""

from __future__ import annotations

import json
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data_engine.queue import QUEUE
from pipeline.export import door as export_door
from pipeline.quality.blend import DEFAULT
from pipeline.quality.reasons import SENTENCES, Reason
from pipeline.quality.track_columns import FRAMES, VALUES
from pipeline.queue import QueueArguments, door
from pipeline.reviews.cycles import write_cycles
from pipeline.reviews.verdicts import VERDICTS, Key, write_verdicts
from pipeline.storage.job_storage import JobStorage
from tests.support.drawn_job import DrawnVideo, write_job
from tests.support.reviewed import say_of, verdict
from tests.support.reviewing import Client, reviewing

FIXTURE = Path(__file__).parents[1] / "fixtures" / "job_of_249c986"


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_job(tmp_path_factory.mktemp("queue"))[0]


@pytest.mark.slow
def test_a_queue_is_shown_and_written(job: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert door([f"output={job}", f"to={tmp_path}/queue.parquet", "audit=0", "order=doubt"]) == 0
    told = capsys.readouterr()
    assert "5 tracks of 5" in told.out, "one of the six never shows"
    found = pq.read_table(tmp_path / "queue.parquet")
    assert found.schema.equals(QUEUE)
    doubts = found["doubt"].to_pylist()
    assert doubts == sorted(doubts, reverse=True)
    assert doubts[0] > 0.1


def test_a_condition_chooses_tracks(job: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert door([f"output={job}", 'where=category = "cat"']) == 0
    assert "2 tracks of 2" in capsys.readouterr().out


def test_without_an_order_it_is_that_of_value(job: str, tmp_path: Path) -> None:
    queues = []
    for name, words in (("a", []), ("b", ["order=value"]), ("c", ["order=doubt"])):
        assert door([f"output={job}", f"to={tmp_path}/{name}.parquet", "audit=0", *words]) == 0
        queues.append(pq.read_table(tmp_path / f"{name}.parquet"))
    assert queues[0].equals(queues[1])
    assert not queues[0].equals(queues[2])


def handed_out(folder: Path) -> set[Key]:
    """The tracks that an export for CVAT has."""
    found = set()
    for path in folder.rglob("annotations.xml"):
        for track in ElementTree.parse(path).getroot().iter("track"):
            said = {one.get("name"): one.text or "" for one in track.iter("attribute")}
            found.add((said["video_id"], int(said["object_id"])))
    return found


@pytest.mark.slow
def test_queue_review_and_export_put_the_same_tracks_first(tmp_path: Path) -> None:
    two = DrawnVideo("a", {7: "cat", 3: "dog"}), DrawnVideo("b", {0: "cat"}, num_frames=4)
    videos = *two, DrawnVideo("c", {1: "cat", 2: None}, num_frames=9)
    output, _ = write_job(tmp_path, videos, broken=())

    def queue(order: str) -> list[Key]:
        to = tmp_path / "queue.parquet"
        assert door([f"output={output}", "audit=0", f"to={to}", *([f"order={order}"] if order else [])]) == 0
        return [(row["video_id"], row["object_id"]) for row in pq.read_table(to).to_pylist()]

    def listed(client: Client, **query: str) -> list[Key]:
        rows = client.get("api/tracks", **query)["rows"]
        return [(row["video_id"], row["object_id"]) for row in rows if row["num_visible"] and not row["is_audit"]]

    first, *_, last = queue("")
    say_of(output, verdict(*first, "skip"))
    at = datetime(2026, 1, 2, tzinfo=UTC)
    walk = {"video_id": last[0], "object_id": last[1], "cycle_iou": 0.02, "from_frame": 0, "to_frame": 0}
    write_cycles(JobStorage(output), [walk | {"labeled_at": at, "checked_at": at}])
    by_value, by_doubt = queue(""), queue("doubt")
    assert by_value[-1] == first
    assert by_value != by_doubt
    with reviewing(output) as client:
        assert listed(client, sort="queue") == by_value
        assert listed(client, verdict="open") == by_value[:-1], "the list leaves a track where it is that was skipped"
        assert listed(client, verdict="open", sort="doubt") == by_doubt[:-1]
    for top in range(1, len(by_value) + 1):
        words = [f"output={output}", "format=cvat_video", f"to={tmp_path / str(top)}", f"top={top}", "others=false"]
        assert export_door(words) == 0
        assert handed_out(tmp_path / str(top)) == set(by_value[:top])


def test_what_was_skipped_comes_last(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output, _ = write_job(tmp_path, (DrawnVideo("v", {1: "a", 2: "b", 3: "c"}),), ())
    assert door([f"output={output}", "audit=0"]) == 0
    first, *others = re.findall(r"object \d", capsys.readouterr().out)
    say_of(output, verdict("v", int(first[-1]), "skip"))
    assert door([f"output={output}", "audit=0"]) == 0
    assert re.findall(r"object \d", capsys.readouterr().out) == [*others, first]


def test_where_nothing_is_to_be_looked_at_the_queue_says_why(
    job: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty, _ = write_job(tmp_path, (), ())
    assert door([f"output={empty}"]) == 0
    assert capsys.readouterr().out == "nothing to look at: the job has no videos yet: none of them is finished\n"
    bad, _ = write_job(tmp_path / "bad", (), ("broken",))
    assert door([f"output={bad}"]) == 0
    assert capsys.readouterr().out == "nothing to look at: no visible track\n"
    assert door([f"output={job}", "where=num_masks > 999"]) == 0
    assert capsys.readouterr().out == "nothing to look at: no visible track that where= takes\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["top=null"], "give one of them"),
        (["audit=1.5"], "audit"),
        (["order=size"], "order"),
        (["where=colour = 1"], "colour"),
        (["to=/"], "is a folder"),
        (["calibrate=true"], "needs weights="),
        (["calibrate=true", "weights=w.json", "to=q.parquet"], "writes no queue"),
        (["calibrate=true", "weights=w.json"], "There are 0 and 0: check more"),
    ],
)
def test_mistakes_are_refused(job: str, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert door([f"output={job}", *words]) == 2
    told = capsys.readouterr()
    assert said in told.err
    assert told.out == ""


def test_tracks_of_an_earlier_version_are_measured_where_that_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(FIXTURE / "out", tmp_path / "old")
    assert door([f"output={tmp_path}/old"]) == 0
    told = capsys.readouterr()
    assert "0 tracks of 0" in told.out
    assert "4 tracks of an earlier version of maskmill have no doubt and are left out: give recompute=true" in told.err
    assert door([f"output={tmp_path}/old", "recompute=true", "audit=0", f"to={tmp_path}/queue.parquet"]) == 0
    told = capsys.readouterr()
    assert "4 tracks of 4" in told.out
    assert "earlier" not in told.err
    found = pq.read_table(tmp_path / "queue.parquet")
    assert set(zip(found["video_id"].to_pylist(), found["object_id"].to_pylist(), strict=True)) == {
        (video_id, object_id) for video_id in ("first", "second") for object_id in (1, 2)
    }
    assert found["doubt"].null_count == 0


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A job of 24 tracks of which reviewers said that the second object of each video is bad."""
    folder = tmp_path_factory.mktemp("reviewed")
    output, _ = write_job(folder, tuple(DrawnVideo(f"v{number:02d}", {1: "a", 2: "b"}) for number in range(12)), ())
    verdicts = [
        {
            "video_id": f"v{number:02d}",
            "object_id": object_id,
            "verdict": "reject" if object_id == 2 else "accept",
            "reviewer": "x",
            "reviewed_at": datetime(2026, 11, 29, tzinfo=UTC),
            "is_audit": number < 4,
        }
        for number in range(11)
        for object_id in (1, 2)
    ]
    write_verdicts(JobStorage(output), verdicts)
    return output


@pytest.mark.slow
def test_what_was_reviewed_leaves_the_queue_and_tells_the_rate_of_errors(
    reviewed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert door([f"output={reviewed}"]) == 0
    told = capsys.readouterr().out
    assert "2 tracks of 2" in told
    assert "have looked" not in told
    assert "50.0% (21.5% … 78.5% at 95 %), as 4 of 8 tracks drawn by lot were bad: about 1 of 2 tracks" in told


def test_a_queue_of_a_job_that_was_looked_at_whole_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output, _ = write_job(tmp_path, (DrawnVideo("v", {1: "a", 2: "b"}),), ())
    say_of(output, verdict("v", 1, "accept", is_audit=True), verdict("v", 2, "reject"))
    assert door([f"output={output}"]) == 0
    assert capsys.readouterr().out == "nothing to look at: people have looked at all of 2 visible tracks\n"


@pytest.mark.slow
def test_a_video_that_was_labeled_again_is_looked_at_again(
    reviewed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = datetime(2025, 1, 1, tzinfo=UTC)
    shutil.copytree(reviewed, tmp_path / "job")
    for path in (tmp_path / "job" / "reviews").iterdir():
        table = pq.read_table(path)
        moved = pa.array([old] * table.num_rows, table.schema.field("reviewed_at").type)
        place = table.schema.get_field_index("reviewed_at")
        pq.write_table(table.set_column(place, table.schema.field(place), moved), path)
    assert door([f"output={tmp_path}/job", "audit=0"]) == 0
    assert "24 tracks of 24" in capsys.readouterr().out


@pytest.mark.slow
def test_weights_are_fitted_to_verdicts_and_taken_by_the_next_queue(
    reviewed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = f"weights={tmp_path}/weights.json"
    assert door([f"output={reviewed}", "calibrate=true", weights]) == 0
    assert "verdicts 11 good tracks, 11 bad ones" in (told := capsys.readouterr().out)
    assert "AUROC    0.000 with the usual weights" in told, "reviewers accept what doubt blames"
    fitted = json.loads((tmp_path / "weights.json").read_text())
    assert fitted["num_verdicts"] == 22
    for reason in ("low_iou", "iou_dips", "unsure_stretch"):
        assert fitted["terms"][reason][2] < DEFAULT.terms[Reason(reason)].weight
    before, after = tmp_path / "before.parquet", tmp_path / "after.parquet"
    assert door([f"output={reviewed}", f"to={before}"]) == 0
    assert door([f"output={reviewed}", f"to={after}", weights]) == 0
    usual, others = (pq.read_table(path)["doubt"].to_pylist() for path in (before, after))
    assert usual != pytest.approx(others, abs=0.01)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no such file"),
        ("{}", "Field required"),
        ("no json", "writes them: Expecting value"),
    ],
)
def test_weights_that_are_none_are_refused(
    content: str | None, said: str, job: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "w.json").write_text(content)
    assert door([f"output={job}", f"weights={tmp_path}/w.json"]) == 2
    assert said in capsys.readouterr().err


def test_the_page_of_the_docs_names_every_key_every_reason_and_every_column() -> None:
    docs = (Path(__file__).parents[2] / "docs" / "doubt.md").read_text()
    for name in (*QueueArguments.model_fields, *QUEUE.names, *VERDICTS.names):
        assert re.search(rf"^\| .*`{name}`", docs, re.MULTILINE), name
    assert set(SENTENCES) == set(Reason)
    for reason in Reason:
        assert f"| `{reason}` |" in docs, reason
    for name in (*VALUES, *FRAMES):
        assert re.search(rf"^\| .*`{name}`", docs, re.MULTILINE), name


@pytest.mark.slow
def test_a_condition_on_verdicts_chooses_among_tracks_that_have_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri, _ = write_job(tmp_path)
    say_of(uri, verdict("clip-1", 7, "accept"), verdict("clip-1", 3, "reject", category="fox"))
    for words, told in (
        ([], "3 tracks of 3"),
        (['where=verdict = "accept"'], "1 track of 1"),
        (["where=verdict is not null"], "2 tracks of 2"),
        (['where=category = "fox" and verdict = "reject"'], "1 track of 1"),
        (['where=category = "dog"'], "1 track of 1"),
    ):
        assert door([f"output={uri}", "audit=0", *words]) == 0
        assert told in capsys.readouterr().out, words
