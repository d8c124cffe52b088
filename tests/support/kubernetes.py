"""What an API server would say to a manifest: schemas of Kubernetes and of KubeRay, and the rules of KubeRay.

Kinds of Kubernetes have the schemas of kubernetes-validate. The schema of a RayJob's spec is in
`tests/fixtures/kuberay`, made from KubeRay's CRD by `python -m tests.support.kubernetes ray.io_rayjobs.yaml`. It is
also that of a RayCronJob's template: the CRDs say the same of both.
"""

from __future__ import annotations

import json
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from kubernetes_validate.utils import schema_contents
from referencing import Registry, Resource

VERSION = "1.37"
SPEC = Path(__file__).resolve().parent.parent / "fixtures" / "kuberay" / "rayjob_spec_v1.json"
_FOLDER = f"kubernetes-json-schema/v{VERSION}.0-local-strict"
_MODES = ("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode")
_MANAGERS = ("ray.io/kuberay-operator", "kueue.x-k8s.io/multikueue")


def mistakes(document: dict[str, Any]) -> list[str]:
    """What is wrong with a manifest; an empty list if an API server would take it."""
    if document["kind"] == "RayJob":
        allowed = {"apiVersion", "kind", "metadata", "spec"}
        return _of_metadata(document, allowed) + _of_name(document["metadata"]["name"]) + _of_spec(document["spec"])
    if document["kind"] == "RayCronJob":
        spec = document["spec"]
        strange = [f"unknown field spec.{name}" for name in spec.keys() - _CRON_FIELDS]
        missing = [f"spec.{name} is missing" for name in ("schedule", "jobTemplate") if name not in spec]
        found = _of_metadata(document, {"apiVersion", "kind", "metadata", "spec"}) + strange + missing
        if "TZ" in str(spec.get("schedule")):
            found.append("KubeRay refuses TZ= in a schedule: give timeZone")
        return found + _of_spec(spec.get("jobTemplate", {}))
    return _of_core(document)


_CRON_FIELDS = {"schedule", "timeZone", "suspend", "jobTemplate"}
"""All that the CRD of RayCronJob v1 has."""


def _of_metadata(document: dict[str, Any], allowed: set[str]) -> list[str]:
    """`metadata` is that of any kind: a ConfigMap without data stands for it."""
    strange = [f"unknown field {name}" for name in document.keys() - allowed]
    if document["apiVersion"] != "ray.io/v1":
        strange.append(f"apiVersion is {document['apiVersion']}")
    return strange + _of_core({"apiVersion": "v1", "kind": "ConfigMap", "metadata": document["metadata"]})


def _of_name(name: str) -> list[str]:
    """KubeRay makes names of clusters, pods and services of it."""
    if len(name) > 47 or re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name) is None:
        return [f"{name} is no name of at most 47 letters, digits and hyphens"]
    return []


def _of_core(document: dict[str, Any]) -> list[str]:
    group, _, version = document["apiVersion"].rpartition("/")
    name = "-".join([document["kind"].lower(), *([group.partition(".")[0]] if group else []), version])
    return [
        f"{document['kind']} {'.'.join(map(str, error.absolute_path))}: {error.message}"
        for error in _validator(name).iter_errors(document)
    ]


@cache
def _validator(name: str) -> Draft202012Validator:
    """As `kubernetes_validate.validate` has it, which reads the 2 MB of definitions at each call."""
    schema = schema_contents(f"{_FOLDER}/{name}.json", VERSION)
    return Draft202012Validator(schema, registry=Resource.from_contents(_definitions()) @ Registry())


@cache
def _definitions() -> Any:
    return schema_contents(f"{_FOLDER}/_definitions.json", VERSION)


