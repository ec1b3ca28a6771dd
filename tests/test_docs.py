"""The pages: the site builds, asks no other for anything, and what stands in a code block works."""

from __future__ import annotations

import argparse
import importlib
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import av
import pytest
from conftest import SAMPLES

import deepfake_detect
from deepfake_detect import again, checkpoint, cluster, table, verdict
from deepfake_detect import media as files
from deepfake_detect.arguments import serve_parser
from deepfake_detect.confine import Limits
from deepfake_detect.options import FAST_FRAMES, Options
from deepfake_detect.server import endpoints, guard, jobs, ledger, listener, serve, upload, visits

ROOT = SAMPLES.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
CONTRIBUTING, CI = ROOT / "CONTRIBUTING.md", ROOT / ".ci" / "run"
# Lines of shell, and first lines of Python blocks, that are not run, and why.
TRIED, SERVES = "installs; .ci/run does", "serves until it is ended; tests/test_serve.py does"
INSTALLS = "installs less than the tests need; tests/test_package.py holds what modules load to what that brings"
DOCKER = "needs Docker; tests/test_package.py holds the Dockerfile to the README"
CLUSTER = "needs a cluster or a store; tests/test_cluster.py and tests/test_remote.py do"
NOT_RUN = {
    'python3 -m venv .venv && . .venv/bin/activate && pip install ".[test]" && deepfake-detect samples/portrait_forged.jpg'
    " samples/clip_forged.mp4 --report report": TRIED,
    "python3 -m venv .venv && . .venv/bin/activate && pip install torch torchvision --index-url"
    " https://download.pytorch.org/whl/cpu && pip install .": INSTALLS,
    "pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu": INSTALLS,
    "pip install .": INSTALLS,
    "python3 -m venv .venv && . .venv/bin/activate": INSTALLS,
    'pip install ".[serve]"': INSTALLS,
    "pytest -n 2 --dist loadfile": "would run itself",
    "docker build -t deepfake-detect .": DOCKER,
    'docker run --rm --network none --read-only --tmpfs /tmp -v "$PWD:/media:ro" -v "$PWD/out:/out" deepfake-detect'
    " clip.mp4 --report /out/report": DOCKER,
    'pip install ".[ray,remote,scan]"': CLUSTER,
    'deepfake-detect scan /shared/queue --out results.parquet --on ray': CLUSTER,
    'deepfake-detect scan s3://bucket/queue --out results.parquet --on ray': CLUSTER,
    'export RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_MODE=token': CLUSTER,
    'ray get-auth-token --generate': CLUSTER,
    'ray start --head --port=6379 --include-dashboard=false': CLUSTER,
    'ray start --address=FIRST:6379': CLUSTER,
    'deepfake-detect scan ... --on ray': CLUSTER,
    'ray stop': CLUSTER,
    "deepfake-detect serve": SERVES,
    "deepfake-detect --engine torch clip.mp4": "takes long; tests/test_engine.py holds the engines together",
    "python -m deepfake_detect.training.evaluate MEDIA --out results": "takes long; run for docs/howto/weights.md",
    "python -m deepfake_detect.training.finetune MEDIA tuned": "takes long; tests/test_prepare.py does it on few pictures",
    "python -m deepfake_detect.training.finetune media tuned": "takes long; tests/test_prepare.py does it on few pictures",
    '"""Judges files by a server: python client.py clip.mp4 photo.jpg"""': "tests/test_serve.py does",
}  # fmt: skip
BEFORE = {"docs/howto/verify.md": "deepfake-detect -q clip.mp4 --report out"}
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
_INDENTED = re.compile(r"(?:^    .*\n(?:\n(?=    ))?)+", re.M)
_COMMENT = re.compile(r"\s+# .*")


@dataclass(frozen=True)
class Block:
    """Code of a page: `kind` is sh, python, text (what the shell printed) or drawing."""

    kind: str
    text: str

    def lines(self) -> list[str]:
        """What can be left out singly: commands; of other blocks the first line, which stands for all."""
        lines = [line for line in self.text.splitlines() if line.strip()]
        return lines if self.kind == "sh" else lines[:1]


