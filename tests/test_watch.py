"""watch: what takes too long is ended in time, and nothing else."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest

from deepfake_detect import watch as watching
from deepfake_detect.watch import Watch


def test_what_takes_too_long_expires_once_and_what_is_over_in_time_never() -> None:
    watch, over, expired = Watch(), list[str](), threading.Event()

    def expire() -> None:
        over.append("slow")
        expired.set()

    with watch.at_most(60, lambda: over.append("quick")):
        pass
    # Nothing is left that could expire.
    assert watch._ends == {}
    with watch.at_most(60, lambda: over.append("patient")), watch.at_most(0.05, expire):
        assert expired.wait(10)
        # Often enough for another time.
        time.sleep(0.2)
        assert over == ["slow"]
    assert watch._ends == {}
    watch.close()
    assert over == ["slow"]


def test_a_later_one_that_ends_sooner_is_heard_of() -> None:
    watch, expired = Watch(), threading.Event()
    with watch.at_most(600, lambda: None):
        # The thread sleeps by now, for ten minutes.
        time.sleep(0.1)
        with watch.at_most(0.05, expired.set):
            assert expired.wait(10)
    watch.close()


def test_one_thread_watches_all_and_ends_when_it_is_closed() -> None:
    watch = Watch()
    assert watch._thread is None
    with watch.at_most(600, lambda: None):
        first = watch._thread
    assert first is not None
    for _ in range(100):
        with watch.at_most(600, lambda: None):
            assert watch._thread is first
    with watch.at_most(600, lambda: None):
        watch.close()
        assert first.is_alive()
    first.join(30)
    assert not first.is_alive()


@pytest.mark.parametrize("busy", [False, True])
def test_time_in_which_nothing_of_the_process_ran_does_not_count(busy: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock jumps, as after a pause; what was busy all that time, by the processor's clock, had that time."""
    jump_s, now_s, used_s = 0, time.monotonic, time.process_time
    clocks = SimpleNamespace(monotonic=lambda: now_s() + jump_s, process_time=lambda: used_s() + jump_s * busy)
    monkeypatch.setattr(watching, "time", clocks)
    watch, over, over_too = Watch(), threading.Event(), threading.Event()
    began_s = now_s()
    with watch.at_most(3, over.set):
        time.sleep(0.1)
        jump_s = 1000
        # Begun after the pause, before the watch knows of it: it does not get that time on top.
        with watch.at_most(0.05, over_too.set):
            assert over_too.wait(60)
            assert over.wait(60)
    assert (now_s() - began_s >= 3) != busy
    watch.close()
