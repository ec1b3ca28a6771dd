"""The server over a real connection: what is answered, and that each thing that must be refused is."""

from __future__ import annotations

import asyncio
import colorsys
import contextlib
import http.client
import io
import json
import logging
import math
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from conftest import SAMPLES
from test_jobs import JPEG, Full, StubPool, until

from deepfake_detect import draw
from deepfake_detect.cli import main
from deepfake_detect.errors import OptionsError
from deepfake_detect.media import choose
from deepfake_detect.options import Options
from deepfake_detect.report import SCHEMA_FILE
from deepfake_detect.server import endpoints, guard, listener, login, serve, upload, visits, website
from deepfake_detect.server.guard import LOOPBACK, Rate
from deepfake_detect.server.jobs import Jobs
from deepfake_detect.server.ledger import Ticket
from deepfake_detect.server.timeline import Line, timeline
from deepfake_detect.words import LANGUAGES, Words

TOKEN = "a-token-of-some-length"
FORM = {"Content-Type": "multipart/form-data; boundary=b"}


@dataclass
class Served:
    """A server that runs, and a client of it."""

    jobs: Jobs
    pool: StubPool
    client: httpx.Client
    port: int
    listener: listener.Listener | None = None

    def send(self, order: str = "manipulated 0.9", name: str = "clip.mp4", **fields: str) -> str:
        answer = self.client.post("/v1/jobs", files={"file": (name, order.encode())}, data=fields)
        assert answer.status_code == 202, answer.text
        assert answer.json()["status"] == "queued"
        return str(answer.json()["id"])

    def ended(self, name: str) -> dict[str, Any]:
        return until(lambda: found if (found := self.state(name))["stage"] == "" else None)

    def state(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(f"/v1/jobs/{name}").json()
        return found

    def running(self, name: str) -> None:
        until(lambda: self.state(name)["status"] == "running" or None)

    def refused(self, kind: str) -> bool:
        return f'deepfake_detect_refused_requests_total{{kind="{kind}"}}' in self.client.get("/metrics").text

    @property
    def visits(self) -> visits.Visits:
        """Which pages it takes for open. That files stay is better looked up here than waited for: machines stall."""
        assert self.listener is not None
        found: visits.Visits = self.listener.config.app._app.state.service.visits
        return found

    def close_page(self, page: str, client: httpx.Client | None = None) -> asyncio.TimerHandle:
        """Say that the last page of the only visit is closed; what then waits to forget its files."""
        answer = (client or self.client).post("/open", params={"page": page, "closed": True})
        assert answer.status_code == 204
        (waits,) = self.visits._leaving.values()
        return waits

    def raw(self, data: bytes, *, wait_s: float = 5) -> bytes:
        """What is answered to these bytes, until the connection is closed or nothing comes."""
        found = b""
        with socket.create_connection(("127.0.0.1", self.port), timeout=wait_s) as connection:
            connection.sendall(data)
            with contextlib.suppress(TimeoutError):
                while part := connection.recv(65536):
                    found += part
        return found


@contextlib.contextmanager
def serving(folder: Path, settings: serve.Settings | None = None, **more: Any) -> Iterator[Served]:
    settings, pool = settings or serve.Settings(), StubPool()
    headers = {"Authorization": f"Bearer {settings.token}"} if settings.token else {}
    with Jobs(folder / "data", pool, **more) as jobs, socket.create_server(("127.0.0.1", 0)) as door:  # type: ignore[arg-type]
        jobs.start()
        ready = threading.Event()
        listening = serve.listen(jobs, settings, ready.set)
        thread = threading.Thread(target=listening.run, args=([door],))
        thread.start()
        try:
            assert ready.wait(10)
            port = door.getsockname()[1]
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=20) as client:
                yield Served(jobs, pool, client, port, listening)
        finally:
            listening.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    limits = upload.Limits(file_bytes=10**6, pause_s=1)
    settings = serve.Settings(uploads=limits, page_gone_s=0.1, jobs_a_minute=10_000)
    with serving(tmp_path_factory.mktemp("served"), settings) as found:
        yield found


@pytest.fixture
def held(served: Served) -> Iterator[str]:
    """A job that runs until it is cancelled."""
    served.pool.released.clear()
    name = served.send("hold", "held.mp4")
    served.running(name)
    yield name
    served.client.delete(f"/v1/jobs/{name}")


# What is answered


def test_a_file_becomes_a_report_in_every_form(served: Served) -> None:
    name = served.send("manipulated 0.9", "holiday.jpg")
    state = served.ended(name)
    assert (state["status"], state["label"], state["name"], state["progress"]) == (
        "done",
        "manipulated",
        "holiday.jpg",
        1,
    )
    record = served.client.get(f"/v1/jobs/{name}/report.json").json()
    assert record["media"]["path"] == "holiday.jpg"
    page = served.client.get(f"/v1/jobs/{name}/report.html")
    assert page.text == "<title>Report</title>"
    assert "sandbox" in page.headers["content-security-policy"]
    assert "script" not in page.headers["content-security-policy"]
    copy = served.client.get(f"/v1/jobs/{name}/annotated")
    assert (copy.content, copy.headers["content-type"]) == (JPEG, "image/jpeg")
    part = served.client.get(f"/v1/jobs/{name}/annotated", headers={"Range": "bytes=3-4"})
    assert (part.status_code, part.content) == (206, JPEG[3:5])
    archive = zipfile.ZipFile(io.BytesIO(served.client.get(f"/v1/jobs/{name}/report.zip").content))
    assert archive.testzip() is None
    assert sorted(archive.namelist()) == [
        "report/annotated.jpg", "report/evidence/person001.npz", "report/report.html", "report/report.json",
    ]  # fmt: skip


def test_a_folder_of_before_zip_knows_a_time_is_downloaded(served: Served) -> None:
    name = served.send()
    served.ended(name)
    os.utime(served.jobs.report_of(name) / "report.json", (1000, 1000))
    archive = zipfile.ZipFile(io.BytesIO(served.client.get(f"/v1/jobs/{name}/report.zip").content))
    assert archive.testzip() is None
    assert archive.getinfo("report/report.json").date_time == (1980, 1, 1, 0, 0, 0)


@pytest.mark.parametrize("path", ["/v1/jobs", "/login"])
def test_who_goes_away_before_the_end_is_no_bug(served: Served, path: str, caplog: pytest.LogCaptureFixture) -> None:
    start = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n".encode()
    before = served.refused("gone") and served.client.get("/metrics").text.split('"gone"} ')[1].split()[0]
    with socket.create_connection(("127.0.0.1", served.port)) as connection:
        connection.sendall(start + b"Content-Length: 1000\r\n\r\n--b")
    until(lambda: served.client.get("/metrics").text.partition('"gone"} ')[2].split()[:1] not in ([], [before]) or None)
    assert not caplog.records


def test_an_odd_address_is_refused_as_one(served: Served) -> None:
    for path in (
        "/v1/jobs/x/",
        "/jobs/",
        "/v1/jobs/%00",
        "/v1/jobs/%ff",
        "/v1/jobs/%ed%a0%80",
        "/nothing",
    ):
        answer = served.client.get(path)
        assert (answer.status_code, answer.json()["error"]["kind"]) == (404, "not_found"), path
    status = guarded_status({"query_string": b"lang=\xff"})
    assert status == 400


@pytest.mark.parametrize(("said", "bytes_"), [("12", 12), ("", 0), ("\xb2", 0), ("9" * 5000, 0), ("-1", 0), ("1_0", 0)])
def test_a_length_that_is_no_number_is_none(said: str, bytes_: int) -> None:
    assert upload.announced({"content-length": said}) == bytes_


def guarded_status(scope: dict[str, Any]) -> int:
    """What the guard answers to a request that no HTTP parser lets through."""
    sent: list[Any] = []

    async def answer() -> None:
        async def receive() -> dict[str, Any]:
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        async def never(*_: object) -> None:
            raise AssertionError("it was served")

        own = guard.Guard(never, lock=guard.Lock(None), refused=lambda _: None)
        headers = [(b"host", b"localhost")]
        await own({"type": "http", "method": "GET", "path": "/", "headers": headers, **scope}, receive, send)

    asyncio.run(answer())
    return int(sent[0]["status"])


