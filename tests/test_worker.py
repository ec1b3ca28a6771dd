"""worker, job, process, answer, confine: what a decoder's bug costs, and what it can't do. Judges do as files say."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import gc
import hashlib
import json
import multiprocessing
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path

import jsonschema
import psutil
import pytest
from conftest import SAMPLES, texture
from PIL import Image

from deepfake_detect import answer, worker
from deepfake_detect.compare import compare
from deepfake_detect.confine import Limits
from deepfake_detect.errors import MediaError, OptionsError, WeightsError, WorkerError
from deepfake_detect.options import Options
from deepfake_detect.process import _said
from deepfake_detect.report import SCHEMA_FILE, to_dict
from deepfake_detect.types import Effort, Face, FaceTrack, MediaInfo, Report, Score, ToolInfo, Verdict
from deepfake_detect.words import LANGUAGES
from deepfake_detect.worker import Job, Original, Outcome, Pool, Progress

pytestmark = pytest.mark.skipif(os.name != "posix", reason="limits and signals are those of Unix")
LIMITS = Limits(seconds=60, memory_bytes=2**30)
TOOL = ToolInfo("0", "net", "0" * 64, "none", "0" * 64)
SEEN = Verdict("no_face", None, None, "Nothing is there.")


def obey(source: str, tell: Callable[[float], None]) -> Report:
    """Judges a file by doing what stands in it."""
    order, _, value = Path(source).read_text().partition(" ")
    tell(0.5)
    digest = hashlib.sha256(Path(source).read_bytes()).hexdigest()
    report = Report(source, TOOL, MediaInfo(source, "image", 1, digest, 1, 1), verdict=SEEN)
    if order == "crash":
        os.kill(os.getpid(), int(value))
    elif order == "leave":
        os._exit(int(value))
    elif order == "hang":
        time.sleep(10_000)
    elif order == "deaf":
        # As if it had ended, to whoever waits for that.
        os.closerange(3, 64)
        time.sleep(10_000)
    elif order == "doze":
        time.sleep(float(value))
    elif order == "spin":
        while True:
            pass
    elif order == "eat":
        hoard = [bytes(10_000_000) for _ in range(int(value))]
        raise AssertionError(len(hoard))
    elif order == "eat_and_blame":
        try:
            bytes(10**13)
        except MemoryError as error:
            raise MediaError(f"{source}: damaged picture", kind="damaged") from error
    elif order == "crash_if_used":
        if getattr(obey, "used", False):
            os.kill(os.getpid(), signal.SIGSEGV)
    elif order == "nan":
        info = MediaInfo(source, "video", 1, "0" * 64, 1, 1, duration_s=float("nan"))
        return Report(source, report.tool, info, verdict=SEEN)
    elif order == "lie":
        connection = next(one for one in gc.get_objects() if isinstance(one, Connection))
        connection.send_bytes(value.encode())
    elif order == "bug":
        raise KeyError("a bug")
    elif order == "refuse":
        raise MediaError(f"{source}: is not to my taste", kind="unsupported")
    elif order == "try":
        return Report(
            source, report.tool, report.media, verdict=Verdict("no_face", None, None, tried(json.loads(value)))
        )
    obey.used = True  # type: ignore[attr-defined]
    return report


def tried(what: dict[str, object]) -> str:
    """Which of the forbidden things can be done."""
    folder, port, parent = Path(str(what["folder"])), int(str(what["port"])), int(str(what["parent"]))
    old = folder / "old"
    deeds: dict[str, Callable[[], object]] = {
        "connect": lambda: socket.create_connection(("127.0.0.1", port), timeout=1),
        "send": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", port)),
        "write": lambda: (folder / "new").write_bytes(b"x"),
        "overwrite": lambda: os.write(os.open(old, os.O_WRONLY), b"y"),
        "mode": lambda: old.chmod(0o777),
        "open_mode": lambda: os.fchmod(os.open(old, os.O_RDONLY), 0o777),
        "owner": lambda: os.chown(old, os.getuid(), os.getgid()),
        "times": lambda: os.utime(old, (1, 1)),
        "attribute": lambda: os.setxattr(old, "user.x", b"y"),
        "attribute_anew": lambda: call(463, -1, bytes(old), 0, b"user.x", 0, 0),
        "flags": lambda: fcntl.ioctl(os.open(old, os.O_RDONLY), 0x40086602, bytes(8)),
        "hard_link": lambda: os.link(old, folder / "linked"),
        "link": lambda: (folder / "linked").symlink_to(old),
        "pipe": lambda: os.mkfifo(folder / "pipe"),
        "truncate": lambda: os.truncate(old, 0),
        "remove": lambda: old.unlink(),
        "make": lambda: (folder / "made").mkdir(),
        "run": lambda: os.execv("/bin/true", ["true"]),
        "fork": lambda: os.fork() or os._exit(0),
        "signal": lambda: os.kill(parent, 0),
        "limit": lambda: resource.prlimit(parent, resource.RLIMIT_CPU),
        "own": lambda: fcntl.fcntl(0, fcntl.F_SETOWN, parent),
        # io_uring_setup, openat2 and clone3 would do unseen what is refused; on every machine their numbers are the same.
        "ring": lambda: call(425, 1, bytes(120)),
        "open_unseen": lambda: call(
            437, -100, bytes(folder / "new"), struct.pack("<QQQ", os.O_WRONLY | os.O_CREAT, 0o600, 0), 24
        ),
        "clone_unseen": lambda: call(435, bytes(88), 0),
        "type": lambda: fcntl.ioctl(os.open(str(what["terminal"]), os.O_RDONLY), termios.TIOCSTI, b"\n"),
        "track": lambda: os.write(resource_tracker.getfd(), b"REGISTER:x\x1b[2J:nothing known\n"),
        "priority": lambda: os.setpriority(os.PRIO_PROCESS, parent, os.getpriority(os.PRIO_PROCESS, parent)),
        "affinity": lambda: os.sched_setaffinity(parent, os.sched_getaffinity(parent)),
        "schedule": lambda: os.sched_setscheduler(parent, os.SCHED_OTHER, os.sched_param(0)),
        "memory": lambda: attach(int(str(what["memory"]))),
        "session": os.setsid,
        "group": lambda: os.setpgid(0, 0),
        "read": lambda: old.read_bytes(),
        "thread": lambda: threading.Thread(target=int).start(),
        "many": open_many,
    }
    found = {}
    for name, deed in deeds.items():
        if name not in what.get("deeds", deeds):  # type: ignore[operator]
            continue
        try:
            deed()
            found[name] = "done"
        except OSError as error:
            found[name] = errno.errorcode[error.errno or 0]
    return json.dumps(found)


def call(number: int, *arguments: int | bytes) -> None:
    """A system call, by its number."""
    if ctypes.CDLL(None, use_errno=True).syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")


def attach(memory: int) -> None:
    """Memory that programs share by a number, to be written into."""
    if ctypes.CDLL(None, use_errno=True).shmat(memory, None, 0) == -1:
        raise OSError(ctypes.get_errno(), "refused")


def open_many() -> None:
    opened: list[int] = []
    try:
        opened.extend(os.open(os.devnull, os.O_RDONLY) for _ in range(100))
    finally:
        for descriptor in opened:
            os.close(descriptor)


def obedient() -> Callable[[str, Callable[[float], None]], Report]:
    return obey


def unloadable(kind: str) -> Callable[[str, Callable[[float], None]], Report]:
    if kind == "weights":
        raise WeightsError("the weights are gone")
    if kind == "bug":
        raise KeyError("a bug")
    os._exit(7)


def killed_at_first(folder: str) -> Callable[[str, Callable[[float], None]], Report]:
    """As by a machine short of memory, twice."""
    starts = len(os.listdir(folder))
    Path(folder, str(starts)).touch()
    if starts < 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return obey


def landlocked() -> bool:
    """Whether this kernel can hold a process to a folder."""
    return sys.platform == "linux" and ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1) >= 1


def file(folder: Path, order: str, name: str = "file.jpg") -> str:
    path = folder / name
    path.write_text(order)
    return str(path)


@pytest.fixture
def pool() -> Pool:
    with Pool(prepare=obedient, limits=LIMITS) as opened:
        yield opened  # type: ignore[misc]


def seen(**changed: object) -> str:
    """What a worker says of a picture that it saw, with something changed."""
    info = MediaInfo("file.jpg", "image", 1, "0" * 64, 4, 3)
    record = to_dict(Report("file.jpg", ToolInfo("1", "net", "0" * 64, "none", "0" * 64), info, verdict=SEEN))
    record["media"] |= changed
    said = {"record": record, "reasons": dict.fromkeys(LANGUAGES, ""), "crop": ""}
    # JSON has no infinity, but a number too large for any float.
    return json.dumps(said).replace('"inf"', "1e999")


def ended(*outcomes: Outcome) -> list[str]:
    return [outcome.error.kind if outcome.error else "" for outcome in outcomes]


@pytest.mark.parametrize(
    ("order", "kind", "says"),
    [
        (f"crash {int(signal.SIGSEGV)}", "crashed", "crashed (SIGSEGV)"),
        (f"crash {int(signal.SIGABRT)}", "crashed", "crashed (SIGABRT)"),
        (f"crash {int(signal.SIGKILL)}", "killed", "killed from outside"),
        ("leave 0", "crashed", "status 0"),
        ("leave 3", "crashed", "status 3"),
        ("eat 1000", "out_of_memory", "more memory than the limit"),
        ("eat_and_blame", "out_of_memory", "more memory than the limit"),
        ("bug", "internal", "internal error (KeyError)"),
        ("nan", "internal", "internal error (ValueError)"),
        ('lie {"record": {"media": {}, "verdict": null}}', "crashed", "senseless answer"),
        ("lie []", "crashed", "senseless answer"),
        ('lie {"stage": "sleeping", "done": 0}', "crashed", "senseless answer"),
        ('lie {"stage": "judging", "done": "nan"}', "crashed", "senseless answer"),
        ('lie {"error": ["\\u001b[2J", "x"]}', "crashed", "senseless answer"),
        ('lie {"error": ["cancelled", "x"]}', "crashed", "senseless answer"),
        (f"lie {seen(duration_s='inf')}", "crashed", "senseless answer"),
        (f"lie {seen(duration_s=-1)}", "crashed", "senseless answer"),
        (f"lie {seen(width='12')}", "crashed", "senseless answer"),
        (f"lie {seen(sha256='no')}", "crashed", "senseless answer"),
        ("refuse", "unsupported", "is not to my taste"),
    ],
)
def test_what_goes_wrong_with_a_file_is_said_and_the_next_goes_on(
    order: str, kind: str, says: str, tmp_path: Path, pool: Pool
) -> None:
    good, bad = file(tmp_path, "be good", "good.jpg"), file(tmp_path, order, "bad.jpg")
    before, outcome, after = (pool.judge(Job(path)) for path in (good, bad, good))
    assert ended(before, outcome, after) == ["", kind, ""]
    assert outcome.error is not None
    assert outcome.error.message.startswith(f"{bad}: ")
    assert says in outcome.error.message
    assert "/dev/fd" not in outcome.error.message
    schema = json.loads(SCHEMA_FILE.read_text())
    for record in (before.record, outcome.record):
        jsonschema.validate(record, schema)
    assert before.record["media"]["path"] == good
    assert len(before.reasons) == 3


def test_a_path_is_judged_as_its_name_is(tmp_path: Path, pool: Pool) -> None:
    good = file(tmp_path, "be good")
    found, wanted = (pool.judge(Job(path)).record for path in (Path(good), good))  # type: ignore[arg-type]
    for record in (found, wanted):
        del record["timing_s"]
    assert found == wanted
    assert found["error"] is None


@pytest.mark.parametrize(("order", "says"), [("hang", "longer than 1 s"), ("spin", "longer than 1 s")])
def test_a_hang_is_ended_at_the_limit(order: str, says: str, tmp_path: Path) -> None:
    with Pool(prepare=obedient, limits=Limits(seconds=1)) as pool:
        pool.judge(Job(file(tmp_path, "be good")))
        began = time.monotonic()
        outcome = pool.judge(Job(file(tmp_path, order)))
        assert 1 <= time.monotonic() - began < 10
        assert ended(outcome, pool.judge(Job(file(tmp_path, "be good")))) == ["timed_out", ""]
    assert outcome.error is not None
    assert says in outcome.error.message


def test_a_worker_that_only_seems_to_have_ended_holds_up_no_other(tmp_path: Path) -> None:
    found, runs = list[Outcome](), threading.Event()
    with Pool(prepare=obedient, limits=LIMITS) as hostile, Pool(prepare=obedient, limits=LIMITS) as other:
        job, began = Job(file(tmp_path, "deaf", "a")), time.monotonic()

        def tell(one: Progress) -> None:
            if one.stage == "judging":
                runs.set()

        thread = threading.Thread(target=lambda: found.append(hostile.judge(job, progress=tell)))
        thread.start()
        assert runs.wait(60)
        # One is started, has ended, and another takes its place.
        orders = ("leave 3", "be good")
        assert ended(*(other.judge(Job(file(tmp_path, order, "b"))) for order in orders)) == ["crashed", ""]
        thread.join()
        assert time.monotonic() - began < LIMITS.seconds / 2
        assert len(workers()) == 1
    assert ended(*found) == ["crashed"]


def test_processor_time_has_a_limit_of_its_own(tmp_path: Path) -> None:
    with Pool(prepare=obedient, limits=Limits(seconds=300, cpu_s=1)) as pool:
        outcome = pool.judge(Job(file(tmp_path, "spin")))
        assert ended(outcome, pool.judge(Job(file(tmp_path, "be good")))) == ["timed_out", ""]
    assert outcome.error is not None
    assert "1 s of the processor" in outcome.error.message


def test_a_file_is_not_blamed_for_what_the_one_before_it_left(tmp_path: Path, pool: Pool) -> None:
    good, shaky = file(tmp_path, "be good", "a"), file(tmp_path, "crash_if_used", "b")
    assert ended(pool.judge(Job(good)), pool.judge(Job(shaky))) == ["", ""]


def test_a_worker_killed_while_it_idles_costs_nothing(tmp_path: Path, pool: Pool) -> None:
    good = file(tmp_path, "be good")
    pool.judge(Job(good))
    (worker,) = workers()
    worker.kill()
    worker.wait()
    assert ended(pool.judge(Job(good))) == [""]


@pytest.mark.skipif(sys.platform != "linux", reason="seccomp is Linux's")
def test_what_a_worker_gave_up(tmp_path: Path) -> None:
    pytest.importorskip("pyseccomp", exc_type=(ImportError, RuntimeError))
    (tmp_path / "old").write_bytes(b"x")
    controller, terminal = os.openpty()
    memory = ctypes.CDLL(None).shmget(0, ctypes.c_size_t(1), 0o600)
    assert memory >= 0
    with socket.create_server(("127.0.0.1", 0)) as server, Pool(prepare=obedient, limits=LIMITS) as pool:
        what = {"folder": str(tmp_path), "port": server.getsockname()[1], "parent": os.getpid(),
                "terminal": os.ttyname(terminal), "memory": memory}  # fmt: skip
        outcome = pool.judge(Job(file(tmp_path, f"try {json.dumps(what)}")))
    ctypes.CDLL(None).shmctl(memory, 0, None)
    assert not select.select([terminal], [], [], 0)[0]
    for descriptor in (controller, terminal):
        os.close(descriptor)
    assert outcome.confinement == "seccomp+rlimits"
    assert outcome.error is None
    found = json.loads(outcome.record["verdict"]["reason"])
    assert {name for name, said in found.items() if said == "done"} == {"read", "thread", "track"}
    assert found.pop("many") == "EMFILE"
    # As if the kernel had never heard of them: programs know how to do without.
    assert [found.pop(name) for name in ("ring", "open_unseen", "clone_unseen")] == ["ENOSYS"] * 3
    assert {said for said in found.values() if said != "done"} == {"EPERM"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file.jpg", "old"]


def test_a_worker_has_no_terminal_and_is_not_heard_by_who_removes_what_is_left(tmp_path: Path) -> None:
    """What it typed there a shell would run after us, unconfined; the other prints what is not understood, and removes."""
    program = f"""
