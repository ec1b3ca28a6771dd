"""cluster: a scan on several machines has the rows of a scan on one, whatever becomes of the machines."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import partial
from pathlib import Path
from types import GeneratorType, SimpleNamespace
from typing import Any, ClassVar

import pytest
from conftest import SAMPLES
from test_batch import InProcess
from test_worker import obey

from deepfake_detect import batch, checkpoint, cluster, content
from deepfake_detect.batch import Progress, scan
from deepfake_detect.cli import main
from deepfake_detect.confine import Limits
from deepfake_detect.errors import OptionsError, WeightsError, WorkerError
from deepfake_detect.types import Failure, Report, ToolInfo
from deepfake_detect.worker import Job, Outcome

Judge = Callable[[str, Callable[[float], None]], Report]

posix = pytest.mark.skipif(os.name != "posix", reason="limits and signals are those of Unix")
LIMITS = Limits(seconds=20, memory_bytes=2**30)


def patient() -> Judge:
    def judge(source: str, tell: Callable[[float], None]) -> Report:
        time.sleep(0.1)
        return obey(source, tell)

    return judge


def deadly() -> Judge:
    """Ends the actor it works for if the file says so. Without seccomp: with it, it could not."""
    sys.modules["pyseccomp"] = None  # type: ignore[assignment]

    def judge(source: str, tell: Callable[[float], None]) -> Report:
        if Path(source).read_text().startswith("kill"):
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60)
        return obey(source, tell)

    return judge


def without_weights() -> Judge:
    raise WeightsError("the weights are gone")


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two machines of a core each, as Ray sees it."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SAMPLES.parent), str(Path(__file__).parent)]))
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    store = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={**store, "include_dashboard": False})
    try:
        yield cluster, cluster.add_node(**store)
    finally:
        cluster.shutdown()


def queue(folder: Path, count: int) -> Path:
    """Files that do as they say, one in six with the content of another one."""
    folder.mkdir()
    odd = {5: f"crash {int(signal.SIGSEGV)}", 11: "refuse", 17: "eat 1000", 23: "leave 3"}
    for i in range(count):
        (folder / f"{i:03}").write_text(odd.get(i, f"be good {i}" if i % 6 else "be good"))
    return folder


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@posix
def test_a_machine_that_is_lost_in_the_middle_changes_no_row(tmp_path: Path, machines: Any) -> None:
    cluster, second = machines
    folder, out = queue(tmp_path / "queue", 90), tmp_path / "ray/out.jsonl"
    out.parent.mkdir()
    lost: list[int] = []

    def lose(progress: Progress) -> None:
        if progress.judged >= 8 and not lost:
            lost.append(progress.judged)
            cluster.remove_node(second, allow_graceful=False)

    options: dict[str, Any] = {"limits": LIMITS, "prepare": patient}
    summary = scan([str(folder)], out, ray=True, ray_address=cluster.address, progress=lose, **options)
    assert lost
    assert lost[0] < 60
    alone = scan([str(folder)], tmp_path / "out.jsonl", workers=2, **options)
    found = rows(out)
    assert found == rows(tmp_path / "out.jsonl")
    assert (summary.labels, summary.errors, summary.duplicates) == (alone.labels, alone.errors, alone.duplicates)
    kinds = {row["path"][-3:]: row["error_kind"] for row in found if row["error_kind"]}
    assert kinds == {"005": "crashed", "011": "unsupported", "017": "out_of_memory", "023": "crashed"}
    # What is known is known: nothing is judged again, on no machine.
    seen: list[Progress] = []
    scan([str(folder)], out, ray=True, ray_address=cluster.address, progress=seen.append, **options)
    assert [one.judged for one in seen] == [0]
    assert rows(out) == found


@posix
def test_a_file_that_takes_its_actors_along_is_given_up_and_the_others_are_judged(
    tmp_path: Path, machines: Any
) -> None:
    cluster, _ = machines
    folder = queue(tmp_path / "queue", 12)
    (folder / "006").write_text("kill")
    (folder / "007").write_text("kill")
    scan([str(folder)], tmp_path / "out.jsonl", ray=True, ray_address=cluster.address, limits=LIMITS, prepare=deadly)
    found = {row["path"][-3:]: row for row in rows(tmp_path / "out.jsonl")}
    assert {name: row["error_kind"] for name, row in found.items() if row["error_kind"]} == {
        "005": "crashed", "006": "crashed", "007": "crashed", "011": "unsupported",
    }  # fmt: skip
    assert "3 times" in found["006"]["error"]
    assert "SIGSEGV" in found["005"]["error"]


@posix
def test_what_no_actor_can_do_ends_the_scan(tmp_path: Path, machines: Any) -> None:
    cluster, _ = machines
    folder = queue(tmp_path / "queue", 4)
    with pytest.raises(WeightsError, match=rf"^on {os.uname().nodename}: .*gone"):
        scan([str(folder)], tmp_path / "out.jsonl", ray=True, ray_address=cluster.address, prepare=without_weights)
    assert not (tmp_path / "out.jsonl").exists()


class RayError(Exception):
    """As Ray's, which says so where an actor's own class could not be loaded or made."""

    def __init__(self, message: str, *, actor_init_failed: bool = False) -> None:
        super().__init__(message)
        self.actor_init_failed = actor_init_failed


class Here:
    """Ray, as far as it is asked for anything, in this process."""

    # What actors of lost machines would have done, and how long a new one takes.
    lost: ClassVar[list[object]] = []
    starting_s: ClassVar[float] = 0.0
    # How many actors were begun, and what becomes of them all, or of all but the first.
    begun: ClassVar[int] = 0
    # Actors whose process would be gone, with what it had open.
    killed: ClassVar[list[object]] = []
    all_fail: ClassVar[Exception | None] = None
    others_fail: ClassVar[Exception | None] = None
    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=type("RayTaskError", (RayError,), {}))

    def remote(self, **_: object) -> Callable[[type], object]:
        def begin(kind: type, *given: object) -> object:
            Here.begun += 1
            if (error := self.all_fail or (self.others_fail if Here.begun > 1 else None)) is not None:
                return SimpleNamespace(ready=SimpleNamespace(remote=lambda: Reference(error)))
            return Asked(kind(*given))

        return lambda kind: SimpleNamespace(remote=partial(begin, kind))

    def wait(self, references: list[Any], **_: object) -> tuple[list[Any], list[Any]]:
        time.sleep(self.starting_s)
        return references, []

    def get(self, reference: Any) -> Any:
        if isinstance(reference.value, self.exceptions.RayError):
            raise reference.value
        return reference.value

    def kill(self, handle: Asked) -> None:
        self.killed.append(handle._asked)
        handle._asked._open.close()


class Asked:
    """An actor's handle, or that of one of its methods."""

    def __init__(self, asked: Any) -> None:
        self._asked = asked

    def __getattr__(self, name: str) -> Asked:
        return Asked(getattr(self._asked, name))

    def options(self, **_: object) -> Asked:
        return self

    def remote(self, *given: object, **named: object) -> Any:
        if self._asked.__self__ in Here.lost:
            return Reference(Here.exceptions.RayError("the machine is gone"))
        found = self._asked(*given, **named)
        if (actor := self._asked.__self__) in Here.killed:
            # It was killed while it did this.
            actor._open.close()
        if isinstance(found, GeneratorType):
            return (Reference(each) for each in found)
        return Reference(found)