@pytest.mark.parametrize("token", ["%a0", "%F0%9F%98%80", "a;b", "%0d%0aX: y"])
def test_a_token_that_nobody_asked_for_is_not_sent_back(served: Served, token: str) -> None:
    for answer in (served.client.get(f"/login?token={token}"), served.client.post("/login", content=f"token={token}")):
        assert answer.status_code == 303
        assert "set-cookie" not in answer.headers


def test_a_record_alone_follows_the_contract_and_so_does_a_failure(served: Served) -> None:
    schema = json.loads(SCHEMA_FILE.read_text())
    done, failed = served.send(contents="record"), served.send("error damaged", contents="record")
    assert (served.ended(done)["status"], served.ended(failed)["status"]) == ("done", "failed")
    assert served.state(failed)["error"]["kind"] == "damaged"
    for name in (done, failed):
        jsonschema.validate(served.client.get(f"/v1/jobs/{name}/report.json").json(), schema)
        assert served.client.get(f"/v1/jobs/{name}/report.html").status_code == 404


def test_events_tell_until_it_is_over(served: Served, held: str) -> None:
    with served.client.stream("GET", f"/v1/jobs/{held}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = (json.loads(line.removeprefix("data: ")) for line in answer.iter_lines() if line)
        assert next(events)["status"] == "running"
        assert served.client.get(f"/v1/jobs/{held}/report.json").status_code == 409
        served.client.post(f"/v1/jobs/{held}/cancel")
        assert [event["status"] for event in events][-1] == "cancelled"


def test_an_answer_can_be_put_off_until_it_is_over(served: Served, held: str) -> None:
    began = time.monotonic()
    state = served.client.get(f"/v1/jobs/{held}", params={"wait": 0.2}).json()
    assert (state["status"], time.monotonic() - began > 0.2) == ("running", True)
    threading.Timer(0.3, served.client.post, [f"/v1/jobs/{held}/cancel"]).start()
    began = time.monotonic()
    assert served.client.get(f"/v1/jobs/{held}", params={"wait": 15}).json()["status"] == "cancelled"
    assert 0.1 < time.monotonic() - began < 10
    assert served.client.get(f"/v1/jobs/{held}", params={"wait": 15}).json()["status"] == "cancelled"
    assert served.jobs._awaited == {}


def test_a_record_can_be_put_off_until_it_is_there(served: Served, held: str) -> None:
    address = f"/v1/jobs/{held}/report.json"
    began = time.monotonic()
    answer = served.client.get(address, params={"wait": 0.2})
    assert (answer.status_code, time.monotonic() - began > 0.2) == (409, True)
    assert int(answer.headers["retry-after"]) == 1
    threading.Timer(0.3, served.client.post, [f"/v1/jobs/{held}/cancel"]).start()
    began = time.monotonic()
    answer = served.client.get(address, params={"wait": 15})
    assert (answer.status_code, answer.json()["error"]["kind"]) == (200, "cancelled")
    assert 0.1 < time.monotonic() - began < 10


def test_who_waits_for_what_is_deleted_learns_that(served: Served, held: str) -> None:
    waits = served.send()
    threading.Timer(0.3, served.client.delete, [f"/v1/jobs/{waits}"]).start()
    assert served.client.get(f"/v1/jobs/{waits}", params={"wait": 15}).status_code == 404
    assert served.client.get(f"/v1/jobs/{held}", params={"wait": 61}).status_code == 422


def test_who_waits_does_not_hold_up_the_end(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        served.pool.released.clear()
        name = served.send("hold")
        served.running(name)
        with ThreadPoolExecutor(1) as threads:
            asked = threads.submit(
                httpx.get, f"{served.client.base_url}/v1/jobs/{name}", params={"wait": 60}, timeout=30
            )
            until(lambda: served.jobs._awaited or None)
            began = time.monotonic()
            assert served.listener is not None
            served.listener.should_exit = True
            assert asked.result().json()["status"] == "running"
            assert time.monotonic() - began < 5


def test_what_can_not_be_deleted_or_cancelled_is_said(served: Served, held: str) -> None:
    done, waits = served.send("error damaged"), served.send()
    ledger = served.jobs._ledger
    db = ledger._db
    try:
        Full(served.jobs, "", 10**6)
        answers = [served.client.delete(f"/v1/jobs/{done}"), served.client.post(f"/v1/jobs/{waits}/cancel")]
    finally:
        ledger._db = db
    for answer in answers:
        assert (answer.status_code, answer.json()["error"]["kind"]) == (507, "disk")
        assert "disk is full" in answer.json()["error"]["message"]
    assert served.client.delete(f"/v1/jobs/{done}").status_code == 204


def test_what_stays_of_a_deleted_job_is_said_without_where(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    done = served.send("error damaged")
    monkeypatch.setattr("deepfake_detect.server.jobs.remove", refuse)
    answer = served.client.delete(f"/v1/jobs/{done}")
    assert (answer.status_code, answer.json()["error"]["kind"]) == (507, "disk")
    assert answer.json()["error"]["message"] == "not all of it can be deleted (Permission denied); try again"
    monkeypatch.undo()
    assert served.client.delete(f"/v1/jobs/{done}").status_code == 204


def test_deleted_is_gone_for_good(served: Served) -> None:
    name = served.send()
    served.ended(name)
    assert served.client.delete(f"/v1/jobs/{name}").status_code == 204
    assert name not in files(served)
    assert not served.jobs.report_of(name).exists()
    for address in (f"/v1/jobs/{name}", f"/v1/jobs/{name}/report.json", f"/v1/jobs/{name}/events"):
        assert served.client.get(address).status_code == 404
    assert served.client.delete(f"/v1/jobs/{name}").status_code == 404


def test_a_photo_is_compared_with_what_was_sent(served: Served) -> None:
    name = served.send("manipulated 0.9")
    answer = served.client.post(f"/v1/jobs/{name}/comparisons", files={"file": ("mine.jpg", b"no_face")})
    pair = answer.json()["id"]
    assert served.ended(pair)["label"] == "inconclusive"
    record = served.client.get(f"/v1/jobs/{pair}/report.json").json()
    assert (record["suspect"]["path"], record["original"]["path"]) == ("clip.mp4", "mine.jpg")
    assert served.client.get(f"/v1/jobs/{pair}/picture.jpg").content == JPEG
    assert served.client.post(f"/v1/jobs/{pair}/comparisons", files={"file": b"x"}).status_code == 404


def test_the_server_says_that_it_lives_and_how_it_fares(served: Served) -> None:
    assert served.client.get("/healthz").json() == {"status": "ok"}
    served.ended(served.send())
    metrics = served.client.get("/metrics").text
    assert float(re.findall(r'^deepfake_detect_jobs_total\{status="done"\} (\S+)', metrics, re.M)[0]) >= 1
    assert "process_resident_memory_bytes" in metrics


def test_the_description_names_every_way_in(served: Served) -> None:
    paths = served.client.get("/openapi.json").json()["paths"]
    assert set(paths) >= {"/v1/jobs", "/v1/jobs/{id}", "/v1/jobs/{id}/events", "/healthz", "/metrics"}
    page = served.client.get("/docs").text
    for path in paths:
        assert path in page
    # Nothing of it comes from elsewhere.
    assert set(re.findall(r'(?:src|href)="(?!#|/)([^"]*)"', page)) == set()


def test_the_description_says_what_an_answer_is_made_of(served: Served) -> None:
    paths = served.client.get("/openapi.json").json()["paths"]
    kinds = {path: set(way["get"]["responses"]["200"]["content"]) for path, way in paths.items() if "get" in way}
    assert kinds["/metrics"] == {"text/plain"}
    assert kinds["/v1/jobs/{id}/events"] == {"text/event-stream"}
    assert kinds["/v1/jobs/{id}/report.zip"] == {"application/zip"}
    assert kinds["/v1/jobs/{id}/annotated"] == {"video/mp4", "image/jpeg", "image/png"}
    assert kinds["/v1/jobs/{id}/picture.jpg"] == {"image/jpeg"}
    form = paths["/v1/jobs"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["additionalProperties"] is False
    assert form["properties"]["file"]["minLength"] == 1


def test_the_description_says_what_is_refused_and_how(served: Served) -> None:
    found = served.client.get("/openapi.json").json()
    answers = {
        (path, method): way["responses"] for path, ways in found["paths"].items() for method, way in ways.items()
    }
    assert len(answers) > 10
    refusal = {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}}
    for responses in answers.values():
        assert {*map(str, endpoints.EVERYWHERE)} <= responses.keys()
        refused = {status: one["content"] for status, one in responses.items() if status >= "400"}
        assert {status for status, content in refused.items() if content != refusal} <= {"416", "503"}
    assert "HTTPValidationError" not in found["components"]["schemas"]
    for address in (("/v1/jobs/{id}", "delete"), ("/v1/jobs/{id}/cancel", "post"), ("/v1/jobs", "post")):
        assert "507" in answers[address]
    assert {"206", "416"} <= answers["/v1/jobs/{id}/annotated", "get"].keys()
    page = served.client.get("/docs").text
    assert all(page.count(meaning) == 1 for meaning in endpoints.EVERYWHERE.values())


def test_the_description_says_how_the_token_is_shown(tmp_path: Path, served: Served) -> None:
    assert "security" not in served.client.get("/openapi.json").json()
    with serving(tmp_path, serve.Settings(token=TOKEN)) as other:
        found = other.client.get("/openapi.json").json()
        ((name, scheme),) = found["components"]["securitySchemes"].items()
        assert scheme == {"type": "http", "scheme": "bearer"}
        assert found["security"] == [{name: []}]
        assert found["paths"]["/healthz"]["get"]["security"] == []


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("PUT", "/v1/jobs/x", "DELETE, GET"), ("GET", "/v1/jobs", "POST"), ("DELETE", "/login", "GET, POST")],
)
def test_a_wrong_method_is_told_the_right_ones(method: str, path: str, allowed: str, served: Served) -> None:
    answer = served.client.request(method, path)
    assert (answer.status_code, answer.headers["Allow"]) == (405, allowed)


# The pages


def test_the_limit_of_a_file_has_no_comma_that_some_take_for_a_decimal_one(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        for language in LANGUAGES:
            said = Words(language)("serve_too_large", megabytes="4295")
            assert said in served.client.get("/", params={"lang": language}).text


def test_the_pages_speak_each_language_and_ask_nothing_of_others(served: Served) -> None:
    name = served.send("no_face", '<script>alert("x")</script>.jpg'.replace("/", ""))
    served.ended(name)
    for language in LANGUAGES:
        words = Words(language)
        for address, key in (("/", "serve_question"), (f"/jobs/{name}", "serve_compare"), ("/login", "serve_login")):
            answer = served.client.get(address, params={"lang": language})
            assert answer.status_code == 200
            assert f'<html lang="{language}">' in answer.text
            assert words(key) in answer.text
            assert "<script>" not in answer.text
            addresses = re.findall(r'(?:src|href|action)="([^"]*)"', answer.text)
            assert len(addresses) > 3
            assert all(one.startswith(("/", "#")) and not one.startswith("//") for one in addresses)
    served.client.cookies.clear()
    assert '<html lang="de">' in served.client.get("/", headers={"Accept-Language": "fr, de-AT;q=0.8, en"}).text
    served.client.cookies.clear()


def test_the_page_of_a_job_says_how_its_worker_was_confined(served: Served) -> None:
    name = served.send("no_face")
    held = served.ended(name)["confinement"]
    assert held == "rlimits"
    for language in LANGUAGES:
        page = served.client.get(f"/jobs/{name}", params={"lang": language}).text
        assert Words(language)("serve_confined", held=held) in page
    served.client.cookies.clear()


def test_every_text_the_pages_ask_for_is_there() -> None:
    texts = json.loads((SCHEMA_FILE.parent / "languages" / "en.json").read_text(encoding="utf-8"))
    asked = {key for page in website.PAGES.glob("*.j2") for key in re.findall(r'w\("([a-z_]+)"[,)]', page.read_text())}
    assert len(asked) > 40
    assert asked <= texts.keys()
    assert {f"serve_{status}" for status in ("failed", "cancelled")} <= texts.keys()
    assert {f"serve_stage_{stage}" for stage in ("queued", "loading", "judging", "writing")} <= texts.keys()


def test_a_page_shows_its_own_files_only_and_takes_them_along_when_it_is_closed(served: Served) -> None:
    with httpx.Client(base_url=served.client.base_url) as browser:
        browser.get("/")
        name = browser.post("/v1/jobs", files={"file": ("mine.jpg", b"no_face")}).json()["id"]
        served.ended(name)
        assert "mine.jpg" in browser.get("/").text
        assert "mine.jpg" not in served.client.get("/").text
        served.client.cookies.clear()
        with browser.stream("GET", "/events?page=x") as events:
            first = json.loads(next(events.iter_lines()).removeprefix("data: "))
            assert [one["id"] for one in first] == [name]
            assert first[0]["said"] == Words()("label_no_face")
            # Before its stream ends.
            browser.post("/open?page=x&closed=true")
    until(lambda: served.client.get(f"/v1/jobs/{name}").status_code == 404 or None)


def test_a_page_that_was_left_and_entered_again_keeps_its_files_until_it_is_closed(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        served.client.get("/")
        name = served.send()
        served.ended(name)
        waits = []
        for page in "abcd":
            # Each is closed, and each within the time of the one before.
            with served.client.stream("GET", f"/events?page={page}") as answer:
                next(answer.iter_lines())
                assert all(one.cancelled() for one in waits)
                assert served.visits._leaving == {}
            assert served.state(name)["status"] == "done"
            if page != "d":
                waits.append(served.close_page(page))
        served.visits._gone_s = 0.05
        served.client.post("/open?page=d&closed=true")
        until(lambda: served.client.get(f"/v1/jobs/{name}").status_code == 404 or None)


def test_a_page_that_is_loaded_anew_keeps_its_files(tmp_path: Path) -> None:
    with serving(tmp_path) as served, httpx.Client(base_url=served.client.base_url) as browser:
        browser.get("/")
        name = browser.post("/v1/jobs", files={"file": ("mine.jpg", b"hold")}).json()["id"]
        waits = []
        for page in "abcd":
            with browser.stream("GET", f"/events?page={page}") as events:
                assert json.loads(next(events.iter_lines()).removeprefix("data: "))[0]["id"] == name
                assert all(one.cancelled() for one in waits)
                assert served.visits._leaving == {}
            if page != "d":
                waits.append(served.close_page(page, browser))
        served.running(name)


def test_a_page_without_a_stream_is_open_as_long_as_it_says_so(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        served.client.get("/")
        name = served.send()
        with served.client.stream("GET", "/events?page=third") as answer:
            next(answer.iter_lines())
        waits = served.close_page("third")
        for page in ("first", "second", "first"):
            assert served.client.post("/open", params={"page": page}).status_code == 204
        served.visits._gone_s = 0.05
        served.client.post("/open", params={"page": "first", "closed": True})
        assert waits.cancelled()
        # Well beyond.
        time.sleep(0.5)
        assert served.ended(name)["status"] == "done"
        served.client.post("/open", params={"page": "second", "closed": True})
        until(lambda: served.client.get(f"/v1/jobs/{name}").status_code == 404 or None)
        assert served.client.post("/open").status_code == 422
        assert served.client.post("/open", params={"page": "x"}, headers={"Origin": "null"}).status_code == 403


def test_a_page_that_no_longer_says_that_it_is_open_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(tmp_path, serve.Settings(page_gone_s=0.05)) as served:
        served.client.get("/")
        name = served.send()
        waits = []
        for last in (False, False, True):
            if last:
                monkeypatch.setattr(visits, "_HEARD_S", 0.05)
            served.client.post("/open", params={"page": "x"})
            assert all(one.cancelled() for one in waits)
            waits += served.visits._heard.values()
            assert last or served.client.get(f"/v1/jobs/{name}").status_code == 200
        assert len(waits) >= 2
        until(lambda: served.client.get(f"/v1/jobs/{name}").status_code == 404 or None)


def test_a_page_whose_stream_is_lost_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visits, "_HEARD_S", 3)
    with serving(tmp_path, serve.Settings(page_gone_s=0.05)) as served:
        served.client.get("/")
        name = served.send()
        with served.client.stream("GET", "/events?page=x") as answer:
            next(answer.iter_lines())
        # Well beyond: it was not closed.
        time.sleep(0.5)
        assert served.client.get(f"/v1/jobs/{name}").status_code == 200
        until(lambda: served.client.get(f"/v1/jobs/{name}").status_code == 404 or None)


def test_files_stay_as_long_as_their_page_is_open(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        served.client.get("/")
        name = served.send()
        served.ended(name)
        served.client.post("/open?page=x")
        served.jobs.forget(now_s=time.time() + 10**6)
        assert served.state(name)["status"] == "done"
        served.client.post("/open?page=x&closed=true")
        # It may only be loaded anew.
        served.jobs.forget(now_s=time.time() + 10**6)
        assert served.state(name)["status"] == "done"


def test_a_file_that_was_opened_by_a_link_is_followed_with_its_comparisons(served: Served, held: str) -> None:
    pair = served.client.post(f"/v1/jobs/{held}/comparisons", files={"file": ("mine.jpg", b"x")}).json()["id"]
    with httpx.Client(base_url=served.client.base_url) as browser:
        assert f"deepfake-detect-visit-{served.port}=" in browser.get(f"/jobs/{held}").headers["set-cookie"]
        with browser.stream("GET", f"/events?page=x&job={held}") as events:
            found = json.loads(next(events.iter_lines()).removeprefix("data: "))
            assert [(one["id"], one["compares"]) for one in found] == [(held, False), (pair, True)]
        with browser.stream("GET", "/events?page=x&job=none") as events:
            assert json.loads(next(events.iter_lines()).removeprefix("data: ")) == []
        browser.post("/open?page=x&closed=true")


def test_nothing_is_read_for_a_page_while_nothing_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(tmp_path) as served:
        served.client.get("/")
        looks, of_page = 0, served.jobs.of_page

        def counted(page: str) -> list[Ticket]:
            nonlocal looks
            looks += 1
            return of_page(page)

        monkeypatch.setattr(served.jobs, "of_page", counted)
        with served.client.stream("GET", "/events?page=x") as answer:
            events = (json.loads(line.removeprefix("data: ")) for line in answer.iter_lines() if line)
            assert next(events) == []
            time.sleep(1)
            assert looks == 1
            name = served.send("no_face")
            while [one["status"] for one in next(events)] != ["done"]:
                pass
            assert served.state(name)["status"] == "done"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (60, ("1 minute", "1 Minute", "1 minuto")),
        (90, ("1.5 minutes", "1,5 Minuten", "1,5 minutos")),
        (600, ("10 minutes", "10 Minuten", "10 minutos")),
        (3600, ("1 hour", "1 Stunde", "1 hora")),
        (5400, ("90 minutes", "90 Minuten", "90 minutos")),
        (7 * 86400, ("168 hours", "168 Stunden", "168 horas")),
    ],
)
def test_how_long_files_are_kept_is_said_in_words(seconds: float, said: tuple[str, ...]) -> None:
    assert tuple(website._kept(seconds, Words(language)) for language in ("en", "de", "es")) == said


def test_a_browser_remembers_its_visit_as_long_as_its_files_are_kept(tmp_path: Path) -> None:
    with serving(tmp_path, keep_s=90.5) as served:
        first, second = (served.client.get("/").headers["set-cookie"] for _ in range(2))
        assert "Max-Age=91" in first
        # The same visit, remembered from now on.
        assert first == second
        name = served.send("no_face")
        for address in (f"/jobs/{name}", f"/jobs/{name}/row"):
            assert served.client.get(address).headers["set-cookie"] == first
    with serving(tmp_path / "other") as served:
        first = served.client.get("/").headers["set-cookie"]
        assert "Max-Age" not in first
        assert "HttpOnly; Path=/; SameSite=lax" in first
        assert "set-cookie" not in served.client.get("/").headers


def test_a_browser_remembers_what_an_earlier_server_was_to_keep_longer(tmp_path: Path) -> None:
    with serving(tmp_path, keep_s=1000) as served:
        served.client.get("/")
        served.send()
        cookies = served.client.cookies
    with serving(tmp_path, keep_s=60) as served:
        served.client.cookies = cookies
        assert "Max-Age=1000" in served.client.get("/").headers["set-cookie"]


def test_who_has_no_visit_takes_nobodys_place(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visits, "_MOST_HEARD", 1)
    with httpx.Client(base_url=served.client.base_url) as browser, httpx.Client(base_url=browser.base_url) as other:
        for page in ("x", "y"):
            assert other.post("/open", params={"page": page}).status_code == 204
        browser.get("/")
        for page, status in (("x", 204), ("y", 429)):
            assert browser.post("/open", params={"page": page}).status_code == status
        browser.post("/open", params={"page": "x", "closed": True})


def test_what_is_kept_outlives_its_page(tmp_path: Path) -> None:
    with (
        serving(tmp_path, serve.Settings(page_gone_s=0.01), keep_s=60) as served,
        httpx.Client(base_url=served.client.base_url) as browser,
    ):
        assert "are kept for 1 minute after" in browser.get("/").text
        name = browser.post("/v1/jobs", files={"file": ("mine.jpg", b"no_face")}).json()["id"]
        browser.post("/open?page=x")
        browser.post("/open?page=x&closed=true")
        served.ended(name)
        time.sleep(0.1)
        assert served.state(name)["status"] == "done"
    assert (tmp_path / "data" / "media" / name).is_file()


def test_a_timeline_follows_the_copy_and_survives_nonsense() -> None:
    faces = [{"time_s": 10 + t, "logit": t - 1} for t in range(3)]
    record: dict[str, Any] = {"media": {"sampled_times_s": [10, 11, 12], "duration_s": 2}}
    record["tracks"] = [{"id": 1, "probability": 0.4, "faces": faces}]
    found = timeline(record)
    assert found is not None
    assert found.duration_s == 2
    assert found.lines == (Line(1, ("0.0,67.5 360.0,60.0 720.0,52.5",)),)
    assert [(moment.time_s, moment.logit) for moment in found.moments] == [(0, -1), (1, 0), (2, 1)]
    for nonsense in (
        {},
        {"media": None},
        {**record, "tracks": [{"id": "x", "probability": 0.4, "faces": faces}]},
        {**record, "tracks": [{"id": 1, "probability": None, "faces": faces}]},
        {**record, "tracks": [{"id": 1, "probability": 0.4, "faces": [{"time_s": 10**400, "logit": 1}]}]},
        {**record, "tracks": [{"id": 1, "faces": 1}]},
        {**record, "media": {"sampled_times_s": [10**400], "duration_s": 2}},
        {**record, "media": {"sampled_times_s": [10, 11], "start_s": "x", "duration_s": 2}},
        {**record, "tracks": []},
    ):
        assert timeline(nonsense) is None


def test_a_moment_is_that_of_the_copy_wherever_the_first_look_lies() -> None:
    times = [9 + i / 25 for i in range(15000)]
    seen = [times[i] for i in choose(times, 0, 15000, Options(), keys=range(0, 15000, 275))]
    faces = [{"time_s": time_s, "logit": 1.0} for time_s in seen]
    record = {
        "media": {"sampled_times_s": seen, "start_s": 9.0, "duration_s": 600.0},
        "tracks": [{"id": 1, "probability": 0.7, "faces": faces}],
    }
    found = timeline(record)
    assert found is not None
    assert found.moments[0].time_s == pytest.approx(seen[0] - 9)
    assert found.start_s == 9


@pytest.mark.parametrize("fps", [Fraction(30000, 1001), Fraction(24), Fraction(25), Fraction(60), Fraction(240)])
def test_a_moment_leads_into_its_own_frame(fps: Fraction) -> None:
    # As a record states the times of frames, and as the copy's clock does.
    times = [round(float(k / fps), 6) for k in range(300)]
    stamps = [round(k / fps * 90_000) / 90_000 for k in range(301)]
    for k in range(0, 300, 5):
        record = {
            "media": {"sampled_times_s": times, "start_s": 0.0, "duration_s": float(300 / fps)},
            "tracks": [{"id": 1, "probability": 0.7, "faces": [{"time_s": times[k], "logit": 1.0}]}],
        }
        found = timeline(record)
        assert found is not None
        (moment,) = found.moments
        assert stamps[k] < moment.seek_s < stamps[k + 1]


def test_of_many_people_the_timeline_shows_those_with_the_strongest_evidence() -> None:
    logits = {1: -2.5, 2: -2.0, 3: None, 4: -2.7, 5: -2.6, 6: 3.0}
    tracks = [
        {"id": person, "probability": None if logit is None else 1 / (1 + math.exp(-logit)),
         "faces": [{"time_s": float(person), "logit": logit}]}
        for person, logit in logits.items()
    ]  # fmt: skip
    media = {"sampled_times_s": [float(t) for t in range(10)], "start_s": 0.0, "duration_s": 10.0}
    found = timeline({"media": media, "tracks": tracks})
    assert found is not None
    assert found.people == 5
    assert [line.person for line in found.lines] == [6, 2, 1, 5]
    assert max(found.moments, key=lambda moment: moment.logit).person == 6
    # A line of one point would not be seen.
    assert found.lines[0].parts == ("428.0,37.5 436.0,37.5",)


def test_no_line_runs_through_a_time_in_which_somebody_was_not_seen() -> None:
    """One in the first and the last seconds of a minute, one all the time, one now and then."""
    media = {"sampled_times_s": [100.0 + t for t in range(61)], "start_s": 100.0, "duration_s": 60.0}
    seen = {1: [1, 2, 57, 58], 2: list(range(61)), 3: [5, 7]}
    tracks = [
        {"id": person, "probability": 0.9 - person / 10, "faces": [{"time_s": 100.0 + t, "logit": 4.0} for t in times]}
        for person, times in seen.items()
    ]
    # Looked at, and not judged.
    tracks[0]["faces"].insert(2, {"time_s": 130.0, "logit": None})  # type: ignore[attr-defined]
    found = timeline({"media": media, "tracks": tracks})
    assert found is not None
    lines = {line.person: line.parts for line in found.lines}
    assert lines[1] == ("12.0,30.0 24.0,30.0", "684.0,30.0 696.0,30.0")
    assert len(lines[2]) == 1
    assert lines[3] == ("56.0,30.0 64.0,30.0", "80.0,30.0 88.0,30.0")


def test_a_line_has_the_colour_of_the_persons_box() -> None:
    """Whatever the rank; where the ground is light, a darker shade of it."""
    assert [Line(person, ()).colour for person in (1, 2, 7, 8)] == [1, 2, 7, 1]
    style = (website.PAGES / "style.css").read_text()
    for ground, number in ((244, 0), (33, 1)):
        for i, colour in enumerate(draw.COLOURS, start=1):
            assert f".line-{i} {{" in style
            shade = bytes.fromhex(re.findall(rf"--line-{i}: #(\w{{6}});", style)[number])
            hues = [colorsys.rgb_to_hsv(*(value / 255 for value in one))[0] for one in (shade, colour)]
            assert abs(hues[0] - hues[1]) < 0.01
            # Lines are told from their ground, as WCAG asks for.
            light, dark = sorted((_luminance(shade), _luminance([ground] * 3)), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 3


def _luminance(colour: Iterable[int]) -> float:
    """WCAG's relative luminance."""
    parts = [value / 255 / 12.92 if value <= 10 else ((value / 255 + 0.055) / 1.055) ** 2.4 for value in colour]
    return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), parts, strict=True))


