"""Runs the parts, prints and saves after each: `check.json` and `check.png` in a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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
        part = run_part(name, options)
        document["parts"][name] = part
        print(f"== {name}: {part['seconds']:.0f} s", flush=True)
        for line in _lines(part):
            print(line, flush=True)
        _save(options, document)
        if options.is_gpu:
            torch.cuda.empty_cache()
    verdicts = [*musts(document["parts"]), *([] if options.quick else goals(document["parts"]))]
    document["verdicts"] = [verdict.line() for verdict in verdicts]
    print("\n" + "\n".join(document["verdicts"]), flush=True)
    _save(options, document)
    draw(document, options.folder / "check.png")
    return document


def _save(options: Options, document: Mapping[str, Any]) -> None:
    """Write the file, whole or not at all: a machine that is lent may be gone at any moment."""
    path = options.folder / "check.json"
    aside = path.with_suffix(".tmp")
    aside.write_text(json.dumps(rounded(document), indent=1) + "\n")
    aside.replace(path)


def _lines(part: Mapping[str, Any]) -> list[str]:
    if "error" in part:
        return [str(part["error"])]
    found = part["found"]
    return [json.dumps(rounded(row))[:600] for row in (found if isinstance(found, list) else [found])]
