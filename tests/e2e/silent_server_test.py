"""vfio-user servers that take a connection and say nothing, or take none: they hold up nobody but who attaches
from them."""

import json
import pathlib
import re
import shutil
import signal
import socket
import tempfile
import threading

import pytest

import exports
from ioat_peer import IoatModel
from nvme_peer import NvmeModel
from pollux import PolluxError
from pollux.errors import CannotConnect


class SilentServer:
    """`address` is where it is attached from; it never answers."""

    def __init__(self, address=None):
        self.address = address or tempfile.mkdtemp(prefix="pollux-silent-")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.bind(str(pathlib.Path(self.address) / "cntrl"))
        self.socket.listen(8)

    def accept(self):
        self.socket.settimeout(30)
        connection, _ = self.socket.accept()
        connection.settimeout(30)
        assert connection.recv(4096), "it was closed before it said VERSION"
        return connection

    def close(self):
        self.socket.close()
        shutil.rmtree(self.address, ignore_errors=True)


@pytest.fixture
def server():
    server = SilentServer()
    yield server
    server.close()


class Attach(threading.Thread):
    """Attaches, and keeps how that ended; `ended` gets its name."""

    def __init__(self, polluxd, ended, method, *arguments):
        super().__init__()
        self.polluxd, self.ended, self.method, self.arguments = polluxd, ended, method, arguments
        self.error = None

    def run(self):
        with self.polluxd.connect() as client:
            try:
                getattr(client, self.method)(*self.arguments)
            except PolluxError as error:
                self.error = error
        self.ended.append(self.method)


def attach_of(method, server):
    return ("Nvme0", "VFIOUSER", server.address) if method.startswith("bdev") else (server.address,)


METHODS = ["bdev_nvme_attach_controller", "ioat_attach_device"]


@pytest.mark.parametrize("method", METHODS)
def test_others_are_answered_while_a_server_is_silent(polluxd, server, method):
    ended = []
    attach = Attach(polluxd, ended, method, *attach_of(method, server))
    attach.start()
    connection = server.accept()
    # It waits for VERSION from here on, and has nothing from us yet.
    for _ in range(20):
        polluxd.client.spdk_get_version()
    ended.append("others")
    connection.close()
    attach.join(timeout=60)
    assert ended == ["others", method]
    assert "is gone" in str(attach.error) or "closed" in str(attach.error), attach.error
    polluxd.client.bdev_malloc_create(2048, 512)


@pytest.mark.parametrize("method", METHODS)
def test_a_silent_server_does_not_keep_polluxd_from_ending(polluxd, server, method):
    attach = Attach(polluxd, [], method, *attach_of(method, server))
    attach.start()
    connection = server.accept()
    polluxd.client.spdk_get_version()
    polluxd.stop()
    attach.join(timeout=60)
    assert not attach.is_alive()
    connection.close()


@pytest.fixture
def saved_controllers(polluxd):
    """The models of three controllers that a stopped polluxd has saved. The disk of the last is exported,
    and this one alone runs: their disks are the same."""
    models = []
    for number in range(3):
        if models:
            models[-1].kill()
            polluxd.start()
        models.append(NvmeModel().start())
        polluxd.client.bdev_nvme_attach_controller(f"Nvme{number}", "VFIOUSER", models[-1].address)
        if number == 2:
            exports.export(polluxd.client, "Nvme2n1")
        polluxd.stop()
    yield models
    for model in models:
        model.finish()


def silence(model):
    """A silent server in the place of a model that runs no more."""
    (pathlib.Path(model.address) / "cntrl").unlink(missing_ok=True)
    return SilentServer(model.address)


def test_saved_controllers_are_attached_side_by_side(polluxd, saved_controllers):
    servers = [silence(model) for model in saved_controllers[:2]]
    polluxd.start()
    # Neither has answered when the other is asked.
    connections = [server.accept() for server in servers]
    for connection in connections:
        connection.close()
    status = polluxd.client.pollux_get_status()
    assert [one["name"] for one in status["pending"]] == ["Nvme0", "Nvme1"]
    assert all("gone" in one["reason"] or "closed" in one["reason"] for one in status["pending"]), status["pending"]
    assert [disk["name"] for disk in polluxd.client.bdev_get_bdevs()] == ["Nvme2n1"]
    assert [lun["bdev_name"] for node in polluxd.client.iscsi_get_target_nodes() for lun in node["luns"]] == ["Nvme2n1"]
    for server in servers:
        server.socket.close()


def test_polluxd_ends_while_saved_controllers_are_silent(polluxd, saved_controllers):
    server = silence(saved_controllers[0])
    polluxd.start()
    connection = server.accept()
    polluxd.stop()
    connection.close()
    server.socket.close()


def test_a_stop_gives_up_saved_dma_engines(polluxd):
    """The first is asked when the stop comes, the second never."""
    models = [IoatModel().start() for _ in range(2)]
    for model in models:
        polluxd.client.ioat_attach_device(model.address)
    polluxd.stop()
    for model in models:
        model.kill()
    servers = [silence(model) for model in models]
    polluxd.start()
    connection = servers[0].accept()
    polluxd.stop()
    assert "does not answer" not in polluxd.log()
    connection.close()
    for model, server in zip(models, servers):
        server.socket.close()
        model.finish()


def start_and_stop_at_once(daemon, monkeypatch):
    """Stopped as soon as it takes signals, which is before it attaches anything."""
    monkeypatch.setattr(daemon, "connect", lambda timeout=0: wait_for_its_signals(daemon.process))
    daemon.start()
    daemon.process.send_signal(signal.SIGTERM)


def wait_for_its_signals(process):
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    blocked = int(re.search(r"^SigBlk:\s*(\w+)$", status, re.MULTILINE)[1], 16)
    if not blocked & 1 << (signal.SIGTERM - 1):
        raise CannotConnect("it does not take signals yet")


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_attached_from_a_file_after_a_stop(start_polluxd, server, tmp_path, monkeypatch, method):
    """The disks before it take the time in which the stop arrives; one that comes later still ends the attach."""
    keys = ("name", "trtype", "traddr") if method.startswith("bdev") else ("address",)
    calls = [("bdev_null_create", {"name": f"Null{i}", "num_blocks": 8, "block_size": 512}) for i in range(2000)]
    calls += [(method, dict(zip(keys, attach_of(method, server))))]
    file = tmp_path / "config.json"
    config = [{"method": name, "params": params} for name, params in calls]
    file.write_text(json.dumps({"subsystems": [{"subsystem": "bdev", "config": config}]}), encoding="ascii")
    daemon = start_polluxd("--no-state", "-c", file, start=False)
    start_and_stop_at_once(daemon, monkeypatch)
    assert daemon.process.wait(20) == 1
    assert re.search("the appliance is stopping|was given up", daemon.log()), daemon.log()
    daemon.kill()