def blocks(page: Path) -> list[Block]:
    """Fenced ones, and indented ones outside fences, which name no kind: it is told by what is in them."""
    text, found = page.read_text(encoding="utf-8"), []
    for match in _FENCED.finditer(text):
        found.append((match.start(), Block(match[1], match[2])))
    blank = _FENCED.sub(lambda match: re.sub(r"[^\n]", "x", match[0]), text)
    for match in _INDENTED.finditer(blank):
        code = re.sub(r"^    ", "", match[0], flags=re.M)
        kind = "drawing" if "─▶" in code else "python" if code.startswith("from ") else "sh"
        found.append((match.start(), Block(kind, code)))
    return [block for _, block in sorted(found, key=lambda pair: pair[0])]


def left_out(line: str) -> bool:
    return _COMMENT.sub("", line) in NOT_RUN or line in NOT_RUN


def test_blocks_are_found_and_of_known_kinds() -> None:
    found = [block for page in PAGES for block in blocks(page)]
    assert len(found) > 30
    assert {block.kind for block in found} == {"sh", "python", "text", "drawing"}


def test_what_is_not_run_still_stands_somewhere() -> None:
    lines = {form for page in PAGES for block in blocks(page) for line in block.lines()
             for form in (line, _COMMENT.sub("", line))}  # fmt: skip
    assert not set(NOT_RUN) - lines
    assert {str(page.relative_to(ROOT)) for page in PAGES} >= set(BEFORE)


def test_extras_are_quoted_as_every_shell_takes_it() -> None:
    """To cmd.exe single quotes are letters like others."""
    package = Path(deepfake_detect.__file__).parent
    texts = [path.read_text(encoding="utf-8") for path in (*PAGES, *package.rglob("*.py"), *package.rglob("*.json"))]
    quoted = [found for text in texts for found in re.findall(r"pip install ([^\w\s.]*)[\w.-]+\[\w+", text)]
    assert len(quoted) > 15
    assert set(quoted) == {'"', '\\"'}


def test_no_page_says_that_a_logit_leans_from_0_on_where_the_odds_are_even_elsewhere() -> None:
    known = checkpoint.find(None).calibration
    assert known.image.even != 0 != known.video.even
    described = Path(deepfake_detect.__file__).parent / "report.schema.json"
    assert "even at -offset / slope" in described.read_text("utf-8")
    for path in (described, described.with_name("types.py"), *PAGES):
        assert "above 0 leans" not in path.read_text("utf-8"), path


def test_the_pages_say_of_how_many_people_one_alone_makes_nothing_manipulated() -> None:
    known = checkpoint.find(None).calibration
    stated = [str(verdict.too_many_for_one(known.bands(kind))) for kind in ("video", "image")]
    for page in (ROOT / "docs/explanation/verdict.md", ROOT / "weights/MODEL_CARD.md"):
        said = re.findall(
            r"of (\d+) or more people who decide in a video, and of (\d+) or more in", page.read_text("utf-8")
        )
        assert said == [tuple(stated)], page


@pytest.mark.skipif(not CI.exists(), reason="the archive of the sources does not hold it")
def test_a_fresh_machine_is_tried_with_the_lines_of_the_pages() -> None:
    def lines(page: Path) -> list[str]:
        return [line for block in blocks(page) for line in block.lines()]

    (install,) = (line for line in lines(PAGES[0]) if line.startswith("python3 -m venv"))
    (checks,) = (line for line in lines(CONTRIBUTING) if line.startswith("ruff format"))
    (tests,) = (line for line in lines(PAGES[0]) if line.startswith("pytest"))
    said = [*install.split(" && "), tests]
    ran = CI.read_text(encoding="utf-8").replace(" --quiet", "").replace("runs/first-report", "report")
    ran = ran.replace(" --check", "").splitlines()
    assert [line for line in ran if line in said] == said
    assert ran[-4:] == checks.split(" && ")


_TOOL = re.compile(r"python (?:-m deepfake_detect\.training\.(\w+)|benchmarks/(\w+)\.py)([^>\n]*)")
TOOLS = [match.groups() for page in (*PAGES, CONTRIBUTING) for block in blocks(page) if block.kind == "sh"
         for match in _TOOL.finditer(block.text.replace("\\\n", " "))]  # fmt: skip


class _Parsed(Exception):  # noqa: N818 - nothing is wrong
    """The words of a command make sense."""


