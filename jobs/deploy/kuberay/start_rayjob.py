"""Creates a RayJob if none of its kind runs, and follows it to its end: what the pod of cronjob.yaml runs.

`python -m jobs.deploy.kuberay.start_rayjob rayjob.yaml` asks the API server that Kubernetes names to each pod, as the
service account of the pod. RayJobs with the labels of the file are of its kind. It may be started twice, at any time:

* One of its kind that has not ended is followed first. `concurrencyPolicy` of a CronJob knows nothing of RayJobs.
* The RayJob is named after `JOB_NAME` and `JOB_UID`, so that a pod which is started again follows what the first one
  has created, and a later Job of the same name does not take the RayJob of an earlier one for its own.

It ends with 0 if the RayJob succeeded, and with 1 if it failed, and keeps the last 7 that have ended.
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

NUM_KEPT = 7
POLL_SECONDS = 15.0
PATIENCE_SECONDS = 600.0
MOST_LETTERS = 47
"""KubeRay takes no longer name of a RayJob."""

ENDED = ("Complete", "Failed", "ValidationFailed")
"""`status.jobDeploymentStatus` of a RayJob with which KubeRay does nothing more."""

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class AlreadyExists(Exception):
    """The API server has an object of this name."""


@dataclass(frozen=True)
class RayJobs:
    """The RayJobs of a namespace, at an API server that may be away for a while."""

    server: str
    namespace: str
    account: Path = _ACCOUNT
    sleep: Callable[[float], None] = time.sleep

    @classmethod
    def of_this_pod(cls, environment: Mapping[str, str]) -> RayJobs:
        """Those of the namespace of this pod. Raises `KeyError` outside of a pod."""
        host, port = environment["KUBERNETES_SERVICE_HOST"], environment["KUBERNETES_SERVICE_PORT"]
        host = f"[{host}]" if ":" in host else host
        return cls(f"https://{host}:{port}", environment["POD_NAMESPACE"])

    def get(self, name: str) -> dict[str, Any]:
        """A RayJob. Raises `urllib.error.HTTPError` with code 404 if there is none."""
        return self._ask("GET", f"/{name}")

    def of_kind(self, labels: Mapping[str, str]) -> list[dict[str, Any]]:
        """Those that have all these labels, oldest first."""
        selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
        items = self._ask("GET", f"?{urllib.parse.urlencode({'labelSelector': selector})}")["items"]
        return sorted(items, key=lambda job: str(job["metadata"]["creationTimestamp"]))

    def create(self, rayjob: Mapping[str, Any]) -> None:
        """Raises `AlreadyExists` if the name is taken."""
        self._ask("POST", "", rayjob)

    def delete(self, name: str) -> None:
        """Delete a RayJob and what it owns; one that is gone is no error."""
        try:
            self._ask("DELETE", f"/{name}?propagationPolicy=Background")
        except urllib.error.HTTPError as error:
            if error.code != http.client.NOT_FOUND:
                raise

    def _ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """The answer. A server that is away or busy is asked again for ten minutes."""
        pause = 1.0
        waited = 0.0
        while True:
            try:
                return self._ask_once(method, path, body)
            except urllib.error.HTTPError as error:
                if error.code == http.client.CONFLICT and method == "POST":
                    raise AlreadyExists from error
                is_passing = error.code in (401, 429) or error.code >= 500  # 401: the token has just been replaced
                if not is_passing or waited >= PATIENCE_SECONDS:
                    print(f"{method} {path}: {error.code} {error.read().decode(errors='replace')[:500]}", flush=True)
                    raise
            except (OSError, http.client.HTTPException) as error:
                if waited >= PATIENCE_SECONDS:
                    raise
                print(f"the API server does not answer ({error}), asking again in {pause:.0f} s", flush=True)
            self.sleep(pause)
            waited += pause
            pause = min(2 * pause, 60.0)

    def _ask_once(self, method: str, path: str, body: object) -> dict[str, Any]:
        url = f"{self.server}/apis/ray.io/v1/namespaces/{self.namespace}/rayjobs{path}"
        request = urllib.request.Request(url, method=method)
        token = self.account / "token"
        if token.exists():
            # Read each time, because Kubernetes replaces it every hour.
            request.add_header("Authorization", f"Bearer {token.read_text().strip()}")
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=30, context=self._tls) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    @cached_property
    def _tls(self) -> ssl.SSLContext | None:
        authority = self.account / "ca.crt"
        return ssl.create_default_context(cafile=str(authority)) if authority.exists() else None


def has_ended(rayjob: Mapping[str, Any]) -> bool:
    """Whether KubeRay does nothing more with it."""
    return rayjob.get("status", {}).get("jobDeploymentStatus") in ENDED


def follow(jobs: RayJobs, name: str) -> bool:
    """Wait until a RayJob has ended, and print each change.

    Returns whether it succeeded; False if somebody has deleted it.
    """
    last = ""
    while True:
        try:
            rayjob = jobs.get(name)
        except urllib.error.HTTPError as error:
            if error.code != http.client.NOT_FOUND:
                raise
            print(f"RayJob {name}: it is gone, somebody has deleted it", flush=True)
            return False
        status = rayjob.get("status", {})
        words = [status.get(key) for key in ("jobDeploymentStatus", "jobStatus", "reason", "message")]
        said = ", ".join(str(word) for word in words if word) or "new"
        if said != last:
            print(f"RayJob {name}: {said}", flush=True)
            last = said
        if has_ended(rayjob):
            return bool(status.get("jobStatus") == "SUCCEEDED")
        jobs.sleep(POLL_SECONDS)


def start(jobs: RayJobs, rayjob: dict[str, Any], name: str) -> bool:
    """Create the RayJob under this name and follow it, after those of its kind that still run. Whether it succeeded."""
    every = rayjob["metadata"].get("labels") or {}
    labels = {key: value for key, value in every.items() if key.startswith("app.kubernetes.io/")}
    if not labels:
        raise SystemExit("the RayJob has no label app.kubernetes.io/…: give it one, because it is found again by that")
    for other in jobs.of_kind(labels):
        other_name = other["metadata"]["name"]
        if other_name != name and not has_ended(other):
            print(f"RayJob {other_name} has not ended: waiting for it", flush=True)
            follow(jobs, other_name)
    try:
        jobs.create({**rayjob, "metadata": {**rayjob["metadata"], "name": name}})
    except AlreadyExists:
        print(f"RayJob {name} is there already", flush=True)
    succeeded = follow(jobs, name)
    ended = [one["metadata"]["name"] for one in jobs.of_kind(labels) if has_ended(one)]
    for old in ended[:-NUM_KEPT]:
        jobs.delete(old)
    return succeeded


def name_of(rayjob: Mapping[str, Any], environment: Mapping[str, str]) -> str:
    """The name of the RayJob of this start: the same for all pods of a Job, and another one for each Job.

    Where nobody names the start, it has a name of its own: under one name for all, each start after the first one would
    find a RayJob that has ended, and do nothing.
    """
    name, uid = environment.get("JOB_NAME"), environment.get("JOB_UID")
    if not name:
        name, uid = str(rayjob["metadata"]["name"]), uuid.uuid4().hex
    return f"{name[: MOST_LETTERS - 9].rstrip('-')}-{uid[:8]}" if uid else name


def main(words: list[str], environment: Mapping[str, str], jobs: RayJobs | None = None) -> int:
    """The command. `words` is the path of the RayJob's file."""
    (path,) = words
    rayjob = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    name = name_of(rayjob, environment)
    return 0 if start(jobs or RayJobs.of_this_pod(environment), rayjob, name) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
