"""Words for the tests: disks, targets that export them, the configuration as it is saved."""

import dataclasses
import re
import time

from pollux.pytest_plugin import StartFailed, free_port

NODE_BASE = "iqn.2016-06.io.spdk"
BLOCK = 512
MIB = 1 << 20


@dataclasses.dataclass(frozen=True)
class Export:
    """A target node that listens."""

    host: str
    port: int
    iqn: str

    @property
    def portal(self):
        return f"{self.host}:{self.port}"

    def url(self, lun=0):
        return f"iscsi://{self.portal}/{self.iqn}/{lun}"


def listen(client, tag=1, host="127.0.0.1", port=None, **more):
    """Makes a portal group of one portal and returns its port."""
    port = port or free_port(host.strip("[]"))
    client.iscsi_create_portal_group(tag, [{"host": host, "port": str(port)}], **more)
    return port


def admit(client, tag=1, initiators=("ANY",), netmasks=("ANY",)):
    client.iscsi_create_initiator_group(tag, list(initiators), list(netmasks))


def make_node(client, name, *disks, maps=((1, 1),), queue_depth=64):
    client.iscsi_create_target_node(
        name,
        f"{name} of a test",
        [{"bdev_name": disk, "lun_id": lun} for lun, disk in enumerate(disks)],
        [{"pg_tag": pg, "ig_tag": ig} for pg, ig in maps],
        queue_depth,
        disable_chap=True,
    )
    return name if name.startswith("iqn.") else f"{NODE_BASE}:{name}"


def export(client, *disks, name="disk", host="127.0.0.1"):
    """Exports disks as LUN 0, 1, ... of one target node to everybody, by portal group 1."""
    port = listen(client, host=host)
    admit(client)
    return Export(host, port, make_node(client, name, *disks))


def memory_disk(client, size=16 * MIB, **more):
    return client.bdev_malloc_create(size // BLOCK, BLOCK, **more)


def file_disk(client, path, size=16 * MIB, name="File0", **more):
    """Makes the file where it is missing."""
    if not path.exists():
        with path.open("wb") as file:
            file.truncate(size)
    return client.bdev_aio_create(str(path), name, BLOCK, **more)


def saved(client):
    """The whole configuration, as save_config of rpc.py collects it."""
    return [
        {"subsystem": name, "config": client.framework_get_config(name)}
        for name in (one["subsystem"] for one in client.framework_get_subsystems())
    ]


def shown(client):
    """What the get methods show of what is configured."""
    return {
        "bdevs": client.bdev_get_bdevs(),
        "portal groups": client.iscsi_get_portal_groups(),
        "initiator groups": client.iscsi_get_initiator_groups(),
        "target nodes": client.iscsi_get_target_nodes(),
    }


def fails_to_start(daemon, complaint):
    """It ends with exit code 1 and says why, be it before or after it listens."""
    try:
        daemon.start()
        assert daemon.process.wait(20) == 1
        daemon.kill()
    except StartFailed as failure:
        assert "exit code 1" in str(failure)
    assert re.search(complaint, daemon.log().rpartition("polluxd: ")[2]), daemon.log()


def wait_until(condition, seconds=10):
    """The first true value of `condition()`, or the last false one when `seconds` are over."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value or time.monotonic() >= deadline:
            return value
        time.sleep(0.02)
