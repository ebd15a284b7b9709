"""deploy/quickstart, in directories and on a port of its own."""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile

import pytest

from pollux.client import Client
from pollux.errors import CannotConnect
from pollux.pytest_plugin import free_port

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Quickstart:
    def __init__(self, state):
        self.state = state
        self.run_dir = tempfile.mkdtemp(prefix="pollux-run-")
        self.port = free_port()
        self.nvme_port = free_port()

    def __call__(self, *arguments):
        return subprocess.run(
            ["deploy/quickstart", *arguments],
            cwd=ROOT,
            env={
                **os.environ,
                "POLLUX_ISCSI_PORT": str(self.port),
                "POLLUX_NVME_PORT": str(self.nvme_port),
                "POLLUX_STATE": str(self.state),
                "POLLUX_RUN": self.run_dir,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def pid_file(self):
        return pathlib.Path(self.run_dir, "nvme/pid")

    def ssd_pid(self):
        return int(self.pid_file().read_text())

    def client(self):
        return Client(f"{self.run_dir}/pollux.sock")


@pytest.fixture
def quickstart(tmp_path):
    one = Quickstart(tmp_path / "state")
    yield one
    one("--stop")
    shutil.rmtree(one.run_dir)


def succeeds(result):
    assert result.returncode == 0, result.stdout
    return result.stdout


def test_it_makes_three_disks_that_an_initiator_uses_and_again_leaves_them_alone(quickstart):
    first = succeeds(quickstart())
    assert first.count("read back, identical") == 3
    assert first.count("Verified: 16,384 reads held what was written, 0 did not") == 3
    assert f"nvme connect -t tcp -a 127.0.0.1 -s {quickstart.nvme_port} -n nqn." in first

    second = succeeds(quickstart())
    assert second.count("is running already") == 2
    assert second.count("its content is left alone") == 6


def test_the_next_start_has_the_saved_configuration_and_what_was_written(quickstart):
    succeeds(quickstart())
    images = [quickstart.state / "disks" / name for name in ("file.img", "nvme.img")]
    contents = [image.read_bytes() for image in images]
    assert all(len(content) == 64 << 20 and any(content[-4096:]) for content in contents)
    ssd = quickstart.ssd_pid()
    assert succeeds(quickstart("--stop")).count("has ended") == 2
    assert not pathlib.Path(f"/proc/{ssd}").exists()
    with pytest.raises(CannotConnect):
        quickstart.client()
    assert "is not running" in succeeds(quickstart("--stop"))

    again = succeeds(quickstart())
    assert "with the configuration that is saved" in again
    assert again.count("is there already") == 3
    assert [image.read_bytes() for image in images] == contents
    with quickstart.client() as client:
        assert len(client.iscsi_get_target_nodes()) == 3


def test_an_ssd_that_died_is_started_and_used_again(quickstart):
    succeeds(quickstart())
    os.kill(quickstart.ssd_pid(), signal.SIGKILL)
    again = succeeds(quickstart())
    assert "an NVMe SSD: pollux-nvme-model" in again
    assert again.count("its content is left alone") == 6


def test_a_process_that_only_has_the_ssds_number_is_left_alone(quickstart):
    succeeds(quickstart())
    ssd = quickstart.ssd_pid()
    with subprocess.Popen(["sleep", "600"]) as other:
        quickstart.pid_file().write_text(f"{other.pid}\n")
        assert succeeds(quickstart("--stop")).count("has ended") == 1
        assert other.poll() is None
        other.kill()
    quickstart.pid_file().write_text(f"{ssd}\n")
    assert "The NVMe SSD has ended" in succeeds(quickstart("--stop"))


def test_a_port_that_is_taken_is_named(quickstart):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", quickstart.port))
        taken.listen()
        result = quickstart()
    assert result.returncode == 1
    assert f"{quickstart.port}" in result.stdout.rpartition("quickstart: ")[2]


def test_a_configuration_for_another_port_is_said_to_be_so(quickstart):
    succeeds(quickstart())
    quickstart.port = free_port()
    result = quickstart()
    assert result.returncode == 1
    assert f"does not listen on port {quickstart.port}" in result.stdout


def test_a_daemon_that_cannot_start_shows_the_end_of_its_log(quickstart):
    quickstart.state.mkdir()
    quickstart.state.joinpath("pollux.db").mkdir()  # Not a database, and not to be made one.
    result = quickstart()
    assert result.returncode == 1
    assert "polluxd did not start" in result.stdout
    assert "the end of" in result.stdout


def test_an_unknown_option_is_refused(quickstart):
    result = quickstart("--start")
    assert result.returncode == 2
    assert "unknown option '--start'" in result.stdout
