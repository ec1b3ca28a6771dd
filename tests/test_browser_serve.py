"""The server's pages in a real browser: drop, follow, cancel, read, compare, delete; and not a word of complaint."""

from __future__ import annotations

import importlib.util
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest
from conftest import SAMPLES
from test_jobs import until
from test_serve import TOKEN, Served, command, files, serving

from deepfake_detect.server.serve import Settings
from deepfake_detect.words import Words

playwright = pytest.importorskip("playwright.sync_api")
BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
pytestmark = pytest.mark.skipif(not BROWSER, reason="no Chromium is installed")
HOSTILE = "<img src=x onerror=\"document.title='taken'\">.jpg".replace("/", "")
W = Words()
AXE = importlib.util.find_spec("axe_playwright_python")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def expected() -> list[str]:
    """How complaints begin that a test asks for."""
    return []


@pytest.fixture
def page(browser: Any, expected: list[str]) -> Iterator[Any]:
    """A page whose every complaint, and every request that goes elsewhere, fails the test."""
    context = browser.new_context(locale="en-US")
    opened, said, asked = context.new_page(), [], []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("request", lambda request: asked.append(request.url))
    opened.set_default_timeout(60_000)
    yield opened
    context.close()
    assert [words for words in said if not words.startswith(tuple(expected))] == []
    assert asked
    assert {address.split("/")[2].split(":")[0] for address in asked} == {"127.0.0.1"}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path, Settings(page_gone_s=1)) as found:
        yield found


def disk_full(_: str) -> bool:
    """In place of what writes to the database."""
    raise sqlite3.OperationalError("database or disk is full")


def give(page: Any, *files: tuple[str, str], drop: bool = False) -> None:
    """Files by name and content, chosen or dropped, when the page's script listens."""
    page.wait_for_load_state()
    if not drop:
        chosen = [{"name": name, "mimeType": "image/jpeg", "buffer": order.encode()} for name, order in files]
        page.set_input_files("input[type=file]", chosen)
        return
    script = """files => {
        const data = new DataTransfer();
        for (const [name, text] of files) data.items.add(new File([text], name));
        return data;
    }"""
    data = page.evaluate_handle(script, [list(file) for file in files])
    page.dispatch_event("main", "drop", {"dataTransfer": data})


def test_dropped_files_are_followed_cancelled_and_deleted(page: Any, served: Served) -> None:
    page.goto(str(served.client.base_url))
    give(page, ("first.jpg", "hold"), (HOSTILE, "manipulated 0.9"), ("bad.jpg", "error damaged"), drop=True)
    row = page.locator("li.row")
    playwright.expect(row).to_have_count(3)
    playwright.expect(row.nth(0)).to_contain_text("Being examined")
    playwright.expect(row.nth(1)).to_contain_text("number 1 in the queue")
    # In the middle of it, as if somebody had pressed F5.
    page.reload()
    playwright.expect(row).to_have_count(3)
    row.nth(0).get_by_role("button", name=W("serve_cancel")).click()
    playwright.expect(row.nth(0)).to_contain_text(W("serve_cancelled"))
    playwright.expect(row.nth(1)).to_contain_text(W("label_manipulated"))
    playwright.expect(row.nth(2)).to_contain_text(W("serve_failed"))
    playwright.expect(row.nth(2)).to_contain_text("no good")
    assert HOSTILE in row.nth(1).inner_text()
    assert page.title() == W("serve_title")
    row.nth(2).get_by_role("button", name=W("serve_delete")).click()
    page.get_by_role("button", name=W("serve_keep")).click()
    playwright.expect(row).to_have_count(3)
    row.nth(2).get_by_role("button", name=W("serve_delete")).click()
    page.locator("dialog").get_by_role("button", name=W("serve_delete")).click()
    playwright.expect(row).to_have_count(2)
    # Closing the page deletes its files.
    page.close()
    until(lambda: files(served) == [] or None)


