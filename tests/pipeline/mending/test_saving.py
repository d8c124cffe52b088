"""What may be saved of a frame: nothing that the next run would refuse, and no mask twice. No network is needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import CannotMend
from pipeline.mending.correction import Correction
from pipeline.mending.saving import SavedBy, save_correction
from pipeline.reviews.corrections import read_corrections
from pipeline.storage.job_storage import JobStorage
from tests.support.unseen_correction import unseen_correction

BY = SavedBy("dan")


@pytest.fixture
def storage(tmp_path: Path) -> JobStorage:
    return JobStorage(str(tmp_path))


def refused(storage: JobStorage, one: Correction, told: str, split_into: int | None = None) -> None:
    before = read_corrections(storage)
    with pytest.raises(CannotMend, match=told):
        save_correction(storage, one, BY, split_into)
    assert read_corrections(storage) == before


def test_a_mask_that_a_split_has_given_away_is_not_saved_for_the_old_object_too(storage: JobStorage) -> None:
    one = unseen_correction()
    save_correction(storage, one, BY, split_into=8)
    refused(storage, one, "split on this frame, and object 8 has this mask")
    refused(storage, one, "split on this frame, and object 8 has this mask", split_into=9)
    one.hide()  # something else is said of the old object: that is saved
    save_correction(storage, one, BY)


def test_a_new_object_needs_a_mask(storage: JobStorage) -> None:
    one = unseen_correction(object_id=7, mask=None)
    one.hide()
    refused(storage, one, "^a new object needs a mask on this frame$")


def test_the_only_mask_of_a_new_object_is_not_hidden(storage: JobStorage) -> None:
    one = unseen_correction(object_id=7)
    save_correction(storage, one, BY)
    one.hide()
    refused(storage, one, r"only this frame says where object 7 is.*or take back what was saved of it \(ctrl z\)")
    save_correction(storage, unseen_correction(object_id=7, frame=6), BY)
    save_correction(storage, one, BY)  # frame 6 says where it is


def test_the_only_prompt_of_a_track_stays(storage: JobStorage) -> None:
    one = unseen_correction(frame=0)
    one.hide()
    refused(storage, one, "only this frame says where object 1 is.*or reject the track")
    save_correction(storage, unseen_correction(frame=3), BY)
    save_correction(storage, one, BY)


def test_prompts_that_reviewers_have_hidden_say_no_more_where_an_object_is(storage: JobStorage) -> None:
    for frame in (0, 4):
        one = unseen_correction(frame=frame, prompted=(0, 4))
        one.hide()
        if frame == 0:
            save_correction(storage, one, BY)
        else:
            refused(storage, one, "only this frame says where object 1 is")


def test_a_split_leaves_the_old_object_a_prompt(storage: JobStorage) -> None:
    one = unseen_correction(frame=0)
    refused(storage, one, "split on the first frame that shows the other object, or give object 1 a mask", split_into=8)
    save_correction(storage, unseen_correction(frame=3), BY)
    save_correction(storage, one, BY, split_into=8)
    refused(storage, unseen_correction(frame=3), "only this frame says where object 1 is", split_into=9)


def test_an_object_that_was_added_has_no_track_to_split(storage: JobStorage) -> None:
    one = unseen_correction(object_id=7)
    save_correction(storage, one, BY)
    refused(storage, one, "^a new object has no track to split$", split_into=8)
