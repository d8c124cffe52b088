"""jobs/deploy/kuberay: an API server would take its manifests, and one run a night comes of them."""

from __future__ import annotations

import copy
import shlex
import subprocess
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.deploy.kuberay import start_rayjob
from jobs.deploy.kuberay.start_rayjob import RayJobs
from pipeline.config.compose import job_config
from tests.support.kubernetes import mistakes
from tests.support.kubernetes_api import FAILS, ApiServer, api_server

FOLDER = Path(__file__).resolve().parents[2] / "jobs" / "deploy" / "kuberay"
RAYJOB = FOLDER / "rayjob.yaml"
KUEUE = "# kueue.x-k8s.io/queue-name"


def documents(text: str) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(text) if document]


def rayjob() -> dict[str, Any]:
    (document,) = documents(RAYJOB.read_text())
    return document


def kustomized() -> list[dict[str, Any]]:
    """What `kubectl apply -k` sends."""
    kubectl = Path(sysconfig.get_path("scripts"), "kubectl")
    done = subprocess.run([kubectl, "kustomize", FOLDER], capture_output=True, text=True, check=True, timeout=200)
    return documents(done.stdout)


@pytest.mark.parametrize("name", ["rayjob", "raycronjob"])
def test_an_api_server_takes_the_manifests_of_kuberay(name: str) -> None:
    for document in documents((FOLDER / f"{name}.yaml").read_text()):
        assert mistakes(document) == []


