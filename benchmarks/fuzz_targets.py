"""What is fuzzed: four readers of what anyone may send. Each makes an input from a seed and says what came of it.

An input is files by name; a name that begins with `link:` or `pipe:` is made as that. What comes of one is a word, such as
the kind of the typed error. Anything else that is raised is a finding: `BrokenError` where a promise was not kept.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import logging
import os
import re
import shutil
import socket
import threading
import time
import urllib.parse
import zlib
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import fuzz_seeds
import numpy as np
from fuzz_mutate import mutated, mutated_json

from deepfake_detect import checkpoint, dossier, engine, media, provenance, verify
from deepfake_detect.confine import Limits
from deepfake_detect.detector import Detector
from deepfake_detect.errors import DeepfakeDetectError, MediaError, OptionsError, WeightsError, WorkerError
from deepfake_detect.options import Options
from deepfake_detect.report import to_dict
from deepfake_detect.server import serve, upload
from deepfake_detect.server.jobs import Jobs
from deepfake_detect.types import Face, Failure, Frame, MediaInfo, Report, ToolInfo, Verdict
from deepfake_detect.words import LANGUAGES
from deepfake_detect.worker import Job, Outcome, Pool

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

Files = dict[str, bytes]
_SAMPLE = fuzz_seeds.SAMPLES / "portrait_forged.jpg"
# Beside the benchmarks in a checkout; the installed package has the same files elsewhere.
_WEIGHTS = Path(__file__).resolve().parent.parent / "weights"
_KINDS = {
    "not_found",
    "not_a_file",
    "unreadable",
    "empty",
    "unsupported",
    "damaged",
    "too_large",
    "no_video",
    "no_frames",
}
# What a worker may say beside that: its limits did what they are for.
_ENDED = {"crashed", "killed", "out_of_memory"}
_LONGEST_MESSAGE = 700
_MAX_PIXELS = 4_000_000


class BrokenError(Exception):
    """A promise that was not kept."""


class Target(Protocol):
    """One reader. Made once in each process, in a folder of its own."""

    #: The longest that one input may take, seconds.
    seconds: float

    def make(self, rng: Random) -> Files:
        """An input."""
        ...

    def run(self, files: Files, number: int) -> str:
        """Have it read; what came of it."""
        ...

    def close(self) -> None:
        """End what was started."""
        ...


def write(files: Files, folder: Path) -> None:
    """An input as files, in a folder that is empty after that but for them."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, data in files.items():
        kind, _, rest = name.rpartition(":")
        path = folder / rest
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "link":
            path.symlink_to(os.fsdecode(data))
        elif kind == "pipe":
            os.mkfifo(path)
        else:
            path.write_bytes(data)


def check_message(error: DeepfakeDetectError, *names: str) -> None:
    """
    Raises:
        BrokenError: The message does not name the thing, or is no line that can be printed.
    """
    said = str(error)
    if not any(name in said for name in names):
        raise BrokenError(f"unnamed: {said[:300]!r}")
    if "\n" in said or len(said) > _LONGEST_MESSAGE:
        raise BrokenError(f"not one line: {said[:300]!r}")


