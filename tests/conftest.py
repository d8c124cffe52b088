"""Settings that every test shares."""

from __future__ import annotations

import gc
import getpass
import hashlib
import os
import platform
import re
import sys
import tempfile
import time
from pathlib import Path

# Before torch is imported anywhere: two pools of threads on two cores are slower than one, and the bits of a result
# depend on the number of threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# One core compiles, in this process: others would import torch first, and the other core has tests of its own.
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

# The same examples in each run, so that a failure comes back and a landing does not depend on luck; a busy machine may
# take its time. `--hypothesis-profile=default` looks for new examples.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

# torch is imported in functions only: one more process hands out the tests, and it needs no torch.
if TYPE_CHECKING:
    from tests.support.gpus import Gpu

# Imports make millions of objects that stay, and the garbage collector would look at them again and again: at each
# import while the tests are collected, and later in each of its full passes. It rests until they are all here. Then it
# looks a seventh as often as usual, because what these tests leave are few cycles: a twentieth of their time.
gc.disable()


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """In a new checkout the first of xdist's processes compiles the tests, and the others find what it has kept.

    pytest compiles each file of tests anew where nobody has, which takes 8 s, and three processes would begin at once.
    """
    worker = getattr(session.config, "workerinput", {})
    last_file = next(Path(__file__).parent.glob("__pycache__/test_storage_page.*-pytest-*.pyc"), None)
    if sys.dont_write_bytecode or last_file is not None or worker.get("workerid", "gw0") == "gw0":
        return
    collected = _collected(worker)
    deadline = time.monotonic() + 120
    while not collected.exists() and time.monotonic() < deadline:
        time.sleep(0.1)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Of the fast core, files whose tests are all slow; they and what they import are a third of collecting."""
    left_out = set(re.findall(r"\bnot (\w+)", config.option.markexpr))
    if collection_path.suffix != ".py" or not re.fullmatch(r"not \w+( and not \w+)*", config.option.markexpr):
        return None
    marks = re.search(r"^pytestmark = .*", collection_path.read_text(encoding="utf-8"), re.MULTILINE)
    return True if marks and left_out.intersection(re.findall(r"pytest\.mark\.(\w+)", marks[0])) else None


def _collected(worker: dict[str, Any]) -> Path:
    """What the first process of a run leaves when it has collected its tests."""
    return Path(tempfile.gettempdir()) / f"maskmill-collected-{worker['testrunuid']}"


def pytest_collection_finish(session: pytest.Session) -> None:
    worker = getattr(session.config, "workerinput", {})
    if worker.get("workerid") == "gw0":
        _collected(worker).touch()
    gc.freeze()
    gc.set_threshold(5_000, 10, 10)
    gc.enable()


@pytest.fixture(autouse=True)
def _one_torch_thread() -> Iterator[None]:
    """For each test anew: after a test that leaves two, all later ones of its process would take many times longer."""
    import torch

    torch.set_num_threads(1)
    yield
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _no_waiting_for_the_disk() -> Iterator[None]:
    """What a test writes need not outlive a power cut, and each of 4000 waits for the disk takes milliseconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture(autouse=True, scope="session")
def _compiled_code_of_this_processor() -> None:
    """torch.compile keeps its code between processes, and takes code that was made for another instruction set.

    So it is kept by processor and by the instruction set that is asked for, because compiling takes two minutes of
    each run and the code changes only with the network and with torch, which torch knows.
    """
    folder = Path(tempfile.gettempdir()) / f"torchinductor_{getpass.getuser()}_{_processor()}"
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)