def test_with_the_label_of_kueue_it_is_taken_too() -> None:
    text = RAYJOB.read_text()
    assert text.count(KUEUE) == 1
    (labeled,) = documents(text.replace(KUEUE, KUEUE.removeprefix("# ")))
    assert labeled["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpu-queue"
    assert mistakes(labeled) == []
    assert labeled["spec"]["shutdownAfterJobFinishes"], "Kueue suspends and removes clusters"


def change(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def to(document: dict[str, Any]) -> None:
        *above, last = path.split(".")
        node: Any = document["spec"]
        for name in above:
            node = node[int(name) if name.isdigit() else name]
        node[last] = value

    return to


HEAD = "rayClusterSpec.headGroupSpec"
MISTAKES = {
    "a typo in the spec": change("ttlSecondsAfterFinish", 600),
    "a field of another object": change("restartPolicy", "Never"),
    "a typo in the cluster": change("rayClusterSpec.rayVersoin", "2.60.0"),
    "a typo in a group": change("rayClusterSpec.workerGroupSpecs.0.maxReplica", 4),
    "a typo in a pod": change(f"{HEAD}.template.spec.terminationGracePeriod", 60),
    "a typo in a container": change(f"{HEAD}.template.spec.containers.0.ressources", {}),
    "a number for a text": change(f"{HEAD}.rayStartParams", {"num-cpus": 0}),
    "an unknown mode": change("submissionMode", "K8sMode"),
    "a retry in a cluster that stays": change("clusterSelector", {"ray.io/cluster": "x"}),
    "rules of deletion beside the shutdown": change("deletionStrategy", {"deletionRules": []}),
    "half a strategy of deletion": change("deletionStrategy", {"onSuccess": {"policy": "DeleteCluster"}}),
    "no deadline at all": change("activeDeadlineSeconds", 0),
    "a lifetime without a shutdown": change("shutdownAfterJobFinishes", False),
    "a stranger as manager": change("managedBy", "me"),
}


@pytest.mark.parametrize("plant", MISTAKES.values(), ids=MISTAKES)
def test_a_planted_mistake_is_found(plant: Callable[[dict[str, Any]], None]) -> None:
    document = rayjob()
    plant(document)
    assert mistakes(document)


def test_names_that_kuberay_refuses_are_found() -> None:
    document = rayjob()
    for name in ("maskmill-" + "x" * 39, "Maskmill", "1-maskmill", "maskmill-"):
        document["metadata"]["name"] = name
        assert mistakes(document), name


def test_a_raycronjob_has_no_policy_of_concurrency() -> None:
    (document,) = documents((FOLDER / "raycronjob.yaml").read_text())
    assert "ALPHA" in (FOLDER / "raycronjob.yaml").read_text()
    document["spec"]["concurrencyPolicy"] = "Forbid"
    assert mistakes(document) == ["unknown field spec.concurrencyPolicy"]


def test_the_schedule_of_kuberay_starts_the_same_job() -> None:
    (document,) = documents((FOLDER / "raycronjob.yaml").read_text())
    assert document["spec"]["jobTemplate"] == rayjob()["spec"]


def test_the_entry_point_is_a_command_that_composes() -> None:
    words = shlex.split(rayjob()["spec"]["entrypoint"])
    assert words[:4] == ["python", "-m", "pipeline.run", "conf=nightly"]
    config = job_config("nightly", words[4:])
    assert config.cluster.kind == "existing"
    assert config.stop_after is not None
    assert config.stop_after < rayjob()["spec"]["activeDeadlineSeconds"], "it saves its work before KubeRay ends it"


def test_whoever_reaches_its_ports_needs_a_token() -> None:
    assert rayjob()["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}


def test_it_may_scale_by_itself() -> None:
    document = rayjob()
    document["spec"]["rayClusterSpec"]["enableInTreeAutoscaling"] = True
    document["spec"]["rayClusterSpec"]["workerGroupSpecs"][0] |= {"replicas": 0, "minReplicas": 0, "maxReplicas": 8}
    document["spec"]["entrypoint"] += " cluster.min_actors=8"
    assert mistakes(document) == []


@pytest.mark.slow
def test_kustomize_makes_a_nightly_job_of_it_whose_names_agree() -> None:
    made = {document["kind"]: document for document in kustomized()}
    assert [found for document in made.values() for found in mistakes(document)] == []
    cron = made["CronJob"]["spec"]
    assert (cron["concurrencyPolicy"], cron["timeZone"]) == ("Forbid", "Etc/UTC")
    pod = cron["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["volumes"][0]["configMap"]["name"] == made["ConfigMap"]["metadata"]["name"]
    assert documents(made["ConfigMap"]["data"]["rayjob.yaml"]) == [rayjob()]
    account = made["ServiceAccount"]["metadata"]["name"]
    assert (pod["serviceAccountName"], made["RoleBinding"]["subjects"][0]["name"]) == (account, account)
    assert made["RoleBinding"]["roleRef"]["name"] == made["Role"]["metadata"]["name"]
    (container,) = pod["containers"]
    assert container["command"][1:3] == ["-m", start_rayjob.__name__]
    assert Path(container["command"][3]) == Path(container["volumeMounts"][0]["mountPath"], "rayjob.yaml")


def test_a_planted_mistake_in_the_cron_job_is_found() -> None:
    cron = next(one for one in documents((FOLDER / "cronjob.yaml").read_text()) if one["kind"] == "CronJob")
    wrong = copy.deepcopy(cron)
    wrong["spec"]["concurencyPolicy"] = wrong["spec"].pop("concurrencyPolicy")
    assert mistakes(cron) == []
    assert mistakes(wrong)


@pytest.fixture
def api() -> Iterator[ApiServer]:
    with api_server() as server:
        yield server


def named(name: str, instance: str = "nightly") -> dict[str, Any]:
    document = rayjob()
    document["metadata"]["name"] = name
    document["metadata"]["labels"]["app.kubernetes.io/instance"] = instance
    return document


def night(api: ApiServer, name: str, account: Path = Path("none")) -> int:
    """What the pod of the job `name` does, without pauses."""
    return started(api, {"JOB_NAME": name}, account)


def started(api: ApiServer, environment: Mapping[str, str], account: Path = Path("none")) -> int:
    """What a pod with this environment does, without pauses."""
    jobs = RayJobs(api.address, "video", account, sleep=lambda seconds: None)
    return start_rayjob.main([str(RAYJOB)], environment, jobs)


def test_a_night_creates_its_rayjob_and_follows_it_to_its_end(api: ApiServer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a-token\n")
    assert night(api, "maskmill-nightly-1", tmp_path) == 0
    assert list(api.rayjobs) == ["maskmill-nightly-1"]
    assert api.ways["maskmill-nightly-1"] == [], "looked at until it had ended"
    assert set(api.tokens) == {"Bearer a-token"}


def test_a_rayjob_that_fails_fails_the_night(api: ApiServer) -> None:
    api.ways["maskmill-nightly-1"] = list(FAILS)
    assert night(api, "maskmill-nightly-1") == 1


def test_a_pod_that_is_started_again_follows_what_the_first_one_created(api: ApiServer) -> None:
    api.put(named("maskmill-nightly-1"))
    api.look("maskmill-nightly-1")
    assert night(api, "maskmill-nightly-1") == 0
    assert list(api.rayjobs) == ["maskmill-nightly-1"]


def test_a_job_with_the_name_of_an_earlier_one_does_not_take_its_rayjob_for_its_own(api: ApiServer) -> None:
    """`kubectl create job --from=cronjob/maskmill-nightly now` for the second time ended with 0 and did nothing."""
    first, second = ({"JOB_NAME": "now", "JOB_UID": uid} for uid in ("11111111-a", "22222222-b"))
    assert started(api, first) == 0
    assert started(api, second) == 0
    assert list(api.rayjobs) == ["now-11111111", "now-22222222"]
    assert started(api, second) == 0, "a pod of the same Job, started again"
    assert len(api.rayjobs) == 2


def test_a_start_without_a_name_is_a_start_of_its_own(api: ApiServer) -> None:
    """Outside of a CronJob nobody may have named it, and each night after the first one found its RayJob ended."""
    assert [started(api, {}), started(api, {})] == [0, 0]
    assert len(api.rayjobs) == 2


def test_names_are_short_enough_for_kuberay() -> None:
    long = {"JOB_NAME": "maskmill-" + "x" * 50, "JOB_UID": "1234567890"}
    document = rayjob()
    document["metadata"]["name"] = start_rayjob.name_of(document, long)
    assert document["metadata"]["name"].endswith("x-12345678")
    assert mistakes(document) == []


def test_the_pod_of_the_cron_job_knows_the_name_and_the_id_of_its_job() -> None:
    cron = next(one for one in documents((FOLDER / "cronjob.yaml").read_text()) if one["kind"] == "CronJob")
    (container,) = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    fields = {one["name"]: one["valueFrom"]["fieldRef"]["fieldPath"] for one in container["env"]}
    assert fields["JOB_NAME"] == "metadata.labels['batch.kubernetes.io/job-name']"
    assert fields["JOB_UID"] == "metadata.labels['batch.kubernetes.io/controller-uid']"


def test_a_rayjob_of_the_same_kind_ends_before_the_next_one_begins(api: ApiServer) -> None:
    api.put(named("by-hand"), *FAILS)
    assert night(api, "maskmill-nightly-2") == 0
    assert list(api.rayjobs) == ["by-hand", "maskmill-nightly-2"]
    assert api.most_at_once == 1


def test_rayjobs_of_another_kind_are_nobodys_business(api: ApiServer) -> None:
    api.put(named("another", instance="another"), "Running", "Running", "Running")
    assert night(api, "maskmill-nightly-2") == 0
    assert api.ways["another"] == ["Running", "Running", "Running"]


def test_a_rayjob_that_somebody_deletes_is_a_failure(api: ApiServer) -> None:
    api.answers = [200, 201, 404]
    jobs = RayJobs(api.address, "video", Path("none"), sleep=lambda seconds: None)
    assert start_rayjob.follow(jobs, "nobody") is False


@pytest.mark.parametrize("answers", [[503, 429, 500], [401], [503] * 8])
def test_an_api_server_that_is_away_for_a_while_is_asked_again(answers: list[int], api: ApiServer) -> None:
    api.answers = answers
    assert night(api, "maskmill-nightly-1") == 0
    assert list(api.rayjobs) == ["maskmill-nightly-1"]


def test_what_the_api_server_refuses_ends_with_its_words(
    api: ApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = rayjob()
    document["spec"]["entrypiont"] = document["spec"].pop("entrypoint")
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(document))
    jobs = RayJobs(api.address, "video", Path("none"), sleep=lambda seconds: None)
    with pytest.raises(OSError, match="422"):
        start_rayjob.main([str(tmp_path / "wrong.yaml")], {"JOB_NAME": "x"}, jobs)
    assert "entrypiont" in capsys.readouterr().out


def test_the_last_seven_that_ended_are_kept(api: ApiServer) -> None:
    for number in range(9):
        api.put(named(f"night-{number}"))
        api.rayjobs[f"night-{number}"]["status"] = {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}
    assert night(api, "night-9") == 0
    assert api.deleted == ["night-0", "night-1", "night-2"]
    assert list(api.rayjobs) == [f"night-{number}" for number in range(3, 10)]