class Reference:
    def __init__(self, value: object) -> None:
        self.value = value


class Machines(InProcess):
    """The workers of actors, some of which can't be started."""

    unfit: ClassVar[set[int]] = set()
    made = 0
    tool: ToolInfo

    def __init__(self, *_: object, **__: object) -> None:
        self._number, Machines.made = Machines.made, Machines.made + 1

    def judge(self, job: Job) -> Outcome:
        if self._number in Machines.unfit:
            # In truth it takes much longer to give up.
            time.sleep(0.01)
            raise WorkerError("a process that judges could not be started: killed", kind="not_started")
        return super().judge(job)


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster whose actors are in this process."""
    monkeypatch.setattr(cluster, "_connected", lambda _: (Here(), False))
    monkeypatch.setattr(cluster, "Pool", Machines)
    # An actor forgets whose program it is part of.
    monkeypatch.setitem(vars(sys.modules["__main__"]), "__file__", "")
    monkeypatch.setattr(Machines, "tool", checkpoint.find().tool, raising=False)
    monkeypatch.setattr(Machines, "made", 0)
    monkeypatch.setattr(Here, "begun", 0)
    monkeypatch.setattr(Here, "killed", [])


class Bereft(cluster.Cluster):
    """Has lost a machine whose actors all idled, and whose turn is next."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        while len(self._idle) < self.workers:
            time.sleep(0.01)
        Here.lost.extend(handle._asked for handle in self._idle[1:])


