"""What the check must find, beside what was expected before anything had run on a GPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.bench.report import Goal

Found = Mapping[str, Any]

ESTIMATED_RATES: dict[tuple[str, int, int], tuple[float, float, float]] = {
    ("tiny", 1, 1): (190, 150, 250),
    ("tiny", 1, 4): (300, 220, 380),
    ("tiny", 4, 1): (115, 85, 140),
    ("tiny", 16, 1): (33, 26, 42),
    ("tiny", 64, 1): (9, 7, 11),
    ("large", 1, 1): (105, 80, 120),
    ("large", 4, 1): (70, 50, 90),
    ("large", 16, 1): (28, 20, 36),
    ("large", 64, 1): (8.5, 6, 11),
}
"""Frames a second by size, objects and videos in flight: expected, and the range; one H200, bfloat16, from counts."""


_LEAST_IOU_COMPILED = 0.97  # as of bfloat16: compiled code rounds elsewhere


@dataclass(frozen=True)
class Must:
    """Something that is right or wrong. `detail` says what was seen."""

    name: str
    holds: bool
    detail: str

    def line(self) -> str:
        return f"{self.name:<56} {'holds' if self.holds else 'FAILS'}  {self.detail}"


def musts(parts: Mapping[str, Found]) -> Iterator[Must]:
    """What must hold on every device, for the parts that are there."""
    for name, part in parts.items():
        if "error" in part:
            yield Must(f"{name} runs to its end", False, str(part["error"]).strip().splitlines()[-1][:160])
    for row in _rows(parts, "parity"):
        what = f"{row['size']}, {row['kind']}: masks of a CPU in float32"
        is_right = row["iou"] >= row["least_iou"] and row["finite"] and row["same_bits_twice"]
        yield Must(what, is_right, f"IoU {row['iou']:.5f}, gap {row['gap']:.2g}, same twice {row['same_bits_twice']}")
    for row in _rows(parts, "jobs"):
        is_right = row["exit_code"] == 0 and set(row["statuses"]) == {"ok"}
        yield Must(
            f"a job of {row['objects']} objects, {row['in_flight']} in flight",
            is_right,
            f"exit code {row['exit_code']}",
        )
    for row in _rows(parts, "compiled"):
        is_right = not row.get("error") and row["recompiles"] == 0
        yield Must(f"compiled, {row['mode']}: no recompiles in steady state", is_right, str(row.get("error", "")))
        if "iou" in row:
            is_right = row["iou"] >= _LEAST_IOU_COMPILED and row["finite"]
            yield Must(f"compiled, {row['mode']}: masks as uncompiled", is_right, f"IoU {row['iou']:.5f}")
    tests = parts.get("suite", {}).get("found", {})
    if "output" in tests:
        is_right = tests.get("exit_code") == 0 and not tests["failed_tests"] and tests.get("passed", 0) > 0
        seen = f"{tests.get('passed', 0)} passed{'' if 'exit_code' in tests else ', ended before its end'}"
        yield Must("the tests of a real GPU pass", is_right, ", ".join([seen, *tests["failed_tests"]])[:160])
    found = parts.get("faults", {}).get("found", {})
    if "memory" in found:
        memory, fault = found["memory"], found["assert"]
        yield Must("out of memory is told from poison", _is(memory, out_of_memory=True, poisoned=False), str(memory))
        yield Must("a device-side assert is poison", _is(fault, out_of_memory=False, poisoned=True), str(fault))


def goals(parts: Mapping[str, Found]) -> Iterator[Goal]:
    """What is to be reached on an H200."""
    rated = {(row["size"], row["objects"]): row["frames_per_second"] for row in _rows(parts, "references")}
    for size, objects, reference, must, aim in (
        ("tiny", 1, "sam2", 1.5, 2.5),
        ("tiny", 1, "sam2 vos", 1.0, 1.5),
        ("tiny", 16, "sam2", 6, 10),
    ):
        found = rated.get((size, objects), {})
        if "ours" in found and reference in found:
            name = f"{size}, {objects} objects, against {reference}"
            yield Goal(name, found["ours"] / found[reference], must, aim, "x")
    jobs = [
        row["frames_per_second"] for row in _rows(parts, "jobs") if "frames_per_second" in row and row["objects"] == 1
    ]
    if jobs:
        yield Goal("a job of 1080p clips, 6 cores, 1 object", max(jobs), 250, 350, "f/s")
    for row in _rows(parts, "rates"):
        estimate = ESTIMATED_RATES.get((row["size"], row["objects"], row["in_flight"]))
        if estimate and "frames_per_second" in row:
            name = f"{row['size']}, {row['objects']} objects, {row['in_flight']} in flight"
            yield Goal(name, row["frames_per_second"], 0.7 * estimate[0], estimate[0], "f/s")
    for row in _rows(parts, "launches"):
        yield Goal(f"launches, {row['size']}, {row['objects']} objects", row["launches"], 400, 300, "", is_limit=True)


def _rows(parts: Mapping[str, Found], name: str) -> list[Found]:
    found = parts.get(name, {}).get("found", [])
    return [row for row in found if "error" not in row or name == "compiled"]


def _is(found: Found, *, out_of_memory: bool, poisoned: bool) -> bool:
    return found.get("is_out_of_memory") is out_of_memory and found.get("is_poisoned") is poisoned