def _processor() -> str:
    """A short name of the processor's model and of the instruction sets that torch may use."""
    told = Path("/proc/cpuinfo")
    lines = set(told.read_text().splitlines()) if told.exists() else set()
    kinds = sorted(line for line in lines if line.startswith(("model name", "flags", "Features")))
    asked = [os.environ.get(name, "") for name in ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA")]
    return hashlib.sha256("\n".join([platform.platform(), *kinds, *asked]).encode()).hexdigest()[:12]


@pytest.fixture(autouse=True, scope="session")
def _hidden_gpus() -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Tests compute on the CPU, also where there is a GPU, and so do the processes and jobs that they start."""
    from tests.support.gpus import hidden_gpus

    with hidden_gpus() as shown:
        yield shown


@pytest.fixture(autouse=True)
def _gpus_are_shown_to_tests_of_them(
    request: pytest.FixtureRequest, _hidden_gpus: Callable[[], AbstractContextManager[None]]
) -> Iterator[None]:
    if request.node.get_closest_marker("needs_cuda") is None:
        yield
        return
    with _hidden_gpus():
        yield


@pytest.fixture(params=["pretended", pytest.param("real", marks=pytest.mark.needs_cuda)])
def gpu(request: pytest.FixtureRequest) -> Iterator[Gpu]:
    """A CUDA device: a pretended one everywhere, and the real one where there is one."""
    from tests.support.gpus import RealGpu
    from tests.support.pretended_gpu import pretended_gpu

    if request.param == "real":
        yield RealGpu()
    else:
        with pretended_gpu() as pretended:
            yield pretended


@pytest.fixture
def rounding() -> Iterator[Callable[[], tuple[bool, bool]]]:
    """Whether this process rounds float32 to TF32, in convolutions and in products; both until the test ends."""
    import torch

    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32

    def allow(convolutions: bool, products: bool) -> None:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = convolutions, products

    allow(True, True)
    yield lambda: (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32)
    allow(*before)


# The longest files. Those of the first kind compute all the time, some of them in two processes; those of the second
# kind mostly wait for servers and processes that they start or kill. Of three processes, one that waits and two that
# compute keep two cores busy, and files that start Ray seldom meet each other.
_COMPUTING = (
    "model/test_parity_trunks.py",
    "model/test_parity_long.py",
    "model/network/test_compiled.py",
    "model/test_parity_mini.py",
    "bench/test_memory_claims.py",
    "bench/test_bench.py",
    "model/test_mutations.py",
)
_WAITING = (
    "pipeline/cluster/test_ray_executor.py",
    "faults/test_killed_and_stopped.py",
    "pipeline/storage/test_s3_faults.py",
    "pipeline/cluster/test_ray_gpus.py",
    "pipeline/cluster/test_ray_cluster_start.py",
    "test_wheel.py",
)
LONGEST = [
    Path(__file__).parent / name
    for number, waiting in enumerate(_WAITING)
    for name in (waiting, *_COMPUTING[2 * number : 2 * number + 2])
]
"""In the order in which they are handed out."""


# These files are one to xdist, because the second needs what the first has loaded: the references take 5 to 10 s of a
# process.
_SAME_PROCESS = {
    "tests/model/test_parity_long.py": "tests/model/test_parity_trunks.py",
    "tests/model/test_parity_hidden.py": "tests/model/test_parity_trunks.py",
    "tests/model/tracking/test_sam2_notebook.py": "tests/model/test_parity_trunks.py",
    "tests/model/weights/test_pt_names.py": "tests/model/test_parity_trunks.py",
    "tests/model/proposals/test_against_sam2.py": "tests/model/test_parity_trunks.py",
    "tests/model/test_mutations.py": "tests/model/test_parity_mini.py",
    "tests/reference/test_reference_behaviour.py": "tests/model/test_parity_mini.py",
}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """`--dist loadfile`, which knows which files share a process."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class ByProcess(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return _SAME_PROCESS.get(file, file)

    return ByProcess(config, log)


def pytest_configure(config: pytest.Config) -> None:
    """Files go to the processes of xdist in the order below; its own puts those of few tests last, the longest here."""
    config.option.loadscopereorder = False


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Before pytest itself leaves out what `-m` does not ask for."""
    _keep_a_few_of_many(items)
    _start_with_long_files(items)
    import torch

    if torch.cuda.is_available():
        return
    reason = pytest.mark.skip(reason="no CUDA device")
    for item in items:
        if item.get_closest_marker("needs_cuda"):
            item.add_marker(reason)


def _keep_a_few_of_many(items: list[pytest.Item]) -> None:
    """Many parameters of one behavior are seldom wrong alone: after each change the first few of them tell."""
    kept: Counter[str] = Counter()
    for item in items:
        few = item.get_closest_marker("fast_core")
        if few is None or item.get_closest_marker("slow") is not None:
            continue
        function = item.nodeid.partition("[")[0]
        kept[function] += 1
        if kept[function] > few.args[0]:
            item.add_marker(pytest.mark.slow)


def _start_with_long_files(items: list[pytest.Item]) -> None:
    """The longest files by turns, then others with slow tests: at the end both processes still have short files."""
    ranks = {path: rank for rank, path in enumerate(LONGEST)}
    with_slow_tests = {item.path for item in items if item.get_closest_marker("slow")}
    last = len(ranks) + 1
    items.sort(key=lambda item: ranks.get(item.path, last - (item.path in with_slow_tests)))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Of xdist, in the process that hands out the tests."""
    _collected(node.workerinput).unlink(missing_ok=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table of what the chaos tests injected and what it cost; nothing where none of them ran."""
    reports = [report for reports in terminalreporter.stats.values() for report in reports if hasattr(report, "when")]
    if any(getattr(report, "user_properties", ()) for report in reports):
        from tests.support.record import table

        terminalreporter.section("faults injected into whole jobs")
        for line in table(reports):
            terminalreporter.line(line)
