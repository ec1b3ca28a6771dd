"""Throws made-up input at all that reads what anyone may send, for as long as one likes, and keeps what it should not do.

python benchmarks/fuzz.py --target media --minutes 60 --seed 1      or records, weights, http; all in turn without --target
python benchmarks/fuzz.py --target media --replay runs/fuzz/media/0123456789ab

Promised is: a proper result, or a typed error that names the thing; in time, in bounded memory, with no file written where
none belongs. The reader runs in a process of its own. Where that dies in a decoder the input is kept, and is a finding as
well: in-process reading has no other process to die in its place. A worker that dies (`crashed`) is what workers are for;
it is counted. Mutations are drawn from the seed, without guidance by coverage: what would be covered is Python, while the
formats are taken apart by libraries in C, of which a tracer of Python sees nothing.
"""

from __future__ import annotations

import argparse
import faulthandler
import hashlib
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

    from fuzz_targets import Files

TARGETS = ("media", "records", "weights", "http")
# So much may one input take beyond what is there.
_MEMORY = 600 * 2**20
_LOADING_S = 300
_SLOW_SHARE = 0.5
_REDUCING_S = 8


@dataclass
class Tally:
    """What came of a run."""

    inputs: int = 0
    seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    #: Signature -> how often.
    findings: Counter[str] = field(default_factory=Counter)
    peak: int = 0


def generator(seed: int, number: int) -> random.Random:
    """Of one input: the same whatever was made before."""
    return random.Random(f"{seed}/{number}")


# In the process that reads