# What is refused


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "", "10.0.0.1", "[::2]"]
)
def test_another_name_for_this_machine_is_refused(host: str, served: Served) -> None:
    for address in ("/", "/v1/jobs", "/healthz", "/static/script.js"):
        assert served.client.get(address, headers={"Host": host}).status_code == 421
    assert served.refused("host")


@pytest.mark.parametrize("host", ["127.0.0.1:1", "localhost", "LOCALHOST:99", "[::1]:80"])
def test_its_own_names_are_answered(host: str, served: Served) -> None:
    assert served.client.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("name", ["Forwarded", "X-Forwarded-For"])
def test_what_a_proxy_passed_on_is_served_only_with_a_token(name: str, served: Served, tmp_path: Path) -> None:
    passed_on = {name: "for=203.0.113.9" if name == "Forwarded" else "203.0.113.9"}
    answer = served.client.get("/", headers=passed_on)
    assert (answer.status_code, answer.json()["error"]["kind"]) == (403, "proxy")
    with serving(tmp_path, serve.Settings(token=TOKEN)) as other:
        assert other.client.get("/", headers=passed_on).status_code == 200


def test_two_hosts_are_none(served: Served) -> None:
    answer = served.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", wait_s=1)
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 421"))


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
    ],
)
def test_what_another_site_asks_for_is_refused(headers: dict[str, str], served: Served, held: str) -> None:
    files = {"file": ("x.jpg", b"no_face")}
    assert served.client.post("/v1/jobs", files=files, headers=headers).status_code == 403
    assert served.client.post(f"/v1/jobs/{held}/cancel", headers=headers).status_code == 403
    assert served.client.delete(f"/v1/jobs/{held}", headers=headers).status_code == 403
    if len(headers) == 1:
        assert served.client.get(f"/v1/jobs/{held}", headers=headers).status_code == 403
        assert served.client.get(f"/jobs/{held}", headers={**headers, "Sec-Fetch-Dest": "iframe"}).status_code == 403
    assert served.state(held)["status"] == "running"
    assert served.refused("origin")