def _of_spec(spec: dict[str, Any]) -> list[str]:
    """The spec of a RayJob: its schema, its pods, and the rules of CEL and of the operator, which are no schema."""
    errors = Draft202012Validator(_schema()).iter_errors(spec)
    found = [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in errors]
    cluster = spec.get("rayClusterSpec", {})
    groups = [cluster.get("headGroupSpec", {}), *cluster.get("workerGroupSpecs", [])]
    templates = [group["template"] for group in groups if "template" in group]
    templates += [spec["submitterPodTemplate"]] if "submitterPodTemplate" in spec else []
    for template in templates:
        pod = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}, "template": template}
        found += _of_core(pod)
    return found + _rules(spec)


def _rules(spec: dict[str, Any]) -> list[str]:
    """Rules that KubeRay's CRD (`x-kubernetes-validations`) and its operator (`ValidateRayJobSpec`) hold."""
    strategy = spec.get("deletionStrategy")
    legacy = strategy is not None and ("onSuccess" in strategy or "onFailure" in strategy)
    by_rules = strategy is not None and "deletionRules" in strategy
    conditions = [rule.get("condition", {}) for rule in (strategy or {}).get("deletionRules", [])]
    shuts_down = spec.get("shutdownAfterJobFinishes", False)
    rules = {
        "deletionStrategy has both deletionRules and onSuccess or onFailure": legacy and by_rules,
        "deletionStrategy is empty": strategy is not None
        and not by_rules
        and not {"onSuccess", "onFailure"} <= strategy.keys(),
        "a deletion condition needs one of jobStatus and jobDeploymentStatus": any(
            ("jobStatus" in condition) == ("jobDeploymentStatus" in condition) for condition in conditions
        ),
        "one of rayClusterSpec and clusterSelector is needed": not {"rayClusterSpec", "clusterSelector"} & spec.keys(),
        "activeDeadlineSeconds is not positive": spec.get("activeDeadlineSeconds", 1) <= 0,
        "submissionMode is unknown": spec.get("submissionMode", _MODES[0]) not in _MODES,
        "managedBy is unknown": spec.get("managedBy", _MANAGERS[0]) not in _MANAGERS,
        "suspend needs shutdownAfterJobFinishes": spec.get("suspend", False) and not shuts_down,
        "ttlSecondsAfterFinished needs shutdownAfterJobFinishes": spec.get("ttlSecondsAfterFinished", 0) > 0
        and not shuts_down,
        "deletionRules exclude shutdownAfterJobFinishes": by_rules and shuts_down,
        "backoffLimit needs clusters of the job's own": spec.get("backoffLimit", 0) > 0
        and ("clusterSelector" in spec or spec.get("submissionMode") == "InteractiveMode"),
    }
    return [rule for rule, is_broken in rules.items() if is_broken]


@cache
def _schema() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(SPEC.read_text())
    return found


def reduced(crd: dict[str, Any]) -> dict[str, Any]:
    """The schema of the spec, version v1, without descriptions and pods, and with no place for unknown fields."""
    (schema,) = (v["schema"]["openAPIV3Schema"] for v in crd["spec"]["versions"] if v["name"] == "v1")
    spec: dict[str, Any] = _strict(schema["properties"]["spec"])
    return spec


def _strict(node: Any) -> Any:
    if isinstance(node, list):
        return [_strict(one) for one in node]
    if not isinstance(node, dict):
        return node
    if "containers" in node.get("properties", {}):
        return {"type": "object"}  # a pod, which kubernetes-validate checks
    kept = {
        key: _strict(value)
        for key, value in node.items()
        if key != "x-kubernetes-validations" and not (key == "description" and isinstance(value, str))
    }
    if isinstance(kept.get("properties"), dict) and "type" in kept:
        kept["additionalProperties"] = False
    if kept.pop("x-kubernetes-int-or-string", False):
        kept.pop("type", None)
    return kept


if __name__ == "__main__":
    crd_text = Path(sys.argv[1]).read_text(encoding="utf-8")
    SPEC.write_text(json.dumps(reduced(yaml.safe_load(crd_text)), separators=(",", ":"), sort_keys=True) + "\n")
