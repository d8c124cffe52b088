"""`.ci/run` runs `make test`, with Chromium where it can be had and without it where not."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NEEDED = ("bash", "dirname", "id", "timeout", "env", "touch", "chmod", "cat")
LEFT_OUT = "Chromium cannot be installed here"
STEPS = "make .venv/.installed-test\nmake test\n"


def ci(folder: Path, **commands: str) -> subprocess.CompletedProcess[str]:
    """Run the script where only these commands exist, besides a `make` that says what it was asked for."""
    for name in NEEDED:
        found = next(path for place in ("/usr/bin", "/bin") if (path := Path(place) / name).exists())
        (folder / name).symlink_to(found)
    for name, script in ({"make": 'echo "make $*"'} | commands).items():
        path = folder / name.replace("_", "-")
        path.write_text(f"#!{folder}/bash\n{script}\n")
        path.chmod(0o755)
    environment = {"PATH": str(folder), "LOG": str(folder / "log")}
    return subprocess.run(
        [folder / "bash", ROOT / ".ci" / "run"], env=environment, capture_output=True, text=True, check=False
    )


def test_chromium_is_installed_before_the_tests(tmp_path: Path) -> None:
    install = (
        f'echo "$*" >> "$LOG"; [ "$1" = update ] || {{ touch {tmp_path}/chromium; chmod +x {tmp_path}/chromium; }}'
    )
    done = ci(tmp_path, apt_get=install, sudo='[ "$1" = -n ] && shift; exec "$@"')
    assert (done.returncode, done.stdout) == (0, STEPS)
    assert LEFT_OUT not in done.stderr
    assert (tmp_path / "log").read_text().splitlines()[1].endswith("chromium")


@pytest.mark.parametrize(
    "commands", [{}, {"apt_get": "exit 100", "sudo": "exit 1"}], ids=["no apt", "apt that fails and no rights"]
)
def test_without_chromium_the_tests_run_and_it_is_said(tmp_path: Path, commands: dict[str, str]) -> None:
    done = ci(tmp_path, **commands)
    assert (done.returncode, done.stdout) == (0, STEPS)
    assert LEFT_OUT in done.stderr


def test_chromium_that_is_there_is_not_installed_again(tmp_path: Path) -> None:
    done = ci(tmp_path, chromium="", apt_get='echo installed >> "$LOG"')
    assert (done.returncode, done.stdout) == (0, STEPS)
    assert not (tmp_path / "log").exists()


def test_the_code_of_the_tests_is_that_of_the_script(tmp_path: Path) -> None:
    failing = 'echo "make $*"; [ "$1" != test ] || exit 3'
    done = ci(tmp_path, chromium="", make=failing)
    assert (done.returncode, done.stdout) == (3, STEPS)
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_packages_that_cannot_be_installed_end_the_script_after_the_browser(tmp_path: Path) -> None:
    """The browser takes longer than the packages, which fail at once."""
    waits = f'until [ -e {tmp_path}/failed ]; do :; done; echo "$*" >> "$LOG"'
    done = ci(
        tmp_path, apt_get=waits, sudo='[ "$1" = -n ] && shift; exec "$@"', make=f"touch {tmp_path}/failed; exit 2"
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert len((tmp_path / "log").read_text().splitlines()) == 2