def test_a_link_from_elsewhere_may_be_followed_and_its_own_page_may_ask(served: Served) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert served.client.get("/", headers=link).status_code == 200
    own = {"Origin": f"http://127.0.0.1:{served.port}", "Sec-Fetch-Site": "same-origin"}
    assert served.client.post("/v1/jobs", files={"file": ("x.jpg", b"no_face")}, headers=own).status_code == 202


def test_every_answer_forbids_what_is_not_needed(served: Served) -> None:
    for address in ("/", "/v1/jobs/none", "/static/script.js", "/nowhere"):
        headers = served.client.get(address).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "same-origin")
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers
    for name in ("style.css", "script.js"):
        assert not re.search(r"https?://|@import|url\(", (website.PAGES / name).read_text())
    for page in website.PAGES.glob("*.j2"):
        assert not re.search(r"\sstyle=|\son[a-z]+=|<style", page.read_text()), page


def test_without_the_token_nothing_is_served(tmp_path: Path) -> None:
    with serving(tmp_path, serve.Settings(token=TOKEN)) as served:
        name = served.send()
        plain = httpx.Client(base_url=served.client.base_url)
        for address in ("/", "/docs", "/openapi.json", "/metrics", "/events", f"/v1/jobs/{name}", f"/jobs/{name}"):
            answer = plain.get(address)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
            assert plain.get(address, headers={"Authorization": f"Bearer {TOKEN}x"}).status_code in (401, 429)
        assert plain.post("/v1/jobs", files={"file": b"x"}).status_code in (401, 429)
        for address in ("/healthz", "/login", "/static/style.css", "/static/script.js", "/static/icon.svg"):
            assert plain.get(address).status_code == 200
        plain.close()
        assert served.jobs.get(name) is not None


