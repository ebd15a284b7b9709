"""Fixtures that run polluxd for a test.

    def test_a_disk_survives_a_restart(polluxd):
        polluxd.client.bdev_null_create("Null0", 2048, 512)
        polluxd.restart()
        assert polluxd.client.bdev_get_bdevs("Null0")

    def test_two(start_polluxd):
        one, other = start_polluxd("-m", "0x1"), start_polluxd("--no-state", "--wait-for-rpc")

Each has a state directory of its own below tmp_path and a socket of its own. When the test ends, it
is stopped, must exit with 0 within STOP_SECONDS, and its log must hold no report of a sanitizer and
no failed CHECK. The log of a test that failed is part of the report.

The program is $POLLUXD, or bin/polluxd of the build in $POLLUX_BUILD, or of build/.
"""

import errno
import itertools
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pytest

from pollux.errors import CannotConnect

START_SECONDS = 30
STOP_SECONDS = 2
# What sanitizers cost: they walk the heap at exit.
SLOW_BUILD_SECONDS = 10
LOG_BYTES_SHOWN = 64 * 1024

TROUBLE = re.compile(
    rb"ERROR: (Address|Leak)Sanitizer|WARNING: ThreadSanitizer|runtime error: |: CHECK\(.*\) failed"
)

_DAEMONS = pytest.StashKey()


class StartFailed(Exception):
    """polluxd ended, or did not listen, and what it said."""


def polluxd_path():
    if "POLLUXD" in os.environ:
        return pathlib.Path(os.environ["POLLUXD"])
    root = pathlib.Path(__file__).resolve().parents[2]
    return pathlib.Path(os.environ.get("POLLUX_BUILD", root / "build")) / "bin/polluxd"


# Ports that the kernel gives to nobody who connects (its own begin at 32768): none is taken between
# the look and the use. Each worker of pytest-xdist has some of its own; another run of tests beside
# this one most likely begins elsewhere.
_PORTS = range(10240, 32768)
_WORKERS_MAX = 8


def _candidates():
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS_MAX
    mine = _PORTS[worker::_WORKERS_MAX]
    start = random.randrange(len(mine))
    return itertools.cycle([*mine[start:], *mine[:start]])


_NEXT_PORT = _candidates()


