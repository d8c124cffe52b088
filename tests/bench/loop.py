"""`python -m tests.bench.loop`: whether the loop of doubt, review and correction pays, on drawn clips with true masks.

An annotator who knows the truth checks tracks and corrects the bad ones (`loop_rounds`), in the order of the queue, by
lot, as the tables have them, or in the best order that there is. It writes loop.json and loop.png: J&F of all tracks
against the seconds that he spent. `--keep` writes the measured tracks, on which a test works the rounds again.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow.parquet as pq
import torch

from tests.bench.doubt_clips import clips as drawn_clips
from tests.bench.loop_clips import LoopClip
from tests.bench.loop_rounds import POLICIES, Habit, Policy, Work, work
from tests.bench.loop_tracks import Key, Tracks, measure

HABIT: Habit = "glances"
"""Of the annotator whose figures are reported. Checking everything is looking through it."""

LENGTHS: dict[int, tuple[int, ...]] = {
    200: (*range(8000, 8080), *range(9000, 9080)),
    40: (*range(6000, 6060), *range(6100, 6160)),
}
"""The seeds of the clips by how many frames they have. Seeds below 150 are those of the bench of doubt, which fitted
the weights; from 2000 to 5999 and from 7000 to 7999 those of trials. What is drawn in more frames moves slower."""

HARDEST = 0.5
"""Clips up to the middle of the difficulties that the bench of doubt has. Mini loses what is harder again within a few
frames of a true mask, so that no correction helps."""

SHARES = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
"""Of the effort that checking everything takes."""

MARK = 0.2
EARLY = 0.5
"""Up to this share of the effort the gain is averaged too, because at one share a few tracks decide."""

FEW_BAD = (0.1, 0.05)
"""The shares of bad tracks in further sets: those of the first with its good clips counted several times."""

_NUM_LOTS = 20
_NUM_DRAWN = 200
_NOTICED = 0.02


def file_of(num_frames: int) -> Path:
    """The file of the measured tracks of clips of so many frames."""
    return Path(__file__).parent / "results" / f"loop_tracks_{num_frames}.parquet"


def label(seeds: Iterable[int], num_frames: int) -> Tracks:
    """The tracks of the clips of these seeds, as mini labels them before and after corrections."""
    from model import load_model

    model = load_model("mini")
    drawn = drawn_clips(seeds, num_frames, HARDEST)
    return measure(LoopClip(clip, prompts, model) for clip, prompts in drawn)


def report(tracks: Tracks, num_lots: int = _NUM_LOTS, shares: Sequence[float] = SHARES) -> dict[str, Any]:
    """What share of the gain in J&F each policy has for a share of the seconds that checking everything takes."""
    states = [tracks.state(key, 0) for key in tracks.keys]
    begin = float(np.mean([state.j_and_f for state in states]))
    effort, end = _spend(tracks, "all", None)
    found: dict[str, Any] = {
        "num_clips": len(tracks.clips),
        "num_tracks": len(states),
        "num_bad": sum(state.is_bad for state in states),
        "num_beyond_mending": sum(state.is_bad and state.looks[-1].frame_index is None for state in states),
        "j_and_f_before": begin,
        "j_and_f_after": end,
        "seconds": effort,
        "shares": list(shares),
        "policies": {},
    }
    for policy in POLICIES:
        lots = range(num_lots) if policy == "random" else range(1)
        gains = np.array(
            [[_spend(tracks, policy, share * effort, seed, HABIT)[1] for seed in lots] for share in shares]
        )
        gains = (gains - begin) / (end - begin)
        found["policies"][policy] = {
            "gain": gains.mean(axis=1).tolist(),
            "least": gains.min(axis=1).tolist(),
            "most": gains.max(axis=1).tolist(),
            "early": gains[: list(shares).index(EARLY) + 1].mean(axis=0).tolist(),
            "seconds": ways_of_the_seconds(tracks, policy, MARK * effort),
        }
    return found


def _spend(
    tracks: Tracks, policy: Policy, budget: float | None, seed: int = 0, habit: Habit = "looks through"
) -> tuple[float, float]:
    """Seconds and J&F at the end of three rounds that take so many seconds."""
    *_, last = work(tracks, policy, budget, seed, habit)
    return last.seconds, last.j_and_f()


def shares_at_mark(tracks: Tracks, policies: Sequence[Policy], habit: Habit = HABIT) -> dict[Policy, float]:
    """The share of the whole gain that each policy has at a fifth of the seconds, alone."""
    begin = float(np.mean([tracks.state(key, 0).j_and_f for key in tracks.keys]))
    effort, end = _spend(tracks, "all", None)
    return {policy: (_spend(tracks, policy, MARK * effort, 0, habit)[1] - begin) / (end - begin) for policy in policies}


def intervals(
    tracks: Tracks, num_drawn: int = _NUM_DRAWN, policies: Sequence[Policy] = POLICIES
) -> dict[Policy, tuple[float, float]]:
    """Bounds at 95 % of these shares: of as many clips, drawn with replacement, again and again (the bootstrap)."""
    rng, clips = np.random.default_rng(0), tracks.clips
    drawn = [
        shares_at_mark(tracks.of_clips([clips[one] for one in rng.integers(len(clips), size=len(clips))]), policies)
        for _ in range(num_drawn)
    ]
    bounds = {one: np.quantile([shares[one] for shares in drawn], (0.025, 0.975)).tolist() for one in policies}
    return {policy: (low, high) for policy, (low, high) in bounds.items()}


def ways_of_the_seconds(tracks: Tracks, policy: Policy, budget: float) -> dict[str, float]:
    """What a fifth of the seconds went to: shares by what came of a look.

    `mended`: J&F rose by more than 0.02; `no better`: a mask was saved, and it did not; `not mended`: no mask of a bad
    track was worth saving, or he left it to the end; `good`: the track was.
    """
    shares = {"mended": 0.0, "no better": 0.0, "not mended": 0.0, "good": 0.0}
    steps = work(tracks, policy, budget, 0, HABIT)
    before = Work(tracks)
    for now in steps:
        found = _last_look(before, now)
        if found is not None:
            shares[_what_came_of(tracks, before, now, found)] += now.seconds - before.seconds
        before = replace(now, corrections=Counter(now.corrections), skipped=Counter(now.skipped), done={*now.done})
    return {kind: spent / before.seconds for kind, spent in shares.items()}


def _last_look(before: Work, now: Work) -> Key | None:
    """The track that was looked at between the two; None at the end of the last round."""
    changed = {*(now.corrections - before.corrections), *(now.skipped - before.skipped), *(now.done - before.done)}
    return next(iter(changed), None)


def _what_came_of(tracks: Tracks, before: Work, now: Work, key: Key) -> str:
    number = before.corrections[key]
    state = tracks.state(key, number)
    if now.corrections[key] > number:
        return "mended" if tracks.state(key, number + 1).j_and_f > state.j_and_f + _NOTICED else "no better"
    return "not mended" if state.is_bad else "good"


def at_mark(found: Mapping[str, Any], policy: Policy) -> float:
    """The share of the whole gain at a fifth of the whole effort."""
    return float(found["policies"][policy]["gain"][found["shares"].index(MARK)])


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.loop", description=__doc__)
    parser.add_argument("--frames", type=int, default=200, help="frames of a clip that is labeled")
    parser.add_argument("--clips", type=int, help="label so many clips from --first-seed on, for trials")
    parser.add_argument("--first-seed", type=int, default=2000)
    parser.add_argument("--kept", action="store_true", help="the tracks that are kept beside this file, of all lengths")
    parser.add_argument("--keep", type=Path, help="write the measured tracks to this file")
    parser.add_argument("--output", type=Path, default=Path("outputs/bench-loop"))
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    if options.kept:
        measured = {num_frames: Tracks(pq.read_table(file_of(num_frames))) for num_frames in LENGTHS}
    else:
        trials = options.clips and range(options.first_seed, options.first_seed + options.clips)
        measured = {options.frames: label(trials or LENGTHS[options.frames], options.frames)}
    if options.keep:
        pq.write_table(measured[options.frames].table, options.keep, compression="zstd")
    found = {f"{num_frames} frames": whole_report(tracks) for num_frames, tracks in measured.items()}
    first = next(iter(measured))
    for bad_share in FEW_BAD:
        found[f"{first} frames, {bad_share:.0%} bad"] = whole_report(measured[first].diluted(bad_share))
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "loop.json").write_text(json.dumps(found, indent=1))
    draw(found, options.output / "loop.png")
    for one in found.values():
        show(one)


def whole_report(tracks: Tracks) -> dict[str, Any]:
    """The report with intervals, and what annotators of other habits would have."""
    habits = {habit: shares_at_mark(tracks, POLICIES, habit) for habit in get_args(Habit)}
    return report(tracks) | {"intervals": intervals(tracks), "habits": habits}


def show(found: Mapping[str, Any]) -> None:
    """Print the figures."""
    print(
        f"{found['num_tracks']} tracks of {found['num_clips']} clips, {found['num_bad']} of them bad; "
        f"J&F {found['j_and_f_before']:.3f}, and {found['j_and_f_after']:.3f} when everything is checked, "
        f"which takes {found['seconds']:.0f} s"
    )
    print(f"of {found['num_beyond_mending']} bad ones no mask can be saved")
    print("share of the effort  " + "".join(f"{share:>7.0%}" for share in found["shares"]))
    for policy, one in found["policies"].items():
        print(f"{policy:<21}" + "".join(f"{gain:>7.0%}" for gain in one["gain"]))
    for policy, one in found["policies"].items():
        spent = ", ".join(f"{share:.0%} {kind}" for kind, share in one["seconds"].items())
        low, high = found["intervals"][policy]
        print(f"{MARK:.0%} of the effort by {policy}: {low:.0%} to {high:.0%}; {spent}")
    for habit, shares in found["habits"].items():
        print(f"who {habit}: " + ", ".join(f"{policy} {share:.0%}" for policy, share in shares.items()))


_LOOKS = {
    "best": ("k:", 1.0, "what gains most in a second, by the truth"),
    "doubt": ("tab:orange", 2.5, "queue by doubt"),
    "value": ("tab:red", 2.5, "queue by value"),
    "random": ("tab:blue", 1.5, "by lot"),
    "all": ("0.6", 1.5, "as the tables have them"),
}


def draw(found: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """J&F of all tracks against the seconds spent, by policy; a panel for each set of tracks."""
    import matplotlib.pyplot as plt

    num_rows = -(-len(found) // 2)
    figure, grid = plt.subplots(num_rows, 2, figsize=(10.4, 4.1 * num_rows), squeeze=False)
    axes = grid.flat[: len(found)]
    for axis, (name, one) in zip(axes, found.items(), strict=True):
        _draw_panel(axis, name, one)
    for axis in grid[:, 0]:
        axis.set_ylabel("J&F, mean of all tracks")
    axes[-1].legend(frameon=False, fontsize=9, loc="lower right")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_panel(axis: Any, name: str, found: Mapping[str, Any]) -> None:
    before, after = found["j_and_f_before"], found["j_and_f_after"]
    seconds = np.array([0.0, *found["shares"]]) * found["seconds"]
    for policy, (color, width, label) in _LOOKS.items():  # all but `mendable`
        one = found["policies"][policy]
        heights = {name: before + (after - before) * np.array([0.0, *one[name]]) for name in ("gain", "least", "most")}
        axis.plot(seconds, heights["gain"], color, linewidth=width, label=label)
        if policy == "random":
            axis.fill_between(seconds, heights["least"], heights["most"], color=color, alpha=0.12, linewidth=0)
    axis.axvline(MARK * found["seconds"], color="0.6", linewidth=1, linestyle="--")
    axis.axhline(after, color="0.6", linewidth=1, linestyle="--")
    axis.set(
        title=f"{name.split(',')[0]}: {found['num_tracks']} tracks, {found['num_bad'] / found['num_tracks']:.0%} bad",
        xlabel="seconds of a person, over three rounds",
        xlim=(0, None),
    )


if __name__ == "__main__":
    main()