def test_a_browser_without_the_token_is_led_to_where_it_is_typed(tmp_path: Path) -> None:
    page = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    with (
        serving(tmp_path, serve.Settings(token=TOKEN)) as served,
        httpx.Client(base_url=served.client.base_url) as browser,
    ):
        for address in ("/", "/docs", "/jobs/x"):
            answer = browser.get(address, headers=page)
            assert (answer.status_code, answer.headers["location"]) == (303, "/login")
        assert browser.post("/v1/jobs", headers=page, files={"file": b"x"}).status_code == 401
        assert browser.get("/", headers={**page, "Host": "evil.example"}).status_code == 421
        assert browser.get("/login", headers=page).status_code == 200


def test_the_token_opens_the_pages_and_guessing_it_is_slow(tmp_path: Path) -> None:
    with (
        serving(tmp_path, serve.Settings(token=TOKEN)) as served,
        httpx.Client(base_url=served.client.base_url) as browser,
    ):
        assert Words()("serve_login_help") in browser.get("/login").text
        wrong = browser.post("/login", data={"token": "wrong"})
        assert (wrong.status_code, Words()("serve_login_wrong") in wrong.text) == (401, True)
        entered = browser.post("/login", data={"token": TOKEN})
        assert (entered.status_code, entered.headers["location"]) == (303, "/")
        cookie = entered.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert browser.get("/").status_code == 200
        with httpx.Client(base_url=served.client.base_url) as other:
            assert other.get("/login", params={"token": TOKEN}).status_code == 303
            assert other.get("/").status_code == 200
            # Cookies do not know ports: others on this machine may have set some, in any form.
            crowd = f'prefs={{"a": 1}}; deepfake-detect-token-{served.port}={TOKEN}'
            other.cookies.clear()
            assert other.get("/", headers={"Cookie": crowd}).status_code == 200
        # An address can't be somebody else's name, but a name can.
        assert browser.get("/", headers={"Host": f"192.168.1.7:{served.port}"}).status_code == 200
        assert browser.get("/", headers={"Host": "evil.example"}).status_code == 421
        statuses = [served.client.get("/", headers={"Authorization": f"Bearer {i}"}).status_code for i in range(12)]
        assert statuses[:9] == [401] * 9
        assert statuses[-1] == 429
        # Those that somebody else tried from the same address lock nobody out.
        assert served.client.get("/").status_code == 200
        assert served.client.get("/login", params={"token": TOKEN}).status_code == 303