class Media:
    """Pictures and videos: read here, and judged in a worker, as by `scan` and, with a report, by `serve`."""

    seconds = 60.0

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "reports").mkdir()
        (folder / "seeds").mkdir()
        self._seeds = fuzz_seeds.media(folder / "seeds")
        shutil.rmtree(folder / "seeds")
        self._all = list(self._seeds.values())
        self._options = Options(frames=4, max_pixels=_MAX_PIXELS, provenance=True)
        limits = {"seconds": 25, "cpu_s": 50, "memory_bytes": 2**30, "file_bytes": 2**24}
        self._closing = ExitStack()
        self._scan = self._closing.enter_context(Pool(self._options, limits=Limits(**limits)))  # type: ignore[arg-type]
        below = str(folder / "reports")
        writing = Limits(**limits, written_bytes=2**26, written_below=below)  # type: ignore[arg-type]
        self._serve = self._closing.enter_context(Pool(self._options, limits=writing))

    def make(self, rng: Random) -> Files:
        """A file that was good once."""
        return {"media": mutated(self._seeds[rng.choice(list(self._seeds))], rng, self._all)}

    def run(self, files: Files, number: int) -> str:
        """Read, and every other time judged with a report."""
        write(files, self._folder / "in")
        path = self._folder / "in" / "media"
        found = self._read(path)
        return f"{found}, worker: {self._judge(path, report=number % 2 == 1)}"

    def close(self) -> None:
        """End the workers."""
        self._closing.close()

    def _read(self, path: Path) -> str:
        try:
            with media.open(path, self._options) as opened:
                frames = list(opened.frames(each_second=True))
                for frame in frames:
                    if frame.pixels.shape[0] * frame.pixels.shape[1] > _MAX_PIXELS:
                        raise BrokenError(f"a frame of {frame.pixels.shape}")
                for _ in opened.stretch(size=(64, 64)):
                    pass
                # As a record of it is written.
                json.dumps(vars(opened.info), allow_nan=False)
                kind = opened.info.kind
            provenance.examine(path, kind=kind)
        except MediaError as error:
            check_message(error, path.name)
            if error.kind not in _KINDS:
                raise BrokenError(f"unknown kind {error.kind}") from error
            return error.kind
        return "read"

    def _judge(self, path: Path, *, report: bool) -> str:
        target = self._folder / "reports" / "one"
        shutil.rmtree(target, ignore_errors=True)
        pool = self._serve if report else self._scan
        outcome = pool.judge(Job(str(path), crop=True, report=target if report else None))
        if outcome.error is None:
            return "judged"
        if outcome.error.kind not in _KINDS | _ENDED:
            raise BrokenError(f"worker: {outcome.error.kind}: {outcome.error.message}")
        check_message(WorkerError(outcome.error.message, kind=outcome.error.kind), path.name)
        return outcome.error.kind


