"""The processes that work: those of a job, and those of a command on an existing job."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.config.fields import Group, Unit
from pipeline.config.kinds import OptionalWorkers
from pipeline.errors import ConfigError
from pipeline.redact import redact_uri
from pipeline.storage.schemes import is_of_this_machine


class ClusterConfig(Group):
    """The workers: where they run, how many there are and what each of them gets."""

    kind: Literal["local", "existing", "serial"] = Field(
        default="local",
        description="local starts Ray on this machine for the job, existing joins a Ray cluster that runs already, "
        "serial labels in this process without Ray.",
    )
    address: str = Field(
        default="auto", description="The address of an existing Ray cluster; auto is the one of this machine."
    )
    actors: OptionalWorkers = Field(
        default=None, ge=1, description="The number of workers; null is as many as fit beside what other jobs hold."
    )
    min_actors: OptionalWorkers = Field(
        default=None,
        ge=1,
        description="The driver asks for this many even where they do not fit yet, so that a cluster which scales by "
        "itself adds nodes.",
    )
    max_actors: OptionalWorkers = Field(default=None, ge=1, description="There are never more workers than this.")
    gpus_per_actor: Annotated[float | None, Unit("GPUs")] = Field(
        default=None,
        ge=0,
        description="The GPUs of one worker; null is 1 where there are GPUs, and 0 elsewhere. With 0, "
        "workers in Ray compute on CPUs.",
    )
    cpus_per_actor: Annotated[int, Unit("CPUs")] = Field(
        default=1,
        ge=1,
        description="The CPUs of one worker, which computes with as many torch threads. Masks are bit-equal for equal "
        "numbers only.",
    )
    shared_disk: bool = Field(default=False, description="true says that local paths mean the same files on all nodes.")

    @field_validator("gpus_per_actor")
    @classmethod
    def _check_share(cls, gpus: float | None) -> float | None:
        """Ray gives shares of one GPU in steps of 1/10,000, or whole GPUs: it would fail with anything else."""
        if gpus is not None and not (gpus.is_integer() if gpus > 1 else gpus == round(gpus, 4)):
            raise ValueError(f"cluster.gpus_per_actor={gpus:g}: give a share of one GPU as 0.25, or whole GPUs")
        return gpus

    @model_validator(mode="after")
    def _check_number(self) -> ClusterConfig:
        """The number of workers is fixed or bounded, and `serial` has one."""
        bounds = {"min_actors": self.min_actors, "max_actors": self.max_actors}
        given = " and ".join(f"cluster.{name}={value}" for name, value in bounds.items() if value is not None)
        if self.actors is not None and given:
            raise ValueError(f"cluster.actors={self.actors} contradicts {given}: give a fixed number, or bounds")
        if self.min_actors and self.max_actors and self.min_actors > self.max_actors:
            raise ValueError(
                f"cluster.min_actors={self.min_actors} is more than cluster.max_actors={self.max_actors}: "
                "give a lower or a higher one"
            )
        for name, value in {"actors": self.actors, "min_actors": self.min_actors}.items():
            if self.kind == "serial" and (value or 1) > 1:
                raise ValueError(
                    f"cluster=serial has one worker, in this process: cluster.{name}={value} is not possible"
                )
        return self


class ProcessesConfig(ClusterConfig):
    """The processes of a command on an existing job: where they run, how many there are and what each of them gets."""

    kind: Literal["local", "existing", "serial"] = Field(
        default="serial",
        description="serial works in this process, local starts Ray on this machine and works on all its CPUs, "
        "existing joins a Ray cluster that runs already.",
    )

    def check_reaches(self, **places: str) -> None:
        """Refuse places on this machine's disk, by their keys, that other nodes of the cluster cannot reach."""
        for key, place in places.items():
            if self.kind == "existing" and not self.shared_disk and is_of_this_machine(place):
                raise ConfigError(
                    f"{key}={redact_uri(place)} lies on this machine's disk, which other nodes of the cluster cannot "
                    "reach: use cluster=local or cluster=serial, or give cluster.shared_disk=true if the disk is shared"
                )
