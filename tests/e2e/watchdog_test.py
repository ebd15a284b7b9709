"""What tells of a polluxd that is held up: the watchdog, and how long methods take."""

import contextlib
import ctypes
import os
import threading
import time

import pytest

from pollux.errors import RpcError

PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH = 0x4206, 0x4207, 17
ALL_THREADS = 0x40000000  # __WALL.
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def thread_of(daemon, name):
    """The kernel's number of the thread with this name."""
    for thread in os.listdir(f"/proc/{daemon.pid}/task"):
        with open(f"/proc/{daemon.pid}/task/{thread}/comm", encoding="utf-8") as comm:
            if comm.read().strip() == name:
                return int(thread)
    raise AssertionError(f"no thread {name}")


def ptrace(request, thread):
    if LIBC.ptrace(request, thread, None, None) != 0:
        pytest.skip(f"ptrace: {os.strerror(ctypes.get_errno())}")


@contextlib.contextmanager
def stopped(thread):
    """Stops one thread and lets the others run. A tracer is a thread: this one."""
    ptrace(PTRACE_SEIZE, thread)
    ptrace(PTRACE_INTERRUPT, thread)
    os.waitpid(thread, ALL_THREADS)
    try:
        yield
    finally:
        LIBC.ptrace(PTRACE_DETACH, thread, None, None)


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def events(client, kind):
    return [e for e in client.notify_get_notifications(id=0, max=1000) if e["type"] == kind]


def test_a_reactor_that_does_not_turn_is_named(start_polluxd):
    daemon = start_polluxd("--poll")
    client = daemon.client
    assert client.pollux_get_status()["health"]["state"] == "ok"
    (reactor,) = client.pollux_get_status()["reactors"]
    assert reactor["stuck_ms"] == 0
    name = f"reactor_{reactor['lcore']}"
    with stopped(thread_of(daemon, name)):
        assert wait_for(lambda: events(client, "reactor_stuck"))[0]["ctx"] == f"reactor {name}"
        # What needs no reactor is answered all the while.
        status = client.pollux_get_status()
        assert status["health"]["state"] == "degraded"
        assert name in status["health"]["reasons"][0]
        assert status["reactors"][0]["stuck_ms"] >= 1000
    assert wait_for(lambda: events(client, "reactor_turns_again"))
    assert client.pollux_get_status()["health"]["state"] == "ok"
    assert len(events(client, "reactor_stuck")) == 1
    assert f"{name} (core {reactor['lcore']}) is stuck: it has not turned for" in daemon.log()
    assert "stopped by a debugger" in daemon.log()


def test_a_reactor_that_sleeps_is_not_stuck(polluxd):
    client = polluxd.client
    (reactor,) = client.pollux_get_status()["reactors"]
    assert reactor["in_interrupt"]
    # It sleeps as long as nobody has anything for it.
    with stopped(thread_of(polluxd, f"reactor_{reactor['lcore']}")):
        time.sleep(2)
        assert not events(client, "reactor_stuck")
    assert client.pollux_get_status()["health"]["state"] == "ok"


# --- Methods.


def stats(client, method):
    found = client.pollux_get_method_stats(method=method)
    return found[0] if found else None


def test_calls_are_counted_by_method_whatever_their_face(polluxd):
    client = polluxd.client
    assert stats(client, "bdev_null_create") is None
    for i in range(20):
        client.bdev_null_create(name=f"N{i}", num_blocks=64, block_size=512)
    with polluxd.connect_grpc() as grpc:
        for i in range(20, 25):
            grpc.bdev_null_create(name=f"N{i}", num_blocks=64, block_size=512)
    for _ in range(3):
        with pytest.raises(RpcError):
            client.bdev_null_create(name="N0", num_blocks=64, block_size=512)
    found = stats(client, "bdev_null_create")
    assert (found["calls"], found["failures"], found["running"]) == (28, 3, 0)
    assert sum(bucket["count"] for bucket in found["latency"]) == 28
    bounds = [bucket["up_to_ns"] for bucket in found["latency"]]
    assert bounds == sorted(bounds) and 0 < found["p50_ns"] <= found["p99_ns"] <= found["max_ns"]
    assert found["max_ns"] <= found["total_ns"]


def test_a_call_that_waits_is_running(polluxd):
    client = polluxd.client
    begin = client.notify_get_notifications(id=0, max=1000)
    next_id = begin[-1]["id"] + 1 if begin else 0

    def wait():
        with polluxd.connect() as other:
            other.notify_get_notifications(id=next_id, wait_ms=60000)

    waiting = threading.Thread(target=wait)
    waiting.start()
    wait_for(lambda: stats(client, "notify_get_notifications")["running"] == 1)
    client.bdev_null_create(name="N0", num_blocks=64, block_size=512)
    waiting.join()
    wait_for(lambda: stats(client, "notify_get_notifications")["running"] == 0)
    assert stats(client, "notify_get_notifications")["max_ns"] > 0


def test_all_methods_that_were_called_are_listed_by_name(polluxd):
    client = polluxd.client
    client.bdev_get_bdevs()
    client.spdk_get_version()
    names = [one["method"] for one in client.pollux_get_method_stats()]
    assert names == sorted(names)
    assert {"bdev_get_bdevs", "spdk_get_version", "pollux_get_method_stats"} <= set(names)
    assert "bdev_aio_create" not in names


def test_a_method_that_is_none_has_no_numbers(polluxd):
    with pytest.raises(RpcError) as caught:
        polluxd.client.pollux_get_method_stats(method="no_such_method")
    assert caught.value.data["field"] == "method"
