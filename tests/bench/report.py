"""The bench's report: a JSON file that grows part by part, and what is to be reached."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from tests.bench.measure import load_average

Document = dict[str, Any]


class Report:
    """`bench.json` in a folder. Entries of one part have names; measuring one again replaces it alone."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "bench.json"
        self.document: Document = {"machine": machine()}
        if self.path.exists():
            found: Document = json.loads(self.path.read_text())
            if found["machine"] != self.document["machine"]:
                raise SystemExit(
                    f"{self.path} was measured on another machine or with other packages:\n  {found['machine']}\n"
                    f"not\n  {self.document['machine']}\nName another folder with --output, or delete the file."
                )
            self.document = found
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, part: str, name: str, entry: Mapping[str, Any]) -> None:
        """Takes an entry and saves at once, so that a run that is interrupted keeps what it has."""
        load = {"load_average": load_average()}
        self.document.setdefault(part, {})[name] = dict(entry) | load
        self.save()

    def save(self) -> None:
        """Writes the file, whole or not at all."""
        aside = self.path.with_suffix(".tmp")
        aside.write_text(json.dumps(rounded(self.document), indent=1) + "\n")
        aside.replace(self.path)


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    names, flags = "", ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        facts = dict(line.split(":", 1) for line in cpuinfo.read_text().splitlines() if ":" in line)
        facts = {key.strip(): value.strip() for key, value in facts.items()}
        names, flags = facts.get("model name", ""), facts.get("flags", "")
    return {
        "processor": names or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "instructions": [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags.split()],
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "device": "cpu",
    } | {name: version(name) for name in ("torch", "transformers", "sam2", "av", "ray", "numpy")}


def version(package: str) -> str | None:
    """Of an installed package; None where it is not installed, as Ray on a machine of the check."""
    try:
        return torch.__version__ if package == "torch" else metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def rounded(value: Any) -> Any:
    """Four digits are more than any of this is worth."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, Mapping):
        return {key: rounded(one) for key, one in value.items()}
    return [rounded(one) for one in value] if isinstance(value, list | tuple) else value


@dataclass(frozen=True)
class Goal:
    """One figure: `must` has to be reached, `aim` is hoped for. `is_limit`: smaller is better."""

    name: str
    value: float
    must: float
    aim: float
    unit: str
    is_limit: bool = False

    @property
    def verdict(self) -> str:
        def reaches(bound: float) -> bool:
            return self.value <= bound if self.is_limit else self.value >= bound

        return "aim" if reaches(self.aim) else "reached" if reaches(self.must) else "MISSED"

    def line(self) -> str:
        sign = "≤" if self.is_limit else "≥"
        return (
            f"{self.name:<44}{self.value:>8.3g} {self.unit:<5} {sign} {self.must:g} (aim {self.aim:g}): {self.verdict}"
        )


def goals(document: Mapping[str, Any]) -> Iterator[Goal]:
    """What is to be reached, for the parts that are there. Stated for tiny at 1024² on the CPU that it was set for."""
    frames = document.get("frames", {})
    for key, name, must, aim in (
        ("tiny 1024 bfloat16 1", "1 object, bf16, full memory", 2.8, 3.5),
        ("tiny 1024 float32 1", "1 object, fp32, full memory", 1.8, 2.2),
        ("tiny 1024 bfloat16 16", "16 objects, bf16, full memory", 3.3, 4.0),
    ):
        if frames.get(key, {}).get("ratio"):
            yield Goal(name, frames[key]["ratio"]["seconds"], must, aim, "x")
    more = document.get("further object", {}).get("tiny 1024", {}).get("bfloat16", {})
    if "ours" in more:
        yield Goal("object n + 1, bf16", more["ours"], 1.0, 0.8, "s", is_limit=True)
    if "efficiency" in document:
        yield Goal("job / bare loop, mini", document["efficiency"]["mini"]["efficiency"], 0.95, 0.97, "")
    feed = document.get("feed", {})
    if "1080p" in feed:
        yield Goal("feeding: 4 videos in flight over 1, 1080p", feed["1080p"]["ratio"], 1.3, 1.6, "x")
    if "360p" in feed:
        yield Goal("feeding: busy share of the device, 360p", feed["360p"]["in flight"]["4"]["busy"], 0.9, 0.95, "")
    if "rle" in document:
        yield Goal("RLE of 16 masks at 1080p", document["rle"]["1080p"]["ratio"], 3, 6, "x")
    for name, row in document.get("scores", {}).items():
        yield Goal(f"J and F of masks of {name} over vos-benchmark, CPU", row["ratio_cpu"], 5, 20, "x")
    memory = document.get("memory", {})
    if memory.get("length", {}).get("long_frames") == 2000:
        yield Goal("peak at 2,000 frames over 100", memory["length"]["growth"], 0.05, 0.05, "", is_limit=True)
    if memory.get("object", {}).get("image_size") == 1024:
        yield Goal("an object, bf16 at 1024 px", memory["object"]["held_mib_per_object"], 6, 6, "MiB", is_limit=True)
