"""What an object remembers: the rules of `sam2`, on names instead of tensors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.tracking.memory_bank import BACKWARD, FORWARD, PROMPTED_ROW, Memory, MemoryBank


def memory(frame_index: int) -> Memory[str]:
    return Memory(frame_index, f"s{frame_index}", f"p{frame_index}")


def tracked_bank(first: int, last: int, direction: int = FORWARD, **settings: int) -> MemoryBank[str]:
    """A bank prompted on `first` that has tracked every frame after it up to `last`."""
    bank: MemoryBank[str] = MemoryBank(**settings)
    bank.add_prompted(memory(first))
    for index in range(first + direction, last + direction, direction):
        bank.add_tracked(memory(index), direction)
    return bank


def test_prompted_memories_carry_the_last_row_and_tracked_ones_their_distance() -> None:
    selection = tracked_bank(0, 9).select(10, FORWARD)
    assert selection.spatial == ("s0", "s4", "s5", "s6", "s7", "s8", "s9")
    assert selection.temporal_rows == (PROMPTED_ROW, 5, 4, 3, 2, 1, 0)


def test_pointers_are_of_the_prompted_frame_and_up_to_15_tracked_ones() -> None:
    selection = tracked_bank(0, 30).select(31, FORWARD)
    assert selection.pointers == ("p0", *(f"p{index}" for index in range(30, 15, -1)))
    assert selection.pointer_distances == (31, *range(1, 16))


def test_short_video_has_fewer_pointers() -> None:
    selection = tracked_bank(0, 6, max_pointers=4).select(7, FORWARD)
    assert selection.pointers == ("p0", "p6", "p5", "p4")


def test_backward_is_the_mirror_of_forward() -> None:
    selection = tracked_bank(20, 11, BACKWARD).select(10, BACKWARD)
    assert selection.spatial == ("s20", "s16", "s15", "s14", "s13", "s12", "s11")
    assert selection.temporal_rows == (PROMPTED_ROW, 5, 4, 3, 2, 1, 0)
    assert selection.pointer_distances == (10, *range(1, 10))


def test_prompted_frames_in_the_future_are_remembered_without_their_pointer() -> None:
    bank = tracked_bank(0, 3)
    bank.add_prompted(memory(50))
    selection = bank.select(4, FORWARD)
    assert selection.spatial[:2] == ("s0", "s50")
    assert "p50" not in selection.pointers


def test_missing_frames_are_skipped_and_not_replaced_by_older_ones() -> None:
    bank = tracked_bank(0, 2)
    bank.add_tracked(memory(5), FORWARD)
    selection = bank.select(6, FORWARD)
    assert selection.spatial == ("s0", "s1", "s2", "s5")
    assert selection.temporal_rows == (PROMPTED_ROW, 4, 3, 0)


def test_prompting_a_tracked_frame_replaces_its_memory() -> None:
    bank = tracked_bank(0, 5)
    bank.add_prompted(Memory(5, "corrected", "corrected pointer"))
    selection = bank.select(6, FORWARD)
    assert selection.spatial == ("s0", "corrected", "s1", "s2", "s3", "s4")
    assert selection.temporal_rows == (PROMPTED_ROW, PROMPTED_ROW, 4, 3, 2, 1)
    bank.remove_prompted(5)
    assert "corrected" not in bank.select(6, FORWARD).spatial


def test_only_what_a_later_frame_can_select_is_kept() -> None:
    bank = tracked_bank(0, 200)
    assert list(bank.tracked) == [195, 196, 197, 198, 199, 200]
    assert list(bank.pointers) == list(range(186, 201))


def test_a_new_pass_starts_from_the_prompted_memories_alone() -> None:
    bank = tracked_bank(0, 9)
    bank.start_pass()
    assert bank.select(10, FORWARD).spatial == ("s0",)


def test_a_copy_goes_its_own_way() -> None:
    bank = tracked_bank(0, 9)
    copy = bank.copy()
    copy.add_tracked(memory(10), FORWARD)
    copy.add_prompted(memory(20))
    assert bank.select(10, FORWARD).spatial == ("s0", "s4", "s5", "s6", "s7", "s8", "s9")


def test_taking_what_another_bank_tracked_keeps_the_own_prompted_memories() -> None:
    bank, other = tracked_bank(0, 0), tracked_bank(0, 8)
    bank.add_prompted(memory(7))
    bank.take_tracked(other)
    assert bank.select(9, FORWARD).spatial == ("s0", "s7", "s3", "s4", "s5", "s6", "s8")


def test_nearest_prompted_memories_count_one_on_each_side_first() -> None:
    bank: MemoryBank[str] = MemoryBank(max_prompted=3)
    for index in (0, 10, 20, 30, 100):
        bank.add_prompted(memory(index))
    assert bank.select(29, FORWARD).spatial == ("s10", "s20", "s30")
    assert bank.select(31, FORWARD).spatial == ("s20", "s30", "s100")


def test_an_unselected_prompted_memory_counts_as_a_tracked_one_of_its_frame() -> None:
    bank: MemoryBank[str] = MemoryBank(max_prompted=2)
    for index in (0, 3, 5, 7):
        bank.add_prompted(memory(index))
    selection = bank.select(6, FORWARD)
    assert selection.spatial == ("s5", "s7", "s0", "s3")
    assert selection.temporal_rows == (PROMPTED_ROW, PROMPTED_ROW, 5, 2)


def test_fewer_than_two_prompted_memories_are_refused() -> None:
    with pytest.raises(ValueError, match=r"max_prompted_memories must be at least 2 .*got 1"):
        MemoryBank(max_prompted=1)


@pytest.mark.slow
@given(
    prompted=st.sets(st.integers(0, 60), min_size=1, max_size=25),
    max_prompted=st.integers(2, 6),
    start=st.integers(0, 60),
    direction=st.sampled_from((FORWARD, BACKWARD)),
)
def test_a_window_of_wanted_memories_selects_as_all_of_them_would(
    prompted: set[int], max_prompted: int, start: int, direction: int
) -> None:
    """A walk that keeps what is wanted or ahead, and never fetches what it has left behind."""
    everything: MemoryBank[str] = MemoryBank(max_prompted)
    window: MemoryBank[str] = MemoryBank(max_prompted)
    for index in prompted:
        everything.add_prompted(memory(index))
    for frame_index in range(start, start + 30 * direction, direction):
        wanted = window.wanted(prompted, frame_index, direction)
        fetched = wanted - set(window.prompted)
        assert frame_index == start or all((index - frame_index) * direction >= 0 for index in fetched)
        for index in fetched:
            window.add_prompted(memory(index))
        assert window.select(frame_index, direction) == everything.select(frame_index, direction)
        following = window.wanted(prompted, frame_index + direction, direction)
        window.keep_prompted(following | {index for index in prompted if (index - frame_index) * direction > 0})