@posix
@pytest.mark.usefixtures("without_ray")
def test_actors_that_idled_on_a_lost_machine_are_held_against_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Here, "lost", [])
    monkeypatch.setattr(batch, "Cluster", Bereft)
    (tmp_path / "a").write_text("inconclusive 0.5")
    # New actors come too late to help.
    monkeypatch.setattr(Here, "starting_s", 0.3)
    scan([str(tmp_path / "a")], tmp_path / "out.jsonl", ray=True, workers=4)
    assert [(row["label"], row["error"]) for row in rows(tmp_path / "out.jsonl")] == [("inconclusive", None)]
    assert len(Here.lost) == 3


@posix
@pytest.mark.usefixtures("without_ray")
def test_an_actor_that_idled_on_a_lost_machine_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Here, "lost", [])
    with Bereft(workers=2) as pool:
        for _ in range(2):
            with pool.actor() as actor:
                assert actor._handle._asked not in Here.lost
        for _ in range(500):
            if len(pool._idle) == 2:
                break
            time.sleep(0.01)
        assert len(pool._idle) == 2
        assert not {handle._asked for handle in pool._idle} & set(Here.lost)


@posix
@pytest.mark.usefixtures("without_ray")
@pytest.mark.parametrize("all_of_them", [False, True])
def test_a_machine_that_can_start_no_worker_costs_no_row_unless_all_are_such(
    all_of_them: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Machines, "unfit", set(range(100)) if all_of_them else {0, 1, 2, 3, 5})
    contents(tmp_path / "queue", 12)
    out = tmp_path / "out.jsonl"
    if all_of_them:
        with pytest.raises(WorkerError, match=r"no actor could be started .*killed"):
            scan([str(tmp_path / "queue")], out, ray=True, workers=2)
        assert not out.exists()
    else:
        scan([str(tmp_path / "queue")], out, ray=True, workers=2)
        assert [(row["label"], row["error"]) for row in rows(out)] == [("inconclusive", None)] * 12


DIED = "The actor died unexpectedly before finishing this task.\n\tpid: 7\n\tip: 10.0.0.3\nits process was killed"
NOT_THERE = """The actor died because of an error raised in its creation task, ray::_Examiner() (pid=7, ip=10.0.0.3, x=y)
  At least one of the input arguments for this task could not be computed:
ModuleNotFoundError: No module named 'deepfake_detect'"""


def contents(folder: Path, count: int) -> Path:
    folder.mkdir()
    for i in range(count):
        (folder / f"{i:02}").write_text(f"inconclusive 0.5\n{i}")
    return folder


