"""`maskmill` and `python -m pipeline.run`: Hydra → typed config → `driver.run`. Ray and torch are imported later."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.command import ExitCode, set_up_logging
from pipeline.config.job_config import JobConfig
from pipeline.errors import ConfigError, StorageError
from pipeline.redact import redact
from pipeline.text import say

HELP = """maskmill: labels a dataset of videos with SAM 2

  python -m pipeline.run                                        the demo: no input, network or GPU needed
  python -m pipeline.run conf=label videos=… prompts=… output=…  label the videos of a table

conf=NAME            a job of maskmill: {jobs}; or a file or URI: conf=path/to/job.yaml, conf=s3://…/job.yaml
videos=, prompts=    Parquet tables: a file, a folder or a glob, local or any fsspec URI
output=              folder or URI where the tables and the checkpoint of the job lie
model=               {models}; model.checkpoint=, model.dtype=, model.device=, model.compile=
cluster=             {clusters}; cluster.actors=, cluster.gpus_per_actor=, cluster.cpus_per_actor=
propagate.direction= forward, backward, both
frames.stride=       label every n-th frame; frames.fps= so many a second
retry=               failed, quarantined: label again what ended so
relabel=true         label everything again after a change of model or options
max_failed_fraction= more failed videos than that (0.5) end the job
storage_options.KEY= credentials and endpoints of the stores, for fsspec
log_file=            the driver's log as JSON lines

--cfg, --cfg job     prints the whole config and ends
--help               prints this and ends

Every key, with a comment: {base}. A file of your own (conf=) has the same keys.
From another shell: python -m pipeline.status output=… tells how a job stands; python -m pipeline.compact output=…
merges small files. README.md says what the tables hold and how to read them.

The same command again goes on where a job was stopped. Exit codes: 0 done; 1 stopped by the environment, resumable;
2 config, input table or fingerprint; 3 another driver owns the job; 4 too many videos failed; 143 stopped by a signal,
resumable.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one job from command-line arguments and returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    set_up_logging()
    try:
        check_packages_not_hidden()
        return _main(words)
    except (ConfigError, StorageError) as error:
        print(f"maskmill: {redact(str(error))}", file=sys.stderr)
        return ExitCode.REFUSED if isinstance(error, ConfigError) else ExitCode.ENVIRONMENT


def _main(words: list[str]) -> int:
    from pipeline.config import compose

    if any(word in ("--help", "-h") for word in words):
        groups = {f"{group}s": ", ".join(compose.group_names(group)) for group in compose.GROUPS}
        say(HELP.format(jobs=", ".join(compose.job_names()), base=compose.base_file(), **groups).rstrip())
        return ExitCode.DONE
    show_only, words = split_cfg(words)
    job, overrides = split_job(words)
    if show_only:
        say(compose.as_yaml(compose.composed(job, overrides)).rstrip())
        return ExitCode.DONE
    return start(compose.job_config(job, overrides))


def start(config: JobConfig) -> int:
    """Runs the demo or the job and returns the exit code."""
    if config.demo is not None:
        from pipeline.demo import demo

        return demo.run(config)
    from pipeline.driver import driver

    return driver.run(config)


def split_cfg(words: Sequence[str]) -> tuple[bool, list[str]]:
    """Whether the config shall only be shown, and the other arguments. Hydra's own programs want `--cfg job`."""
    others = [word for word in words if word not in ("--cfg", "-c", "--cfg=job")]
    if len(others) == len(words):
        return False, others
    return True, [word for word in others if word != "job"]


def split_job(words: Sequence[str]) -> tuple[str, list[str]]:
    """The value of `conf=` and the other arguments. Without `conf=` it is `label` if tables are named, else `demo`."""
    jobs = [word.removeprefix("conf=") for word in words if word.startswith("conf=")]
    others = [word for word in words if not word.startswith("conf=")]
    for word in others:
        if word.startswith("-"):
            raise ConfigError(f"unknown option {word}: options are --help and --cfg, everything else is key=value")
        if "=" not in word and not word.startswith("~"):
            raise ConfigError(f"{word!r} is not key=value (as in model=tiny); --help shows the keys")
    if len(jobs) > 1:
        raise ConfigError(f"conf= is given {len(jobs)} times ({', '.join(jobs)}): give one")
    if jobs:
        return jobs[0], others
    return ("label" if any(word.startswith(("videos=", "prompts=")) for word in others) else "demo"), others


def check_packages_not_hidden() -> None:
    """Raises `ConfigError` if a file of the user's hides one of our packages.

    `python -m` puts the current folder in front of `sys.path`, and Ray's workers do the same whatever started the
    driver: a `model.py` there would be imported in place of ours.
    """
    ours = Path(__file__).resolve().parent.parent
    for package in ("model", "conf", "jobs"):
        spec = importlib.util.find_spec(package)
        found = [Path(spec.origin).resolve()] if spec and spec.origin else []
        here = Path.cwd()
        found += [path for path in (here / f"{package}.py", here / package / "__init__.py") if path.exists()]
        for path in found:
            if ours not in path.resolve().parents:
                raise ConfigError(
                    f"{path} hides maskmill's own package '{package}': rename it, or start maskmill from another folder"
                )


if __name__ == "__main__":
    sys.exit(main())
