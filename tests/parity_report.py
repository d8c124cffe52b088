"""Compares our model at full size with both references and prints a table of gaps: `make parity`.

The four sizes at 1024×1024 with random weights: image features, then a click, a box, a box with clicks and a mask over
a few frames, then two objects over 24 frames forward and backward. The last takes minutes for each size on a few cores,
and only the image encoder differs between the sizes; so by default it is run for tiny alone, and the table says so.

Ours and both references run in float32. A row passes where ours is off by at most what `tests.reference.bounds` allows
for the format, the depth of the network and the length of the walk. With `--exact` all three run in float64, where no
row may be off by more than 1e-8.
What a size's prompts reach (an object hidden, another candidate than the first, an unstable single mask, masks of 2 to
98 %) is asserted as in the suite.

    python -m tests.parity_report --sizes tiny large --long tiny large --frames 24
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from tests.reference.bounds import feature_bound
from tests.reference.cases import Case, Outputs
from tests.reference.gaps import Gaps, assert_masks_cover, assert_worth_comparing, feature_gaps, gaps
from tests.reference.trio import run_case, run_features, sam2_process
from tests.reference.tuning import LONG_FRAMES, long_case, pinned_case
from tests.reference.variants import SIZES, Size

COLUMNS = (
    "{size:<10} {what:<34} {seen:>6} {cover:>7} "
    "{references:>10} {sam2:>11} {transformers:>10} {allowed:>8} {verdict:<6} {seconds:>6}  {reached}"
)


@dataclass(frozen=True)
class Row:
    """One line of the table; gaps in standard deviations of the reference, the one named last."""

    size: Size
    what: str
    references: float | None
    ours_sam2: float | None
    ours_transformers: float | None
    allowed: float | None
    seconds: float
    passed: bool
    seen: str = ""
    cover: str = ""
    reached: str = ""

    def __str__(self) -> str:
        return COLUMNS.format(
            size=self.size,
            what=self.what,
            seen=self.seen,
            cover=self.cover,
            references=_shown(self.references),
            sam2=_shown(self.ours_sam2),
            transformers=_shown(self.ours_transformers),
            allowed=_shown(self.allowed),
            verdict="ok" if self.passed else "FAILED",
            seconds=f"{self.seconds:.0f}",
            reached=self.reached,
        )


def main() -> int:
    """Prints the table; the exit code is 1 where a gap is too large or a comparison could not have failed."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    dtype = "float64" if arguments.exact else "float32"
    print(f"image_size {arguments.image_size}, {dtype}, random weights, torch {torch.__version__}, CPU")
    print("gaps: largest difference of a logit in standard deviations of the reference, where it sees the object")
    print("allowed: what rounding may do in this format and on a walk of this length (tests.reference.bounds)")
    sampled = [size for size in arguments.sizes if size not in arguments.long]
    if sampled:
        print(
            f"sampled: the {arguments.frames} frames are not run for {', '.join(sampled)} (--long {' '.join(sampled)})"
        )
    names = {
        "references": "sam2 ~ tf",
        "sam2": "ours ~ sam2",
        "transformers": "ours ~ tf",
        "allowed": "allowed",
        "verdict": "",
        "seconds": "s",
        "reached": "hidden / other candidate / unstable",
    }
    print(COLUMNS.format(size="size", what="what", seen="seen", cover="cover %", **names), flush=True)
    passed = True
    for row in _rows(arguments):
        print(row, flush=True)
        passed = passed and row.passed
    sam2_process().close()
    return 0 if passed else 1


