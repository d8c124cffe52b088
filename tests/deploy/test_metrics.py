"""jobs/deploy/grafana and jobs/deploy/prometheus: they ask for metrics that the code exports, with their tags."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from pipeline.cluster.ray_metrics import GAUGES, PREFIX
from pipeline.commits.status_file import RunStatus
from pipeline.records import Status

DEPLOY = Path(__file__).resolve().parents[2] / "jobs" / "deploy"
EXPORTED = {f"ray_{PREFIX}{name}": {"output"} | ({gauge.tag} - {""}) for name, gauge in GAUGES.items()}
"""Tags by metric, as Prometheus sees them."""
VALUES = {"status": set(Status), "error_class": {"input", "memory", "numbers", "internal", "crash"}}
VARIABLES = {"$output": "x", "$__range": "1h", "$price": "2.5"}


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DEPLOY / "grafana" / "maskmill.json").read_text())
    return found


def panels() -> list[tuple[str, str]]:
    """Each expression of the dashboard, with Grafana's variables filled in, and its legend."""
    targets = [target for panel in dashboard()["panels"] for target in panel["targets"]]
    return [(filled(target["expr"]), target["legendFormat"]) for target in targets]


def filled(expression: str) -> str:
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    return expression


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def nodes(expression: Any) -> Iterator[Any]:
    """An expression and all that is in it."""
    yield expression
    for name in ("lhs", "rhs", "expr", "vector_selector", "args"):
        below = getattr(expression, name, None)
        for one in below if isinstance(below, list) else [below] if below is not None else []:
            yield from nodes(one)


def mistakes(text: str) -> list[str]:
    """What an expression asks for that nobody exports. Raises `ValueError` if it is none of Prometheus."""
    found = []
    for node in nodes(promql_parser.parse(text)):
        if isinstance(node, promql_parser.VectorSelector):
            tags = EXPORTED.get(node.name)
            if tags is None:
                found.append(f"nobody exports {node.name}")
                continue
            for matcher in node.matchers.matchers:
                if matcher.name not in tags:
                    found.append(f"{node.name} has no tag {matcher.name}")
                elif matcher.name in VALUES:
                    found += [
                        f"no {matcher.name} {one}" for one in set(matcher.value.split("|")) - VALUES[matcher.name]
                    ]
        elif isinstance(node, promql_parser.AggregateExpr):
            asked = set(node.modifier.labels if node.modifier else ())
            below = [one.name for one in nodes(node.expr) if isinstance(one, promql_parser.VectorSelector)]
            found += [f"{name} has no tag {tag}" for name in below for tag in asked - EXPORTED.get(name, asked)]
    return found


@pytest.mark.parametrize("text", [text for text, _ in panels()])
def test_the_dashboard_asks_for_what_is_exported(text: str) -> None:
    assert mistakes(text) == []


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: str(rule["alert"]))
def test_an_alert_asks_for_what_is_exported_and_says_what_it_is_about(rule: dict[str, Any]) -> None:
    assert mistakes(rule["expr"]) == []
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"]["severity"] in ("info", "warning")
    assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))
    assert "{{ $labels.output }}" in rule["annotations"]["summary"]
    assert "by (output)" in rule["expr"], "the label of its summary"
    assert rule["annotations"]["description"]


@pytest.mark.parametrize(
    ("planted", "said"),
    [
        ("ray_maskmill_quue > 0", "nobody exports ray_maskmill_quue"),
        ("maskmill_queue > 0", "nobody exports maskmill_queue"),
        ('ray_maskmill_queue{job="x"} > 0', "ray_maskmill_queue has no tag job"),
        ('ray_maskmill_videos{status="failled"}', "no status failled"),
        ("sum by (status) (ray_maskmill_failures)", "ray_maskmill_failures has no tag status"),
        ("max(sum_over_time((ray_maskmill_framez)[1h:1m]))", "nobody exports ray_maskmill_framez"),
    ],
)
def test_a_planted_name_is_found(planted: str, said: str) -> None:
    assert mistakes(planted) == [said]


def test_a_planted_slip_of_the_pen_is_found() -> None:
    with pytest.raises(ValueError, match="invalid promql query"):
        mistakes("max by (output) ray_maskmill_queue > 0")


def test_every_metric_is_on_the_dashboard() -> None:
    shown = [node for text, _ in panels() for node in nodes(promql_parser.parse(text))]
    assert {node.name for node in shown if isinstance(node, promql_parser.VectorSelector)} == set(EXPORTED)


def test_its_legends_name_tags_and_its_variables_are_defined() -> None:
    tags = set.union(*EXPORTED.values())
    for text, legend in panels():
        assert set(re.findall(r"{{(\w+)}}", legend)) <= tags
        assert "$" not in text
    variables = {one["name"]: one for one in dashboard()["templating"]["list"]}
    assert {"output", "price"} <= variables.keys()
    assert re.search(r"label_values\((\w+), output\)", variables["output"]["query"])[1] in EXPORTED  # type: ignore[index]


def test_its_panels_have_a_place_each() -> None:
    places = [panel["gridPos"] for panel in dashboard()["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for a, b in itertools.combinations(places, 2):
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        assert beside or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]


def test_every_gauge_shows_a_field_of_the_status() -> None:
    assert {gauge.field for gauge in GAUGES.values()} <= RunStatus.model_fields.keys()