class Records:
    """The folder of a report, which `verify` reads."""

    seconds = 30.0

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._options = Options(provenance=True)
        self._report = Detector(self._options).detect(_SAMPLE)
        self._report.save(folder / "good")
        self._good = {path.relative_to(folder / "good").as_posix(): path.read_bytes()
                      for path in sorted((folder / "good").rglob("*")) if path.is_file()}  # fmt: skip
        self._detector = verify.Detector
        shutil.rmtree(folder / "good")

    def make(self, rng: Random) -> Files:
        """A folder with something in it that is not as it was; mostly with the right fingerprints of it."""
        files = dict(self._good)
        evidence = [name for name in files if name.endswith(".npz")]
        deeds = rng.choice((("json",), ("json",), ("json",), ("evidence",), ("sums",), ("other",), ("json", "evidence"),
                            ("json", "other", "sums")))  # fmt: skip
        if "evidence" in deeds:
            name = rng.choice(evidence)
            files[name] = self._evidence(files[name], rng)
        record = json.loads(files[dossier.JSON])
        for name, known in record["files"].items():
            known["sha256"] = hashlib.sha256(files[name]).hexdigest()
        files[dossier.JSON] = (json.dumps(record, indent=1) + "\n").encode()
        if "json" in deeds:
            files[dossier.JSON] = mutated_json(files[dossier.JSON].decode(), rng)
        if "other" in deeds:
            name = rng.choice([*files, "new", "evidence/new"])
            data = files.pop(name, b"x")
            deed = rng.randrange(4)
            if deed == 0:
                files[f"link:{name}"] = rng.choice((b"/dev/zero", b"/etc/passwd", b".", os.fsencode(name), b"nowhere"))
            elif deed == 1:
                files[f"pipe:{name}"] = b""
            elif deed == 2:
                files[name] = mutated(data, rng, list(self._good.values()))
        sums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()
                if ":" not in name and name != dossier.SUMS}  # fmt: skip
        if rng.random() < 0.3:
            sums |= {name.partition(":")[2]: "0" * 64 for name in files if ":" in name}
        text = dossier.sums_text(sums).encode()
        if f"link:{dossier.SUMS}" not in files and f"pipe:{dossier.SUMS}" not in files:
            if "sums" in deeds:
                text = rng.choice((
                    mutated(text, rng, [text, files.get(dossier.JSON, b"x")]), text + b"0" * 64 + b"  a\0b\n",
                    text + b"0" * 64 + b"  ../outside\n", text + b"0" * 64 + b"  /dev/zero\n", text + b"0" * 64 + b"  .\n",
                    text + b"0" * 64 + b"  " + b"x" * 5000 + b"\n", text + b"0" * 64 + b"  new\n",
                ))  # fmt: skip
            files[dossier.SUMS] = text
        return files

    def _evidence(self, data: bytes, rng: Random) -> bytes:
        deed = rng.randrange(4)
        if deed:
            return mutated(data, rng, [data])
        arrays: dict[str, Any] = {
            "evidence": rng.choice((np.zeros((28, 28), np.float32), np.zeros(0), np.zeros((28, 28, 28)), np.array("x"),
                                    np.full((28, 28), np.nan), np.array([{"a": 1}], object), np.zeros((1, 10**7)))),
            "crop": rng.choice((np.zeros((224, 224, 3), np.uint8), np.zeros(3), np.array(["x"]), np.zeros(2, complex))),
        }  # fmt: skip
        arrays.pop(rng.choice(("evidence", "crop", "", "")), None)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        return buffer.getvalue()

    def run(self, files: Files, number: int) -> str:
        """Checked; mostly with the media, whose report is the known one but for every twentieth time."""
        folder = self._folder / "in"
        write(files, folder)
        known = self._report

        class Known:
            """Stands in for a detector: what it would find is known."""

            def __init__(self, options: Options, *, weights: str, weights_folder: Path | None) -> None:
                checkpoint.find(weights, folder=weights_folder)

            def detect(self, _: Path, **__: object) -> Report:
                """The same each time."""
                return known

        verify.Detector = self._detector if number % 20 == 0 else Known  # type: ignore[assignment,misc]
        before = _listed(folder)
        try:
            checks = verify.verify(folder, media=_SAMPLE if number % 3 else None)
        except OptionsError as error:
            check_message(error, folder.name)
            return error.kind
        finally:
            verify.Detector = self._detector  # type: ignore[misc]
        for check in checks:
            if len(check.message) > 5 * _LONGEST_MESSAGE:
                raise BrokenError(f"not one line: {check.message[:300]!r}")
        if _listed(folder) != before:
            raise BrokenError(f"files changed: {_listed(folder) ^ before}")
        json.dumps([vars(check) for check in checks])
        bad = {check.name for check in checks if not check.good}
        return "all good" if not bad else "bad: report.json" if dossier.JSON in bad else "bad: other"

    def close(self) -> None:
        """Nothing to end."""


