"""Compares our model at full size with both references and prints a table of gaps: `make parity`.

The four sizes at 1024×1024 with random weights: image features, then a click, a box, a box with clicks and a mask over
a few frames, then two objects over 24 frames forward and backward. The last takes minutes for each size on a few cores,
and only the image encoder differs between the sizes; so by default it is run for tiny alone, and the table says so.

    python -m tests.parity_report --sizes tiny large --long tiny large --frames 24
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from tests.reference.cases import Case, Outputs
from tests.reference.gaps import MAX_GAP, Gaps, feature_gaps, gaps
from tests.reference.trio import run_case, run_features, sam2_process
from tests.reference.tuning import LONG_FRAMES, long_case, pinned_case
from tests.reference.variants import SIZES, Size

COLUMNS = (
    "{size:<10} {what:<34} {seen:>6} {cover:>7} "
    "{references:>11} {sam2:>11} {transformers:>10} {verdict:<6} {seconds:>6}  {reached}"
)


@dataclass(frozen=True)
class Row:
    """One line of the table; gaps in standard deviations of the reference, the one named last."""

    size: Size
    what: str
    references: float
    ours_sam2: float
    ours_transformers: float
    seconds: float
    seen: str = ""
    cover: str = ""
    passed: bool = True
    reached: str = ""

    def __str__(self) -> str:
        return COLUMNS.format(
            size=self.size,
            what=self.what,
            seen=self.seen,
            cover=self.cover,
            references=f"{self.references:.1e}",
            sam2=f"{self.ours_sam2:.1e}",
            transformers=f"{self.ours_transformers:.1e}",
            verdict="ok" if self.passed else "FAILED",
            seconds=f"{self.seconds:.0f}",
            reached=self.reached,
        )


def main() -> int:
    """Prints the table; the exit code is 1 where a gap is too large."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    print(f"image_size {arguments.image_size}, float32, random weights, torch {torch.__version__}, CPU")
    print("gaps: largest difference of a logit in standard deviations of the reference, where it sees the object")
    sampled = [size for size in arguments.sizes if size not in arguments.long]
    if sampled:
        print(
            f"sampled: the {arguments.frames} frames are not run for {', '.join(sampled)} (--long {' '.join(sampled)})"
        )
    names = {
        "references": "sam2 ~ tf",
        "sam2": "ours ~ sam2",
        "transformers": "ours ~ tf",
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
    for size in arguments.sizes:
        case = pinned_case(size, "2.1", arguments.image_size)
        yield _feature_row(size, case)
        yield from _case_rows(size, case, ("click", "box", "box and clicks", "mask"))
    for size in arguments.long:
        for direction in ("forward", "backward"):
            long = long_case(size, direction, arguments.image_size, arguments.frames)
            yield from _case_rows(size, long, ("click", "box"))


def _feature_row(size: Size, case: Case) -> Row:
    started = time.monotonic()
    features = run_features(case.model, case.frames)
    ours_sam2 = max(feature_gaps(features.ours, features.sam2))
    ours_transformers = max(feature_gaps(features.ours, features.transformers))
    return Row(
        size,
        f"image features, {case.frames.num_frames} frames",
        max(feature_gaps(features.transformers, features.sam2)),
        ours_sam2,
        ours_transformers,
        time.monotonic() - started,
        passed=max(ours_sam2, ours_transformers) <= 1e-5,
    )


def _case_rows(size: Size, case: Case, names: tuple[str, ...]) -> Iterator[Row]:
    """One row for each object of a case; the time is that of all of them, in the last row."""
    started = time.monotonic()
    trio = run_case(case)
    seconds = time.monotonic() - started
    for object_id, name in enumerate(names):
        ours, sam2, transformers = (_of_object(run, object_id) for run in (trio.ours, trio.sam2, trio.transformers))
        references = gaps(transformers, sam2, case.seed_frames)
        against_sam2 = gaps(ours, sam2, case.seed_frames)
        against_transformers = gaps(ours, transformers, case.seed_frames)
        visible = [100 * output.coverage for output in sam2.values() if output.object_score > 0]
        yield Row(
            size,
            f"{name}, {case.frames.num_frames} frames {case.direction}",
            _largest(references),
            _largest(against_sam2),
            _largest(against_transformers),
            seconds if object_id == len(names) - 1 else 0.0,
            seen=f"{against_sam2.visible}/{against_sam2.frames}",
            cover=f"{min(visible):.0f}–{max(visible):.0f}" if visible else "",
            passed=max(_largest(against_sam2), _largest(against_transformers)) <= MAX_GAP,
            reached=_reached(sam2),
        )


def _of_object(outputs: Outputs, object_id: int) -> Outputs:
    return {key: output for key, output in outputs.items() if key[0] == object_id}


def _reached(outputs: Outputs) -> str:
    """On how many frames the object is hidden, not the first of three masks is taken, the single mask is replaced."""
    hidden = sum(output.object_score <= 0 for output in outputs.values())
    other = sum(output.best_candidate > 0 for output in outputs.values())
    unstable = sum(output.stability < 0.98 for output in outputs.values())
    return f"{hidden} / {other} / {unstable}"


def _largest(found: Gaps) -> float:
    return max(found.seeds, found.tracked)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--long", nargs="*", choices=SIZES, default=["tiny"], help="sizes that run the long clip, too")
    parser.add_argument("--frames", type=int, default=LONG_FRAMES, help="frames of the long clip")
    parser.add_argument("--image-size", type=int, choices=(256, 1024), default=1024)
    parser.add_argument("--threads", type=int, default=1, help="threads of each of the two processes")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
