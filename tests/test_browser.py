"""The page in a real browser: nothing is asked of the network, nothing complains, and hostile text stays text."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from test_batch import InProcess
from test_page import report

from deepfake_detect import batch
from deepfake_detect.page import html as page
from deepfake_detect.types import Note, Provenance

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
pytestmark = pytest.mark.skipif(not BROWSER, reason="no Chromium is installed")

HOSTILE = (
    "<script>document.title='taken'</script>",
    '"><img src=x onerror="document.title=1">',
    "\u202egpj.exe\u2066",
    "javascript:alert(1)",
    "</table></main><h1>Genuine</h1>",
    "line\r\nbreak\x00\x1b[31m",
    "http://example.invalid/a.png",
    "x" * 10_000,
)


def opened(text: str, folder: Path) -> tuple[str, str, list[str]]:
    """The page as the browser has it after loading, what the console says, and the addresses that were asked for."""
    file, log = folder / "report.html", folder / "net.json"
    file.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
         "--disable-component-update", "--no-first-run", f"--user-data-dir={folder / 'profile'}", "--enable-logging=stderr",
         "--v=0", f"--log-net-log={log}", "--virtual-time-budget=2000", "--dump-dom", file.as_uri()],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    asked = re.findall(r'"url":"(http[^"]+)"', log.read_text(errors="replace"))
    # The browser itself looks for updates and dictionaries.
    asked = [address for address in asked if not re.match(r"https?://[^/]*\b(google|googleapis|gvt1)\.com/", address)]
    return done.stdout, "\n".join(console), asked


def test_hostile_names_and_metadata_are_shown_as_text(tmp_path: Path) -> None:
    metadata = tuple(("EXIF", f"Name{i} {text}", text) for i, text in enumerate(HOSTILE))
    known = Provenance(
        "0" * 32, metadata=metadata, notes=(Note("editing_software", {"field": HOSTILE[0], "software": HOSTILE[1]}),)
    )
    plain = page(replace(report(), provenance=Provenance("0" * 32, metadata=metadata[-1:])))
    clean, _, _ = opened(plain, tmp_path)
    for name in HOSTILE[:6]:
        shown, console, asked = opened(page(replace(report(name), provenance=known)), tmp_path)
        assert not console
        assert not asked
        assert "<title>Report on " in shown
        for tag in ("<h1", "<h2", "<main", "<script", "<img", "<table", "<svg"):
            assert shown.count(tag) == clean.count(tag), (name, tag)


def test_the_page_of_a_scan_is_sorted_by_its_own_script_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "Pool", InProcess)
    (tmp_path / "queue").mkdir()
    for name in ("<script>document.title='taken'<", '"><img src=x onerror="document.title=1">', "\u202egpj.exe"):
        (tmp_path / "queue" / name.replace("/", "")).write_text("manipulated 0.9")
    batch.scan([str(tmp_path / "queue")], tmp_path / "out.csv")
    shown, console, asked = opened((tmp_path / batch.PAGE).read_text(encoding="utf-8"), tmp_path)
    assert not console
    assert not asked
    assert "<title>Scan of 3 files" in shown
    # Its script ran, and no other.
    assert shown.count('<button type="button">') == 5
    assert shown.count("<script") == 1
    assert shown.count("<img") == 3


def test_the_page_stands_without_complaint_and_without_requests(tmp_path: Path) -> None:
    shown, console, asked = opened(page(report(people=3), rerun="deepfake-detect verify out"), tmp_path)
    assert "Traces of manipulation found" in shown
    assert not console
    assert not asked
