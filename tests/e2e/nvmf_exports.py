"""Words for the tests of the NVMe-oF target: a subsystem with its parts, and who connects to it."""

import threading

import nvme_tcp_host as nvme
from exports import BLOCK, MIB, wait_until
from pollux.pytest_plugin import free_port

NQN = "nqn.2024-01.io.pollux:disk"
DISK_BLOCKS = 8 * MIB // BLOCK
# A transport whose hosts may have keep alive timeouts of a second.
IMPATIENT = {"kas": 10, "min_kato": 1000}


def listen_address(host, port):
    family = "IPv6" if ":" in host else "IPv4"
    return {"trtype": "TCP", "adrfam": family, "traddr": host, "trsvcid": str(port)}


class Subsystem:
    """A subsystem of polluxd that listens. `transport`: options of the transport, where it is the first."""

    def __init__(self, client, nqn=NQN, host="127.0.0.1", transport=None, **options):
        self.client, self.nqn = client, nqn
        if not client.nvmf_get_transports():
            client.nvmf_create_transport("TCP", **(transport or {}))
        client.nvmf_create_subsystem(nqn, **({"allow_any_host": True} | options))
        self.address = self.listen(host)

    def listen(self, host="127.0.0.1", **more):
        """Opens one more listener, and returns its address."""
        address = host, free_port(host)
        self.client.nvmf_subsystem_add_listener(self.nqn, listen_address(*address), **more)
        return address

    def stop_listening(self, address):
        self.client.nvmf_subsystem_remove_listener(self.nqn, listen_address(*address))

    def add(self, disk, nsid=None, **more):
        """The namespace's identifier."""
        if nsid is not None:
            more["nsid"] = nsid
        return self.client.nvmf_subsystem_add_ns(self.nqn, {"bdev_name": disk, **more})

    def add_memory(self, nsid=None, blocks=DISK_BLOCKS, block=BLOCK, disk=None, **more):
        options = {"name": disk} if disk else {}
        return self.add(self.client.bdev_malloc_create(blocks, block, **options), nsid, **more)

    def remove(self, nsid):
        self.client.nvmf_subsystem_remove_ns(self.nqn, nsid)

    def set_ana_state(self, state, address=None, **more):
        address = listen_address(*(address or self.address))
        self.client.nvmf_subsystem_listener_set_ana_state(self.nqn, address, state, **more)

    def connect(self, host=None, queues=1, address=None, depth=32, **options):
        """A controller with I/O queues."""
        controller = nvme.Controller(address or self.address, self.nqn, host, **options)
        try:
            if queues:
                controller.create_queues(queues, depth)
        except BaseException:
            controller.close()
            raise
        return controller

    def controllers(self):
        return self.client.nvmf_subsystem_get_controllers(self.nqn)

    def await_controllers(self, count):
        assert wait_until(lambda: len(self.controllers()) == count), self.controllers()


class Bystander(threading.Thread):
    """A host that writes and reads back as long as a test runs, in the second half of its namespace; any
    surprise is kept."""

    def __init__(self, subsystem, nsid=1):
        super().__init__()
        self.controller = subsystem.connect(nvme.Host(), queues=1)
        self.nsid = nsid
        self.ended = threading.Event()
        self.rounds = 0
        self.trouble = None

    def run(self):
        try:
            while not self.ended.is_set():
                size = (1, 8, 16, 100, 256)[self.rounds % 5]
                lba = DISK_BLOCKS // 2 + self.rounds * 37 % (DISK_BLOCKS // 2 - size)
                data = bytes([self.rounds * 11 & 0xFF, size & 0xFF]) * (size * BLOCK // 2)
                self.controller.write(self.nsid, lba, data).check()
                assert self.controller.read(self.nsid, lba, size) == data
                self.rounds += 1
        except Exception as trouble:  # pylint: disable=broad-except
            self.trouble = trouble

    def goes_on(self, rounds=10):
        """Whether it does some more rounds, soon."""
        before = self.rounds
        return wait_until(lambda: self.rounds >= before + rounds or self.trouble) and not self.trouble

    def finish(self):
        went_on = self.goes_on(2)
        self.ended.set()
        self.join(30)
        assert self.trouble is None, repr(self.trouble)
        assert went_on
        self.controller.close()