def test_two_servers_of_one_machine_take_nothing_from_each_other(tmp_path: Path) -> None:
    with (
        serving(tmp_path / "one", serve.Settings(token=TOKEN), keep_s=3600) as one,
        serving(tmp_path / "other", serve.Settings(token=TOKEN[::-1]), keep_s=60) as other,
        httpx.Client() as browser,
    ):
        pages = {TOKEN: one.client.base_url, TOKEN[::-1]: other.client.base_url}
        for token, page in pages.items():
            assert browser.post(page.join("/login"), data={"token": token}).status_code == 303
        kept_s = []
        for page in pages.values():
            answer = browser.get(page)
            assert answer.status_code == 200
            kept_s += re.findall(r"Max-Age=(\d+)", answer.headers["set-cookie"])
        assert kept_s == ["3600", "60"]
        names = [cookie.name for cookie in browser.cookies.jar]
        assert sorted(names) == sorted(
            f"deepfake-detect-{what}-{served.port}" for what in ("token", "visit") for served in (one, other)
        )


@pytest.mark.parametrize(
    ("host", "name", "port"),
    [("localhost", "localhost", ""), ("A.example:80", "a.example", "80"), ("[::1]:8765", "::1", "8765"),
     ("[::1]", "::1", ""), ("a:\xb2", "a:\xb2", ""), ("a:123456", "a:123456", ""), ("a:", "a:", ""), ("a\n:1", "a\n", "1")],
)  # fmt: skip
def test_a_port_is_told_from_a_name(host: str, name: str, port: str) -> None:
    assert guard._parted(host) == (name, port)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/jobs/../../../etc/passwd", "/v1/jobs/%2e%2e/report.json", "/v1/jobs/..%2f..%2fetc%2fpasswd/report.json",
        "/static/..%2fserve.py", "/static/../serve.py", "/static/%2e%2e/serve.py", "/jobs/%2e%2e/row", "//etc/passwd",
        "/v1/jobs/..\\..\\x/report.zip", "/static/script.js%00.css",
    ],
)  # fmt: skip
def test_no_path_of_a_client_is_opened(path: str, served: Served) -> None:
    # A client of this kind sends the path as it is.
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == 404
    assert b"root:" not in body
    assert b"import" not in body
    connection.close()


@pytest.mark.parametrize("name", ["../../x.jpg", "..", "/etc/passwd", "a\\b.jpg", "."])
def test_a_name_that_is_a_path_is_refused(name: str, served: Served) -> None:
    body = f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\nx\r\n--b--\r\n'.encode()
    answer = served.client.post("/v1/jobs", content=body, headers=FORM)
    assert (answer.status_code, answer.json()["error"]["kind"]) == (400, "name")


def test_a_link_that_a_worker_laid_is_not_followed(served: Served) -> None:
    name = served.send()
    served.ended(name)
    report = served.jobs.report_of(name)
    for file in ("report.html", "report.json", "annotated.jpg", "evidence/person001.npz"):
        (report / file).unlink()
        (report / file).symlink_to("/etc/passwd")
    for address in ("report.html", "report.json", "annotated"):
        assert served.client.get(f"/v1/jobs/{name}/{address}").status_code == 404
    assert zipfile.ZipFile(io.BytesIO(served.client.get(f"/v1/jobs/{name}/report.zip").content)).namelist() == []


def test_too_much_is_refused_at_once_or_when_it_is_seen(served: Served) -> None:
    before = files(served)
    answer = served.client.post("/v1/jobs", files={"file": ("x.jpg", bytes(3 * 10**6))})
    assert (answer.status_code, answer.json()["error"]["kind"]) == (413, "too_large")

    def unannounced() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="x.jpg"\r\n\r\n'
        for _ in range(20):
            yield bytes(10**5)

    answer = served.client.post("/v1/jobs", content=unannounced(), headers=FORM)
    assert answer.status_code == 413
    assert files(served) == before


def test_a_form_that_goes_on_behind_its_end_is_refused_when_it_is_too_long(served: Served) -> None:
    before = files(served)

    def unannounced() -> Iterator[bytes]:
        yield PART + b"\r\n--b--\r\n"
        for _ in range(30):
            yield bytes(10**5)

    assert served.client.post("/v1/jobs", content=unannounced(), headers=FORM).status_code == 413
    assert files(served) == before


def files(served: Served) -> list[str]:
    """What was sent, by id."""
    return sorted(path.name for path in (served.jobs.folder / "media").iterdir())


START = b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x.jpg"\r\n\r\nhalf'


def test_beyond_the_most_connections_there_is_a_bare_503(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "_MOST_CONNECTIONS", 3)
    with serving(tmp_path) as found:
        idle = [socket.create_connection(("127.0.0.1", found.port)) for _ in range(3)]
        refused = found.raw(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        for connection in idle:
            connection.close()
        head, _, body = refused.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ")
        assert body == b"Service Unavailable"
        until(lambda: found.client.get("/healthz").status_code == 200 or None)


def test_beyond_these_connections_are_closed_at_once_and_take_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "_MOST_CONNECTIONS", 3)
    monkeypatch.setattr(listener, "_ANSWERED", 2)
    with serving(tmp_path) as found, contextlib.ExitStack() as idle:
        silent = [idle.enter_context(socket.create_connection(("127.0.0.1", found.port), timeout=5)) for _ in range(30)]
        # In the order in which they came.
        assert [connection.recv(1) for connection in silent[5:]] == [b""] * 25
        assert found.listener is not None
        until(lambda: len(found.listener.server_state.connections) == 5 or None)
        idle.close()
        until(lambda: found.client.get("/healthz").status_code == 200 or None)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such limit")
