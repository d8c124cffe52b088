"""Keys of other programs, and what is said of them."""

from __future__ import annotations

import re

import pytest

from pipeline.config import compose
from pipeline.config.fields import keys
from pipeline.config.job_config import JobConfig
from pipeline.config.usual_names import MEANT
from pipeline.doors import DOORS
from pipeline.errors import ConfigError

KEYS = {key.path for key in keys(JobConfig)}


def test_no_key_of_a_run_is_taken_for_one_of_another_program() -> None:
    assert not KEYS & MEANT.keys()


@pytest.mark.parametrize("told", sorted(set(MEANT.values())))
def test_what_is_said_names_keys_groups_and_commands_that_there_are(told: str) -> None:
    known = {
        *KEYS,
        *compose.GROUPS,
        "conf",
        "storage_options.key",
        "nightly.md",
        *(f"pipeline.{door}" for door in DOORS),
    }
    named = re.findall(r"(?<![/*])\b[a-z_]+\.[a-z_]+\b", told.replace("job.yaml", ""))
    named += re.findall(r"did you mean ([a-z_]+)[?,= ]", told)
    assert set(named) <= known | {"nightly.md"}


@pytest.mark.parametrize(
    ("conf", "word", "told"),
    [
        ("discover", "score_threshold=0.5", "discover.min_score"),
        ("discover", "min_score=0.5", "discover.min_score"),
        ("label", "video_path=x", "did you mean videos?"),
        ("label", "images=x", "did you mean videos?"),
        ("label", "labels_dir=x", "did you mean prompts, a table?"),
        ("label", "width=640", "the weights say at which size"),
        ("label", "cuda=true", "did you mean model.device"),
        ("label", "reviewer=ann", "python -m pipeline.review"),
    ],
)
def test_names_of_other_programs_lead_to_no_key_of_another_subject(conf: str, word: str, told: str) -> None:
    with pytest.raises(ConfigError, match=r"^unknown key ") as refused:
        compose.job_config(conf, ["videos=v", "output=o", word, *(["prompts=p"] if conf == "label" else [])])
    assert told in str(refused.value)
