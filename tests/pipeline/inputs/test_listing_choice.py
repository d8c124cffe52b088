"""How a watched place is listed, by what the last run kept of it."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.config.input_config import InputConfig
from pipeline.inputs.kept_listing import KeptListing
from pipeline.inputs.listing_choice import choose

NOW = 1_000_000.0
AUTO = InputConfig(full_listing_below=1000, full_listing_seconds=700)
KEPT = KeptListing(
    place="p", start_after="b/in/9", open_paths=[], full_at=NOW - 600, num_files=4000, num_after=300, runs_in_order=2
)


def how(given: InputConfig = AUTO, all_because: str = "", now: float = NOW, **changed: Any) -> tuple[str, str]:
    """The kind of the listing, and what is said of it, where the last run has kept this."""
    choice = choose(given, KEPT.model_copy(update=changed), now, all_because)
    return choice.kind, choice.in_words()


def test_auto_begins_at_the_last_names_of_a_large_place_whose_names_came_in_order() -> None:
    kind, words = how()
    assert kind == "from_last"
    assert words == (
        "from the last names on: 4000 videos are known, and names came in order. Replaced and deleted files and other "
        "prompts of videos that are labeled well were not looked for; input.listing=full does that, as each run does "
        "from 1970-01-12 13:48 UTC on"
    )


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"num_files": 999}, "fewer videos than input.full_listing_below=1000"),
        ({"full_at": NOW - 700}, "the last full listing is long ago"),
        ({"full_at": NOW + 1}, "to come by the clock of this machine"),
        ({"full_at": None}, "the last full listing is long ago"),
        ({"num_after": 1001}, "the files that came last lie behind 1,001 of 4,000 names"),
        ({"open_paths": [f"/{n}" for n in range(41)]}, "41 videos are not labeled well"),
        ({"runs_in_order": 1}, "new names came in order in 1 of 2 runs so far"),
        ({"start_after": ""}, "very many videos were not labeled"),
    ],
)
def test_auto_lists_in_full_where_something_speaks_against_the_names(changed: dict[str, Any], why: str) -> None:
    kind, words = how(**changed)
    assert kind == "full"
    assert words.startswith("full: ")
    assert why in words


def test_a_run_that_must_see_all_videos_lists_in_full_whatever_is_asked_for() -> None:
    for given in (AUTO, InputConfig(listing="from_last")):
        assert how(given, "prune=true") == ("full", "full: prune=true")


def test_what_is_asked_for_counts_more_than_what_the_names_say() -> None:
    assert how(InputConfig(listing="full")) == ("full", "full: input.listing=full")
    assert how(InputConfig(listing="from_last"), runs_in_order=0, num_files=0)[0] == "from_last"
    first = choose(InputConfig(listing="from_last"), None, NOW, "")
    assert first.in_words() == "full: the first listing of this place"
    few_or_first = "full: fewer videos than input.full_listing_below=1000, or the first listing of this place"
    assert choose(AUTO, None, NOW, "").in_words() == few_or_first


def test_what_an_earlier_version_kept_is_no_sign_of_order() -> None:
    kept = KeptListing.from_json(b'{"version":1,"place":"p","start_after":"b/in/9","open_paths":[]}', "kept")
    assert choose(AUTO, kept, NOW, "").kind == "full"
    assert choose(InputConfig(listing="from_last"), kept, NOW, "").kind == "from_last"
