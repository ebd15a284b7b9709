"""Linux's own NVMe/TCP host uses our namespaces: nvme-tcp with nvme-cli, in an emulated machine."""

import re
import shutil
import time
import uuid

import pytest

import guest as vm
import initiator
import nvme_host
from pollux.pytest_plugin import free_port

NQN = "nqn.2024-01.io.pollux:disk"
SERIAL = "POLLUX0001"
MIB = 1 << 20
BLOCK = 512
DATA_MIB = 8
DISK_MIB = 64
XFS_MIB = 320  # It wants 300.
ADDRESSES = ("127.0.0.1", "127.0.0.2")  # Of the host, and reached from the guest under these names.
DISCOVERY_NQN = "nqn.2014-08.org.nvmexpress.discovery"
KEEP_ALIVE_SECONDS = 5


@pytest.fixture(scope="module")
def guest():
    if not (vm.CACHE / "stamp").exists() or not shutil.which("qemu-system-x86_64"):
        pytest.skip(f"no guest in {vm.CACHE}: tests/run --vm builds it")
    machine = vm.Guest(cpus=4)
    machine.boot()
    yield machine
    machine.stop()


@pytest.fixture
def linux(guest):
    host = nvme_host.Host(guest)
    yield host
    guest.run("ip route flush type blackhole; pkill fio; true")
    host.disconnect_all()


