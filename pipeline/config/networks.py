"""The networks that `conf/model` has, each with its weights: a name alone chooses none of them."""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping
from functools import cache

import yaml

_USUAL = "mini"


@cache
def networks() -> Mapping[str, str]:
    """The weights of each file in `conf/model`, by its name."""
    files = [entry for entry in importlib.resources.files("conf.model").iterdir() if entry.name.endswith(".yaml")]
    found = [yaml.safe_load(entry.read_text(encoding="utf-8")) for entry in files]
    return {str(values["name"]): str(values["checkpoint"]) for values in found}


def problem_of_name(name: str, checkpoint: str) -> str:
    """Why a network's name is refused beside these weights, in words; empty where they go together.

    `model: {name: tiny}` in a job file leaves the weights of mini, which knows drawn shapes only. Whoever names weights
    alone has the name of mini, which is what a job has that names no network.
    """
    if name == _USUAL or networks().get(name, checkpoint) == checkpoint:
        return ""
    owner = next((other for other, weights in networks().items() if weights == checkpoint), None)
    if owner is None:
        return ""
    return (
        f"model.name={name} is a name for people, and the weights are those of {owner} "
        f"(model.checkpoint={checkpoint}): give model={name}, which takes both"
    )