def free_port(host="127.0.0.1"):
    """A TCP port that nobody listens on at this moment."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in itertools.islice(_NEXT_PORT, len(_PORTS)):
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((host, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
            return port
    raise OSError(errno.EADDRINUSE, f"{host} has no free port")


class Daemon:
    """A polluxd of the test's own."""

    def __init__(self, directory, arguments=(), env=None):
        self.directory = pathlib.Path(directory)
        self.state_dir = self.directory / "state"
        self.log_path = self.directory / "polluxd.log"
        self.arguments = [str(one) for one in arguments]
        self.env = dict(env or {})
        # The path of a socket has at most 107 bytes, and pytest's directories are long.
        self._socket_dir = tempfile.mkdtemp(prefix="pollux-")
        self.socket = os.path.join(self._socket_dir, "rpc.sock")
        self.process = None
        self._client = None

    def command(self):
        command = [str(polluxd_path()), "-r", self.socket]
        if "--hugepages" not in self.arguments:
            command += ["--hugepages", "off"]
        if "--no-state" not in self.arguments and "--state-dir" not in self.arguments:
            command += ["--state-dir", str(self.state_dir)]
        return command + self.arguments

    def start(self):
        """Starts it and waits until it listens. Its first answer comes when it is initialised."""
        assert self.process is None, "it runs already"
        self.directory.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.env},
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self._client = self.connect()
                return self
            except CannotConnect:
                code = self.process.poll()
                if code is None and time.monotonic() < deadline:
                    time.sleep(0.005)
                    continue
            what = f"exit code {code}" if code is not None else f"no socket after {START_SECONDS} s"
            self.kill()
            raise StartFailed(f"polluxd did not start: {what}\n{self.log()}")

    @property
    def pid(self):
        return self.process.pid

    @property
    def client(self):
        """A client that lasts until the process ends."""
        return self._client

    def connect(self, timeout=60.0):
        """A new client, which is the caller's to close."""
        # Only here, so that tests that start no daemon need no descriptors.
        from pollux.client import Client  # pylint: disable=import-outside-toplevel

        return Client(self.socket, timeout)

    @property
    def grpc_socket(self):
        """Where it serves gRPC, unless --grpc told it otherwise."""
        return self.socket + ".grpc"

    def connect_grpc(self, timeout=60.0):
        """A new client over gRPC, which is the caller's to close."""
        # Only here, so that tests without gRPC do not need python3-grpcio.
        from pollux.grpc_client import GrpcClient  # pylint: disable=import-outside-toplevel

        return GrpcClient(self.grpc_socket, timeout)

    def stop(self, sig=signal.SIGTERM):
        """Ends it in order; it must exit with 0, in time. Nothing happens when it is not running."""
        if self.process is None:
            return
        self.process.send_signal(sig)
        self.wait()

    def wait(self):
        """Waits for an end that was asked for otherwise; the same must hold as for stop()."""
        seconds = STOP_SECONDS
        if is_instrumented(polluxd_path()):
            seconds += SLOW_BUILD_SECONDS
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._signal_stacks()
            self.kill()
            raise AssertionError(f"polluxd did not end within {seconds} s") from None
        self._forget()
        assert code == 0, f"polluxd ended with exit code {code}"

    def kill(self):
        """Ends it as a power failure would."""
        if self.process is None:
            return
        self.process.kill()
        self.process.wait()
        self._forget()

    def restart(self, *arguments):
        """Stops it, or only starts it after a kill(); with other arguments when some are given."""
        self.stop()
        if arguments:
            self.arguments = [str(one) for one in arguments]
        return self.start()

    def log(self):
        """What it has logged, of all its runs."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def check_log(self):
        """Fails when a sanitizer or a CHECK spoke."""
        data = self.log_path.read_bytes() if self.log_path.exists() else b""
        found = TROUBLE.search(data)
        if found:
            begin = data.rfind(b"\n", 0, found.start()) + 1
            text = data[begin : begin + LOG_BYTES_SHOWN].decode(errors="replace")
            raise AssertionError(f"polluxd's log has a report:\n{text}")

    def finish(self):
        """The end of the test: stops it and looks into its log, whatever went wrong."""
        try:
            if self.process is not None and self.process.poll() not in (None, 0):
                code = self.process.returncode
                self._forget()
                raise AssertionError(f"polluxd died with exit code {code}")
            self.stop()
        finally:
            self.kill()
            shutil.rmtree(self._socket_dir, ignore_errors=True)
            self.check_log()

    def _forget(self):
        self.process = None
        if self._client is not None:
            self._client.close()
            self._client = None

    def _signal_stacks(self):
        """Where its threads hang, into the log, when gdb is there."""
        gdb = shutil.which("gdb")
        if gdb is None:
            return
        with self.log_path.open("ab") as log:
            subprocess.run(
                [gdb, "-p", str(self.pid), "-batch", "-ex", "thread apply all bt"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.DEVNULL,
                timeout=30,
                check=False,
            )


def is_instrumented(path):
    """Whether the program was built with a sanitizer."""
    try:
        status = os.stat(path)
    except OSError:
        return False
    key = (str(path), status.st_mtime_ns)
    if key not in _instrumented:
        needed = subprocess.run(["ldd", path], capture_output=True, text=True, check=False).stdout
        _instrumented[key] = bool(re.search(r"lib[atu]b?san", needed))
    return _instrumented[key]


_instrumented = {}


@pytest.fixture
def start_polluxd(request, tmp_path):
    """A function that starts a polluxd with the given arguments and returns its Daemon. `env` adds
    to its environment; start=False leaves the start to the test."""
    daemons = request.node.stash.setdefault(_DAEMONS, [])

    def start(*arguments, env=None, start=True):
        number = len(daemons)
        daemon = Daemon(tmp_path / (f"polluxd{number}" if number else "polluxd"), arguments, env)
        daemons.append(daemon)
        return daemon.start() if start else daemon

    yield start

    errors = []
    for daemon in reversed(daemons):
        try:
            daemon.finish()
        except AssertionError as error:
            errors.append(str(error))
    assert not errors, "\n".join(errors)


@pytest.fixture
def polluxd(start_polluxd):
    """A running polluxd with a state directory of its own."""
    return start_polluxd()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    outcome = yield
    report = outcome.get_result()
    if not report.failed:
        return
    for daemon in item.stash.get(_DAEMONS, []):
        text = daemon.log()[-LOG_BYTES_SHOWN:]
        report.sections.append((f"log of {daemon.directory.name}", text))
