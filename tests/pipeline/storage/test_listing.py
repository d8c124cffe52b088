"""Pages of a listing of S3."""

from __future__ import annotations

from typing import Any

import dateutil.parser
import pytest
from botocore.utils import parse_timestamp

from pipeline.storage.listing import list_folder, time_of_s3
from pipeline.storage.uris import open_filesystem
from tests.support.listed_bucket import BUCKET, ListedBucket

pytestmark = pytest.mark.slow


def test_times_of_a_page_are_read_without_guessing_their_format(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without this, dateutil takes 80 of the 97 ms that a page of a thousand files takes. It is asked for the first
    page alone."""
    guessed: list[str] = []
    guess = dateutil.parser.parse

    def counted(text: str, **options: Any) -> Any:
        guessed.append(text)
        return guess(text, **options)

    monkeypatch.setattr(dateutil.parser, "parse", counted)
    with ListedBucket() as bucket:
        for number in range(2_500):
            bucket.put(f"in/{number:04d}.mp4", 1_790_000_000 + number * 37)
        options = {"key": "x", "secret": "x", "client_kwargs": {"endpoint_url": bucket.endpoint}}
        filesystem, path = open_filesystem(f"s3://{BUCKET}/in", options)
        found = [one.changed_at for one in list_folder(filesystem, path, lambda call: call())]
    assert found == [1_790_000_000 + number * 37 for number in range(2_500)]
    assert bucket.requests["LIST"] == 3
    assert len(guessed) <= 1_000


@pytest.mark.parametrize(
    "told",
    [
        "2026-11-28T02:00:00.000Z",
        "2026-11-28T02:00:00Z",
        "2026-11-28T02:00:00+02:00",
        "20261128T020000Z",
        "Sat, 28 Nov 2026 02:00:00 GMT",
        "1764000000.5",
        1764000000,
    ],
)
def test_all_times_in_answers_of_s3_are_those_of_botocore(told: str | float) -> None:
    assert time_of_s3(told) == parse_timestamp(told)
