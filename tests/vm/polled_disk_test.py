"""A file disk on a kernel block device with queues that Linux polls: reads and writes end without an interrupt."""

import json
import os
import pathlib
import re
import shutil

import pytest

import guest as vm

BUILD = pathlib.Path(os.environ.get("POLLUX_BUILD") or pathlib.Path(__file__).parents[2] / "build").resolve()
MIB = 1 << 20
PERF_SECONDS = 3


@pytest.fixture(params=[True, False], ids=["polled", "with interrupts"])
def machine(request, tmp_path):
    """A guest with a disk, and whether that is polled."""
    if not (vm.CACHE / "stamp").exists() or not shutil.which("qemu-system-x86_64"):
        pytest.skip(f"no guest in {vm.CACHE}: tests/run --vm builds it")
    image = tmp_path / "disk.img"
    with image.open("wb") as file:
        file.truncate(16 * MIB)
    guest = vm.Guest(1024, hugepages=64, host_root=True, disks=[image], polled=request.param)
    guest.boot()
    try:
        guest.run("until_true 30 'grep -qsx disk0 /sys/block/vd*/serial'")
        guest.run(f"cp /host{BUILD}/bin/pollux-bdev-perf /tmp/")
        yield guest, request.param
    finally:
        guest.stop()


def interrupts(guest, device):
    """Of the request queues of a virtio disk."""
    virtio = guest.run(f"basename $(readlink -f /sys/block/{device}/device)").strip()
    lines = guest.run("cat /proc/interrupts").splitlines()
    return sum(
        int(word)
        for line in lines
        if re.search(rf"\b{virtio}-req", line)
        for word in line.partition(":")[2].split()[:2]
    )


@pytest.mark.timeout(600)
def test_verified_io_ends_with_and_without_interrupts(machine):
    guest, polled = machine
    device = guest.run("basename $(dirname $(grep -lx disk0 /sys/block/vd*/serial))").strip()
    assert guest.run(f"cat /sys/block/{device}/queue/io_poll").strip() == str(int(polled))
    before = interrupts(guest, device)
    report = json.loads(guest.run(
        f"in_host_root /tmp/pollux-bdev-perf file:/dev/{device} -w randrw -M 50 --verify --flush 1 -q 8 "
        f"-t {PERF_SECONDS} --json", timeout=400))
    after = interrupts(guest, device)
    total = report["total"]
    ended = sum(total[kind]["ios"] for kind in ("read", "write"))
    print(ended, "I/Os,", after - before, "interrupts")
    assert ended > 100 and not report.get("first_difference"), report
    assert not any(total[kind].get("errors") for kind in ("read", "write", "flush") if kind in total), report
    if polled:
        # Flushes have no queue of their own that is polled.
        assert after - before < ended / 8
    else:
        assert after > before