def test_serving_may_open_as_many_files_as_the_system_lets_it() -> None:
    program = """
import resource, socket
from deepfake_detect.cli import main
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (200, most))
with socket.create_server(("127.0.0.1", 0)) as taken:
    assert main(["serve", "--no-browser", "--port", str(taken.getsockname()[1])]) == 2
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0] == most > 200)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "give another --port" in done.stderr
    assert done.stdout == "True\n"


def test_what_comes_too_slowly_is_refused(served: Served) -> None:
    before = files(served)
    answer = served.raw(START + b"Content-Length: 1000\r\n\r\n" + PART)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"slow"' in answer
    assert files(served) == before


def test_what_drips_is_refused(tmp_path: Path) -> None:
    limits = upload.Limits(pause_s=0.2, least_bytes_s=10**9)
    with serving(tmp_path, serve.Settings(uploads=limits)) as served:
        with socket.create_connection(("127.0.0.1", served.port), timeout=5) as connection:
            connection.sendall(START + b"Content-Length: 1000\r\n\r\n" + PART)
            # Until there is an answer: to what is sent after it the system may answer in its own way.
            while not select.select([connection], [], [], 0.05)[0]:
                connection.sendall(b"x")
            assert connection.recv(1000).startswith(b"HTTP/1.1 408")
        assert files(served) == []


def test_a_header_without_an_end_ends_the_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "_HEADERS_S", 0.2)
    monkeypatch.setattr(login, "_LONGEST_S", 0.2)
    with serving(tmp_path) as served:
        began = time.monotonic()
        assert served.raw(b"GET / HTTP/1.1\r\nHost: loc") == b""
        # Before it has shown its token, too.
        start = b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"
        assert served.raw(start + b"tok").startswith(b"HTTP/1.1 408")
        # The second request of a connection, too.
        assert served.raw(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /h").startswith(b"HTTP/1.1 200")
        assert time.monotonic() - began < 4


def test_a_body_that_was_answered_before_its_end_holds_no_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "_HEADERS_S", 0.5)
    with serving(tmp_path) as served, socket.create_connection(("127.0.0.1", served.port), timeout=5) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n")
        answer = b""
        while not answer.endswith(b"}"):
            answer += connection.recv(10_000)
        assert answer.startswith(b"HTTP/1.1 200")
        connection.sendall(b"x")
        assert connection.recv(1) == b""


@pytest.mark.parametrize("answered", [False, True])
def test_a_body_that_makes_no_sense_is_no_fault_of_the_server(answered: bool, served: Served) -> None:
    faults: list[logging.LogRecord] = []
    listening = logging.Handler(logging.ERROR)
    listening.emit = faults.append  # type: ignore[method-assign]
    loggers = [logging.getLogger(name) for name in ("uvicorn.error", "asyncio")]
    for logger in loggers:
        logger.addHandler(listening)
    try:
        with socket.create_connection(("127.0.0.1", served.port), timeout=5) as connection:
            chunked = b" HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
            if answered:
                connection.sendall(b"GET /healthz" + chunked)
                assert connection.recv(100).startswith(b"HTTP/1.1 200")
                connection.sendall(b"none\r\n")
            else:
                connection.sendall(b"HEAD /" + chunked + b"none\r\n")
            with contextlib.suppress(ConnectionResetError):
                while connection.recv(10_000):
                    pass
        assert served.client.get("/healthz").status_code == 200
    finally:
        for logger in loggers:
            logger.removeHandler(listening)
    assert [fault.getMessage() for fault in faults] == []


def test_half_a_file_leaves_nothing(served: Served) -> None:
    before = files(served)
    with socket.create_connection(("127.0.0.1", served.port)) as connection:
        connection.sendall(START + b"Content-Length: 1000\r\n\r\n" + PART)
        until(lambda: len(files(served)) > len(before) or None)
    until(lambda: files(served) == before or None)
    answer = served.raw(START + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(PART) + PART)
    assert answer.startswith(b"HTTP/1.1 400")
    assert files(served) == before


@pytest.mark.parametrize(
    ("body", "headers", "status", "kind"),
    [
        (b"x", {"Content-Type": "image/jpeg"}, 415, "form"),
        (b"x", {"Content-Type": "multipart/form-data"}, 415, "form"),
        (b"nonsense", FORM, 400, "form"),
        (b"--b--\r\n", FORM, 400, "form"),
        (b'--b\r\nContent-Disposition: form-data; name="other"\r\n\r\nx\r\n--b--\r\n', FORM, 400, "form"),
        (b'--b\r\nContent-Disposition: form-data; name="language"\r\n\r\nde\r\n--b--\r\n', FORM, 400, "form"),
        (b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n\r\n--b--\r\n', FORM, 400, "empty"),
        (PART + b"\r\n" + PART + b"\r\n--b--\r\n", FORM, 400, "form"),
        (b"--b\r\n" + b"X: y\r\n" * 100_000, FORM, 400, "form"),
        (b'--b\r\nContent-Disposition: form-data; name="language"\r\n\r\n' + bytes(10_000), FORM, 400, "form"),
    ],
)  # fmt: skip
def test_a_senseless_form_is_refused(
    body: bytes, headers: dict[str, str], status: int, kind: str, served: Served
) -> None:
    before = files(served)
    answer = served.client.post("/v1/jobs", content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["kind"]) == (status, kind)
    assert files(served) == before


@pytest.mark.parametrize("fields", [{"language": "xx"}, {"contents": "everything"}])
def test_what_can_not_be_had_is_said(fields: dict[str, str], served: Served) -> None:
    answer = served.client.post("/v1/jobs", files={"file": b"x"}, data=fields)
    assert (answer.status_code, answer.json()["error"]["kind"]) == (400, next(iter(fields)))


def test_a_full_queue_says_when_to_come_again(tmp_path: Path) -> None:
    with serving(tmp_path, most_waiting=1) as served:
        held = served.send("hold")
        served.running(held)
        served.send("no_face")
        answer = served.client.post("/v1/jobs", files={"file": b"x"})
        assert (answer.status_code, answer.json()["error"]["kind"]) == (429, "full")
        assert 1 <= int(answer.headers["retry-after"]) <= 60


def test_a_disk_that_fills_up_meanwhile_ends_an_upload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0

    def usage(_: object) -> Any:
        nonlocal looks
        looks += 1
        return shutil._ntuple_diskusage(10**13, 0, 10**13 if looks < 3 else 1)

    with serving(tmp_path) as served:
        monkeypatch.setattr(shutil, "disk_usage", usage)
        answer = served.client.post("/v1/jobs", files={"file": ("x.mp4", bytes(5 * 2**20))})
        assert (answer.status_code, answer.json()["error"]["kind"]) == (507, "disk")
        assert looks == 3
        assert files(served) == []


def test_a_refusal_ends_the_connection_only_where_not_all_was_read(served: Served) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
    connection.connect()
    first = connection.sock
    refused = (("/v1/jobs/none", "localhost", 404), ("/", "evil.example", 421), ("/healthz", "localhost", 200))
    for path, host, status in refused:
        connection.request("GET", path, headers={"Host": host})
        with connection.getresponse() as said:
            said.read()
            assert (said.status, said.will_close) == (status, False)
        assert connection.sock is first
    connection.close()
    answer = served.raw(START + b"Content-Length: 3000000\r\n\r\n" + PART)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in answer.lower()


def test_too_many_files_in_a_minute_are_refused(tmp_path: Path) -> None:
    with serving(tmp_path, serve.Settings(jobs_a_minute=2)) as served:
        answers = [served.client.post("/v1/jobs", files={"file": b"no_face"}) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [202, 202, 429]
        assert 1 <= int(answers[2].headers["retry-after"]) <= 31


def test_a_rate_refills_and_forgets() -> None:
    now = 0.0
    rate = Rate(60, clock=lambda: now)
    assert [rate.wait_s("a") for _ in range(60)] == [0.0] * 60
    assert rate.wait_s("a") == pytest.approx(1)
    assert rate.wait_s("b") == 0
    now = 1.0
    assert rate.wait_s("a") == 0
    for i in range(20_000):
        rate.wait_s(str(i))
    assert len(rate._known) == guard._MOST_ADDRESSES


def test_an_internal_error_shows_no_traceback(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> Ticket:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(served.jobs, "get", broken)
    answer = served.client.get("/v1/jobs/x")
    assert (answer.status_code, answer.json()["error"]["kind"]) == (500, "internal")
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text


# The command


def test_where_others_can_reach_it_a_token_is_made() -> None:
    place, settings = serve.Place(host="0.0.0.0"), serve.Settings()
    made = serve.secured(place, settings).token
    assert made is not None
    assert len(made) >= 32
    assert made != serve.secured(place, settings).token
    assert serve.secured(serve.Place(), settings).token is None
    proxied = serve.Settings(names=(*LOOPBACK, "scan.example.org"))
    assert len(serve.secured(serve.Place(), proxied).token or "") >= 32
    assert serve.secured(serve.Place(), proxied).jobs_a_minute == 600
    # On this machine alone all have one address.
    assert serve.secured(place, settings).jobs_a_minute == 600
    assert serve.secured(serve.Place(), settings).jobs_a_minute is None
    assert serve.secured(serve.Place(), serve.Settings(token=TOKEN)).jobs_a_minute == 600
    for host in LOOPBACK:
        assert serve.secured(serve.Place(host=host), settings).token is None
    for token in ("short", "with spaces in it, and long", ""):
        with pytest.raises(OptionsError, match="--token"):
            serve.secured(place, serve.Settings(token=token))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--keep", "1y"], "expected a time such as"),
        (["--port", "-1"], "--port"),
        (["--workers", "0"], "--workers"),
        (["--token", "short"], "--token"),
        (["--data", "/dev/null"], "can't be used"),
    ],
)
def test_wrong_usage_is_said(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status = main(["serve", "--no-browser", "--port", "0", *words])
    except SystemExit as stop:
        status = int(str(stop.code))
    assert status == 2
    assert says in capsys.readouterr().err


def test_a_taken_port_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["serve", "--no-browser", "--port", str(taken.getsockname()[1])]) == 2
    assert "give another --port" in capsys.readouterr().err


@contextlib.contextmanager
def command(*words: str, folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command as a user starts it, and the address it prints."""
    line = [sys.executable, "-m", "deepfake_detect", "serve", "--no-browser", "--port", "0", "--workers", "1", *words]
    environment = {**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().removeprefix("serving on ").strip()
        finally:
            process.kill()


def test_real_files_are_judged_compared_and_gone_after_ctrl_c(tmp_path: Path) -> None:
    with command(folder=tmp_path) as (process, address), httpx.Client(base_url=address, timeout=60) as client:
        served = Served(None, None, client, 0)  # type: ignore[arg-type]
        names = ("clip_forged.mp4", "README.md", "portrait_forged.jpg", "portrait_genuine.jpg")
        clip, broken, suspect, original = ({"file": (name, (SAMPLES / name).read_bytes())} for name in names)
        video = client.post("/v1/jobs", files=clip, data={"language": "de"}).json()["id"]
        text = client.post("/v1/jobs", files=broken).json()["id"]
        picture = client.post("/v1/jobs", files=suspect, data={"contents": "record"}).json()["id"]
        pair = client.post(f"/v1/jobs/{picture}/comparisons", files=original).json()["id"]
        assert until(lambda: over(served, video), 60, every_s=0.2)["label"] == "manipulated"
        schema = json.loads(SCHEMA_FILE.read_text())
        record = client.get(f"/v1/jobs/{video}/report.json").json()
        jsonschema.validate(record, schema)
        assert record["media"]["path"] == "clip_forged.mp4"
        assert "annotated.mp4" in record["files"]
        page = client.get(f"/v1/jobs/{video}/report.html").text
        assert '<html lang="de">' in page
        assert str(tmp_path) not in page
        (tmp_path / "unpacked").mkdir()
        archive = client.get(f"/v1/jobs/{video}/report.zip").content
        zipfile.ZipFile(io.BytesIO(archive)).extractall(tmp_path / "unpacked")
        assert main(["verify", "-q", str(tmp_path / "unpacked" / "report")]) == 0
        assert "deepfake-detect verify report --media FILE" in page
        # The id alone gives whoever knows it the report.
        unpacked = [path for path in (tmp_path / "unpacked").rglob("*") if path.is_file()]
        assert len(unpacked) > 4
        assert not [path for path in unpacked if video.encode() in path.read_bytes()]
        assert client.get(f"/v1/jobs/{video}/annotated").headers["content-type"] == "video/mp4"
        shown = client.get(f"/jobs/{video}").text
        assert '<polyline class="line-1 dash-1"' in shown
        assert "data-seek=" in shown
        failed = until(lambda: over(served, text), 60, every_s=0.2)
        assert failed["error"]["kind"] == "unsupported"
        assert failed["error"]["message"].startswith("README.md: ")
        compared = until(lambda: over(served, pair), 60, every_s=0.2)
        assert compared["label"] == "taken_from_this_photo", compared
        assert client.get(f"/v1/jobs/{pair}/report.json").json()["schema"] == "deepfake-detect/compare/1"
        assert client.get(f"/v1/jobs/{pair}/picture.jpg").content.startswith(b"\xff\xd8\xff")
        assert len(list(tmp_path.glob("deepfake-detect-serve-*/media/*"))) == 4
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert (process.returncode, out) == (0, "")
        assert "Traceback" not in err
    assert not list(tmp_path.glob("deepfake-detect-serve-*"))


def over(served: Served, name: str) -> dict[str, Any] | None:
    found = served.state(name)
    return found if found["stage"] == "" else None


def test_a_killed_server_goes_on_where_it_was(tmp_path: Path) -> None:
    words = ("--keep", "1h", "--data", str(tmp_path / "kept"))
    with command(*words, folder=tmp_path) as (process, address), httpx.Client(base_url=address) as client:
        picture = (SAMPLES / "portrait_genuine.jpg").read_bytes()
        names = [client.post("/v1/jobs", files={"file": (f"{i}.jpg", picture)}).json()["id"] for i in range(3)]
        process.kill()
    with command(*words, folder=tmp_path) as (process, address), httpx.Client(base_url=address) as client:
        served = Served(None, None, client, 0)  # type: ignore[arg-type]
        for i, name in enumerate(names):
            state = until(lambda name=name: over(served, name), 60, every_s=0.2)  # type: ignore[misc]
            assert (state["status"], state["name"]) == ("done", f"{i}.jpg")
        # As when the terminal is closed.
        process.send_signal(signal.SIGHUP)
        _, err = process.communicate(timeout=30)
        assert (process.returncode, "Traceback" in err) == (0, False)


def test_the_client_of_the_docs_is_short_and_works(tmp_path: Path) -> None:
    text = (SAMPLES.parent / "docs" / "serving.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len(code.splitlines()) <= 50
    (tmp_path / "client.py").write_text(code)
    (tmp_path / "a.jpg").write_text("manipulated 0.9")
    (tmp_path / "b.jpg").write_text("error damaged")
    with serving(tmp_path, serve.Settings(token=TOKEN), most_waiting=1) as served:
        line = [sys.executable, "client.py", "a.jpg", "b.jpg"]
        address = str(served.client.base_url).rstrip("/")
        environment = {"DEEPFAKE_DETECT_SERVER": address, "DEEPFAKE_DETECT_TOKEN": TOKEN, "NO_PROXY": "*"}
        done = subprocess.run(
            line, cwd=tmp_path, env=os.environ | environment, capture_output=True, text=True, check=True
        )
        first, second = (json.loads(line.partition(" ")[2]) for line in done.stdout.splitlines())
        assert (first["label"], second["kind"]) == ("manipulated", "damaged")
        assert files(served) == []


def test_serving_without_its_packages_says_what_to_install() -> None:
    program = """
import sys
sys.modules["fastapi"] = None
from deepfake_detect.cli import main
assert main(["serve"]) == 2
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert 'pip install "deepfake-detect[serve]"' in done.stderr