def read(connection: Connection, name: str, seed: int, first: int, scratch: str, replayed: Files | None) -> None:
    """Make and read one input after another, telling of each before and after."""
    known: set[str] = set()
    folder = Path(scratch)
    nowhere = folder / "cwd"
    for part in (nowhere, folder / "tmp", folder / "own"):
        part.mkdir(exist_ok=True)
    # Whatever decoders print, and the place where a crash was, if there is one.
    log = (folder / "stderr").open("wb", buffering=0)
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    faulthandler.enable(log)
    os.chdir(nowhere)
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder / "tmp")
    sys.path.insert(0, str(Path(__file__).parent))
    import fuzz_targets

    target = fuzz_targets.TARGETS[name](folder / "own")
    connection.send(("ready", target.seconds))
    number = first
    try:
        while connection.recv() == "next":
            files = replayed or target.make(generator(seed, number))
            connection.send(("at", number))
            _forget_peak()
            before = _memory("VmRSS")
            finding = None
            try:
                outcome = target.run(files, number)
                finding = _trespass(folder)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # a library in Rust that panics raises no Exception
                outcome, finding = "finding", _described(error)
            grown = _memory("VmHWM") - before
            if finding is None and grown > _MEMORY:
                outcome, finding = "finding", ("memory", f"{grown / 2**20:.0f} MiB more")
            smaller = None
            if finding is not None and finding[0] not in {"memory", "trespass", *known}:
                known.add(finding[0])
                smaller = reduced(target, files, number, finding[0])
            connection.send(("done", number, outcome, finding, smaller or files if finding else None, _memory("VmHWM")))
            number += 1
    finally:
        target.close()


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _memory(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    return 0


def _trespass(folder: Path) -> tuple[str, str] | None:
    """Files where none belong."""
    found = [
        *(folder / "cwd").iterdir(),
        *(path for path in (folder / "tmp").iterdir() if not path.name.startswith("pymp-")),
    ]
    allowed = {"cwd", "tmp", "own", "stderr"}
    found += [path for path in folder.iterdir() if path.name not in allowed]
    for path in found:
        shutil.rmtree(path, ignore_errors=True)
        path.unlink(missing_ok=True)
    return ("trespass", f"written: {[path.name for path in found]}") if found else None


def _described(error: BaseException) -> tuple[str, str]:
    """A signature, which the same fault has again, and all that is known."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "deepfake_detect" in frame.filename] or frames
    where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
    said = type(error).__name__
    if said == "BrokenError":
        said += ": " + "".join(c for c in str(error)[:60] if not c.isdigit())
    return f"{said} at {where}", "".join(traceback.format_exception(error))


def reduced(target: Any, files: Files, number: int, signature: str) -> Files | None:
    """The same with less in it, as far as a few seconds go; None where nothing could be left out."""
    until, best = time.monotonic() + _REDUCING_S, None
    for name in sorted(files, key=lambda name: -len(files[name])):
        step = len(files[name]) // 2
        while step >= 1 and time.monotonic() < until and ":" not in name:
            at = 0
            while at < len(files[name]) and time.monotonic() < until:
                tried = {**files, name: files[name][:at] + files[name][at + step :]}
                try:
                    target.run(tried, number)
                    found = ""
                except BaseException as error:
                    found = _described(error)[0]
                if found == signature:
                    files = best = tried
                else:
                    at += step
            step //= 2
    return best


# In the process that watches


class Reader:
    """A process that reads, and what it told last."""

    def __init__(self, name: str, seed: int, first: int, replayed: Files | None = None) -> None:
        self.scratch = tempfile.mkdtemp(prefix="fuzz-")
        self.connection, theirs = get_context("spawn").Pipe()
        self.process: BaseProcess = get_context("spawn").Process(
            target=read, args=(theirs, name, seed, first, self.scratch, replayed)
        )
        self.process.start()
        theirs.close()
        self.number = first
        if not self.connection.poll(_LOADING_S):
            self.end()
            raise RuntimeError(f"{name}: did not begin")
        try:
            _, self.seconds = self.connection.recv()
        except EOFError:
            self.process.join()
            print(Path(self.scratch, "stderr").read_text(errors="replace")[-4000:], file=sys.stderr)
            raise RuntimeError(f"{name}: did not begin") from None

    def one(self) -> tuple[str, tuple[str, str] | None, Files | None, int]:
        """Have one input read: what came of it, a finding, its files, and the peak of memory."""
        began = time.monotonic()
        try:
            self.connection.send("next")
            while True:
                if not self.connection.poll(self.seconds + _REDUCING_S + began - time.monotonic()):
                    faulthandler_dump = self._where()
                    return "finding", ("hang", f"longer than {self.seconds:g} s\n{faulthandler_dump}"), None, 0
                message = self.connection.recv()
                self.number = message[1]
                if message[0] == "done":
                    _, _, outcome, finding, files, peak = message
                    took = time.monotonic() - began
                    if finding is None and took > _SLOW_SHARE * self.seconds:
                        finding = ("slow", f"{took:.1f} s")
                    return outcome, finding, files, peak
        except (EOFError, ConnectionError):
            self.process.join()
            return "finding", (f"crash {self.process.exitcode}", self._where()), None, 0

    def _where(self) -> str:
        return Path(self.scratch, "stderr").read_text(errors="replace")[-3000:]

    def end(self) -> None:
        """End it, and leave nothing of it."""
        if self.process.is_alive():
            with open(os.devnull, "wb"):
                try:
                    self.connection.send("stop")
                    self.process.join(20)
                except (BrokenPipeError, ConnectionError):
                    pass
            if self.process.is_alive():
                self.process.kill()
        self.process.join()
        self.connection.close()
        shutil.rmtree(self.scratch, ignore_errors=True)


def fuzz(name: str, *, seed: int, until: float, most: int, out: Path, first: int = 0) -> Tally:
    """Read inputs until it is late or there were enough."""
    tally, began = Tally(), time.monotonic()
    reader = Reader(name, seed, first)
    try:
        while time.monotonic() < until and tally.inputs < most:
            outcome, finding, files, peak = reader.one()
            tally.inputs += 1
            tally.outcomes[outcome] += 1
            tally.peak = max(tally.peak, peak)
            if finding is not None:
                tally.findings[finding[0]] += 1
                if tally.findings[finding[0]] == 1:
                    number = reader.number
                    print(f"{name} {seed}/{number}: {finding[0]}", flush=True)
                    keep(out / name, finding, files or made(name, seed, number), seed, number)
            if not reader.process.is_alive() or (finding and finding[0] == "hang"):
                if reader.process.is_alive():
                    reader.process.kill()
                following = reader.number + 1
                reader.end()
                reader = Reader(name, seed, following)
    finally:
        reader.end()
        tally.seconds = time.monotonic() - began
    return tally


def made(name: str, seed: int, number: int) -> Files:
    """The input of a number once more."""
    sys.path.insert(0, str(Path(__file__).parent))
    import fuzz_targets

    with tempfile.TemporaryDirectory() as folder:
        target = fuzz_targets.TARGETS[name](Path(folder))
        try:
            return target.make(generator(seed, number))
        finally:
            target.close()


def keep(folder: Path, finding: tuple[str, str], files: Files, seed: int, number: int) -> None:
    """A finding with its bytes."""
    place = folder / hashlib.sha256(finding[0].encode()).hexdigest()[:12]
    shutil.rmtree(place, ignore_errors=True)
    for name, data in files.items():
        path = place / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (place / "finding.txt").write_text(
        f"seed {seed}, number {number}\n{finding[0]}\n\n{finding[1]}\n", errors="replace"
    )


def replay(name: str, folder: Path) -> int:
    """Read what was kept once more."""
    below = folder / "files"
    files = {
        path.relative_to(below).as_posix(): path.read_bytes() for path in sorted(below.rglob("*")) if path.is_file()
    }
    reader = Reader(name, 0, 0, files)
    try:
        outcome, finding, _, _ = reader.one()
    finally:
        reader.end()
    print(outcome if finding is None else "\n".join(finding))
    return finding is not None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", choices=TARGETS, help="what reads; default: each in turn")
    parser.add_argument("--minutes", type=float, default=1, help="for each target; default 1")
    parser.add_argument("--inputs", type=int, default=sys.maxsize, help="at most so many for each target")
    parser.add_argument("--seed", type=int, default=1, help="default 1")
    parser.add_argument("--first", type=int, default=0, help="number of the first input; default 0")
    parser.add_argument("--out", type=Path, default=Path("runs/fuzz"), help="for findings; default runs/fuzz")
    parser.add_argument("--replay", type=Path, help="a finding's folder, to be read again")
    arguments = parser.parse_args()
    if arguments.replay:
        if not arguments.target:
            parser.error("--replay needs --target")
        return replay(arguments.target, arguments.replay)
    if not Path("/proc/self/clear_refs").exists():
        parser.error("measures memory as Linux tells it, and runs there only")
    rows, found = [], 0
    for name in [arguments.target] if arguments.target else TARGETS:
        tally = fuzz(
            name, seed=arguments.seed, until=time.monotonic() + 60 * arguments.minutes, most=arguments.inputs,
            out=arguments.out, first=arguments.first,
        )  # fmt: skip
        found += len(tally.findings)
        common = ", ".join(f"{outcome} {count}" for outcome, count in tally.outcomes.most_common(12))
        rows.append(f"| {name} | {arguments.seed} | {tally.seconds / 60:.1f} | {tally.inputs} | {len(tally.findings)} |"
                    f" {tally.peak / 2**20:.0f} | {common} |")  # fmt: skip
    print("| target | seed | minutes | inputs | kinds of findings | peak MiB | what came of them |")
    print("|---|---|---|---|---|---|---|")
    print("\n".join(rows))
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
