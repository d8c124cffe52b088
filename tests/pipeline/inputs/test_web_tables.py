"""Tables on web servers: read by ranges or whole, refused in words, never listed."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pytest

from pipeline.errors import InputError
from pipeline.inputs.input_tables import InputTables
from pipeline.inputs.plan import make_plan
from pipeline.inputs.reading import ReadPolicy
from pipeline.inputs.write import prompts_table
from pipeline.storage.parquet import parquet_bytes
from pipeline.storage.retry import Backoff
from tests.support.web_server import Page, WebServer, web

__all__ = ["web"]


@pytest.fixture
def site(web: WebServer) -> WebServer:
    prompts = [
        {"video_id": name, "object_id": 1, "frame_index": 0, "box_xyxy": [1.0, 2.0, 30.0, 40.0]} for name in "ab"
    ]
    videos = pa.table({"video_id": ["a", "b"], "uri": ["a.mp4", "https://elsewhere.example/b.mp4?sig=1"]})
    web.pages["/t/prompts.parquet"] = Page(parquet_bytes(prompts_table(prompts)), '"1"')
    web.pages["/t/videos.parquet"] = Page(parquet_bytes(videos), '"1"')
    return web


def tables(site: WebServer, videos: str = "/t/videos.parquet", prompts: str = "/t/prompts.parquet") -> InputTables:
    policy = ReadPolicy(backoff=Backoff(patience_seconds=0.0))
    return InputTables(f"{site.address}{videos}", f"{site.address}{prompts}", policy=policy)


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_tables_are_read_from_a_web_server_that_knows_ranges_or_not(site: WebServer, knows_ranges: bool) -> None:
    site.pages = {path: replace(page, knows_ranges=knows_ranges) for path, page in site.pages.items()}
    plan = make_plan(tables(site, prompts="/t/prompts.parquet?sig=hunter2"), {})
    assert {one.video_id: one.source.uri for one in plan.items()} == {
        "a": f"{site.address}/t/a.mp4",
        "b": "https://elsewhere.example/b.mp4?sig=1",
    }


@pytest.mark.parametrize("name", ["/t/", "/t/*.parquet", "/t/*.mp4?sig=hunter2"])
def test_a_web_server_is_not_listed(site: WebServer, name: str) -> None:
    for key, named in (("videos", {"videos": name}), ("prompts", {"prompts": name})):
        with pytest.raises(InputError, match=rf"^{key}: http.* web servers do not list what they have; name") as caught:
            tables(site, **named)
        assert "hunter2" not in str(caught.value)
    assert name not in {path for _, path, _ in site.requests}


@pytest.mark.parametrize(
    ("page", "message"),
    [
        (None, "does not exist; check the path"),
        (Page(refusals=((403, {}),) * 9), "may not be read; check its permissions"),
        (Page(refusals=((410, {}),) * 9), r"is refused by its server \(HTTP 410\)"),
        (Page(refusals=((302, {"Location": "file:///etc/hosts"}),) * 9), "redirects to something that is no web addr"),
    ],
)
def test_a_table_that_is_refused_is_told_by_its_name(site: WebServer, page: Page | None, message: str) -> None:
    if page is not None:
        site.pages["/x.parquet"] = page
    with pytest.raises(InputError, match=rf"^prompts: {site.address}/x\.parquet\?\*\*\* .*{message}") as caught:
        tables(site, prompts="/x.parquet?sig=hunter2")
    assert "hunter2" not in str(caught.value)
