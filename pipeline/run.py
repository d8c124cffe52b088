"""`maskmill` and `python -m pipeline.run`: arguments → Hydra → typed config → `schedule.run`, and there `driver`.

Ray and torch are imported later, by whoever needs them, so that help and mistakes are answered at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pipeline.command import (
    ExitCode,
    check_surroundings,
    describe_exit_codes,
    ended_by_signals,
    explain,
    set_up_logging,
)
from pipeline.config.job_config import JobConfig, from_hydra
from pipeline.errors import ConfigError, StorageError
from pipeline.packages import check_not_hidden, leave_current_folder
from pipeline.text import say

HELP = """maskmill labels a dataset of videos with SAM 2.

  python -m pipeline.run                                         the demo: it needs no input, network or GPU
  python -m pipeline.run conf=label videos=… prompts=… output=…  label the videos of a table
  python -m pipeline.run conf=nightly …                          the same each night: what is new, and what follows

Arguments are key=value. Three of them pick a file with many keys:

  conf=                                    {jobs}, or a file or URI of your own: conf=path/to/job.yaml, conf=s3://…
      The file with the keys of the job. Left out, it is label where tables are given, else demo.
  model=mini                               {models}
      The network: mini is part of maskmill and knows drawn shapes only, the others are SAM 2.1 from the Hub.
  cluster=local                            {clusters}
      Where the workers run: in Ray on this machine, in a Ray cluster that runs already, or in this process.

All other keys, with their defaults. A job file has the same keys; null means: not given, or chosen by maskmill.

{keys}

--cfg, --cfg job  checks the config as a run does, prints the whole of it as YAML or what is wrong, and ends
--help, -h        prints this and ends

From another shell, python -m pipeline.status output=… tells how a job stands, and python -m pipeline.compact output=…
merges its small files. docs/job.md says what the tables hold and how to read them.

The same command again goes on where a job was stopped. Exit codes:
{exit_codes}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one job from the arguments of the command line and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    set_up_logging()
    try:
        with ended_by_signals():
            check_not_hidden()
            return _main(words)
    except (ConfigError, StorageError) as error:
        return explain(error)
    except KeyboardInterrupt:
        return ExitCode.STOPPED


def door(words: Sequence[str] | None = None) -> int:
    """The command: its exit code for these arguments, or for those of the command line."""
    return main(words)


def _main(words: list[str]) -> int:
    from pipeline.config import compose

    if any(word in ("--help", "-h") for word in words):
        say(help_text())
        return ExitCode.DONE
    check_surroundings(words)
    show_only, words = split_cfg(words)
    if show_only:
        shown = compose.composed(*compose.split_job(words))
        from_hydra(shown)  # first, because below a hundred lines of YAML nobody sees what is wrong
        say(compose.as_yaml(shown).rstrip())
        return ExitCode.DONE
    try:
        config = compose.job_config(*compose.split_job(words))
    except (ConfigError, StorageError) as error:
        from pipeline.schedule.refusal import tell_of_refusal

        tell_of_refusal(words, error)
        raise
    return start(config)


def help_text() -> str:
    """What `--help` prints; its keys and exit codes are made from the fields and the enum."""
    from pipeline.config import compose
    from pipeline.config.key_help import describe_groups

    groups = {f"{group}s": ", ".join(compose.group_names(group)) for group in compose.GROUPS}
    return HELP.format(
        jobs=", ".join(compose.job_names()),
        keys=describe_groups(JobConfig),
        exit_codes=describe_exit_codes(),
        **groups,
    ).rstrip()


def start(config: JobConfig) -> int:
    """Run the demo or the job and return its exit code."""
    if config.demo is not None:
        from pipeline.demo import demo

        return demo.run(config)
    if config.verify is not None:
        from pipeline.verify import verify

        return verify.run(config)
    if config.check:
        from pipeline.check import check

        return check.run(config)
    from pipeline.schedule import schedule

    return schedule.run(config)


def split_cfg(words: Sequence[str]) -> tuple[bool, list[str]]:
    """Whether to show the config only, and the other arguments. `--cfg job` is what Hydra's own programs want."""
    others = [word for word in words if word not in ("--cfg", "-c", "--cfg=job")]
    if len(others) == len(words):
        return False, others
    return True, [word for word in others if word != "job"]


if __name__ == "__main__":
    leave_current_folder()
    sys.exit(main())
