"""What the measurements of the iSCSI target share: polluxd or tgtd on core 0, their clients on core 1."""

import json
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "python"))
from pollux import Client  # noqa: E402

NODE = "iqn.2016-06.io.spdk:bench"
MAX_SESSIONS = 1100
START_SECONDS = 120


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def await_path(path, process):
    deadline = time.monotonic() + START_SECONDS
    while not pathlib.Path(path).exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"{process.args[0]} did not start")
        time.sleep(0.05)


class Target:
    """polluxd on core 0, with one memory disk as LUN 0 of one target node."""

    def __init__(self, build, disk_mib=1):
        self.dir = tempfile.TemporaryDirectory()
        self.port = free_port()
        path = f"{self.dir.name}/rpc.sock"
        self.process = subprocess.Popen(
            [build / "bin" / "polluxd", "-m", "0x1", "-r", path, "--no-state", "--wait-for-rpc"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            await_path(path, self.process)
            self.client = Client(path)
            self.configure(disk_mib)
        except BaseException:
            self.stop()
            raise

    def configure(self, disk_mib):
        portal = {"host": "127.0.0.1", "port": str(self.port)}
        for method, params in [
            ("iscsi_set_options", {"max_sessions": MAX_SESSIONS, "max_queue_depth": 256}),
            ("framework_start_init", {}),
            ("framework_wait_init", {}),
            ("bdev_malloc_create", {"name": "Malloc0", "num_blocks": disk_mib * 256, "block_size": 4096}),
            ("iscsi_create_portal_group", {"tag": 1, "portals": [portal]}),
            ("iscsi_create_initiator_group", {"tag": 1, "initiators": ["ANY"], "netmasks": ["ANY"]}),
            ("iscsi_create_target_node",
             {"name": NODE, "alias_name": "", "pg_ig_maps": [{"pg_tag": 1, "ig_tag": 1}], "queue_depth": 256,
              "luns": [{"bdev_name": "Malloc0", "lun_id": 0}], "disable_chap": True}),
        ]:
            self.client.call(method, params)

    portal = property(lambda self: f"127.0.0.1:{self.port}")
    url = property(lambda self: f"iscsi://{self.portal}/{NODE}/0")

    def busy_ns(self):
        (reactor,) = self.client.call("framework_get_reactors")["reactors"]
        return reactor["busy"]

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.dir.cleanup()


class Tgt:
    """tgtd on core 0 with a disk in a file of /dev/shm; LUN 0 is its own, so that the disk is LUN 1."""

    CONTROL = "17"  # So that it is not the daemon of the machine.

    def __init__(self, disk_mib=1):
        self.port = free_port()
        self.dir = tempfile.TemporaryDirectory(dir="/dev/shm")
        disk = pathlib.Path(self.dir.name, "disk")
        disk.write_bytes(bytes(disk_mib << 20))
        self.process = subprocess.Popen(
            ["taskset", "-c", "0", "tgtd", "-f", "-C", self.CONTROL, "--iscsi", f"portal=127.0.0.1:{self.port}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            await_path(f"/var/run/tgtd/socket.{self.CONTROL}", self.process)
            self.admin("new", "target", "--targetname", NODE)
            self.admin("new", "logicalunit", "--lun", "1", "--backing-store", disk)
            self.admin("bind", "target", "--initiator-address", "ALL")
        except BaseException:
            self.stop()
            raise

    def admin(self, op, mode, *flags):
        subprocess.run(["tgtadm", "-C", self.CONTROL, "--lld", "iscsi", "--op", op, "--mode", mode, "--tid", "1", *flags],
                       check=True, capture_output=True)

    url = property(lambda self: f"iscsi://127.0.0.1:{self.port}/{NODE}/1")

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.dir.cleanup()

    @staticmethod
    def installed():
        return shutil.which("tgtd") is not None and shutil.which("tgtadm") is not None


def run_load(load, url, kind, size, depth, sessions, seconds):
    """What the load client, on core 1, says. `depth` is of each session; the client wants the sum."""
    text = subprocess.run(
        ["taskset", "-c", "1", load, url, f"rand{kind}", str(size), str(depth * sessions), str(seconds), str(sessions)],
        check=True, capture_output=True, text=True).stdout
    return json.loads(text)


def run_floor(floor, kind, size, depth, connections, seconds):
    """Requests a second, microseconds of its server for each, and the line itself."""
    sizes = (48, 48 + size) if kind == "read" else (48 + size, 48)
    line = subprocess.run([floor, str(depth), str(connections), str(seconds), *map(str, sizes), "0", "1"],
                          check=True, capture_output=True, text=True).stdout
    rate, cost = figures(r"([\d.]+) requests/s, server ([\d.]+) us", line)
    return rate, cost, line


def figures(pattern, text):
    return tuple(map(float, re.search(pattern, text).groups()))
