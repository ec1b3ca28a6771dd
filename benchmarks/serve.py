"""A server under load, beside a scan of the same pictures: are jobs lost, does memory grow, what does HTTP cost?

python benchmarks/serve.py [report|record] [CLIENTS] [SECONDS] [FILES]

So many clients each send a small picture, wait as long as they are told, fetch the record, delete the job, and send the
next.
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import cv2
import httpx
import numpy as np
import psutil

SAMPLE = Path(__file__).parent.parent / "samples" / "portrait_genuine.jpg"


def picture(rng: np.random.Generator) -> bytes:
    """A small picture with a face, like no other."""
    pixels = cv2.resize(np.asarray(cv2.imread(str(SAMPLE))), (160, 160), interpolation=cv2.INTER_AREA)
    pixels = (pixels + rng.normal(0, 4, pixels.shape)).clip(0, 255).astype(np.uint8)
    return bytes(cv2.imencode(".jpg", pixels)[1].tobytes())


async def one_client(
    client: httpx.AsyncClient, data: bytes, contents: str, end: float, answers: Counter[int], ends: Counter[str]
) -> None:
    """Sends one after another until `end`, and waits for what it has sent."""
    while time.monotonic() < end:
        answer = await client.post("/v1/jobs", files={"file": ("small.jpg", data)}, data={"contents": contents})
        answers[answer.status_code] += 1
        if answer.status_code != 202:
            await asyncio.sleep(int(answer.headers["retry-after"]) * random.uniform(1, 1.3))
            continue
        address = f"/v1/jobs/{answer.json()['id']}"
        while (state := (await client.get(address)).json())["stage"]:
            await asyncio.sleep(min(max(state["seconds_left"] or 1, 0.5), 20))
        record = await client.get(f"{address}/report.json")
        whole = record.status_code == 200 and record.json()["verdict"] is not None
        ends[state["status"] if whole else "lost"] += 1
        answers[(await client.delete(address)).status_code] += 1


async def load(
    address: str, server: psutil.Process, contents: str, clients: int, seconds: float
) -> tuple[float, float]:
    """Jobs a second while the clients send, and the most memory of the server without its workers, MB."""
    rng, answers, ends = np.random.default_rng(0), Counter[int](), Counter[str]()
    pictures = [picture(rng) for _ in range(clients)]
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    async with httpx.AsyncClient(base_url=address, timeout=120, limits=limits) as client:
        # The workers load their nets first.
        await one_client(client, pictures[0], contents, time.monotonic() + 8, Counter(), Counter())
        begin, peak = server.memory_info().rss, 0
        began = time.monotonic()
        running = [
            asyncio.create_task(one_client(client, data, contents, began + seconds, answers, ends)) for data in pictures
        ]
        done_in_time = 0
        while not all(task.done() for task in running):
            await asyncio.sleep(0.5)
            peak = max(peak, server.memory_info().rss)
            if time.monotonic() < began + seconds:
                done_in_time = ends.total()
        for task in running:
            task.result()
        left = (await client.get("/metrics")).text
    waiting = [
        line
        for line in left.splitlines()
        if line.startswith(("deepfake_detect_jobs_waiting", "deepfake_detect_jobs_running"))
    ]
    print(f"answers {dict(sorted(answers.items()))}, jobs {dict(ends)}, accepted {answers[202]}, left {waiting}")
    print(f"memory of the server without its workers: {begin / 1e6:.0f} MB before, at most {peak / 1e6:.0f} MB")
    return done_in_time / seconds, peak / 1e6


def scanned(count: int, workers: int) -> float:
    """Files a second that a scan judges, between the first and the last row."""
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as name:
        few, many = Path(name, "few"), Path(name, "many")
        for folder, files in ((few, 2 * workers), (many, count)):
            folder.mkdir()
            for i in range(files):
                (folder / f"{i}.jpg").write_bytes(picture(rng))
        spent = []
        for folder in (few, many):
            out = Path(f"{folder}-out")
            out.mkdir()
            line = [sys.executable, "-m", "deepfake_detect", "scan", str(folder), "--out", str(out / "out.csv"), "-q",
                    "--workers", str(workers)]  # fmt: skip
            began = time.monotonic()
            subprocess.run(line, check=True)
            spent.append(time.monotonic() - began)
    return (count - 2 * workers) / (spent[1] - spent[0])


def main(contents: str = "report", clients: int = 200, seconds: float = 60, files: int = 200, workers: int = 2) -> None:
    """Serve under load, then scan."""
    with tempfile.TemporaryDirectory() as folder:
        line = [sys.executable, "-m", "deepfake_detect", "serve", "--no-browser", "--port", "0", "--rate", "1000000",
                "--data", str(Path(folder) / "data"), "--workers", str(workers)]  # fmt: skip
        with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            address = process.stdout.readline().split()[-1]
            rate, _ = asyncio.run(load(address, psutil.Process(process.pid), contents, clients, seconds))
            process.terminate()
        assert not (Path(folder) / "data").exists()
    alone = scanned(files, workers)
    print(
        f"{contents}: {rate:.1f} jobs a second by {clients} clients, {alone:.1f} files a second by scan: {rate / alone:.0%}"
    )


if __name__ == "__main__":
    given = sys.argv[1:]
    main(*given[:1], *(int(value) for value in given[1:]))