def _rows(arguments: argparse.Namespace) -> Iterator[Row]:
    def in_format(case: Case) -> Case:
        return case.exact if arguments.exact else case

    for size in arguments.sizes:
        case = in_format(pinned_case(size, "2.1", arguments.image_size))
        yield _feature_row(size, case)
        yield from _case_rows(size, case, ("click", "box", "box and clicks", "mask"))
        yield _worth_row(size, "the prompts reach what they should", run_case(case).sam2, assert_worth_comparing)
    for size in arguments.long:
        for direction in ("forward", "backward"):
            long = in_format(long_case(size, direction, arguments.image_size, arguments.frames))
            yield from _case_rows(size, long, ("click", "box"))
            yield _worth_row(size, "masks cover 2 to 98 %", run_case(long).sam2, assert_masks_cover)


def _feature_row(size: Size, case: Case) -> Row:
    started = time.monotonic()
    features = run_features(case.model, case.frames, case.dtype)
    ours = [max(feature_gaps(features.ours, reference)) for reference in (features.sam2, features.transformers)]
    allowed = feature_bound(case.model.config, case.dtype)
    return Row(
        size,
        f"image features, {case.frames.num_frames} frames",
        max(feature_gaps(features.transformers, features.sam2)),
        *ours,
        allowed,
        time.monotonic() - started,
        max(ours) <= allowed,
    )


def _worth_row(size: Size, what: str, outputs: Outputs, check: Callable[[Outputs], None]) -> Row:
    """Whether a comparison could have failed."""
    try:
        check(outputs)
    except AssertionError as error:
        return Row(size, what, None, None, None, None, 0.0, passed=False, reached=str(error).splitlines()[0])
    return Row(size, what, None, None, None, None, 0.0, passed=True)


def _case_rows(size: Size, case: Case, names: tuple[str, ...]) -> Iterator[Row]:
    """One row for each object of a case; the last one has the time."""
    started = time.monotonic()
    trio = run_case(case)
    seconds = time.monotonic() - started

    def gap(run: Outputs, reference: Outputs, object_id: int) -> Gaps:
        return gaps(_of_object(run, object_id), _of_object(reference, object_id), case.seed_frames)

    for object_id, name in enumerate(names):
        sam2 = _of_object(trio.sam2, object_id)
        ours = [gap(trio.ours, reference, object_id) for reference in (trio.sam2, trio.transformers)]
        visible = [100 * output.coverage for output in sam2.values() if output.object_score > 0]
        yield Row(
            size,
            f"{name}, {case.frames.num_frames} frames {case.direction}",
            _largest(gap(trio.transformers, trio.sam2, object_id)),
            *map(_largest, ours),
            case.bounds.tracked,
            seconds if object_id == len(names) - 1 else 0.0,
            all(found.excess(case.bounds) <= 1 for found in ours),
            seen=f"{ours[0].visible}/{ours[0].frames}",
            cover=f"{min(visible):.0f}–{max(visible):.0f}" if visible else "",
            reached=_reached(sam2),
        )


def _of_object(outputs: Outputs, object_id: int) -> Outputs:
    """What was said of one object."""
    return {key: output for key, output in outputs.items() if key[0] == object_id}


def _reached(outputs: Outputs) -> str:
    """On how many frames the object is hidden, not the first of three masks is taken, the single mask is replaced."""
    hidden = sum(output.object_score <= 0 for output in outputs.values())
    other = sum(output.best_candidate > 0 for output in outputs.values())
    unstable = sum(output.stability < 0.98 for output in outputs.values())
    return f"{hidden} / {other} / {unstable}"


def _largest(found: Gaps) -> float:
    return max(found.seeds, found.tracked)


def _shown(gap: float | None) -> str:
    return "" if gap is None else f"{gap:.1e}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="*", choices=SIZES, default=list(SIZES))
    parser.add_argument("--long", nargs="*", choices=SIZES, default=["tiny"], help="sizes that run the long clip, too")
    parser.add_argument("--exact", action="store_true", help="in float64, which takes about three times as long")
    parser.add_argument("--frames", type=int, default=LONG_FRAMES, help="frames of the long clip")
    parser.add_argument("--image-size", type=int, choices=(256, 1024), default=1024)
    parser.add_argument("--threads", type=int, default=1, help="threads of each of the two processes")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