import fcntl, os, select, sys, termios
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_worker import obedient
from deepfake_detect.worker import Job, Pool
if __name__ == "__main__":
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    os.close(os.open("/dev/tty", os.O_RDWR))
    with Pool(prepare=obedient) as pool:
        print(pool.judge(Job(sys.argv[1])).record["verdict"]["reason"], select.select([0], [], [], 0)[0])
"""
    (tmp_path / "script.py").write_text(program)
    what = {"folder": str(tmp_path), "port": 9, "parent": 0, "terminal": "/dev/tty", "deeds": ["type", "track"]}
    command = [sys.executable, str(tmp_path / "script.py"), file(tmp_path, f"try {json.dumps(what)}")]
    environment = {**os.environ, "PYTHONPATH": str(SAMPLES.parent)}
    controller, terminal = os.openpty()
    done = subprocess.run(command, stdin=terminal, capture_output=True, text=True, env=environment, timeout=120,
                          start_new_session=True, check=False)  # fmt: skip
    for descriptor in (controller, terminal):
        os.close(descriptor)
    assert (done.stdout, done.stderr) == ('{"type": "ENXIO", "track": "done"} []\n', "")


def test_without_the_package_the_limits_of_the_system_hold_and_the_outcome_says_so(tmp_path: Path) -> None:
    with Pool(prepare=partial(without_seccomp), limits=LIMITS) as pool:
        good, hungry = pool.judge(Job(file(tmp_path, "be good"))), pool.judge(Job(file(tmp_path, "eat 1000")))
    assert good.confinement == "rlimits"
    assert ended(hungry) == ["out_of_memory"]


def without_seccomp() -> Callable[[str, Callable[[float], None]], Report]:
    sys.modules["pyseccomp"] = None  # type: ignore[assignment]
    return obey


@pytest.mark.parametrize(("kind", "error"), [("weights", WeightsError), ("bug", WorkerError), ("leave", WorkerError)])
def test_a_worker_that_cannot_load_is_an_error_and_no_outcome(
    kind: str, error: type[Exception], tmp_path: Path
) -> None:
    with Pool(prepare=partial(unloadable, kind), limits=LIMITS) as pool, pytest.raises(error):
        pool.judge(Job(file(tmp_path, "be good")))


def refuse_to_start(monkeypatch: pytest.MonkeyPatch, *, times: int) -> None:
    """As a machine that has no room for another process."""
    pipe, tries = multiprocessing.Pipe, list[int]()

    def refused() -> object:
        tries.append(1)
        if len(tries) <= times:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return pipe()

    monkeypatch.setattr(multiprocessing, "Pipe", refused)


@pytest.mark.parametrize("how", ["killed", "refused"])
def test_a_start_that_memory_lacked_for_is_tried_again_after_pauses(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_PAUSE_S", 0.1)
    (tmp_path / "starts").mkdir()
    prepare = partial(killed_at_first, str(tmp_path / "starts")) if how == "killed" else obedient
    if how == "refused":
        refuse_to_start(monkeypatch, times=2)
    with Pool(prepare=prepare, limits=LIMITS) as pool:
        pauses, wait_for = list[float](), pool._changed.wait_for

        def pause(over: Callable[[], bool], timeout: float | None = None) -> bool:
            pauses.extend([] if timeout is None else [timeout])
            return wait_for(over, timeout)

        monkeypatch.setattr(pool._changed, "wait_for", pause)
        assert ended(pool.judge(Job(file(tmp_path, "be good")))) == [""]
    assert pauses == [0.1, 0.2]


def test_where_no_process_can_be_started_the_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_PAUSE_S", 0.01)
    refuse_to_start(monkeypatch, times=100)
    with Pool(prepare=obedient, limits=LIMITS) as pool:
        with pytest.raises(WorkerError, match="Resource temporarily unavailable") as found:
            pool.judge(Job(file(tmp_path, "be good")))
        assert found.value.kind == "not_started"
        # Who no longer wants it does not sit out the pause.
        monkeypatch.setattr(worker, "_PAUSE_S", 1000)
        job, outcomes = Job(file(tmp_path, "be good")), list[Outcome]()
        thread = threading.Thread(target=lambda: outcomes.append(pool.judge(job)))
        thread.start()
        while not pool.cancel(job):
            time.sleep(0.01)
        thread.join(30)
    assert ended(*outcomes) == ["cancelled"]


def test_a_net_that_takes_too_long_to_load_is_told_by_its_own_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_LOADING_S", 0.1)
    monkeypatch.setattr(worker, "_STARTS", 1)
    with Pool(prepare=obedient, limits=LIMITS) as pool, pytest.raises(WorkerError, match=r"longer than 0\.1 s to load"):
        pool.judge(Job(file(tmp_path, "be good")))


def test_what_is_longer_than_any_honest_answer_is_not_even_taken_apart(tmp_path: Path) -> None:
    crowd = to_dict(pictured())
    crowd["tracks"] *= 500
    assert len(json.dumps(crowd)) * max(Options().looks) < worker._longest_answer(Options()) <= 2**27
    assert worker._longest_answer(Options(fps=25)) > 2**27
    once = Options(frames=1)
    with Pool(once, prepare=obedient, limits=LIMITS) as pool:
        long = f"lie {seen()}{' ' * worker._longest_answer(once)}"
        jobs = [Job(file(tmp_path, order, order[:3])) for order in (long, "be good")]
        assert ended(*(pool.judge(job) for job in jobs)) == ["crashed", ""]


def test_a_second_interrupt_leaves_no_worker_behind() -> None:
    class Idle:
        def __init__(self, *interrupts: type[BaseException]) -> None:
            self.ended, self._interrupts = False, list(interrupts)

        def end(self) -> None:
            if self._interrupts:
                raise self._interrupts.pop()
            self.ended = True

    pool, idle = Pool(prepare=obedient), [Idle(KeyboardInterrupt), Idle(KeyboardInterrupt), Idle()]
    pool._idle = idle  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        pool.close()
    assert all(one.ended for one in idle)


@pytest.mark.parametrize("kind", ["folder", "missing", "pipe", "socket", "device", "link", "large"])
def test_what_is_no_file_never_reaches_a_worker(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path, expected = Path("x"), "not_a_file"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("x")
    elif kind == "device":
        path = Path("/dev/zero")
    elif kind == "link":
        path.symlink_to(SAMPLES / "portrait_genuine.jpg")
    elif kind == "large":
        with path.open("wb") as sparse:
            sparse.truncate(10**10)
        expected = "too_large"
    else:
        expected = "not_found"
    with Pool(prepare=obedient, limits=Limits(file_bytes=10**9)) as pool:
        outcome = pool.judge(Job(str(path), follow=False))
        assert ended(outcome) == [expected]
        assert not workers()


def test_the_open_file_is_judged_and_not_what_bears_its_name_by_then(tmp_path: Path, pool: Pool) -> None:
    path = Path(file(tmp_path, "be good"))
    with path.open("rb") as opened:
        opened.read()
        path.unlink()
        path.write_text("refuse")
        assert ended(pool.judge(Job(str(path), descriptor=opened.fileno()))) == [""]


def test_several_at_a_time_with_progress(tmp_path: Path) -> None:
    seen: list[Progress] = []
    outcomes: list[Outcome] = []
    with Pool(prepare=obedient, limits=LIMITS, workers=2) as pool:
        jobs = [Job(file(tmp_path, "be good", f"{i}")) for i in range(6)]
        threads = [
            threading.Thread(target=lambda j=job: outcomes.append(pool.judge(j, progress=seen.append))) for job in jobs
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert 1 <= len(workers()) <= 2
    assert ended(*outcomes) == [""] * 6
    assert {one.stage for one in seen} == {"waiting", "loading", "judging"}
    assert not workers()


@pytest.mark.parametrize("how", ["cancel", "close"])
def test_a_job_that_runs_or_waits_can_be_ended(how: str, tmp_path: Path) -> None:
    outcomes: list[Outcome] = []
    runs = threading.Event()
    with Pool(prepare=obedient, limits=LIMITS) as pool:
        first, second = Job(file(tmp_path, "hang", "a")), Job(file(tmp_path, "hang", "b"))
        told = {first: lambda one: runs.set() if one.stage == "judging" else None, second: lambda _: None}
        threads = []
        for job in (first, second):
            threads.append(threading.Thread(target=lambda j=job: outcomes.append(pool.judge(j, progress=told[j]))))
            threads[-1].start()
            if job is first:
                assert runs.wait(60)
        began = time.monotonic()
        if how == "cancel":
            assert pool.cancel(second)
            assert pool.cancel(first)
        else:
            pool.close()
        for thread in threads:
            thread.join(30)
        assert time.monotonic() - began < 10
        if how == "cancel":
            assert not pool.cancel(first)
            assert ended(pool.judge(Job(file(tmp_path, "be good")))) == [""]
    assert ended(*outcomes) == ["cancelled", "cancelled"]
    assert not workers()


def test_a_waiting_job_is_cancelled_before_its_turn(tmp_path: Path) -> None:
    with Pool(prepare=obedient, limits=LIMITS) as pool:
        runs, waits = Job(file(tmp_path, "hang", "a")), Job(file(tmp_path, "be good", "b"))
        begun, waiting, outcomes = threading.Event(), threading.Event(), []
        told = {runs: lambda one: begun.set() if one.stage == "judging" else None, waits: lambda _: waiting.set()}
        threads = [
            threading.Thread(target=lambda j=job: outcomes.append(pool.judge(j, progress=told[j])))
            for job in (runs, waits)
        ]
        threads[0].start()
        assert begun.wait(60)
        threads[1].start()
        assert waiting.wait(60)
        pool.cancel(waits)
        threads[1].join(10)
        assert ended(*outcomes) == ["cancelled"]
        assert threads[0].is_alive()
        pool.cancel(runs)
        threads[0].join(30)
        # Whoever gave up took no worker's place.
        assert ended(pool.judge(Job(file(tmp_path, "be good")))) == [""]


def test_a_worker_does_not_outlive_its_parent(tmp_path: Path) -> None:
    program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_worker import obedient
from deepfake_detect.worker import Job, Pool
if __name__ == "__main__":
    Pool(prepare=obedient).judge(Job(sys.argv[1]), progress=lambda one: print(one.stage, flush=True))
"""
    script = tmp_path / "script.py"
    script.write_text(program)
    command = [sys.executable, str(script), file(tmp_path, "spin")]
    environment = {**os.environ, "PYTHONPATH": str(SAMPLES.parent)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        while parent.stdout.readline() != "judging\n":
            assert parent.poll() is None
        family = psutil.Process(parent.pid).children(recursive=True)
        assert family
        parent.kill()
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not alive


def test_time_in_which_all_is_paused_is_not_the_files(tmp_path: Path) -> None:
    """As by Ctrl-Z, or with a container: longer than the limit, and than the worker's own clock, which goes on."""
    program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_worker import obedient
from deepfake_detect.confine import Limits
from deepfake_detect.worker import Job, Pool
if __name__ == "__main__":
    with Pool(prepare=obedient, limits=Limits(seconds=2)) as pool:
        outcome = pool.judge(Job(sys.argv[1]), progress=lambda one: print(one.stage, flush=True))
    print(outcome.error or "judged")
"""
    (tmp_path / "script.py").write_text(program)
    command = [sys.executable, str(tmp_path / "script.py"), file(tmp_path, "doze 1")]
    environment = {**os.environ, "PYTHONPATH": str(SAMPLES.parent)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True
    ) as process:
        assert process.stdout is not None
        while process.stdout.readline() != "judging\n":
            assert process.poll() is None
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children()]
        os.killpg(process.pid, signal.SIGSTOP)
        time.sleep(8)
        states = [one.status() for one in family]
        os.killpg(process.pid, signal.SIGCONT)
        assert process.stdout.read().splitlines()[-1] == "judged"
    # A worker is still of the group that a terminal stops, though it has no terminal.
    assert states == [psutil.STATUS_STOPPED] * len(family)
    assert len(family) > 1


def test_the_real_detector_in_a_worker_finds_the_same(tmp_path: Path) -> None:
    from deepfake_detect import Detector
    from deepfake_detect.report import to_dict

    picture = str(SAMPLES / "portrait_forged.jpg")
    large = tmp_path / "large.jpg"
    Image.fromarray(texture(3000, 4000)).save(large)
    report = to_dict(Detector().detect(picture))
    with Pool(limits=Limits(written_bytes=10**9)) as pool:
        outcome = pool.judge(Job(picture, crop=True, report=tmp_path / "report"))
        assert ended(pool.judge(Job(str(large)))) == [""]
    assert outcome.error is None
    assert outcome.record["verdict"]["label"] == report["verdict"]["label"]
    assert outcome.record["verdict"]["probability"] == pytest.approx(report["verdict"]["probability"], abs=1e-3)
    assert outcome.record["media"] == report["media"]
    assert outcome.reasons["en"] == outcome.record["verdict"]["reason"]
    assert outcome.crop.startswith(b"\xff\xd8\xff")
    assert (tmp_path / "report/report.html").exists()


@pytest.mark.parametrize("values", [{"seconds": 0}, {"memory_bytes": -1}, {"open_files": float("nan")}, {"cpu_s": "1"}])
def test_limits_are_checked(values: dict[str, float]) -> None:
    with pytest.raises(OptionsError, match="expected a number"):
        Limits(**values)  # type: ignore[arg-type]


def workers() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]


@pytest.mark.skipif(not landlocked(), reason="this kernel has no Landlock")
def test_reports_are_written_into_one_folder_and_nothing_anywhere_else(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "old").write_text("x")
    limits = Limits(seconds=60, memory_bytes=2**30, written_bytes=10**6, written_below=str(inside))
    with Pool(prepare=obedient, limits=LIMITS) as pool:
        confined_otherwise = pool.judge(Job(file(tmp_path, "be good"))).confinement
    found, deeds = {}, ("write", "overwrite", "remove", "make")
    with Pool(prepare=obedient, limits=limits) as pool:
        for folder in (outside, inside):
            what = json.dumps({"folder": str(folder), "port": 9, "parent": os.getpid(), "deeds": deeds})
            outcome = pool.judge(Job(file(tmp_path, f"try {what}")))
            found[folder] = json.loads(outcome.record["verdict"]["reason"])
            # The one does not stand in the way of the other.
            assert outcome.confinement == f"landlock+{confined_otherwise}"
    assert [found[outside][deed] for deed in deeds] == ["EACCES"] * 4
    assert [found[inside][deed] for deed in deeds] == ["done"] * 4
    assert (outside / "old").read_text() == "x"


@pytest.mark.skipif(sys.platform != "linux", reason="Landlock is Linux's")
def test_where_the_folder_for_reports_is_missing_nobody_may_write_everywhere(tmp_path: Path) -> None:
    limits = Limits(seconds=60, memory_bytes=2**30, written_bytes=10**6, written_below=str(tmp_path / "gone"))
    with Pool(prepare=obedient, limits=limits) as pool, pytest.raises(OptionsError, match="make it again") as caught:
        pool.judge(Job(file(tmp_path, "be good")))
    assert str(tmp_path) not in str(caught.value)


def test_who_is_held_to_a_folder_that_was_there_before_is_replaced(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    limits = Limits(seconds=60, memory_bytes=2**30, written_bytes=10**6, written_below=str(inside))
    what = json.dumps({"folder": str(inside), "port": 9, "parent": os.getpid(), "deeds": ["make"]})
    job = Job(file(tmp_path, f"try {what}"))
    with Pool(prepare=obedient, limits=limits) as pool:
        pool.judge(job)
        (before,) = workers()
        pool.judge(job)
        assert workers() == [before]
        inside.rename(tmp_path / "former")
        inside.mkdir()
        outcome = pool.judge(job)
        assert before not in workers()
    assert json.loads(outcome.record["verdict"]["reason"]) == {"make": "done"}


@pytest.mark.skipif(sys.platform != "linux", reason="seccomp is Linux's")
def test_who_writes_reports_changes_no_modes_owners_times_or_links(tmp_path: Path) -> None:
    pytest.importorskip("pyseccomp", exc_type=(ImportError, RuntimeError))
    (tmp_path / "old").write_text("x")
    before = (tmp_path / "old").stat()
    marks = ["mode", "open_mode", "owner", "times", "attribute", "attribute_anew", "flags", "hard_link", "link", "pipe",
             "truncate"]  # fmt: skip
    what = {"folder": str(tmp_path), "port": 9, "parent": os.getpid(), "deeds": [*marks, "write", "make"]}
    limits = Limits(seconds=60, memory_bytes=2**30, written_bytes=10**6)
    with Pool(prepare=obedient, limits=limits) as pool:
        outcome = pool.judge(Job(file(tmp_path, f"try {json.dumps(what)}")))
    found = json.loads(outcome.record["verdict"]["reason"])
    assert found == dict.fromkeys(marks, "EPERM") | {"write": "done", "make": "done"}
    assert (tmp_path / "old").stat() == before


def pictured() -> Report:
    """A report that has everything a record can hold."""
    face = Face((1.5, 2.0, 30.25, 40.0), ((5.0, 6.0),) * 5, 0.99)
    scores = (Score(0.0, face, 0.5, logit=1.25), Score(1.0, face, 0.1, "too_blurred"))
    track = FaceTrack(1, scores, 1.25, 0.75, (0.5, 0.9))
    return Report(
        "clip.mp4", TOOL,
        MediaInfo("clip.mp4", "video", 9, "0" * 64, 64, 48, 2.0, 25.0, "h264", start_s=0.5), (0.5, 1.5),
        Verdict("manipulated", 0.75, 3.0, "So it is.", (0.5, 0.9)), (track,), ("Few frames.",), timing_s={"total": 1.5},
        effort=Effort(50, (16,), settled=False),
    )  # fmt: skip


def understood(record: object, **changed: object) -> Outcome:
    message = {"record": record, "reasons": dict.fromkeys(LANGUAGES, "So it is."), "crop": "", **changed}
    found = answer.understood(json.loads(json.dumps(message)), Job("clip.mp4"), "rlimits")
    assert isinstance(found, Outcome)
    return found


def test_a_record_comes_through_as_it_was_without_what_does_not_belong_there() -> None:
    record = to_dict(pictured())
    assert understood(record).record == record
    more = {**record, "extra": 1, "media": {**record["media"], "path": "/elsewhere", "extra": 1}}
    assert understood(more).record == record


@pytest.mark.parametrize("nonsense", [{"a": 1}, 10**400, "x" * 10**6, None, True, [[]]], ids=type)
@pytest.mark.parametrize(
    "where",
    ["tool.version", "media.size_bytes", "media.start_s", "media.fps", "media.codec", "media.container",
     "media.sampled_times_s.0", "verdict.reason", "verdict.label", "verdict.probability", "verdict.likelihood_ratio",
     "tracks.0.id", "tracks.0.probability_interval.0", "tracks.0.faces.0.time_s", "tracks.0.faces.0.box.0",
     "tracks.0.faces.0.landmarks.0", "warnings", "warnings.0", "timing_s.total", "effort.available"],
)  # fmt: skip
def test_no_nonsense_in_place_of_a_value_comes_through(where: str, nonsense: object) -> None:
    record = to_dict(pictured())
    part, names = record, where.split(".")
    for name in names[:-1]:
        part = part[int(name) if isinstance(part, list) else name]
    part[int(names[-1]) if isinstance(part, list) else names[-1]] = nonsense
    if where in ("media.start_s", "media.fps", "media.container") and nonsense is None:
        assert understood(record).record["media"][names[-1]] is None
        return
    with pytest.raises((KeyError, TypeError, ValueError)):
        understood(record)
    with pytest.raises((KeyError, TypeError, ValueError)):
        understood(to_dict(pictured()), reasons=dict.fromkeys(LANGUAGES, nonsense))


def test_a_comparison_comes_through_as_it_was_and_no_nonsense_in_it(tmp_path: Path) -> None:
    known = compare(SAMPLES / "portrait_forged.jpg", SAMPLES / "portrait_genuine.jpg").to_dict()
    known["suspect"]["path"], known["original"]["path"] = "clip.mp4", "mine.jpg"
    job = Job("clip.mp4", original=Original("mine.jpg", 0, tmp_path))

    def heard(record: object) -> object:
        message = {"record": record, "reasons": dict.fromkeys(LANGUAGES, ""), "crop": ""}
        return answer.understood(json.loads(json.dumps(message)), job, "")

    assert heard(known) == Outcome(known, "", dict.fromkeys(LANGUAGES, ""))
    assert heard({**known, "extra": 1, "error_rates": "none"}) == heard(known)
    for key in known.keys() - {"schema", "error_rates"}:
        for nonsense in ({"a": 1}, 10**400):
            with pytest.raises((KeyError, TypeError, ValueError)):
                heard({**known, key: nonsense})


@pytest.mark.parametrize(
    ("lacking", "kind"),
    [(BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "out_of_memory"),
     (OSError(errno.ENOSPC, "No space left on device"), "report")],
)  # fmt: skip
def test_a_report_that_no_thread_could_be_started_for_lacked_memory(lacking: OSError, kind: str) -> None:
    """FFmpeg says EAGAIN of it. The file is judged again by a new worker then, which "check the folder" is not."""

    def judge(source: str, tell: Callable[[float], None]) -> Report:
        raise lacking

    job = {"path": "clip.mp4", "original": None, "report": "folder"}
    said = _said(judge, job, ["clip.mp4"], lambda stage, done: None)
    assert json.loads(said)["error"][0] == kind