@pytest.mark.parametrize(
    ("training", "benchmark", "words"),
    TOOLS,
    ids=[f"{tool[0] or tool[1]}{_COMMENT.sub('', tool[2])}" for tool in TOOLS],
)
def test_a_line_for_training_makes_sense(
    training: str | None, benchmark: str | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parse = argparse.ArgumentParser.parse_args

    def only_parse(parser: argparse.ArgumentParser) -> None:
        parse(parser)
        raise _Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", only_parse)
    monkeypatch.setattr(sys, "argv", ["tool", *shlex.split(words, comments=True)])
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    if training:
        tool = importlib.import_module(f"deepfake_detect.training.{training}").main
    else:
        tool = partial(runpy.run_path, f"benchmarks/{benchmark}.py", run_name="__main__")
    with pytest.raises(_Parsed):
        tool()


_BY_GROUPS = re.compile(
    r"python (?:-m deepfake_detect\.training\.evaluate ([^`\s]+)[^`\n]* --out runs/(?:val|all)\b"
    r"|benchmarks/(?:effort|looks|robustness)\.py ([^`\s]+))"
)


def test_what_rests_on_groups_of_the_held_out_media_is_given_those_that_are_joined() -> None:
    """By the groups beside the media, frames of one clip and both directions of a swap are strangers."""
    pages = [ROOT / "README.md", CONTRIBUTING, ROOT / "weights" / "MODEL_CARD.md", *(ROOT / "benchmarks").glob("*.py"),
             ROOT / "benchmarks" / "README.md"]  # fmt: skip
    found = [(page.name, data or media) for page in pages
             for data, media in _BY_GROUPS.findall(page.read_text(encoding="utf-8"))]  # fmt: skip
    assert {name for name, _ in found} == {"CONTRIBUTING.md", "MODEL_CARD.md", "README.md", "effort.py", "looks.py",
                                           "robustness.py"}  # fmt: skip
    assert {media for _, media in found} == {"runs/val.csv", "runs/all.csv"}


def test_lines_for_training_are_found() -> None:
    found = {training or benchmark for training, benchmark, _ in TOOLS}
    assert found >= {"average", "calibrate", "evaluate", "export", "finetune", "groups", "mesh", "prepare", "redraw",
                     "restore", "robustness", "train"}  # fmt: skip


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a shell in which the command and Python are found."""
    folder = tmp_path_factory.mktemp("bin")
    for name, words in (("deepfake-detect", "-m deepfake_detect"), ("python", "")):
        (folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        (folder / name).chmod(0o755)
    home = tmp_path_factory.mktemp("home")
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "HOME": str(home),
            "MPLBACKEND": "agg"}  # fmt: skip


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the pages speak of; the clip is a third of a second of the sample."""
    folder = tmp_path_factory.mktemp("media")
    shutil.copytree(SAMPLES, folder / "samples")
    _repeat(SAMPLES / "clip_forged.mp4", folder / "clip.mp4", packets=9, times=1)
    _repeat(SAMPLES / "clip_forged.mp4", folder / "long.mkv", packets=75, times=31)
    for name in ("photo", "suspect"):
        shutil.copy(SAMPLES / "portrait_forged.jpg", folder / f"{name}.jpg")
    shutil.copy(SAMPLES / "portrait_genuine.jpg", folder / "mine.jpg")
    for name in ("queue", "more/deeper", "evidence", "found", "many", "media/real", "media/fake"):
        (folder / name).mkdir(parents=True)
    for name in ("queue/a.jpg", "evidence/b.jpg", "media/real/a.jpg"):
        shutil.copy(folder / "mine.jpg", folder / name)
    shutil.copy(folder / "photo.jpg", folder / "media/fake/b.jpg")
    shutil.copy(folder / "clip.mp4", folder / "more/deeper/c.mp4")
    shutil.copytree(ROOT / "weights", folder / "tuned/weights", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def _repeat(source: Path, target: Path, *, packets: int, times: int) -> None:
    with av.open(str(source)) as read, av.open(str(target), "w") as written:
        stream = written.add_stream_from_template(read.streams.video[0])
        each, offset = list(read.demux(video=0))[:packets], 0
        taken = [
            (packet, packet.pts, packet.dts) for packet in each if packet.pts is not None and packet.dts is not None
        ]
        length = max(pts for _, pts, _ in taken) + int(taken[0][0].duration or 0)
        for _ in range(times):
            for packet, pts, dts in taken:
                packet.pts, packet.dts, packet.stream = pts + offset, dts + offset, stream
                packet.time_base = read.streams.video[0].time_base
                written.mux(packet)
            offset += length


def test_code_blocks_work(tmp_path: Path, commands: dict[str, str], media: Path) -> None:
    # Two pages at a time, each in a folder of its own.
    with ThreadPoolExecutor(2) as threads:
        for wrong in threads.map(lambda page: run(page, tmp_path, commands, media), PAGES):
            assert not wrong, wrong


@pytest.mark.parametrize(("command", "good"), [("echo 3 files", True), ("echo files", False), ("true", False)])
def test_what_a_page_says_a_command_prints_is_looked_for(
    command: str, good: bool, tmp_path: Path, commands: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    (tmp_path / "media").mkdir()
    (tmp_path / "page.md").write_text(f"```sh\n{command}\n```\n\n```text\n7 files\n```\n")
    wrong = run(tmp_path / "page.md", tmp_path / "run", commands, tmp_path / "media")
    assert (wrong == "") is good


def run(page: Path, where: Path, commands: dict[str, str], media: Path) -> str:
    """Do what a page says; what went wrong, or nothing."""
    name = str(page.relative_to(ROOT))
    folder = where / name.replace("/", "-")
    shutil.copytree(media, folder)
    if name in BEFORE:
        subprocess.run(BEFORE[name], shell=True, cwd=folder, env=commands, check=True)
    said, program = None, ""
    for block in blocks(page):
        if block.kind == "python" and not left_out(block.lines()[0]):
            program += block.text
        elif block.kind == "text":
            # None: nothing was run that could print it.
            if said is not None and plain(block.text) not in plain(said):
                return f"{name}: expected\n{block.text}\nfound\n{said}"
            said = None
        elif block.kind == "sh":
            said = None
            for line in block.lines():
                if left_out(line):
                    continue
                documented = re.search(r"# exit status (\d+)", line)
                done = subprocess.run(["bash", "-c", "set -o pipefail; " + line], cwd=folder, env=commands,
                                      capture_output=True, text=True, check=False)  # fmt: skip
                said = (said or "") + done.stdout
                if done.returncode != (int(documented[1]) if documented else 0):
                    return f"{name}: {line}\n{done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    if program:
        (folder / "program.py").write_text(program, encoding="utf-8")
        done = subprocess.run([sys.executable, "program.py"], cwd=folder, env=commands, capture_output=True, text=True,
                              check=False)  # fmt: skip
        if done.returncode:
            return f"{name}: Python\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return ""


def plain(text: str) -> str:
    """Without figures and how strong a support is, which depend on the weights."""
    return re.sub(r"[+-]?\d+(\.\d+)?", "0", re.sub(r"\((no|weak|moderate|moderately strong|strong) support", "(", text))


COUNTS = {"a": 1, "an": 1, "half an": 0.5, "a quarter of an": 0.25, "two": 2, "three": 3, "ten": 10}
UNITS = {"": 1, "s": 1, "minute": 60, "minutes": 60, "hour": 3600, "kB": 1000, "MiB": 2**20, "GiB": 2**30}
SERVED = serve_parser().parse_args([])
# What a page says, its figure in brackets, and what holds.
PROMISES = [
    ("README.md", r"for up to (two minutes)", files.MOST_SECONDS),
    ("README.md", r"every frame, not (16) ", Options().looks[0]),
    ("README.md", r"not 16 \((128) if those", Options().looks[-1]),
    ("README.md", r"leave it open\); --fast: (8)", FAST_FRAMES),
    ("README.md", r"`index\.html` beside it shows ([\d,]+),", table.ON_PAGE),
    ("README.md", r"`--time-limit`, (300 s)", Limits().seconds),
    ("README.md", r"`--memory-limit`, (4 GiB)", Limits().memory_bytes),
    ("README.md", r"deleted (a minute) after it is closed", serve.Settings().page_gone_s),
    ("README.md", r"\((a quarter of an hour) after it was lost\)", visits._HEARD_S),
    ("README.md", r"of more than (512) the most telling", Options().max_heatmaps),
    ("docs/explanation/map.md", r"of more than (512) in a file", Options().max_heatmaps),
    ("README.md", r"Faces under (48) pixels", Options().min_face_px),
    ("SECURITY.md", r"beyond (ten) wrong ones a minute", guard._WRONG_TOKENS_A_MINUTE),
    ("SECURITY.md", r"headers must come within (15 s)", listener._HEADERS_S),
    ("SECURITY.md", r"connections are limited to (500)", listener._MOST_CONNECTIONS),
    ("docs/serving.md", r"127\.0\.0\.1:(8765)/` in the browser", SERVED.port),
    ("docs/serving.md", r"deleted (a minute) after the page", serve.Settings().page_gone_s),
    ("docs/serving.md", r"closed; while no page is open also (an hour) after it is done", ledger.UNASKED_S),
    ("docs/serving.md", r"deleted (an hour) after it is done", ledger.UNASKED_S),
    ("docs/serving.md", r"is waited for (a quarter of an hour)", visits._HEARD_S),
    ("docs/serving.md", r"\((16) or more letters", serve._LEAST_TOKEN),
    ("docs/serving.md", r"so many seconds \((60) at most\)", endpoints._LONGEST_WAIT_S),
    ("docs/serving.md", r"(20 s) without a byte", upload.Limits().pause_s),
    ("docs/serving.md", r"less than (10 kB) a second", upload.Limits().least_bytes_s),
    ("docs/serving.md", r"`--size-limit`, (4 GiB)", SERVED.size_limit * 2**30),
    ("docs/serving.md", r"`--queue`, (100)\)", SERVED.queue),
    ("docs/serving.md", r"`--rate`, (600) of an address", SERVED.rate),
    ("docs/serving.md", r"less than (512 MiB), before", jobs._LEAST_FREE_BYTES),
    ("docs/serving.md", r"Beyond (500) connections", listener._MOST_CONNECTIONS),
    ("docs/serving.md", r"beyond (520) no answer", listener._MOST_CONNECTIONS + listener._ANSWERED),
    ("docs/serving.md", r"`--time-limit`, (half an hour) with its report", SERVED.time_limit),
    ("docs/cluster.md", r"the scan waits (15 minutes) for one", cluster._LOADING_S),
    ("docs/howto/first-time.md", r"(a minute) after you close the page", serve.Settings().page_gone_s),
    ("docs/howto/first-time.md", r"\((a quarter of an hour) after it was lost", visits._HEARD_S),
    ("docs/howto/judge.md", r"(16) frames are looked at", Options().looks[0]),
    ("docs/howto/judge.md", r"open, 64 or (128) are", Options().looks[-1]),
    ("docs/howto/verify.md", r"by (2) grey levels on average", again._GREY),
    ("docs/howto/verify.md", r"and (6) in any patch", again._PATCH_GREY),
    ("docs/howto/verify.md", r"patch of (15) pixels", again._PATCH_PX),
    ("docs/howto/verify.md", r"logit of a view by up to (1) \(", again._READ["logit"]),
    ("docs/howto/verify.md", r"place of a crop by (15) % of the face", 100 * again._READ_PLACE),
    ("docs/howto/verify.md", r"of a perceptual hash (10) of 256 bits", again._READ_BITS),
]  # fmt: skip


@pytest.mark.parametrize(("page", "says", "holds"), PROMISES, ids=[f"{page}: {says}" for page, says, _ in PROMISES])
def test_figures_that_are_promised_hold(page: str, says: str, holds: float) -> None:
    text = " ".join((ROOT / page).read_text(encoding="utf-8").split())
    (figure,) = re.findall(says, text)
    count, unit = re.fullmatch(r"(half an|a quarter of an|[a-z]+|[\d,]+) ?(\w*)", figure).groups()
    assert (COUNTS.get(count) or int(count.replace(",", ""))) * UNITS[unit] == holds


def test_how_long_an_hour_takes_is_what_was_measured() -> None:
    (said,) = re.findall(
        r"of an hour of 1080p .* all was done in ([\d.]+) s", (ROOT / "docs/cluster.md").read_text("utf-8")
    )
    (measured,) = re.findall(
        r"^\| seconds of 1080p \| 3600 \| ([\d.]+) \|", (ROOT / "benchmarks/README.md").read_text("utf-8"), re.M
    )
    assert said == f"{float(measured):.1f}"


@pytest.mark.parametrize("says", ["Intel chip", "macOS 14 or newer", "Windows installer (64-bit)"])
def test_whoever_has_a_machine_of_a_kind_without_wheels_is_told_before_installing(says: str) -> None:
    asked = re.search(r"onnxruntime>=1\.(\d+)", (ROOT / "setup.cfg").read_text(encoding="utf-8"))
    # 1.23 is the last that has a wheel for Macs with an Intel chip, or with macOS 13.
    assert asked is not None
    assert int(asked[1]) > 23
    for page in ("install", "first-time"):
        text = (ROOT / f"docs/howto/{page}.md").read_text(encoding="utf-8")
        assert 0 < text.find(says) < text.find("pip install")


def test_pages_name_the_pythons_for_which_there_is_what_is_needed() -> None:
    setup = (ROOT / "setup.cfg").read_text(encoding="utf-8")
    python = re.search(r"^python_requires = >=3\.(\d+),<3\.(\d+)$", setup, re.M)
    below = re.search(r"onnxruntime>=1\.\d+,<1\.(\d+)", setup)
    assert python is not None
    assert below is not None
    # What PyAV 17 brought is used, and what 19 took away, which newer Pythons get.
    assert re.search(r"^    av>=17,<19$", setup, re.M)
    # 1.28 has no wheel for 3.15, and no source that pip could build.
    assert (int(python[2]), int(below[1])) == (15, 29)
    for page in ("README.md", "docs/tutorial.md", "docs/howto/install.md", "docs/howto/first-time.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        assert f"3.{python[1]} to 3.{int(python[2]) - 1}" in text
        assert "3.11 or newer" not in text


@pytest.mark.parametrize(
    ("page", "says"),
    [("README.md", "at the next start"), ("docs/serving.md", "on Windows a closed window"),
     ("docs/howto/first-time.md", "not by closing the terminal")],
)  # fmt: skip
def test_whoever_closes_the_window_of_a_server_is_told_what_stays(page: str, says: str) -> None:
    """Windows ends the process before anything can be deleted."""
    text = (ROOT / page).read_text(encoding="utf-8")
    (place,) = [match.start() for match in re.finditer(says, text)]
    assert "on Windows" in text[place - 200 : place + 200]


def test_a_token_that_is_made_has_the_bits_that_are_promised() -> None:
    (bits,) = re.findall(r"the one that is made has (\d+) bits", (ROOT / "SECURITY.md").read_text(encoding="utf-8"))
    made = serve.secured(serve.Place(host="0.0.0.0"), serve.Settings()).token
    # In base64, six bits a letter.
    assert made is not None
    assert 6 * len(made) == int(bits)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


class _Loaded(HTMLParser):
    """Addresses of what a page loads by itself, and all names of places in it."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """One tag of the page."""
        given = dict(attrs)
        self.ids.add(given.get("id") or "")
        self.addresses += [value for name in ("src", "srcset", "data", "poster") if (value := given.get(name))]
        if tag == "link" and (value := given.get("href")):
            self.addresses.append(value)


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        loaded = _Loaded()
        loaded.feed(page.read_text(encoding="utf-8"))
        assert loaded.addresses
        assert not [address for address in loaded.addresses if re.match(r"(https?:)?//", address)], page
    styles = list(site.rglob("*.css"))
    assert styles
    for style in styles:
        assert not re.search(r"(url\(|@import)\s*['\"]?(https?:)?//", style.read_text(encoding="utf-8")), style


def test_the_reference_has_every_public_name_and_option(site: Path) -> None:
    page = _Loaded()
    page.feed((site / "reference/library.html").read_text(encoding="utf-8"))
    names = set(deepfake_detect.__all__) - {"__version__"}
    assert {f"deepfake_detect.{name}" for name in names} <= page.ids
    command = (site / "reference/command.html").read_text(encoding="utf-8")
    for option in ("--blur-others", "--follow-links", "--keep", "--media", "--out"):
        assert option in command
    report = (site / "reference/report.html").read_text(encoding="utf-8")
    for field in ("probability_interval", "likelihood_ratio", "detector_confidence", "content_credentials"):
        assert f"<code>{field}</code>" in report