class Export:
    """A subsystem of polluxd with a portal, or with several, at the first of ADDRESSES."""

    nqn = NQN

    def __init__(self, polluxd, directory):
        self.polluxd = polluxd
        self.client = polluxd.client
        self._directory = directory
        self.portals = []

    def make(self, portals=1, **options):
        self.client.nvmf_create_transport("TCP")
        self.client.nvmf_create_subsystem(self.nqn, serial_number=SERIAL, allow_any_host=True, **options)
        for address in ADDRESSES[:portals]:
            self.portals.append((address, free_port(address)))
            self.client.nvmf_subsystem_add_listener(self.nqn, self.listen_address(-1))
        return self

    def listen_address(self, number):
        address, port = self.portals[number]
        return {"trtype": "TCP", "adrfam": "IPv4", "traddr": address, "trsvcid": str(port)}

    @property
    def address(self):
        return self.portals[0]

    def add_memory(self, nsid=1, mib=DISK_MIB, **more):
        name = self.client.bdev_malloc_create(mib * MIB // BLOCK, BLOCK, name=f"Memory{nsid}")
        return self._add(nsid, name, **more)

    def add_file(self, nsid=1, mib=DISK_MIB):
        path = self._directory / f"disk{nsid}.img"
        with open(path, "wb") as file:
            file.truncate(mib * MIB)
        return self._add(nsid, self.client.bdev_aio_create(str(path), f"File{nsid}", BLOCK))

    def _add(self, nsid, disk, **more):
        self.client.nvmf_subsystem_add_ns(self.nqn, {"bdev_name": disk, "nsid": nsid, **more})
        return self

    def remove(self, nsid):
        self.client.nvmf_subsystem_remove_ns(self.nqn, nsid)

    def grow_file(self, nsid, mib):
        with open(self._directory / f"disk{nsid}.img", "r+b") as file:
            file.truncate(mib * MIB)
        self.client.bdev_aio_rescan(f"File{nsid}")

    def set_ana_state(self, portal, state):
        self.client.nvmf_subsystem_listener_set_ana_state(self.nqn, self.listen_address(portal), state)

    def controllers(self):
        return self.client.nvmf_subsystem_get_controllers(self.nqn)

    def io_queues(self):
        return [one for one in self.client.nvmf_subsystem_get_qpairs(self.nqn) if one["qid"]]


@pytest.fixture
def export(start_polluxd, tmp_path):
    return Export(start_polluxd("-m", "0x3"), tmp_path)


@pytest.fixture
def disk(export, linux):
    """A memory disk, connected."""
    export.make().add_memory()
    linux.connect(NQN, *export.address)
    return linux.disk(NQN)


# Discovery and connecting.


def test_discovery_lists_the_subsystem_at_its_address(export, linux):
    export.make().add_memory()
    address, port = export.address
    entries = linux.discover(address, port)
    assert [(one["trtype"], one["adrfam"], one["traddr"], one["trsvcid"]) for one in entries if one["subnqn"] == NQN] == [
        ("tcp", "ipv4", address, str(port))
    ]


def test_connect_all_connects_what_discovery_lists(export, linux):
    export.make().add_memory()
    linux.connect_all(*export.address)
    assert linux.disk(NQN)
    assert len(linux.controllers(NQN, "live")) == 1


def test_four_io_queues(export, linux):
    export.make().add_memory()
    name = linux.connect(NQN, *export.address, more="--nr-io-queues=4")
    # The admin queue is counted with them.
    assert linux.guest.run(f"cat /sys/class/nvme/{name}/queue_count").strip() == "5"
    assert sorted(one["qid"] for one in export.io_queues()) == [1, 2, 3, 4]


def test_the_host_that_may_not_connect_is_refused(export, linux):
    export.make().add_memory()
    export.client.nvmf_subsystem_allow_any_host(NQN, False)
    with pytest.raises(vm.CommandFailed):
        linux.connect(NQN, *export.address)
    export.client.nvmf_subsystem_add_host(NQN, nvme_host.NQN)
    linux.connect(NQN, *export.address)
    assert linux.disk(NQN)


# Data.


@pytest.mark.parametrize("digests", ["", "--hdr-digest", "--data-digest", "--hdr-digest --data-digest"])
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_a_file_system_holds_what_fio_wrote(export, linux, kind, digests):
    guest = linux.guest
    export.make().add_memory(mib=XFS_MIB if kind == "xfs" else DISK_MIB)
    linux.connect(NQN, *export.address, more=digests)
    disk = linux.disk(NQN)
    initiator.make_file_system(guest, disk, kind)
    initiator.write(guest, DATA_MIB)
    initiator.verify(guest, DATA_MIB)
    initiator.unmount_and_check(guest, disk, kind)

    linux.disconnect(NQN)
    linux.connect(NQN, *export.address)
    disk = linux.disk(NQN)
    guest.run(f"mount {disk} /mnt")
    initiator.verify(guest, DATA_MIB)
    guest.run("umount /mnt")


# What nvme-cli asks.


def test_id_ctrl(disk, linux):
    told = linux.ask(f"id-ctrl {disk}")
    assert told["sn"].strip() == SERIAL
    assert told["subnqn"] == NQN
    assert told["cntrltype"] == 1 and told["sqes"] == 0x66 and told["cqes"] == 0x44
    assert told["ioccsz"] * 16 - 64 == 8192
    assert told["sgls"] & 3 and told["maxcmd"] >= 128
    assert linux.nvme(f"id-ctrl -H {disk}")


def test_id_ns_and_its_identifiers(disk, linux, export):
    told = linux.ask(f"id-ns {disk}")
    assert told["nsze"] == told["ncap"] == DISK_MIB * MIB // BLOCK
    assert told["lbafs"][told["flbas"] & 15]["ds"] == 9
    namespace = export.client.nvmf_get_subsystems(NQN)[0]["namespaces"][0]
    said = linux.nvme(f"ns-descs {disk}")
    assert namespace["uuid"].lower() in said.lower()
    kernel = linux.guest.run(f"cat /sys/block/{disk.removeprefix('/dev/')}/uuid").strip()
    assert kernel == namespace["uuid"].lower()
    assert linux.nvme(f"id-ns -H {disk}")


def test_list_ns(disk, linux, export):
    export.add_memory(7)
    linux.disk(NQN, 7)
    found = re.findall(r":0x?([0-9a-f]+)\s*$", linux.nvme(f"list-ns {disk}"), re.MULTILINE)
    assert [int(one, 16) for one in found] == [1, 7]


def test_other_identify_commands_answer_or_say_what_is_wrong(disk, linux):
    for words in ("nvm-id-ctrl", "id-iocs", "list-ctrl", "list-ns --all"):
        try:
            assert linux.nvme(f"{words} {disk}")
        except vm.CommandFailed as failure:
            # A status of the target, not an answer that makes no sense.
            assert re.search(r"INVALID|Invalid|NVMe status", failure.output), failure.output
    assert linux.guest.run("dmesg | grep -ci 'nvme.*timeout' || true").strip() == "0"


LOG_PAGES = [
    *("supported-log-pages", "error-log", "smart-log", "fw-log", "effects-log", "ana-log", "changed-ns-list-log"),
]


@pytest.mark.parametrize("page", LOG_PAGES)
def test_log_pages(export, linux, page):
    export.make(ana_reporting=True).add_memory()
    name = linux.connect(NQN, *export.address)
    linux.disk(NQN)
    linux.nvme(f"{page} /dev/{name}")


def test_an_unknown_log_page_is_refused(disk, linux):
    with pytest.raises(vm.CommandFailed, match="(?i)invalid log page"):
        linux.nvme(f"get-log {disk} --log-id=0xc5 --log-len=512")


def test_the_discovery_controller_lists_referrals(export, linux):
    export.make().add_memory()
    referral = {"trtype": "TCP", "adrfam": "IPv4", "traddr": "127.0.0.77", "trsvcid": "8009"}
    export.client.nvmf_discovery_add_referral(address=referral)
    entries = linux.discover(*export.address)
    assert {one["subtype"] for one in entries if one["traddr"] == "127.0.0.77"} == {"discovery subsystem referral"}


# Commands that change data, block by block.

PATTERN = "head -c 65536 /dev/urandom >/tmp/pattern"


def test_compare(disk, linux):
    linux.guest.run(
        f"""
        set -e
        {PATTERN}
        nvme write {disk} -s 8 -c 15 -z 8192 -d /tmp/pattern
        nvme compare {disk} -s 8 -c 15 -z 8192 -d /tmp/pattern
        """
    )
    with pytest.raises(vm.CommandFailed, match="(?i)compare"):
        linux.nvme(f"compare {disk} -s 9 -c 15 -z 8192 -d /tmp/pattern")


def test_write_zeroes(disk, linux):
    linux.guest.run(
        f"""
        set -e
        {PATTERN}
        dd if=/tmp/pattern of={disk} oflag=direct bs=64k status=none
        nvme write-zeroes {disk} -s 16 -c 15
        dd if={disk} iflag=direct bs=8k skip=1 count=1 status=none | busybox cmp -n 8192 - /dev/zero
        dd if={disk} iflag=direct bs=8k count=1 status=none | busybox cmp -n 8192 - /tmp/pattern
        dd if={disk} iflag=direct bs=8k skip=2 count=1 status=none | busybox cmp -n 8192 - <(tail -c +16385 /tmp/pattern)
        """
    )


def test_dsm(disk, linux):
    linux.guest.run(
        f"""
        set -e
        {PATTERN}
        dd if=/tmp/pattern of={disk} oflag=direct bs=64k status=none
        nvme dsm {disk} -d -s 0,64 -b 32,64
        dd if={disk} iflag=direct bs=16k skip=1 count=1 status=none | busybox cmp -n 16384 - <(tail -c +16385 /tmp/pattern)
        blkdiscard -f {disk}
        dd if={disk} iflag=direct bs=64k count=1 status=none | busybox cmp -n 65536 - /dev/zero
        """
    )


def test_copy(disk, linux):
    linux.guest.run(
        f"""
        set -e
        {PATTERN}
        dd if=/tmp/pattern of={disk} oflag=direct bs=64k status=none
        nvme copy {disk} --sdlba=1024 --slbs=0,64 --blocks=15,15
        dd if={disk} iflag=direct bs=512 skip=1024 count=16 status=none | busybox cmp -n 8192 - /tmp/pattern
        dd if={disk} iflag=direct bs=512 skip=1040 count=16 status=none | busybox cmp -n 8192 - <(tail -c +32769 /tmp/pattern)
        """
    )


def test_flush_and_verify(disk, linux):
    linux.nvme(f"flush {disk} -n 1")
    linux.nvme(f"verify {disk} -s 0 -c 63")
    with pytest.raises(vm.CommandFailed, match="(?i)lba"):
        linux.nvme(f"verify {disk} -s {DISK_MIB * MIB // BLOCK} -c 0")


@pytest.mark.parametrize("feature", [1, 2, 6, 7, 0xB, 0xF, 0x16])
def test_features_are_told(disk, linux, feature):
    assert linux.nvme(f"get-feature {disk} -f {feature} -H")


def test_a_feature_is_set(disk, linux):
    """It is the controller's: nvme-cli names the namespace, when it is given one."""
    [name] = linux.controllers(NQN)

    def events():
        told = linux.nvme(f"get-feature /dev/{name} -f 0xb")
        return int(re.search(r"value:\s*(?:0x)?([0-9a-f]+)", told, re.IGNORECASE)[1], 16)

    assert events() & 0x100
    linux.nvme(f"set-feature /dev/{name} -f 0xb -v {events() & ~0x100:#x}")
    assert events() & 0x100 == 0
    with pytest.raises(vm.CommandFailed, match="(?i)not namespace specific"):
        linux.nvme(f"set-feature {disk} -f 0xb -v 0")


# Changes under a host that stays.


def test_a_reset_under_writes(disk, linux):
    guest = linux.guest
    initiator.make_file_system(guest, disk)
    stream = initiator.Stream(guest, disk, DATA_MIB, writes_per_second=50)
    stream.await_writes(50)
    [controller] = linux.controllers(NQN)
    linux.nvme(f"reset /dev/{controller}")
    linux.await_controllers(NQN, 1)
    assert stream.running(), "the reset was to happen in the middle of it"
    stream.finish()
    initiator.unmount_and_check(guest, disk)


def test_namespaces_that_come_and_go_are_seen_at_once(disk, linux, export):
    export.add_memory(2, 16)
    second = linux.disk(NQN, 2)
    linux.await_size(second, 16 * MIB)
    export.remove(2)
    linux.await_no_disk(NQN, 2)
    assert linux.disk(NQN, 1) == disk


def test_a_rescan_finds_the_same(disk, linux, export):
    export.add_memory(2, 16)
    [controller] = linux.controllers(NQN)
    linux.nvme(f"ns-rescan /dev/{controller}")
    assert linux.disk(NQN, 2)
    assert linux.disk(NQN, 1) == disk


def test_a_namespace_that_grows_under_writes(export, linux):
    guest = linux.guest
    export.make().add_file()
    linux.connect(NQN, *export.address)
    disk = linux.disk(NQN)
    initiator.make_file_system(guest, disk)
    stream = initiator.Stream(guest, disk, DATA_MIB, writes_per_second=50)
    stream.await_writes(20)
    export.grow_file(1, 2 * DISK_MIB)
    linux.await_size(disk, 2 * DISK_MIB * MIB)
    stream.finish()
    initiator.unmount_and_check(guest, disk)


# Several paths.


@pytest.fixture
def two_paths(export, linux):
    """Both controllers of one memory disk, by the portal that each came through, and the disk."""
    export.make(portals=2, ana_reporting=True).add_memory()
    names = [linux.connect(NQN, *portal) for portal in export.portals]
    return names, linux.disk(NQN)


def test_two_portals_are_two_paths_to_one_disk(two_paths, linux):
    names, _ = two_paths
    assert linux.ana_states(NQN) == {name: "optimized" for name in names}
    heads = linux.guest.run("ls -d /sys/class/nvme-subsystem/*/nvme*n1")
    assert len(heads.split()) == 1


@pytest.mark.parametrize("state", ["non_optimized", "inaccessible"])
def test_writes_move_to_the_path_that_ana_prefers(two_paths, linux, export, state):
    names, disk = two_paths
    guest = linux.guest
    initiator.make_file_system(guest, disk)
    initiator.load(guest)
    initiator.await_writes(guest, disk, 20)
    for bad, good in ((0, 1), (1, 0)):
        export.set_ana_state(good, "optimized")
        export.set_ana_state(bad, state)
        linux.await_ana_state(names[good], "optimized")
        linux.await_ana_state(names[bad], state.replace("_", "-"))
        before = linux.written_by(names[good])
        initiator.await_writes(guest, disk, 20)
        assert linux.written_by(names[good]) > before
    initiator.end_load(guest)
    initiator.unmount_and_check(guest, disk)


def test_a_path_is_cut_during_writes(two_paths, linux, export):
    names, disk = two_paths
    guest = linux.guest
    initiator.make_file_system(guest, disk)
    initiator.load(guest)
    initiator.await_writes(guest, disk, 20)
    export.client.nvmf_subsystem_remove_listener(NQN, export.listen_address(0))
    initiator.await_writes(guest, disk, 20)
    linux.await_controllers(NQN, 1)
    export.client.nvmf_subsystem_add_listener(NQN, export.listen_address(0))
    linux.await_controllers(NQN, 2)
    initiator.end_load(guest)
    initiator.unmount_and_check(guest, disk)
    assert linux.ana_states(NQN) == {name: "optimized" for name in names}


def test_a_path_goes_silent_during_writes(export, linux):
    guest = linux.guest
    export.make(portals=2, ana_reporting=True).add_memory()
    for portal in export.portals:
        linux.connect(NQN, *portal, keep_alive=KEEP_ALIVE_SECONDS)
    disk = linux.disk(NQN)
    initiator.make_file_system(guest, disk)
    initiator.load(guest)
    initiator.await_writes(guest, disk, 20)
    linux.cut(ADDRESSES[1])
    linux.await_controllers(NQN, 1)
    initiator.await_writes(guest, disk, 20)
    linux.mend(ADDRESSES[1])
    linux.await_controllers(NQN, 2)
    initiator.end_load(guest)
    initiator.unmount_and_check(guest, disk)


# A host that dies, a target that dies.


def test_a_host_that_is_not_heard_of_any_more_is_dropped_and_may_come_again(export, linux):
    export.make().add_memory()
    linux.connect(NQN, *export.address, keep_alive=KEEP_ALIVE_SECONDS)
    disk = linux.disk(NQN)
    assert len(export.controllers()) == 1
    linux.cut(ADDRESSES[0])
    deadline = time.monotonic() + 60
    while export.controllers():
        assert time.monotonic() < deadline, "it is not dropped"
        time.sleep(0.2)
    # Who it was and when it was heard of last.
    assert re.search(rf"host {re.escape(nvme_host.NQN)} .*last heard .*keep alive", export.polluxd.log())
    linux.mend(ADDRESSES[0])
    linux.await_controllers(NQN, 1)
    linux.guest.run(f"dd if={disk} of=/dev/null bs=4k count=1 iflag=direct status=none")


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_the_host_comes_back_when_the_daemon_is_restarted_under_writes(export, linux, end):
    guest, polluxd = linux.guest, export.polluxd
    export.make().add_file()
    linux.connect(NQN, *export.address)
    disk = linux.disk(NQN)
    initiator.make_file_system(guest, disk)
    initiator.write(guest, DATA_MIB)

    stream = initiator.Stream(guest, disk, DATA_MIB, writes_per_second=50)
    stream.await_writes(50)
    getattr(polluxd, end)()
    polluxd.start()
    assert stream.running(), "the restart was to happen in the middle of it"
    stream.finish()
    initiator.verify(guest, DATA_MIB)
    initiator.unmount_and_check(guest, disk)
    assert len(linux.controllers(NQN, "live")) == 1


def connect_and_disconnect(linux, export, cycles):
    """`cycles` times, each with a read, while another host of the guest writes to another namespace."""
    guest = linux.guest
    other = f"-q {nvme_host.NQN}:other -I {uuid.uuid4()}"
    address, port = export.address
    guest.run(
        f"""
        set -e
        for i in $(seq {cycles}); do
          before=$(nvme_controllers {NQN} | wc -l)
          nvme connect -t tcp -a {address} -s {port} -n {NQN}:cycled {other}
          until_true 60 'test -b "$(nvme_disk {NQN}:cycled)"'
          dd if=$(nvme_disk {NQN}:cycled) of=/dev/null bs=4k count=1 iflag=direct status=none
          nvme disconnect -n {NQN}:cycled >/dev/null
        done
        """,
        60 + 10 * cycles,
    )


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("cycles", [10, pytest.param(200, marks=pytest.mark.nightly)])
def test_connecting_and_disconnecting_under_load(export, linux, cycles):
    guest = linux.guest
    export.make().add_memory()
    export.client.nvmf_create_subsystem(f"{NQN}:cycled", allow_any_host=True)
    name = export.client.bdev_malloc_create(8 * MIB // BLOCK, BLOCK, name="Cycled")
    export.client.nvmf_subsystem_add_ns(f"{NQN}:cycled", {"bdev_name": name})
    export.client.nvmf_subsystem_add_listener(f"{NQN}:cycled", export.listen_address(0))
    linux.connect(NQN, *export.address)
    disk = linux.disk(NQN)
    initiator.make_file_system(guest, disk)
    initiator.load(guest)
    connect_and_disconnect(linux, export, cycles)
    initiator.end_load(guest)
    initiator.unmount_and_check(guest, disk)
    assert export.client.nvmf_subsystem_get_controllers(f"{NQN}:cycled") == []
