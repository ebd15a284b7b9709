"""The examples of the I/OAT driver, against an I/OAT device in a process of its own."""

import subprocess

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
