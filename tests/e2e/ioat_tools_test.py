"""pollux-ioat-perf and the examples, against an I/OAT device in a process of its own."""

import json
import random
import signal
import subprocess
import time

import pytest

from ioat_peer import IoatModel
from pollux.pytest_plugin import polluxd_path

BIN = polluxd_path().parent


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


def run(program, *arguments, code=0):
    done = subprocess.run(
        [BIN / program, *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


# pollux-ioat-model


@pytest.mark.parametrize(
    "arguments, reason",
    [
        ((), "--socket '': is missing"),
        (("--socket", "x", "--channels", "5"), "--channels '5'"),
        (("--socket", "x", "--version", "2.0"), "--version '2.0'"),
        (("--socket", "x", "--chanerr", "80000"), "--chanerr '80000'"),
        (("--socket", "x", "--without", "copy"), "--without 'copy'"),
        (("--socket", "x", "word"), "argument 'word'"),
        (("--socket", "/nowhere/at/all"), "/nowhere/at/all"),
    ],
)
def test_the_model_says_what_it_does_not_take(arguments, reason):
    code = 1 if arguments[-1:] == ("/nowhere/at/all",) else 2
    assert reason in run("pollux-ioat-model", *arguments, code=code).stderr


# The examples


def test_the_example_in_c_fills_copies_and_xors(served):
    model = served("--channels", "2")
    out = run("hello_ioat", model.address).stdout
    assert f"{model.address}: Ice Lake, version 3.4, 2 channels, 1048576 bytes at once, fill, XOR, PQ" in out
    assert 'filled with "I/OAT.. "' in out
    assert "copied 1048571 bytes" in out
    assert "XORed two megabytes into one: right" in out


def test_the_example_in_c_does_what_the_device_can(served):
    out = run("hello_ioat", served("--device", "2021", "--version", "3.3", "--xfercap", "12").address).stdout
    assert "Skylake, version 3.2, 1 channel, 4096 bytes at once, fill\n" in out
    assert "copied 1048571 bytes" in out and "XOR" not in out
    out = run("hello_ioat", served("--without", "fill").address).stdout
    assert "copied 1048571 bytes" in out and "filled" not in out


def test_the_example_in_cc_copies_with_one_doorbell(served):
    model = served()
    out = run("hello_ioat_cc", model.address).stdout
    assert f"{model.address}: Ice Lake, version 3.4, channels: 1\n" in out
    # One doorbell was for the first descriptor, when the channel was started.
    assert "16 copies: all the same; 17 descriptors, 2 doorbells" in out


@pytest.mark.parametrize("program", ["hello_ioat", "hello_ioat_cc"])
def test_the_examples_say_what_went_wrong(served, program):
    assert "/nowhere/at/all" in run(program, "/nowhere/at/all", code=1).stderr
    assert "neither a PCI address nor a path" in run(program, "nonsense", code=1).stderr
    assert "1234" in run(program, served("--device", "1234").address, code=1).stderr
    failing = run(program, served("--fail-nth", "3").address, code=1)
    assert "failed, channel errors 100h" in failing.stderr or "DIFFERENT" in failing.stdout
    lying = run(program, served("--lie-after", "2").address, code=1)
    assert "out of service" in lying.stderr or "DIFFERENT" in lying.stdout


# pollux-ioat-perf


def perf(*arguments, code=0):
    """What pollux-ioat-perf tells as JSON."""
    return json.loads(run("pollux-ioat-perf", "--json", *arguments, code=code).stdout)


@pytest.mark.parametrize("workload", ["copy", "fill", "xor", "pq"])
def test_each_workload_is_verified_and_counted(served, workload):
    model = served()
    result = perf(model.address, "-w", workload, "-o", "5003", "-q", "16", "--operations", "2000", "--verify")
    device, (channel,) = result["device"], result["channels"]
    assert device["done"]["operations"] == 2000 == device["verified"]
    assert device["done"]["bytes"] == 2000 * 5003
    assert device["differences"] == device["errors"] == 0
    driver = channel["driver"]
    assert driver["submitted"] == driver["completed"] == 2000
    assert 0 < driver["doorbells"] <= 2001
    times = list(device["done"]["latency_ns"].values())
    assert times[2:] == sorted(times[2:])


def test_several_channels_and_devices_work_at_the_same_time(served):
    first, second = served("--channels", "2"), served("--channels", "2", "--xfercap", "12")
    result = perf(first.address, second.address, "--channels", "2", "-c", "0", "-o", "16k", "--verify", "-t", "1")
    assert len(result["channels"]) == 4
    assert all(channel["verified"] > 0 for channel in result["channels"])
    assert result["device"]["differences"] == result["device"]["errors"] == 0
    assert "all 2 channels are in use" in run("pollux-ioat-perf", first.address, "--channels", "3", code=1).stderr


def test_the_cpu_does_the_same(served):
    model = served()
    result = perf(model.address, "--cpu", "--operations", "1000", "-q", "8", "--verify")
    assert result["device"]["verified"] == result["cpu"]["verified"] == 1000
    alone = perf("--cpu", "--operations", "1000", "-w", "pq", "--channels", "2", "--verify")
    assert "device" not in alone and alone["cpu"]["verified"] == 2000
    text = run("pollux-ioat-perf", model.address, "--cpu", "--operations", "1000").stdout
    assert "Ice Lake, version 3.4" in text and "\nCPU " in text and "p99.99" in text


def test_a_time_is_kept_and_a_warm_up_not_counted(served):
    result = perf(served().address, "-t", "0.5", "--warmup", "0.2", "-q", "4")
    assert 0.5 <= result["device"]["seconds"] < 5
    (channel,) = result["channels"]
    assert 0 < channel["done"]["operations"] < channel["driver"]["completed"]


def test_errors_are_counted_by_status_and_cost_no_other_operation(served):
    model = served("--fail-every", "100", "--chanerr", "800")
    result = perf(model.address, "--operations", "2000", "--verify", "-q", "16", code=1)
    (channel,) = result["channels"]
    (error,) = channel["errors_by_status"]
    assert (error["status"], error["chanerr"]) == ("failed", 0x800)
    assert error["count"] == channel["errors"] >= 19
    assert channel["verified"] + channel["errors"] == 2000 and channel["differences"] == 0


def test_a_device_that_lies_or_cannot_ends_the_run_with_the_reason(served):
    lying = perf(served("--lie-after", "500").address, "-t", "30", code=1)
    assert "not in the ring" in lying["channels"][0]["failure"]
    cannot = perf(served("--without", "xor").address, "-w", "xor", code=1)
    assert cannot["channels"][0]["failure"] == "the device cannot do it"


def start_for_long(model):
    process = subprocess.Popen(
        [BIN / "pollux-ioat-perf", model.address, "-t", "60", "--json", "--progress", "--verify"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert "per s" in process.stderr.readline()
    return process


def test_a_device_that_dies_ends_the_run(served):
    model = served()
    process = start_for_long(model)
    model.kill()
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    (channel,) = json.loads(out)["channels"]
    assert channel["failure"] and channel["differences"] == 0
    assert channel["driver"]["submitted"] == channel["driver"]["completed"]


@pytest.mark.parametrize("times", [5, pytest.param(200, marks=pytest.mark.nightly)])
def test_a_device_may_die_at_any_moment(served, times):
    """Also while it is attached, and long after. Each operation ends once, and what was done is right."""
    chance = random.Random(times)
    at_work = 0
    for _ in range(times):
        model = served("--channels", "2")
        process = subprocess.Popen(
            [BIN / "pollux-ioat-perf", model.address, "-t", "60", "--json", "--verify", "--channels", "2", "-q", "64"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        time.sleep(chance.uniform(0, 0.3))
        model.kill()
        out, error = process.communicate(timeout=60)
        assert process.returncode == 1, error
        if not out:  # It was not attached yet.
            assert error
            continue
        for channel in json.loads(out)["channels"]:
            at_work += channel["driver"]["completed"] > 0
            assert channel["differences"] == 0
            assert channel["driver"]["submitted"] == channel["driver"]["completed"]
    assert at_work > 0


@pytest.mark.nightly
def test_ten_million_operations_are_verified_while_the_device_fails_and_lies():
    program = BIN / "pollux_drivers_ioat_test"
    done = subprocess.run(
        [program, "--gtest_filter=SoakTest.*"],
        env={"POLLUX_IOAT_SOAK": "10000000"},
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert "attached anew" in done.stdout


def test_an_interrupt_ends_the_run_with_its_result(served):
    process = start_for_long(served())
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(out)["interrupted"] is True


def test_the_device_serves_the_next_client_when_one_is_killed(served):
    model = served("--channels", "2")
    for _ in range(3):
        process = start_for_long(model)
        process.kill()
        process.communicate(timeout=60)
        assert perf(model.address, "--operations", "500", "--verify")["device"]["verified"] == 500


def test_what_cannot_be_is_said():
    assert "which device" in run("pollux-ioat-perf", code=2).stderr
    assert "copy, fill, xor or pq" in run("pollux-ioat-perf", "-w", "crc", "x", code=2).stderr
    assert "/nowhere/at/all" in run("pollux-ioat-perf", "/nowhere/at/all", code=1).stderr
