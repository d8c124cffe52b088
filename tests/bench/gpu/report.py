"""Runs the parts, prints and saves after each: `check.json` and `check.png` in a folder."""

from __future__ import annotations

import gc
import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch

from tests.bench.gpu.goals import goals, musts
from tests.bench.gpu.parts import run_part
from tests.bench.gpu.picture import draw
from tests.bench.gpu.subjects import Options
from tests.bench.report import machine, rounded


def check(options: Options, names: Sequence[str]) -> dict[str, Any]:
    """Run the parts in their order; returns the document that was saved."""
    options.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1 if options.is_gpu else 2)
    document: dict[str, Any] = {"machine": machine() | {"device": options.device}, "quick": options.quick, "parts": {}}
    for name in names:
        part = run_part(name, options, partial(_keep, options, document, name))
        document["parts"][name] = part
        print(f"== {name}: {part['seconds']:.0f} s", flush=True)
        for line in _lines(part):
            print(line, flush=True)
        _save(options, document)
        gc.collect()  # compiled networks and recorded graphs hold themselves: they would lie beside the next part's
        if options.is_gpu:
            torch.cuda.empty_cache()
    verdicts = [*musts(document["parts"]), *([] if options.quick else goals(document["parts"]))]
    document["verdicts"] = [verdict.line() for verdict in verdicts]
    print("\n" + "\n".join(document["verdicts"]), flush=True)
    _save(options, document)
    draw(document, options.folder / "check.png")
    return document


def _keep(options: Options, document: dict[str, Any], name: str, rows: list[Any]) -> None:
    """Save the rows of a part that is not at its end; it counts as cut short until it is."""
    document["parts"][name] = {"found": rows, "error": "cut short"}
    _save(options, document)


def _save(options: Options, document: Mapping[str, Any]) -> None:
    """Write the file, whole or not at all: a machine that is lent may be gone at any moment."""
    path = options.folder / "check.json"
    aside = path.with_suffix(".tmp")
    aside.write_text(json.dumps(rounded(document), indent=1) + "\n")
    aside.replace(path)


def _lines(part: Mapping[str, Any]) -> list[str]:
    found = part.get("found", [])
    lines = [json.dumps(rounded(row))[:600] for row in (found if isinstance(found, list) else [found])]
    return [*lines, str(part["error"])] if "error" in part else lines
