"""A server under load, beside a scan of the same pictures: are jobs lost, does memory grow, what does HTTP cost?

python benchmarks/serve.py [report|record] [CLIENTS] [SECONDS] [FILES]

So many clients each send a small picture, wait until it is judged, fetch the record, delete the job, and send the next.
They share the cores with the server, so they are light: `pip install aiohttp`.
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

import aiohttp
import cv2
import numpy as np
import psutil

SAMPLE = Path(__file__).parent.parent / "samples" / "portrait_genuine.jpg"


def picture(rng: np.random.Generator) -> bytes:
    """A small picture with a face, like no other."""
    pixels = cv2.resize(np.asarray(cv2.imread(str(SAMPLE))), (160, 160), interpolation=cv2.INTER_AREA)
    pixels = (pixels + rng.normal(0, 4, pixels.shape)).clip(0, 255).astype(np.uint8)
    return bytes(cv2.imencode(".jpg", pixels)[1].tobytes())


async def one_client(
    client: aiohttp.ClientSession, data: bytes, contents: str, end: float, answers: Counter[int], ends: Counter[str]
) -> None:
    """Sends one after another until `end`, and waits for what it has sent."""
    while time.monotonic() < end:
        form = aiohttp.FormData({"contents": contents})
        form.add_field("file", data, filename="small.jpg")
        async with client.post("/v1/jobs", data=form) as answer:
            answers[answer.status] += 1
            taken = await answer.json()
        if answer.status != 202:
            await asyncio.sleep(int(answer.headers["retry-after"]) * random.uniform(1, 1.3))
            continue
        address = f"/v1/jobs/{taken['id']}"
        status = 409
        while status == 409:
            async with client.get(f"{address}/report.json", params={"wait": 60}) as answer:
                status, record = answer.status, await answer.json()
                answers[status] += 1
        ends["done" if status == 200 and record["verdict"] is not None else "lost"] += 1
        async with client.delete(address) as answer:
            answers[answer.status] += 1


async def load(
    address: str, server: psutil.Process, contents: str, clients: int, seconds: float
) -> tuple[float, float]:
    """Jobs a second while the clients send, and the most memory of the server without its workers, MB."""
    rng, answers, ends = np.random.default_rng(0), Counter[int](), Counter[str]()
    pictures = [picture(rng) for _ in range(clients)]
    connector, timeout = aiohttp.TCPConnector(limit=clients), aiohttp.ClientTimeout(120)
    async with aiohttp.ClientSession(address, connector=connector, timeout=timeout) as client:
        # The workers load their nets first.
        await one_client(client, pictures[0], contents, time.monotonic() + 8, Counter(), Counter())
        begin, peak = server.memory_info().rss, 0
        before = spent(server)
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
        after = spent(server)
        async with client.get("/metrics") as answer:
            left = await answer.text()
    waiting = [
        line
        for line in left.splitlines()
        if line.startswith(("deepfake_detect_jobs_waiting", "deepfake_detect_jobs_running"))
    ]
    print(f"answers {dict(sorted(answers.items()))}, jobs {dict(ends)}, accepted {answers[202]}, left {waiting}")
    print(f"memory of the server without its workers: {begin / 1e6:.0f} MB before, at most {peak / 1e6:.0f} MB")
    each = ", ".join(f"{name} {1000 * (after[name] - before[name]) / ends.total():.1f}" for name in after)
    print(f"milliseconds of a core that a job took: {each}")
    return done_in_time / seconds, peak / 1e6


def spent(server: psutil.Process) -> dict[str, float]:
    """Seconds of a core so far: of the workers, of the server without them, and of the clients."""
    times = {
        "workers": [worker.cpu_times() for worker in server.children(recursive=True)],
        "server": [server.cpu_times()],
        "clients": [psutil.Process().cpu_times()],
    }
    return {name: sum(one.user + one.system for one in some) for name, some in times.items()}


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