def test_what_can_not_be_deleted_or_cancelled_stays_and_is_said(
    page: Any, served: Served, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected.append("Failed to load resource")
    page.goto(str(served.client.base_url))
    give(page, ("one.jpg", "hold"))
    row = page.locator("li.row")
    playwright.expect(row).to_contain_text("Being examined")
    with monkeypatch.context() as broken:
        for name in ("cancel", "delete"):
            broken.setattr(served.jobs, name, disk_full)
        row.get_by_role("button", name=W("serve_cancel")).click()
        playwright.expect(row.get_by_role("alert")).to_contain_text(W("serve_not_cancelled"))
        playwright.expect(row.get_by_role("button", name=W("serve_cancel"))).to_be_enabled()
        for _ in range(2):
            row.get_by_role("button", name=W("serve_delete")).click()
            # The second time the words stand there before the answer.
            with page.expect_response(lambda answer: answer.request.method == "DELETE"):
                page.locator("dialog").get_by_role("button", name=W("serve_delete")).click()
            playwright.expect(row.get_by_role("alert")).to_contain_text(W("serve_not_deleted"))
            playwright.expect(row.get_by_role("alert")).to_contain_text("disk is full")
    row.get_by_role("button", name=W("serve_delete")).click()
    page.locator("dialog").get_by_role("button", name=W("serve_delete")).click()
    playwright.expect(row).to_have_count(0)


def test_a_row_that_is_renewed_while_its_question_is_open_is_the_one_that_goes(
    page: Any, served: Served, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected.append("Failed to load resource")
    page.goto(str(served.client.base_url))
    give(page, ("one.jpg", "manipulated 0.9"))
    page.get_by_role("link", name=W("serve_open")).click()
    page.wait_for_url("**/jobs/*")
    row, sure = page.locator("#rows > li"), page.locator("dialog").get_by_role("button", name=W("serve_delete"))
    with served.pool._worker:
        give(page, ("mine.jpg", "an original"))
        playwright.expect(row).to_contain_text("in the queue")
        row.get_by_role("button", name=W("serve_delete")).click()
    playwright.expect(row).to_contain_text(W("compare_label_inconclusive").lower(), ignore_case=True)
    with monkeypatch.context() as broken:
        broken.setattr(served.jobs, "delete", disk_full)
        sure.click()
        playwright.expect(row.get_by_role("alert")).to_contain_text(W("serve_not_deleted"))
    with served.pool._worker:
        give(page, ("other.jpg", "an original"))
        playwright.expect(row.nth(1)).to_contain_text("in the queue")
        row.nth(1).get_by_role("button", name=W("serve_delete")).click()
    playwright.expect(row.nth(1)).to_contain_text(W("compare_label_inconclusive").lower(), ignore_case=True)
    sure.click()
    playwright.expect(row).to_have_count(1)
    # Before the server ends, which the page would complain of.
    page.close()


def test_a_broken_connection_is_tried_again(page: Any, served: Served, expected: list[str]) -> None:
    expected.append("Failed to load resource")
    broken = {"/v1/jobs": 1, "/row": 2, "/events": 1}

    def sometimes(route: Any) -> None:
        for end in broken:
            if route.request.url.partition("?")[0].endswith(end) and broken[end]:
                broken[end] -= 1
                if end == "/events":
                    route.fulfill(status=503)
                else:
                    route.abort("connectionreset")
                return
        route.continue_()

    page.route("**/*", sometimes)
    page.goto(str(served.client.base_url))
    playwright.expect(page.locator("#gone")).to_be_visible()
    give(page, ("one.jpg", "hold"), ("two.jpg", "manipulated 0.9"))
    row = page.locator("li.row")
    playwright.expect(row.nth(0)).to_contain_text(W("serve_again"))
    playwright.expect(row.nth(0)).to_contain_text("Being examined", timeout=30_000)
    playwright.expect(page.locator("#gone")).to_be_hidden()
    playwright.expect(row.nth(1)).to_contain_text("in the queue")
    broken["/row"] = 1
    served.pool.released.set()
    for i in range(2):
        playwright.expect(row.nth(i).locator("progress")).to_have_count(0, timeout=30_000)
    assert broken == dict.fromkeys(broken, 0)


def test_many_reports_can_be_open_and_keep_their_files(page: Any, served: Served) -> None:
    page.goto(str(served.client.base_url))
    give(page, ("one.jpg", "manipulated 0.9"))
    page.get_by_role("link", name=W("serve_open")).click()
    page.wait_for_url("**/jobs/*")
    # More than the six connections that browsers hold to one server.
    others = [page.context.new_page() for _ in range(8)]
    for other in others:
        other.goto(page.url, timeout=10_000)
    # While a comparison is made the page follows it.
    row = others[-1].locator("#rows > li")
    with served.pool._worker:
        give(others[-1], ("mine.jpg", "an original"))
        playwright.expect(row).to_contain_text("in the queue")
    playwright.expect(row).to_contain_text(W("compare_label_inconclusive").lower(), ignore_case=True)
    for other in others:
        other.close()
    page.wait_for_timeout(2000)
    (name,) = [ticket.id for ticket in served.jobs._ledger._find("suspect IS NULL")]
    assert page.url.endswith(name)
    # Left for a page that needs no files.
    page.goto(f"{served.client.base_url}/docs")
    until(lambda: served.jobs.get(name) is None or None)


def test_who_types_the_token_gets_in(page: Any, expected: list[str], tmp_path: Path) -> None:
    expected.append("Failed to load resource")
    with serving(tmp_path, Settings(token=TOKEN)) as served:
        page.goto(str(served.client.base_url))
        for token in ("not this one", TOKEN):
            page.get_by_label(W("serve_token")).fill(token)
            page.get_by_role("button", name=W("serve_enter")).click()
            if token != TOKEN:
                playwright.expect(page.get_by_role("alert")).to_contain_text(W("serve_login_wrong"))
        playwright.expect(page.get_by_role("heading", name=W("serve_question"))).to_be_visible()
        # Before the server ends, which the page would complain of.
        page.close()


def test_two_windows_show_the_same_files(page: Any, served: Served) -> None:
    address = str(served.client.base_url)
    page.goto(address)
    other, third = page.context.new_page(), page.context.new_page()
    other.goto(address)
    give(page, ("one.jpg", "hold"), ("two.jpg", "no_face"))
    row = page.locator("li.row")
    playwright.expect(row).to_have_count(2)
    playwright.expect(row.nth(0)).to_contain_text("Being examined")
    playwright.expect(other.locator("li.row")).to_have_count(2)
    third.goto(f"{address}/jobs/{row.nth(0).get_attribute('data-id')}")
    playwright.expect(third.locator("li.row")).to_contain_text("Being examined")
    row.nth(0).get_by_role("button", name=W("serve_delete")).click()
    page.locator("dialog").get_by_role("button", name=W("serve_delete")).click()
    playwright.expect(other.locator("li.row")).to_have_count(1)
    playwright.expect(other.locator("li.row")).to_contain_text("two.jpg")
    # What it showed is no longer there.
    third.wait_for_url(f"{address}/")
    # Before the server ends, which the page would complain of.
    page.close()


def test_a_link_to_a_file_that_is_being_judged_leads_to_its_report(page: Any, served: Served) -> None:
    name = served.send("hold", "one.jpg")
    served.running(name)
    page.goto(f"{served.client.base_url}/jobs/{name}")
    playwright.expect(page.locator("li.row")).to_contain_text("Being examined")
    served.pool.released.set()
    page.locator("#report").wait_for()
    give(page, ("mine.jpg", "an original"))
    row = page.locator("#rows > li")
    playwright.expect(row).to_contain_text(W("compare_label_inconclusive").lower(), ignore_case=True)
    # Before the server ends, which the page would complain of.
    page.close()


def test_what_is_deleted_or_stopped_is_said_and_the_next_row_has_the_focus(page: Any, served: Served) -> None:
    page.goto(str(served.client.base_url))
    give(page, ("one.jpg", "no_face"), ("two.jpg", "no_face"), ("three.jpg", "no_face"))
    news, row = page.locator("#news"), page.locator("li.row")
    playwright.expect(row.get_by_role("link", name=W("serve_open"))).to_have_count(3)
    row.nth(1).get_by_role("button", name=W("serve_delete")).focus()
    page.keyboard.press("Enter")
    page.locator("dialog").get_by_role("button", name=W("serve_delete")).click()
    playwright.expect(row).to_have_count(2)
    playwright.expect(news).to_have_text(f"two.jpg: {W('serve_deleted')}")
    assert page.evaluate("document.activeElement.closest('li').querySelector('bdi').textContent") == "three.jpg"
    # Several that are over at once.
    page.evaluate("""update([...document.querySelectorAll("#rows [data-id]")].map(
        row => ({ id: row.dataset.id, status: "cancelled", progress: 1, said: "over" })))""")
    playwright.expect(news).to_have_text("one.jpg: over. three.jpg: over")
    # One that is still being sent.
    page.route("**/v1/jobs", lambda _: None)
    give(page, ("four.jpg", "no_face"))
    page.get_by_role("button", name="four.jpg").focus()
    page.keyboard.press("Enter")
    playwright.expect(row).to_have_count(2)
    playwright.expect(news).to_have_text(f"four.jpg: {W('serve_cancelled')}")
    assert page.evaluate("document.activeElement.closest('li').querySelector('bdi').textContent") == "three.jpg"
    # Before the server ends, which the page would complain of.
    page.close()


def test_a_page_that_sends_is_not_left_and_waits_for_room(page: Any, expected: list[str], tmp_path: Path) -> None:
    expected.append("Failed to load resource")

    def full(route: Any) -> None:
        # As of a large file that is refused while it is being sent; an empty form is answered.
        if route.request.headers.get("content-type", "").startswith("multipart/") and served.jobs.waiting():
            route.abort("connectionreset")
        else:
            route.continue_()

    with serving(tmp_path, Settings(page_gone_s=1), most_waiting=1) as served:
        address = f"{served.client.base_url}/"
        page.goto(address)
        give(page, ("one.jpg", "no_face"))
        link = page.get_by_role("link", name=W("serve_open"))
        link.wait_for()
        held = served.send("hold")
        served.running(held)
        served.send("no_face")
        page.route("**/v1/jobs", full)
        give(page, ("two.jpg", "no_face"))
        row = page.locator("li.row")
        playwright.expect(row.nth(1)).to_contain_text(W("serve_full"))
        with page.context.expect_page() as beside:
            link.click()
        beside.value.wait_for_url("**/jobs/*")
        with page.expect_event("dialog") as asked:
            page.close(run_before_unload=True)
        assert asked.value.type == "beforeunload"
        asked.value.dismiss()
        assert page.url == address
        served.pool.released.set()
        playwright.expect(row.nth(1)).to_contain_text(W("label_no_face"))
        # Nothing waits any more.
        link.nth(1).click()
        page.wait_for_url("**/jobs/*")
        page.close()


def test_the_keyboard_is_enough(page: Any, served: Served) -> None:
    page.goto(str(served.client.base_url))
    give(page, ("one.jpg", "manipulated 0.9"))
    page.get_by_role("link", name=W("serve_open")).wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    reached = []
    for _ in range(12):
        reached.append(page.evaluate("document.activeElement.textContent.trim() || document.activeElement.type"))
        page.keyboard.press("Tab")
    assert "file" in reached
    assert any(name.startswith(W("serve_open")) for name in reached)
    button = page.locator("li.row").get_by_role("button", name=W("serve_delete"))
    button.focus()
    page.keyboard.press("Enter")
    playwright.expect(page.locator("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    playwright.expect(page.locator("dialog")).to_be_hidden()
    assert button.evaluate("node => node === document.activeElement")


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_window(width: int, page: Any, served: Served) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(str(served.client.base_url))
    give(page, ("x" * 200 + ".jpg", "manipulated 0.9"))
    page.get_by_role("link", name=W("serve_open")).click()
    page.wait_for_url("**/jobs/*")
    for address in ("", "docs", "login"):
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.goto(f"{served.client.base_url}/{address}".replace("//docs", "/docs").replace("//login", "/login"))


def test_a_real_video_plays_beside_its_report_and_is_compared(page: Any, tmp_path: Path) -> None:
    with command(folder=tmp_path) as (_, address):
        page.goto(address)
        page.set_input_files("input[type=file]", SAMPLES / "clip_forged.mp4")
        page.get_by_role("link", name=W("serve_open")).click()
        report = page.frame_locator("#report")
        playwright.expect(report.locator("h1")).to_contain_text("clip_forged.mp4")
        playwright.expect(report.locator(".finding strong")).to_have_text(W("label_manipulated"))
        # As high as what is in it, so that there is one thing to scroll.
        frame = page.locator("#report")
        high = "frame => frame.clientHeight"
        wide = frame.evaluate(high)
        assert wide > 2000
        assert frame.evaluate("frame => frame.contentDocument.documentElement.scrollHeight - frame.clientHeight") <= 0
        # A narrow page is longer, and the frame is as short as before when the window is as wide as before.
        size = page.viewport_size
        page.set_viewport_size({"width": 390, "height": 800})
        until(lambda: frame.evaluate(high) > wide + 100 or None)
        page.set_viewport_size(size)
        until(lambda: abs(frame.evaluate(high) - wide) <= 10 or None)
        before = float(page.locator("#now").get_attribute("x1"))
        page.locator("[data-seek]").last.click()
        page.wait_for_timeout(500)
        after = float(page.locator("#now").get_attribute("x1"))
        assert after > before
        assert page.locator("video").evaluate("video => video.duration") == pytest.approx(3, abs=0.2)
        # However often the time is told, the cursor is moved once for each picture on the screen.
        moved = page.locator("video").evaluate("""async video => {
            video.muted = video.loop = true;
            await video.play();
            for (let i = 0; i < 20; i++) video.dispatchEvent(new Event("timeupdate"));
            const real = window.requestAnimationFrame;
            let asked = 0;
            window.requestAnimationFrame = what => { asked++; return real(what); };
            await new Promise(done => setTimeout(done, 1000));
            window.requestAnimationFrame = real;
            video.pause();
            return asked;
        }""")
        assert 0 < moved < 200
        box = page.locator("#timeline").bounding_box()
        page.mouse.click(box["x"] + box["width"] / 4, box["y"] + 20)
        page.wait_for_timeout(500)
        assert page.locator("video").evaluate("video => video.currentTime") == pytest.approx(0.75, abs=0.2)
        with page.expect_download() as download:
            page.get_by_role("link", name=W("serve_download")).click()
        assert download.value.suggested_filename == "report.zip"
        page.get_by_role("button", name=W("serve_delete")).first.click()
        page.locator("dialog").get_by_role("button", name=W("serve_delete")).click()
        page.wait_for_url(address)
        playwright.expect(page.locator("#none")).to_be_visible()
        assert not list(tmp_path.glob("*/media/*"))
        # Before the server is killed, which the page would complain of.
        page.close()


def one_minute(path: Path) -> Path:
    """The forged sample clip twenty times over, a minute long."""
    with av.open(str(SAMPLES / "clip_forged.mp4")) as source, av.open(str(path), "w") as out:
        (clip,) = source.streams.video
        copy = out.add_stream_from_template(clip)
        packets = [packet for packet in source.demux(clip) if packet.dts is not None]
        begins = [(packet.pts, packet.dts) for packet in packets]
        length = sum(packet.duration for packet in packets)
        for again in range(20):
            for packet, (pts, dts) in zip(packets, begins, strict=True):
                packet.pts, packet.dts, packet.stream = pts + again * length, dts + again * length, copy
                out.mux(packet)
    return path


def test_a_minute_of_video_is_cancelled_taken_up_again_and_read(page: Any, tmp_path: Path) -> None:
    clip = one_minute(tmp_path / "minute.mp4")
    with command(folder=tmp_path) as (_, address):
        page.goto(address)
        row = page.locator("li.row")
        page.set_input_files("input[type=file]", clip)
        playwright.expect(row.locator("progress")).to_have_count(1)
        # In the middle of it, as if somebody had pressed F5.
        page.reload()
        row.get_by_role("button", name=W("serve_cancel")).click()
        playwright.expect(row).to_contain_text(W("serve_cancelled"))
        page.set_input_files("input[type=file]", clip)
        page.get_by_role("link", name=W("serve_open")).click()
        playwright.expect(page.frame_locator("#report").locator(".finding strong")).to_have_text(W("label_manipulated"))
        assert page.locator("video").evaluate("video => video.duration") == pytest.approx(60, abs=0.5)
        # The moments reach beyond its beginning, and each of them leads there.
        last = page.locator("[data-seek]").evaluate_all("found => Math.max(...found.map(one => one.dataset.seek))")
        assert last > 4
        page.locator(f'[data-seek="{last}"]').click()
        page.wait_for_timeout(500)
        assert page.locator("video").evaluate("video => video.currentTime") == pytest.approx(last, abs=0.2)
        page.close()


def test_a_real_photo_is_read_and_found_in_its_original(page: Any, tmp_path: Path) -> None:
    with command(folder=tmp_path) as (_, address):
        page.goto(address)
        page.set_input_files("input[type=file]", SAMPLES / "portrait_forged.jpg")
        page.get_by_role("link", name=W("serve_open")).click()
        copy = page.get_by_alt_text(W("serve_copy_alt", name="portrait_forged.jpg"))
        assert copy.evaluate("picture => picture.decode().then(() => picture.naturalWidth)") > 100
        page.set_input_files("input[type=file]", SAMPLES / "portrait_genuine.jpg")
        pair = page.locator("#rows > li")
        playwright.expect(pair.locator(".state")).to_have_text(
            W("compare_label_taken_from_this_photo"), ignore_case=True
        )
        beside = pair.get_by_alt_text(W("serve_compared_alt"))
        assert beside.evaluate("picture => picture.decode().then(() => picture.naturalWidth)") > 100
        pair.get_by_role("button", name=W("serve_delete")).click()
        page.locator("dialog").get_by_role("button", name=W("serve_delete")).click()
        playwright.expect(pair).to_have_count(0)
        page.close()


@pytest.mark.skipif(AXE is None, reason="axe-playwright-python is not installed")
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_has_nothing_serious_to_say(scheme: str, width: int, browser: Any, tmp_path: Path) -> None:
    assert AXE is not None
    assert AXE.origin is not None
    script = Path(AXE.origin).with_name("axe.min.js").read_text(encoding="utf-8")
    window = {"width": width, "height": 800}
    # A report may run no script, and axe is one.
    context = browser.new_context(locale="en-US", color_scheme=scheme, viewport=window, bypass_csp=True)
    page = context.new_page()
    page.set_default_timeout(60_000)

    def serious() -> list[str]:
        page.evaluate(script)
        found = page.evaluate("axe.run().then(said => said.violations)")
        return [f"{one['id']}: {one['nodes'][0]['html']}" for one in found if one["impact"] in ("serious", "critical")]

    with command(folder=tmp_path) as (_, address):
        page.goto(address)
        assert serious() == []
        page.set_input_files("input[type=file]", [SAMPLES / "portrait_forged.jpg", SAMPLES / "README.md"])
        page.get_by_role("link", name=W("serve_open")).wait_for()
        assert serious() == []
        page.get_by_role("link", name=W("serve_open")).click()
        page.wait_for_url("**/jobs/*")
        page.set_input_files("input[type=file]", SAMPLES / "portrait_genuine.jpg")
        page.get_by_alt_text(W("serve_compared_alt")).wait_for()
        assert serious() == []
        report = page.locator("#report").get_attribute("src")
        page.goto(f"{address.rstrip('/')}{report}")
        assert page.locator(".finding").count() == 1
        assert serious() == []
        for name in ("docs", "login"):
            page.goto(f"{address.rstrip('/')}/{name}")
            assert serious() == []
        context.close()