@posix
@pytest.mark.usefixtures("without_ray")
@pytest.mark.parametrize("quick", [True, False])
def test_a_machine_that_starts_no_actor_ends_no_scan_that_others_go_on_with(
    quick: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def before(_: Job) -> None:
        # As long as it takes for more starts to fail than may where nobody is at work.
        for _ in range(1 if quick else 1000):
            time.sleep(0.01)
            if Here.begun > 20:
                break

    monkeypatch.setattr(Here, "others_fail", RayError(DIED))
    monkeypatch.setattr(Here, "starting_s", 0.01)
    monkeypatch.setattr(InProcess, "before", staticmethod(before))
    if not quick:
        monkeypatch.setattr(cluster, "_PAUSE_S", 0)
    out = tmp_path / "out.jsonl"
    scan([str(contents(tmp_path / "queue", 40))], out, ray=True, workers=2)
    assert [(row["label"], row["error"]) for row in rows(out)] == [("inconclusive", None)] * 40
    # With a pause between them, few are begun in vain; and it is told, once.
    assert Here.begun < 5 if quick else Here.begun > 20
    assert caplog.messages == ["an actor could not be started (on 10.0.0.3: its process was killed)"]


@posix
@pytest.mark.usefixtures("without_ray")
def test_a_machine_without_memory_ends_no_scan_whose_first_file_takes_others_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def before(_: Job) -> None:
        for _ in range(1000):
            if Machines.made > 20:
                break
            time.sleep(0.01)

    monkeypatch.setattr(Machines, "unfit", set(range(1, 1000)))
    monkeypatch.setattr(InProcess, "before", staticmethod(before))
    out = tmp_path / "out.jsonl"
    scan([str(contents(tmp_path / "queue", 12))], out, ray=True, workers=2)
    assert [(row["label"], row["error"]) for row in rows(out)] == [("inconclusive", None)] * 12
    assert Machines.made > 20
    assert len(caplog.messages) == 1


@posix
@pytest.mark.usefixtures("without_ray")
def test_where_no_machine_starts_an_actor_the_scan_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Here, "all_fail", RayError(DIED))
    monkeypatch.setattr(cluster, "_PAUSE_S", 0)
    with pytest.raises(WorkerError, match=r"^no actor could be started \(on 10\.0\.0\.3: its process was killed\)$"):
        scan([str(contents(tmp_path / "queue", 4))], tmp_path / "out.jsonl", ray=True, workers=2)
    # One may be under way by then.
    assert 3 * 2 <= Here.begun <= 3 * 2 + 1


@posix
@pytest.mark.usefixtures("without_ray")
@pytest.mark.parametrize(
    "error", [RayError(NOT_THERE, actor_init_failed=True), Here.exceptions.RayTaskError(NOT_THERE)]
)
def test_a_machine_without_the_package_ends_the_scan_and_is_named(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Here, "others_fail", error)
    with pytest.raises(WorkerError, match=r"on 10\.0\.0\.3: ModuleNotFoundError: .*; install the same everywhere"):
        scan([str(contents(tmp_path / "queue", 4))], tmp_path / "out.jsonl", ray=True, workers=2)
    assert Here.begun == 2


