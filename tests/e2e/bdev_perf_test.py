"""pollux-bdev-perf, over each kind of disk."""

import json
import os
import signal
import subprocess

import pytest

from nvme_peer import NvmeModel
from pollux.pytest_plugin import polluxd_path

BIN = polluxd_path().parent
MIB = 1 << 20
# Without time: each ends when it has done so many.
FEW = ("--ios", "2000", "-q", "16")


def run(*arguments, code=0):
    done = subprocess.run(
        [BIN / "pollux-bdev-perf", *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def await_progress(process):
    while "I/Os per s" not in (line := process.stderr.readline()):
        assert line, "it has ended"


def measure(*arguments, code=0):
    return json.loads(run("--json", *arguments, code=code).stdout)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "disk"
    path.write_bytes(b"")
    os.truncate(path, 16 * MIB)
    return path


@pytest.fixture
def nvme():
    model = NvmeModel("--namespace", "16:4096", "--namespace", "16")
    yield model.start()
    model.finish()


def test_a_disk_drops_or_keeps_what_is_written(file):
    for disk in ("memory:16m", f"file:{file}"):
        kept = measure("-w", "verify", disk)
        assert kept["total"]["verified"] == 4096 and kept["total"]["differences"] == 0, disk
        assert kept["workers"][0]["passes"] == 1
    dropped = measure("-w", "verify", "null:16m", code=1)
    assert dropped["total"]["differences"] == 4096 and "zeroes" in dropped["first_difference"]


def test_blocks_are_as_small_as_one_asks():
    small = measure("-w", "verify", "-o", "512", "--block-size", "512", "memory:1m")
    assert small["total"]["verified"] == 2048 and small["disks"][0]["block_size"] == 512
    assert "must be a multiple of the 4096" in run("-o", "512", "memory", code=1).stderr


def test_what_is_lent_is_the_disks_own_memory(file):
    lent = measure("-w", "verify", "--lend", "memory:16m")
    assert lent["total"]["verified"] == 4096 and lent["lend"]
    assert measure("-w", "randread", "--lend", "memory", *FEW)["total"]["read"]["ios"] == 2000
    refused = measure("--lend", f"file:{file}", *FEW, code=1)
    assert refused["workers"][0]["failure"] == "the disk lends nothing"


def test_a_mix_has_all_of_it():
    total = measure("-w", "randrw", "-M", "70", "--unmap", "20", "--flush", "10", "--verify", "memory", *FEW)["total"]
    parts = {kind: total[kind]["ios"] for kind in ("read", "write", "unmap", "flush")}
    assert sum(parts.values()) == 2000 and all(parts.values()) and parts["read"] > parts["write"]
    assert total["verified"] > 0 and total["differences"] == 0


def test_cores_work_on_all_disks_each():
    both = measure("-c", "0,1", "null", "memory", *FEW)
    assert [(worker["disk"], worker["core"]) for worker in both["workers"]] == [
        ("Null0", 0),
        ("Null0", 1),
        ("Malloc0", 0),
        ("Malloc0", 1),
    ]
    assert all(worker["read"]["ios"] == 2000 for worker in both["workers"])
    apart = measure("-c", "0,1", "-w", "verify", "memory:16m")
    assert [worker["verified"] for worker in apart["workers"]] == [2048, 2048]


def test_namespaces_of_a_controller_are_disks(nvme):
    seen = measure("-w", "randrw", "--verify", "-o", "4k", f"nvme:{nvme.address}", *FEW)
    assert [disk["name"] for disk in seen["disks"]] == ["Nvme0n1", "Nvme0n2"]
    assert seen["total"]["verified"] > 0 and seen["total"]["differences"] == 0


def test_a_controller_that_dies_ends_its_part_of_the_run(nvme):
    process = subprocess.Popen(
        [BIN / "pollux-bdev-perf", "--json", "--progress", "-t", "60", f"nvme:{nvme.address}", "memory"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    await_progress(process)
    nvme.kill()
    await_progress(process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    seen = json.loads(out)
    assert process.returncode == 1 and seen["interrupted"], err
    assert seen["workers"][2]["disk"] == "Malloc0" and seen["workers"][2]["errors"] == 0


def test_limits_hold():
    bounded = measure("-t", "0.5", "--limit-ios", "1000", "-q", "4", "memory")
    assert 0 < bounded["total"]["read"]["ios"] <= 1000
    assert bounded["limits"]["ios_per_second"] == 1000


def test_what_a_limit_holds_back_does_not_keep_it_from_ending():
    # The rest of the depth would take two minutes.
    assert measure("-t", "0.2", "--limit-ios", "1", "null")["total"]["errors"] == 0


def test_a_signal_ends_it_with_its_result():
    process = subprocess.Popen(
        [BIN / "pollux-bdev-perf", "--progress", "-t", "60", "null"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    await_progress(process)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and "interrupted" in out and "p99.99" in out


def test_what_cannot_be_is_said(file):
    assert "is no disk" in run("floppy", code=2).stderr
    assert "No such file" in run("file:/nowhere/at/all", code=1).stderr
    assert "/nowhere" in run("nvme:/nowhere", code=1).stderr
    assert "has 4096 blocks" in run("--range", "4096", f"file:{file}", "--block-size", "4k", code=1).stderr
