"""PCI devices for the tests: the device models, each in a process of its own, at a vfio-user socket."""

import pathlib
import shutil
import subprocess
import tempfile
import time

import pytest

from pollux.pytest_plugin import polluxd_path

START_SECONDS = 20.0


class ServedModel:
    """A device model. `address` is where it is attached from."""

    def __init__(self, program, *arguments):
        self.program = pathlib.Path(polluxd_path()).parent / program
        if not self.program.exists():
            pytest.skip(f"{program} is not built")
        # The path of a socket has at most 107 bytes, and pytest's directories are long.
        self.address = tempfile.mkdtemp(prefix="pollux-model-")
        self.arguments = [str(one) for one in arguments]
        self.process = None

    def start(self):
        assert self.process is None, "it runs already"
        socket = pathlib.Path(self.address) / "cntrl"
        socket.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [self.program, "--socket", self.address, *self.arguments], stdin=subprocess.DEVNULL
        )
        deadline = time.monotonic() + START_SECONDS
        while not socket.exists():
            assert self.process.poll() is None, f"{self.program.name} did not start"
            assert time.monotonic() < deadline, f"{self.program.name} does not listen"
            time.sleep(0.005)
        return self

    def kill(self):
        """Ends it as an unplugged device does."""
        if self.process is None:
            return
        self.process.kill()
        self.process.wait()
        self.process = None

    def finish(self):
        self.kill()
        shutil.rmtree(self.address, ignore_errors=True)
