"""pollux-identify, pollux-perf and the examples, against an NVMe controller in a process of its own."""

import json
import os
import pathlib
import signal
import subprocess
import threading

import pytest

from model_peer import start_model
from pollux.pytest_plugin import polluxd_path

BIN = polluxd_path().parent


class Model:
    """pollux-nvme-model, until the test ends."""

    def __init__(self, directory):
        self.directory = directory
        self.process = None

    def start(self, *arguments):
        self.process = start_model(BIN / "pollux-nvme-model", self.directory, *arguments)
        return self

    def stop(self):
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)

    def run(self, program, *arguments, code=0):
        done = subprocess.run(
            [BIN / program, self.directory, *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def perf(self, *arguments, code=0):
        """What pollux-perf tells as JSON."""
        return json.loads(self.run("pollux-perf", "--json", *arguments, code=code).stdout)


@pytest.fixture
def model(tmp_path):
    model = Model(tmp_path)
    yield model
    model.stop()


# pollux-identify


def test_identify_tells_controller_namespaces_and_logs(model):
    model.start("--namespace", "64", "--namespace", "16:4096:8")
    shown = json.loads(model.run("pollux-identify", "--json").stdout)
    controller = shown["controller"]
    assert controller["sqes"] == 0x66 and controller["cqes"] == 0x44
    assert len(controller["psd"]) == controller["npss"] + 1
    first, second = shown["namespaces"]
    assert (first["nsid"], first["nsze"]) == (1, 64 * 2048)
    assert (second["nsid"], second["nsze"]) == (2, 16 * 256)
    assert second["lbaf"][second["flbas"] & 15] == {"ms": 8, "lbads": 12, "rp": 0}
    assert 0 < shown["logs"]["smart"]["temperature"] < 400
    assert set(shown["logs"]) >= {"smart", "error", "firmware"}


def test_identify_shows_the_same_to_people(model):
    model.start()
    text = model.run("pollux-identify", "-n", "1", "--log", "smart").stdout
    shown = json.loads(model.run("pollux-identify", "-n", "1", "--log", "smart", "--json").stdout)
    lines = [line.split() for line in text.splitlines()]
    names = {line[0] for line in lines if line}
    assert set(shown["controller"]) - {"psd"} <= names
    assert set(shown["namespaces"][0]) - {"lbaf", "descriptors"} <= names
    assert set(shown["logs"]) == {"smart"}
    assert ["sn", shown["controller"]["sn"], "Serial", "Number"] in lines


def test_identify_knows_zones(model):
    model.start("--namespace", "64", "--zone-blocks", "4096")
    (ns,) = json.loads(model.run("pollux-identify", "--json").stdout)["namespaces"]
    assert ns["zoned"]["lbafe"][ns["flbas"] & 15]["zsze"] == 4096


def test_identify_says_what_is_not_there(model, tmp_path):
    model.start()
    assert "namespace 7 is not active" in model.run("pollux-identify", "-n", "7", code=1).stderr
    assert "Invalid Namespace" in model.run("pollux-identify", "-n", "700", code=1).stderr
    model.stop()
    model.process = None
    assert str(tmp_path) in model.run("pollux-identify", code=1).stderr


# pollux-perf


@pytest.mark.parametrize("workload", ["read", "write", "randread", "randwrite", "rw", "randrw"])
def test_each_workload_runs_and_is_counted(model, workload):
    model.start()
    result = model.perf("-w", workload, "-q", "16", "--ios", "2000", "-M", "70")
    total, (queue,) = result["total"], result["queues"]
    assert total["read"]["ios"] + total["write"]["ios"] == 2000 == queue["driver"]["completed"]
    assert (total["read"]["ios"] > 0) == (workload not in ("write", "randwrite"))
    assert (total["write"]["ios"] > 0) == (workload not in ("read", "randread"))
    for direction in ("read", "write"):
        assert total[direction]["bytes"] == total[direction]["ios"] * 4096
        times = list(total[direction]["latency_ns"].values())
        assert [t for t in times[2:]] == sorted(times[2:])
    assert total["errors"] == 0


def test_a_time_is_kept_and_a_warm_up_not_counted(model):
    model.start()
    result = model.perf("-t", "0.5", "--warmup", "0.2", "-q", "4")
    assert 0.5 <= result["seconds"] < 5
    (queue,) = result["queues"]
    assert 0 < result["total"]["read"]["ios"] < queue["driver"]["completed"]


def test_verify_writes_and_reads_all_of_the_range(model):
    model.start("--namespace", "4")
    result = model.perf("-w", "verify", "-o", "8k", "-q", "8")
    assert result["total"]["verified"] == result["total"]["read"]["ios"] == 512
    assert result["total"]["write"]["ios"] == 512
    assert result["queues"][0]["passes"] == 1


def test_verify_holds_with_several_queues_and_namespaces(model):
    model.start("--namespace", "2", "--namespace", "2:4096", "--namespace", "2:512:8", "--extended")
    result = model.perf("-w", "randrw", "--verify", "-n", "1,2,3", "--queues", "2", "-c", "0", "-t", "1")
    assert len(result["queues"]) == 6
    assert all(queue["verified"] > 0 for queue in result["queues"])
    assert result["total"]["differences"] == result["total"]["errors"] == 0


def test_verify_finds_data_that_somebody_else_changes(model, tmp_path):
    disk = tmp_path / "disk"
    model.start("--namespace", "1", "--file", disk)
    over = threading.Event()

    def damage():
        with open(disk, "r+b", buffering=0) as file:
            while not over.is_set():
                os.pwrite(file.fileno(), b"?", 5 * 512 + 40)

    thread = threading.Thread(target=damage)
    thread.start()
    try:
        result = model.perf("-w", "verify", "-t", "2", "-q", "4", code=1)
    finally:
        over.set()
        thread.join()
    assert result["total"]["differences"] > 0
    assert "byte 40 of LBA 5 differs" in result["first_difference"]


def test_only_the_range_is_touched(model, tmp_path):
    disk = tmp_path / "disk"
    model.start("--namespace", "1", "--file", disk)
    model.perf("-w", "verify", "--range", "64:128")
    data = pathlib.Path(disk).read_bytes()
    assert not any(data[: 64 * 512]) and not any(data[192 * 512 :])
    assert all(any(data[lba * 512 : lba * 512 + 512]) for lba in range(64, 192))


def test_errors_are_counted_by_status(model):
    model.start("--error-rate", "0.2")
    result = model.perf("--ios", "2000", "-q", "16", code=1)
    total = result["total"]
    assert 100 < total["errors"] < 1000
    assert sum(kind["count"] for kind in total["errors_by_status"]) == total["errors"]
    text = model.run("pollux-perf", "--ios", "2000", code=1).stdout
    assert "Errors: " in text


def test_a_controller_that_dies_ends_the_run(model):
    model.start()
    process = subprocess.Popen(
        [BIN / "pollux-perf", model.directory, "-t", "60", "--json", "--progress"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert "I/Os per s" in process.stderr.readline()
    model.process.kill()
    model.process.wait(30)
    model.process = None
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    result = json.loads(out)
    assert result["queues"][0]["failure"] or result["total"]["errors"]
    driver = result["queues"][0]["driver"]
    assert driver["submitted"] == driver["completed"]


def test_an_interrupt_ends_the_run_with_its_result(model):
    model.start()
    process = subprocess.Popen(
        [BIN / "pollux-perf", model.directory, "-t", "60", "--json", "--progress"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert "I/Os per s" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(out)["interrupted"] is True


def test_what_cannot_be_is_said(model):
    model.start("--namespace", "1", "--namespace", "64", "--zone-blocks", "4096")
    for arguments, reason in {
        ("-o", "1000"): "multiple of the 512 bytes",
        ("-o", "64m"): "at most",
        ("-n", "9"): "no active namespace 9",
        ("-n", "2", "-w", "write"): "zoned",
        ("--range", "2048"): "has 2048 blocks",
        ("--range", "0:4", "-w", "read"): "less than one I/O",
    }.items():
        assert reason in model.run("pollux-perf", *arguments, code=1).stderr


# The examples


@pytest.mark.parametrize("program", ["hello_nvme", "hello_nvme_cc"])
def test_the_examples_leave_the_disk_as_it_was(model, tmp_path, program):
    disk = tmp_path / "disk"
    disk.write_bytes(os.urandom(1 << 20))
    before = disk.read_bytes()
    model.start("--namespace", "1", "--file", disk)
    assert "block 2047: " in model.run(program).stdout
    assert disk.read_bytes() == before
