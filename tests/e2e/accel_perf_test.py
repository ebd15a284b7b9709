"""pollux-accel-perf, over the CPU and over an I/OAT device in a process of its own."""

import json
import signal
import subprocess
import time

import pytest

from ioat_peer import IoatModel
from pollux.pytest_plugin import polluxd_path

BIN = polluxd_path().parent

OPERATIONS = [
    "copy",
    "fill",
    "dualcast",
    "compare",
    "crc32c",
    "copy_crc32c",
    "xor",
    "dif_verify",
    "dif_verify_copy",
    "dif_generate",
    "dif_generate_copy",
    "dix_generate",
    "dix_verify",
]


def run(*arguments, code=0):
    done = subprocess.run(
        [BIN / "pollux-accel-perf", *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def measure(*arguments, code=0):
    return json.loads(run("--json", *arguments, code=code).stdout)["runs"]


@pytest.fixture
def served():
    """Starts devices with these options; their ends are seen to."""
    models = []

    def start(*arguments):
        models.append(IoatModel(*arguments))
        return models[-1].start()

    yield start
    for model in models:
        model.finish()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_cpu_does_each_operation_right(operation):
    (cpu,) = measure("-w", operation, "--operations", "2000", "-q", "8", "--verify")
    assert cpu["by"] == "cpu" and cpu["verified"] == cpu["done"]["chains"] == 2000
    assert cpu["failures"] == 0 and cpu["operations_by_device"] == 0


@pytest.mark.parametrize("chain", ["copy,crc32c", "dif_generate_copy,dif_verify_copy", "dix_generate,dix_verify", "copy,compare,fill,xor"])
def test_chains_are_right_with_a_device_and_without(served, chain):
    device, cpu = measure(served("--channels", "2").address, "--cpu", "-w", chain, "--operations", "300", "-q", "8", "--verify")
    assert device["verified"] == cpu["verified"] == 300
    assert cpu["operations_by_device"] == 0
    if "copy," in chain and "dif" not in chain:
        assert device["operations_by_device"] >= 300


def test_what_is_short_stays_with_the_cpu(served):
    model = served()
    (long,) = measure(model.address, "-o", "8k", "--min", "4k", "--operations", "100", "-q", "4")
    (short,) = measure(model.address, "-o", "2k", "--min", "4k", "--operations", "100", "-q", "4")
    assert (long["operations_by_device"], long["operations_by_cpu"]) == (100, 0)
    assert (short["operations_by_device"], short["operations_by_cpu"]) == (0, 100)


def test_a_device_that_fails_or_lies_or_dies_costs_no_operation(served):
    (failing,) = measure(served("--fail-every", "50").address, "--operations", "2000", "-q", "16", "--verify", code=0)
    assert failing["verified"] == 2000 and failing["operations_given_back"] > 0
    (lying,) = measure(served("--lie-after", "500").address, "--operations", "2000", "-q", "16", "--verify")
    assert lying["verified"] == 2000 and lying["operations_by_cpu"] > 0
    model = served()
    process = subprocess.Popen(
        [BIN / "pollux-accel-perf", "--json", model.address, "-t", "60", "--verify", "--progress"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while "per s" not in process.stderr.readline():
        assert process.poll() is None
    model.kill()
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    (left,) = json.loads(out)["runs"]
    assert process.returncode == 0 and left["failures"] == 0 and left["interrupted"]
    assert left["operations_by_device"] > 0 and left["operations_by_cpu"] > 0


def test_a_sweep_compares_sizes(served):
    text = run("--sweep", "-t", "0.02", "-q", "4", served().address).stdout
    assert "512 bytes" in text and "1 MiB" in text and "device" in text.splitlines()[-1]


def test_what_cannot_be_is_said():
    assert "is no operation" in run("-w", "encrypt", code=2).stderr
    assert "which device" in run("--sweep", code=2).stderr
    assert "/nowhere/at/all" in run("/nowhere/at/all", code=1).stderr
