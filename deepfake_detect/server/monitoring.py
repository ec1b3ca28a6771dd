"""How a server fares, in figures for Prometheus."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import prometheus_client
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .jobs import Jobs

#: What `Monitor.figures` are written as.
CONTENT_TYPE = prometheus_client.CONTENT_TYPE_LATEST


class Monitor:
    """Counts what the jobs do not count themselves.

    Attributes:
        received_bytes: Sizes of the files taken.
    """

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._refused: Counter[str] = Counter()
        self.received_bytes = 0
        self._registry = prometheus_client.CollectorRegistry()
        self._registry.register(self)
        prometheus_client.ProcessCollector(registry=self._registry)

    def count_refusal(self, kind: str) -> None:
        """A request was not served."""
        self._refused[kind] += 1

    def figures(self) -> bytes:
        """All of them as they are now."""
        return prometheus_client.generate_latest(self._registry)

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """As a collector of Prometheus's client."""
        jobs = self._jobs
        yield _counted("jobs", "Jobs that are over, by status", "status", jobs.counts)
        yield _counted("refused_requests", "Requests not served, by kind", "kind", dict(self._refused))
        yield CounterMetricFamily(_named("job_seconds"), "Time that jobs took, without waiting", value=jobs.seconds)
        yield CounterMetricFamily(_named("received_bytes"), "Sizes of the files taken", value=self.received_bytes)
        yield GaugeMetricFamily(_named("jobs_waiting"), "Jobs in the queue", value=jobs.waiting())
        yield GaugeMetricFamily(_named("jobs_running"), "Jobs being judged", value=jobs.running())


def _named(what: str) -> str:
    return f"deepfake_detect_{what}"


def _counted(what: str, said: str, label: str, counts: dict[str, int]) -> CounterMetricFamily:
    found = CounterMetricFamily(_named(what), said, labels=[label])
    for value, count in counts.items():
        found.add_metric([value], count)
    return found
