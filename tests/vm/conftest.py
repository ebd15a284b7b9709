"""What tests in the emulated machine share."""

import shutil

import pytest

import guest as vm


@pytest.fixture(scope="module")
def guest():
    """A machine that has booted: one boot for all tests of a module."""
    if not (vm.CACHE / "stamp").exists() or not shutil.which("qemu-system-x86_64"):
        pytest.skip(f"no guest in {vm.CACHE}: tests/run --vm builds it")
    machine = vm.Guest()
    machine.boot()
    yield machine
    machine.stop()
