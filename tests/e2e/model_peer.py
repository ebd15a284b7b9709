"""PCI devices for the tests: the device models, each in a process of its own, at a vfio-user socket."""

import pathlib
import select
import shutil
import subprocess
import tempfile

import pytest

from pollux.pytest_plugin import polluxd_path

START_SECONDS = 20.0


def start_model(program, directory, *arguments):
    """Runs `program` until it says that it listens: its socket is there a moment before that."""
    process = subprocess.Popen(
        [program, "--socket", directory, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    with process.stdout as said:
        readable, _, _ = select.select([said], [], [], START_SECONDS)
        if not readable or not said.readline().startswith(b"ready: "):
            process.kill()
            raise AssertionError(f"{program.name} does not listen: exit code {process.wait()}")
    return process


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
        self.process = start_model(self.program, self.address, *self.arguments)
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