def _listed(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*")}


class Weights:
    """A folder of weights: its manifest, its tensors, its graphs. The files' fingerprints are right, or nothing is read."""

    seconds = 60.0

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._manifest = json.loads((_WEIGHTS / "manifest.json").read_text())
        self._entry = self._manifest["models"][self._manifest["default"]]
        names = [self._entry["file"], self._entry["onnx"]["file"]]
        names += [each["file"] for each in self._nets(self._manifest)]
        self._good = {name: (_WEIGHTS / name).read_bytes() for name in names}
        pixels = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
        five = ((80, 80), (120, 80), (100, 100), (85, 125), (115, 125))
        self._face = Face((50, 50, 150, 150), five, 0.99)
        self._frame = Frame(pixels)
        with suppress(OSError):
            (folder / "in").mkdir()

    @staticmethod
    def _nets(manifest: dict[str, Any]) -> list[dict[str, str]]:
        return [each for each in manifest["mtcnn"].values() if isinstance(each, dict)]

    def make(self, rng: Random) -> Files:
        """A manifest, tensors or a graph that is wrong."""
        deed = rng.choice(("manifest", "manifest", "tensors", "tensors", "graph", "graph", "faces"))
        manifest, files = json.loads(json.dumps(self._manifest)), {}
        tensors, graph = self._entry["file"], self._entry["onnx"]["file"]
        if deed == "tensors":
            files[tensors] = self._tensors(rng)
        elif deed == "graph":
            files[graph] = self._graph(self._good[graph], rng)
        elif deed == "faces":
            name = rng.choice([each["file"] for each in self._nets(manifest)])
            files[name] = mutated(self._good[name], rng, [self._good[graph]])
        for one in (manifest["models"][manifest["default"]], manifest["models"][manifest["default"]]["onnx"],
                    *self._nets(manifest)):  # fmt: skip
            if one["file"] in files:
                one["sha256"] = hashlib.sha256(files[one["file"]]).hexdigest()
        text = json.dumps(manifest)
        files["manifest.json"] = mutated_json(text, rng) if deed == "manifest" else text.encode()
        return files

    def _tensors(self, rng: Random) -> bytes:
        data = self._good[self._entry["file"]]
        size = int.from_bytes(data[:8], "little")
        head, body = data[8 : 8 + size], data[8 + size :]
        deed = rng.random()
        if deed < 0.6:
            head = mutated_json(head.decode(), rng)
        elif deed < 0.8:
            head = mutated(head, rng, [head])
        else:
            body = body[: rng.choice((0, 100, len(body) // 2))] + rng.choice((b"", body, b"x"))
        said = len(head) if rng.random() < 0.9 else rng.choice((0, 2**40, 2**64 - 1, len(head) + 1))
        return said.to_bytes(8, "little") + head + body

    def _graph(self, data: bytes, rng: Random) -> bytes:
        """Bytes, or what the graph says: where its constants lie, their shapes, its operations."""
        if rng.random() < 0.4:
            return mutated(data, rng, [data, self._good["mtcnn-pnet.onnx"]])
        import onnx

        model = onnx.load_from_string(data)
        for _ in range(rng.choice((1, 1, 2, 5))):
            constant, node = rng.choice(model.graph.initializer), rng.choice(model.graph.node)
            deed = rng.randrange(7)
            if deed == 0 and constant.external_data:
                places = ("/etc/passwd", "../outside", "manifest.json", "", "x" * 500, "/dev/zero")
                constant.external_data[0].value = rng.choice(places)
            elif deed == 1 and len(constant.external_data) > 1:
                constant.external_data[1].value = rng.choice(("-1", "99999999999", "x", "18446744073709551615"))
            elif deed == 2 and constant.dims:
                constant.dims[0] = rng.choice((0, -1, 2**40, constant.dims[0] + 1))
            elif deed == 3:
                node.op_type = rng.choice(("Relu", "Loop", "If", "Conv", "Nothing", "Reshape", "StringNormalizer"))
            elif deed == 4 and node.input:
                node.input[0] = rng.choice(list(model.graph.node)).output[0]
            elif deed == 5:
                constant.data_type = rng.choice((0, 1, 7, 8, 10, 99))
            else:
                del model.graph.output[rng.randrange(2) :]
        return model.SerializeToString()

    def run(self, files: Files, number: int) -> str:
        """Found, read and used for one face."""
        folder = self._folder / "in"
        for path in folder.iterdir():
            path.unlink()
        for name in {*self._good, *files}:
            if name in files:
                (folder / name).write_bytes(files[name])
            else:
                (folder / name).symlink_to(_WEIGHTS / name)
        try:
            entry = checkpoint.find(folder=folder)
            for net in checkpoint.find_face_nets(folder=folder):
                self._face_net(net)
            chosen: engine.Engine = engine.TorchEngine() if number % 4 == 0 else engine.OnnxEngine()
            if entry.graph is None:
                chosen = engine.TorchEngine()
            examiner = engine.Examiner(chosen, entry)
            if entry.architecture.size > 1024:
                return "found, large"
            for kind in ("image", "video"):
                views = [examiner.cut(self._frame, self._face, kind=kind)]
                examiner.score(views, kind=kind)
        except (WeightsError, OptionsError) as error:
            check_message(error, str(folder), "no weights named", "device", *self._manifest["models"])
            return f"{error.kind}"
        return "used"

    def _face_net(self, file: checkpoint.WeightFile) -> None:
        engine._Net(engine.OnnxEngine()._open(file), file.path)

    def close(self) -> None:
        """Nothing to end."""


class _Stub:
    """Stands in for a pool of workers: what it finds depends on the bytes alone."""

    tool = ToolInfo("0.0", "net", "0" * 64, "calibration", "0" * 64)
    limits = Limits()
    workers = 1

    def cancel(self, _: Job) -> bool:
        """Too late, always."""
        return False

    def judge(self, job: Job, *, progress: Callable[[Any], None]) -> Outcome:
        """A verdict for two of three."""
        data = os.pread(job.descriptor or 0, 10**6, 0)
        reasons = dict.fromkeys(LANGUAGES, "So it is.")
        if job.original is not None:
            record = {"schema": "deepfake-detect/compare/1", "label": "inconclusive", "likelihood_ratio": 1.0,
                      "suspect": {"path": job.path}, "original": {"path": job.original.path}}  # fmt: skip
            return Outcome(record, "rlimits", reasons, b"\xff\xd8\xff")
        if zlib.crc32(data) % 3 == 0:
            return Outcome(to_dict(Report(job.path, self.tool, error=Failure("damaged", f"{job.path}: damaged"))))
        info = MediaInfo(job.path, "image", len(data), "0" * 64, 4, 3)
        report = Report(job.path, self.tool, info, verdict=Verdict("manipulated", 0.9, 9.0, "So it is."))
        if job.report is not None:
            (job.report / "evidence").mkdir(parents=True)
            (job.report / "report.json").write_text(json.dumps(to_dict(report)))
            (job.report / "report.html").write_text("<title>Report</title>")
            (job.report / "annotated.jpg").write_bytes(b"\xff\xd8\xff" + bytes(100))
        return Outcome(to_dict(report), "rlimits", reasons)


_JOB = b"THE-ID-OF-A-KNOWN-JOB-"
_FORM = (
    b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.jpg\"\r\nContent-Type: image/jpeg\r\n\r\nbytes\r\n"
    b"--b\r\nContent-Disposition: form-data; name=\"language\"\r\n\r\nde\r\n"
    b"--b\r\nContent-Disposition: form-data; name=\"contents\"\r\n\r\nrecord\r\n--b--\r\n"
)  # fmt: skip
_STATUSES = {200, 202, 204, 206, 303, 304, 400, 401, 403, 404, 405, 408, 409, 413, 415, 416, 421, 422, 429, 431}
_TOKENS = (
    b"\xff", b"\xb2", b"%ff", b"%00", b"%2e%2e%2f", b"../", b"\0", b"\r\n", b"\r\n\r\n", b"9" * 5000, b"-1", b"a" * 9000,
    b";", b'"', b"=", b"utf-8''%ff", b"filename*=x''y", b"name*0=f",
    b"bytes=0-0,0-0", b"bytes=9-1", b"bytes=-", b"--b", b"--b--",
    b"name=file", b"Transfer-Encoding: chunked\r\n", b"\xf0\x9f\x98\x80", b"%ed%a0%80", b"[::1]", b"[", b"evil.example",
)  # fmt: skip


class Http:
    """The interface and the pages, in process, and now and then over a connection. The workers are stood in for."""

    seconds = 20.0

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._closing = ExitStack()
        self._jobs = self._closing.enter_context(
            Jobs(folder / "data", _Stub(), keep_s=3600, most_waiting=50)  # type: ignore[arg-type]
        )
        self._jobs.start()
        uploads = upload.Limits(file_bytes=200_000, pause_s=0.2)
        self._settings = serve.Settings(uploads=uploads, jobs_a_minute=10**9, page_gone_s=0.1)
        self._app = serve.create_app(self._jobs, self._settings)
        self._loop = asyncio.new_event_loop()
        self._closing.callback(self._loop.close)
        self._known = ""
        self._logged: list[str] = []
        door = self._closing.enter_context(socket.create_server(("127.0.0.1", 0)))
        self._port = door.getsockname()[1]
        self._listen(door)
        self._seeds = self._requests()

    def _listen(self, door: socket.socket) -> None:
        ready = threading.Event()
        listener = serve.listen(self._jobs, self._settings, ready.set)
        handler = logging.Handler(logging.ERROR)
        handler.emit = lambda record: self._logged.append(logging.Formatter().format(record))  # type: ignore[method-assign]
        logging.getLogger("uvicorn.error").addHandler(handler)
        thread = threading.Thread(target=listener.run, args=([door],))
        thread.start()
        self._closing.callback(thread.join)
        self._closing.callback(setattr, listener, "should_exit", True)
        if not ready.wait(20):
            raise RuntimeError("the server did not begin")

    def _requests(self) -> list[bytes]:
        paths = [
            "/",
            "/docs",
            "/healthz",
            "/metrics",
            "/openapi.json",
            "/login?token=x",
            "/static/style.css",
            "/events",
        ]
        job = _JOB.decode()
        paths += [
            f"/jobs/{job}",
            f"/jobs/{job}/row",
            f"/jobs/{job}?lang=de",
            f"/v1/jobs/{job}",
            f"/v1/jobs/{job}/events",
        ]
        paths += [
            f"/v1/jobs/{job}/{what}"
            for what in ("report.json", "report.html", "report.zip", "annotated", "picture.jpg")
        ]
        heads = (
            "Host: localhost\r\nAccept-Language: de-CH, en;q=0.5\r\nCookie: deepfake-detect-visit=" + "A" * 22 + "\r\n"
        )
        part = "Range: bytes=0-3\r\nIf-Range: x\r\n"
        found = [f"GET {path} HTTP/1.1\r\n{heads}{part}\r\n".encode() for path in paths]
        others = (("DELETE", f"/v1/jobs/{job}"), ("POST", f"/v1/jobs/{job}/cancel"), ("HEAD", "/"))
        found += [f"{method} {path} HTTP/1.1\r\n{heads}\r\n".encode() for method, path in others]
        for path in ("/v1/jobs", "/v1/jobs", "/v1/jobs", f"/v1/jobs/{job}/comparisons"):
            kind = f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {len(_FORM)}\r\nOrigin: http://localhost\r\n"
            found += [f"POST {path} HTTP/1.1\r\n{heads}{kind}\r\n".encode() + _FORM] * 3
        body = b"token=something"
        found.append(f"POST /login HTTP/1.1\r\n{heads}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        return found

    def make(self, rng: Random) -> Files:
        """A request that was good once."""
        request = rng.choice(self._seeds)
        for _ in range(rng.choice((0, 1, 1, 2, 3))):
            at = rng.randrange(len(request) + 1)
            request = request[:at] + rng.choice(_TOKENS) + request[at + rng.choice((0, 0, 1, 5)) :]
        if rng.random() < 0.5:
            request = mutated(request, rng, self._seeds)
        if rng.random() < 0.5:
            head, _, body = request.partition(b"\r\n\r\n")
            # So that the whole of a form is read, as long as it is now.
            request = re.sub(rb"Content-Length: \d+", b"Content-Length: %d" % len(body), head) + b"\r\n\r\n" + body
        return {"request": request}

    def run(self, files: Files, number: int) -> str:
        """Asked in process, and every tenth over a connection, too."""
        request = files["request"].replace(_JOB, self._a_job().encode())
        status, headers, body = self._loop.run_until_complete(asyncio.wait_for(self._ask(request), self.seconds / 2))
        if status not in _STATUSES:
            raise BrokenError(f"status {status}: {body[:200]!r}")
        if b"content-security-policy" not in headers or headers.get(b"x-content-type-options") != b"nosniff":
            raise BrokenError(f"headers are missing: {headers}")
        if status >= 400 and headers.get(b"content-type", b"") == b"application/json":
            error = json.loads(body)["error"]
            if not error["kind"] or not error["message"] or error["kind"] == "internal":
                raise BrokenError(f"no reason: {body[:300]!r}")
        if number % 10 == 0:
            self._send(request)
        if number % 25 == 0:
            self._tidy()
        return str(status)

    def close(self) -> None:
        """End the server."""
        self._closing.close()

    def _a_job(self) -> str:
        if not self._known or self._jobs.get(self._known) is None:
            with self._jobs.room() as name:
                self._jobs.file_of(name).write_bytes(b"\0")
                self._jobs.add(name, called="a.jpg", page="A" * 22)
            self._known = name
        return self._known

    async def _ask(self, request: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
        head, _, body = request.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        method, _, rest = first.partition(b" ")
        path, _, query = rest.rpartition(b" ")[0].partition(b"?")
        pairs = [line.partition(b":") for line in lines]
        headers = [(name.strip().lower(), value.strip()) for name, _, value in pairs]
        scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "scheme": "http",
            "method": method.decode("latin-1"), "path": urllib.parse.unquote(path.decode("latin-1")), "raw_path": path,
            "query_string": query, "root_path": "", "headers": headers, "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }  # fmt: skip
        step = 1 + zlib.crc32(body) % 500
        chunks = [body[at : at + step] for at in range(0, len(body), step)]
        declared = dict(headers).get(b"content-length", b"0")
        # Who promised more than there is goes away.
        whole = not declared.isdigit() or len(declared) > 9 or int(declared) <= len(body)
        done, messages = asyncio.Event(), []

        async def receive() -> dict[str, Any]:
            if chunks:
                chunk = chunks.pop(0)
                return {"type": "http.request", "body": chunk, "more_body": bool(chunks) or not whole}
            if whole and not receive_ended.is_set():
                receive_ended.set()
                return {"type": "http.request", "body": b"", "more_body": False}
            if whole:
                with suppress(TimeoutError):
                    await asyncio.wait_for(done.wait(), 0.3)
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            messages.append(message)

        receive_ended = asyncio.Event()
        if body and whole:
            receive_ended.set()
        try:
            await self._app(scope, receive, send)  # type: ignore[arg-type]
        finally:
            done.set()
        if not messages:
            # Nothing is said to somebody who is gone.
            if whole:
                raise BrokenError("no answer")
            return 408, {b"content-security-policy": b"", b"x-content-type-options": b"nosniff"}, b""
        start = messages[0]
        return (start["status"], {bytes(name).lower(): bytes(value) for name, value in start["headers"]},
                b"".join(message.get("body", b"") for message in messages[1:]))  # fmt: skip

    def _send(self, request: bytes) -> None:
        """Over a connection: whatever it is, the server answers in HTTP or hangs up, logs no error, and lives."""
        answer = b""
        with socket.create_connection(("127.0.0.1", self._port), timeout=0.3) as connection, suppress(OSError):
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65536):
                answer += part
        if answer and not re.match(rb"HTTP/1\.[01] [1-4]\d\d |HTTP/1\.1 507 ", answer):
            raise BrokenError(f"answered {answer[:200]!r}")
        with socket.create_connection(("127.0.0.1", self._port), timeout=5) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            if not connection.recv(100).startswith(b"HTTP/1.1 200"):
                raise BrokenError("it no longer lives")
        if self._logged:
            said, self._logged[:] = self._logged[0], []
            raise BrokenError(f"the server logged: {said[-1500:]}")

    def _names(self) -> set[str]:
        """What lies in the folders that hold something of each job."""
        places = (place for place in (self._folder / "data").iterdir() if place.is_dir())
        return {path.name for place in places for path in place.iterdir()}

    def _tidy(self) -> None:
        """Only of jobs that are known does anything lie there."""
        with self._jobs._lock:
            known, found = self._jobs._ledger.names(), self._names()
        # Uploads over a connection may be on their way.
        if found - known:
            time.sleep(0.5)
            found &= self._names()
            with self._jobs._lock:
                known |= self._jobs._ledger.names()
        if found - known:
            raise BrokenError(f"left behind: {found - known}")
        if len(known) > 200:
            for name in known:
                self._jobs.delete(name)


TARGETS: dict[str, type[Media] | type[Records] | type[Weights] | type[Http]] = {
    "media": Media, "records": Records, "weights": Weights, "http": Http,
}  # fmt: skip