@posix
@pytest.mark.usefixtures("without_ray")
@pytest.mark.parametrize("when", ["ready", "look", "judge"])
def test_a_machine_whose_files_are_damaged_is_named(when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its weights, or the package that fetches, lie at the same place here and are in order."""
    folder = contents(tmp_path / "queue", 4)

    def missing(*_: object, **__: object) -> Any:
        raise (OptionsError if when == "look" else WeightsError)("/opt/lite0.onnx: not what it was; install again")

    where, what = {"ready": (Machines, "__init__"), "look": (content, "opened"), "judge": (Machines, "judge")}[when]
    monkeypatch.setattr(where, what, missing)
    with pytest.raises((OptionsError, WeightsError), match=rf"^on {os.uname().nodename}: /opt/lite0.onnx: not what"):
        scan([str(folder)], tmp_path / "out.jsonl", ray=True, workers=2)


@posix
@pytest.mark.usefixtures("without_ray")
def test_a_machine_with_another_version_ends_the_scan_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that has fewer fields, too, as an earlier one unpickled."""
    earlier = object.__new__(ToolInfo)
    names = [field.name for field in fields(ToolInfo)]
    assert names.pop() == "entry_sha256"
    for name in names:
        object.__setattr__(earlier, name, getattr(Machines.tool, name))
    object.__setattr__(earlier, "version", "0.0.1")
    monkeypatch.setattr(Machines, "tool", earlier)
    with pytest.raises(WorkerError, match=rf"^{os.uname().nodename} has version 0\.0\.1, .*; entry_sha256 None, "):
        scan([str(contents(tmp_path / "queue", 4))], tmp_path / "out.jsonl", ray=True, workers=2)


@posix
@pytest.mark.usefixtures("without_ray")
def test_relative_names_are_meant_where_the_scan_was_begun_and_not_where_ray_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, home = tmp_path / "shared", tmp_path / "home"
    for folder, text in ((shared, "manipulated 0.9"), (home, "no_manipulation_found 0.1")):
        (folder / "q").mkdir(parents=True)
        (folder / "q/1.jpg").write_text(text)
    (shared / "q/2.jpg").write_text("manipulated 0.8")
    (shared / "q/3.jpg").symlink_to("gone")
    (shared / "weights").symlink_to(SAMPLES.parent / "weights")
    weights, failures, look = list[Path](), list[object](), cluster._Examiner.look

    def prepared(*_: object, weights_folder: Path, **__: object) -> Machines:
        weights.append(weights_folder)
        return Machines()

    def elsewhere(examiner: Any, files: list[tuple[str, bool]]) -> Any:
        os.chdir(home)
        try:
            failures.extend(look(examiner, [("q/gone", True)]))  # type: ignore[arg-type]
            return look(examiner, files)
        finally:
            os.chdir(shared)

    monkeypatch.setattr(cluster, "Pool", prepared)
    monkeypatch.setattr(cluster._Examiner, "look", elsewhere)
    monkeypatch.chdir(shared)
    scan(["q"], Path("out.jsonl"), ray=True, workers=1, weights_folder=Path("weights"), follow_links=True)
    assert [(row["path"], row["label"], row["error"]) for row in rows(shared / "out.jsonl")] == [
        ("q/1.jpg", "manipulated", None), ("q/2.jpg", "manipulated", None),
        ("q/3.jpg", None, "no such file; check the path"),
    ]  # fmt: skip
    assert set(weights) == {shared / "weights"}
    assert failures[0] == Failure("not_found", "no such file; check the path")


def test_without_ray_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(OptionsError, match=r'pip install "deepfake-detect\[ray\]"'):
        scan([str(tmp_path)], tmp_path / "out.jsonl", ray=True)
    assert main(["scan", str(tmp_path), "--out", str(tmp_path / "out.jsonl"), "--on", "ray"]) == 2


@pytest.fixture
def ray_without_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray, installed; whoever has it connect anyway learns so."""

    def init(**_: object) -> None:
        raise AssertionError("was asked to connect")

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: False, init=init))  # type: ignore[arg-type]
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.mark.usefixtures("ray_without_cluster")
@pytest.mark.parametrize("more", [["--on", "ray", "--ray-address", "ray://head:10001"], ["--ray-address", "auto"]])
def test_an_address_that_makes_no_sense(more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scan", str(tmp_path), "--out", str(tmp_path / "out.jsonl"), *more]) == 2
    assert "--ray-address" in capsys.readouterr().err


@pytest.mark.usefixtures("ray_without_cluster")
@pytest.mark.parametrize("address", [None, "auto"])
def test_an_address_is_told_with_the_variable_it_came_from(
    address: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    with pytest.raises(WorkerError, match=r"at 127\.0\.0\.1:9 \(RAY_ADDRESS\) \(.*\); .*, or unset that variable$"):
        cluster._connected(address)
    with pytest.raises(WorkerError, match=r"at 127\.0\.0\.1:8 \([^R]*\); start one with `ray start`$"):
        cluster._connected("127.0.0.1:8")
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    with pytest.raises(OptionsError, match=r"^RAY_ADDRESS ray://head:10001: expected HOST:PORT"):
        cluster._connected(address)


def test_no_cluster_is_no_verdict(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    with pytest.raises(WorkerError, match="ray start"):
        scan([str(tmp_path)], tmp_path / "out.jsonl", ray=True, ray_address="127.0.0.1:9")
