"""The life of a process: it ends in time, it forks safely, it says goodbye."""

from __future__ import annotations

import os
import signal
import time

import pytest

from support import Monitor, Process, eventually, out_of_reach, python

USE = """
from session_client import SessionClient
tracker = SessionClient.get_tracker("app", server_url={url!r})
with tracker.task("work"):
    pass
print("done", flush=True)
"""


def seconds_to_end(process: Process) -> float:
    process.wait_for_line("done")
    started = time.perf_counter()
    assert process.process.wait(10) == 0, process.output()
    return time.perf_counter() - started


# A name server that does not answer: the look-up hangs in the C library, where nothing can interrupt it.
HANGING_NAMES = """
import socket, time
socket.getaddrinfo = lambda *arguments, **named: time.sleep(60)
"""


@pytest.mark.parametrize("monitor", ["refuses", "is silent", "swallows packets", "has no name", "has a name server that hangs"])
def test_a_process_ends_within_3_s_when_the_monitor_is_out_of_reach(monitor, capsys):
    hangs = monitor.endswith("hangs")
    program = HANGING_NAMES + USE if hangs else USE
    with out_of_reach("has no name" if hangs else monitor) as url, python(program.format(url=url)) as process:
        seconds = seconds_to_end(process)
    with capsys.disabled():
        print(f"\n  the end of a process whose monitor {monitor}: {seconds:.2f} s")
    assert seconds < 3.0


def test_a_process_ends_within_3_s_when_the_monitor_has_frozen(monitor: Monitor):
    with python(USE.format(url=monitor.url).replace("print", "tracker.flush(); input(); print")) as process:
        monitor.only("app", connected=True)
        monitor.signal(signal.SIGSTOP)
        process.say("go on")
        assert seconds_to_end(process) < 3.0
        monitor.signal(signal.SIGCONT)


def test_a_short_script_is_seen_and_says_goodbye(monitor: Monitor):
    with python(USE.format(url=monitor.url)) as process:
        seconds_to_end(process)
    events = eventually(lambda: [e for e in monitor.ask("GET", "/events?app_name=app")[1]["events"]
                                 if e["kind"] == "removed"])
    assert events[0]["cause"] == "ended"
    assert monitor.sessions() == []


def test_a_process_that_is_killed_leaves_its_row_disconnected(monitor: Monitor):
    with python(USE.format(url=monitor.url) + "tracker.flush()\nprint('seen', flush=True)\nimport time; time.sleep(60)") as process:
        process.wait_for_line("seen")
        assert monitor.only("app")["connected"]
        process.kill(signal.SIGKILL)
        monitor.only("app", connected=False)


FORK = """
import os, sys, time
from session_client import SessionClient
tracker = SessionClient.get_tracker("parent", server_url={url!r})
tracker.set_status("busy", "parent's")
assert tracker.flush(5)
before = tracker.session_id
if {busy}:
    import threading
    def work():  # holds the tracker's lock again and again, also at the moment of the fork
        while True:
            tracker.set_status("busy", "parent's")
    for _ in range(4):
        threading.Thread(target=work, daemon=True).start()
child = os.fork()
if child == 0:
    assert tracker.session_id != before
    with tracker.task("child's"):
        assert tracker.flush(5), "the child's own session is not seen"
        print("CHILD", tracker.session_id, flush=True)
        sys.stdin.readline()
    os._exit(0)
print("PARENT", before, flush=True)
os.waitpid(child, 0)
assert tracker.session_id == before and tracker.connected
print("child has ended", flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("busy", [False, True], ids=["at rest", "while threads are busy"])
def test_a_forked_child_is_a_session_of_its_own_and_leaves_the_parents_alone(monitor: Monitor, busy):
    with python(FORK.format(url=monitor.url, busy=busy)) as process:
        child = process.wait_for_line("CHILD ").split()[1]
        parent = process.wait_for_line("PARENT ").split()[1]
        assert {s["session_id"] for s in monitor.sessions()} == {parent, child}
        assert monitor.session(child)["current_task"] == "child's"
        assert monitor.session(parent)["current_task"] == "parent's"
        os.kill(int(eventually(lambda: children_of(process.process.pid))[0]), signal.SIGKILL)
        process.wait_for_line("child has ended")
        eventually(lambda: not monitor.session(child)["connected"], what="the child's own socket to close")
        assert monitor.session(parent)["connected"]
        # The child's death closed no connection of the parent, and the parent's closes with the parent alone.
        process.kill(signal.SIGKILL)
        eventually(lambda: not monitor.session(parent)["connected"])


def children_of(pid: int) -> list[str]:
    with open(f"/proc/{pid}/task/{pid}/children") as children:
        return children.read().split()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_without_a_session_leaves_no_row_and_one_that_asks_is_its_own(monitor: Monitor):
    """Worker processes are part of the work that started them, unless they use the client themselves."""
    program = """
import multiprocessing, sys
from session_client import SessionClient

def quiet(number):
    return number

def asks(number):
    tracker = SessionClient.get_tracker("app", server_url={url!r})
    with tracker.task("worker %d" % number):
        assert tracker.flush(10)
        input_queue.get()
    return tracker.session_id

tracker = SessionClient.get_tracker("app", server_url={url!r})
assert tracker.flush()
context = multiprocessing.get_context("fork")
input_queue = context.Queue()
with context.Pool(2) as pool:
    pool.map(quiet, [1, 2])
    print("QUIET", flush=True)
    sys.stdin.readline()
    results = pool.map_async(asks, [1, 2], chunksize=1)
    sys.stdin.readline()
    input_queue.put(1), input_queue.put(1)
    print("IDS", *results.get(20), flush=True)
"""
    with python(program.format(url=monitor.url)) as process:
        process.wait_for_line("QUIET")
        assert len(monitor.sessions()) == 1
        process.say("go on")
        eventually(lambda: len(monitor.sessions()) == 3)
        assert {row["current_task"] for row in monitor.sessions()} == {None, "worker 1", "worker 2"}
        process.say("go on")
        assert len(set(process.wait_for_line("IDS").split()[1:])) == 2
        assert process.process.wait(10) == 0, process.output()
