"""What the measurements of the NVMe/TCP target share: polluxd on core 0, pollux-perf and the floor."""

import json
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "python"))
from pollux import Client  # noqa: E402

NQN = "nqn.2026-01.example:bench"


class Target:
    """polluxd on core 0, with one memory disk in one subsystem."""

    def __init__(self, build, disk_mib=1):
        self.dir = tempfile.TemporaryDirectory()
        self.port = free_port()
        path = f"{self.dir.name}/rpc.sock"
        self.process = subprocess.Popen(
            [build / "bin" / "polluxd", "-m", "0x1", "-r", path, "--no-state"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not pathlib.Path(path).exists():
            time.sleep(0.05)
        self.client = Client(path)
        address = {"trtype": "TCP", "adrfam": "IPv4", "traddr": "127.0.0.1", "trsvcid": str(self.port)}
        for method, params in [
            ("framework_wait_init", {}),
            ("nvmf_create_transport", {"trtype": "TCP", "max_queue_depth": 1024}),
            ("bdev_malloc_create", {"name": "Malloc0", "num_blocks": disk_mib * 256, "block_size": 4096}),
            ("nvmf_create_subsystem", {"nqn": NQN, "allow_any_host": True, "max_namespaces": 4096}),
            ("nvmf_subsystem_add_ns", {"nqn": NQN, "namespace": {"bdev_name": "Malloc0"}}),
            ("nvmf_subsystem_add_listener", {"nqn": NQN, "listen_address": address}),
        ]:
            self.client.call(method, params)

    def transport_id(self):
        return f"trtype:TCP adrfam:IPv4 traddr:127.0.0.1 trsvcid:{self.port} subnqn:{NQN}"

    def busy_ns(self):
        (reactor,) = self.client.call("framework_get_reactors")["reactors"]
        return reactor["busy"]

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.dir.cleanup()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def run_perf(target, build, kind, size, depth, connections, seconds, *flags):
    """What pollux-perf, on core 1, says of all its queues."""
    text = subprocess.run(
        [build / "bin" / "pollux-perf", target.transport_id(), "-w", f"rand{kind}", "-o", str(size), "-q", str(depth),
         "--queues", str(connections), "-c", "1", "-t", str(seconds), "--quiet", "--json", *flags],
        check=True, capture_output=True, text=True).stdout
    return json.loads(text)["total"]


def run_floor(floor, kind, size, depth, connections, seconds):
    """The line that the floor's program prints."""
    sizes = (72, 24 + size) if kind == "read" else (72 + size, 24)
    return subprocess.run([floor, str(depth), str(connections), str(seconds), *map(str, sizes), "0", "1"],
                          check=True, capture_output=True, text=True).stdout


def figures(pattern, text):
    return tuple(map(float, re.search(pattern, text).groups()))
