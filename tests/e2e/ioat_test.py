"""I/OAT devices, by the device model behind a vfio-user socket: polluxd serves iSCSI and NVMe/TCP while
devices come, copy, fail, lie and go. Whatever they do, hosts read what they wrote."""

import json
import random
import struct
import threading

import pytest

import pollux
from exports import BLOCK, MIB, export, saved, wait_until
from ioat_peer import IoatModel
from iscsi_peer import GOOD, Peer
from nvme_peer import NvmeModel
from nvmf_exports import Subsystem

BLOCKS = 8 * MIB // BLOCK
SECONDS = 30


@pytest.fixture
def start_model():
    models = []

    def start(*arguments, kind=IoatModel):
        models.append(kind(*arguments))
        return models[-1].start()

    yield start
    for model in models:
        model.finish()


@pytest.fixture
def model(start_model):
    return start_model()


def devices(client):
    return {one["address"]: one for one in client.ioat_get_devices()}


def device(client):
    [only] = client.ioat_get_devices()
    return only


def channels(client):
    return [channel for one in client.ioat_get_devices() for channel in one.get("channels", [])]


def completed(client):
    """Operations that the channels have finished."""
    return sum(channel["completed"] for channel in channels(client))


def by_ioat(client):
    """Bytes that the accel layer had copied by a device."""
    return sum(
        one["num_bytes"]
        for one in client.accel_get_stats()["operations"]
        if (one["opcode"], one["module_name"]) == ("copy", "ioat")
    )


def pending(client):
    return [one for one in client.pollux_get_status()["pending"] if one["kind"] == "ioat_device"]


def health(client):
    return client.pollux_get_status()["health"]


def assigned(client):
    return client.accel_get_opc_assignments()


# Hosts that verify.


class Load(threading.Thread):
    """A host that writes and reads back as long as a test runs, and knows what every block holds. Any
    surprise is kept."""

    def __init__(self, seed):
        super().__init__()
        self.random = random.Random(seed)
        self.content = [bytes(BLOCK)] * BLOCKS
        self.ended = threading.Event()
        self.rounds = 0
        self.trouble = None

    def run(self):
        try:
            while not self.ended.is_set():
                self.round()
                self.rounds += 1
        except BaseException as trouble:  # pylint: disable=broad-except
            self.trouble = trouble

    def somewhere(self, blocks):
        return self.random.randrange(BLOCKS - blocks)

    def some_data(self, blocks):
        return b"".join(struct.pack("<QI", self.rounds, n) * (BLOCK // 12) + bytes(8) for n in range(blocks))

    def keep(self, lba, data):
        for n in range(len(data) // BLOCK):
            self.content[lba + n] = data[n * BLOCK : (n + 1) * BLOCK]

    def kept(self, lba, blocks):
        return b"".join(self.content[lba : lba + blocks])

    def goes_on(self, rounds=20):
        """Whether it does some more rounds, soon."""
        wanted = self.rounds + rounds
        return wait_until(lambda: self.rounds >= wanted or self.trouble, SECONDS) and not self.trouble

    def finish(self):
        """Everything is what it should be, at the end once more."""
        went_on = self.goes_on(2)
        self.ended.set()
        self.join(SECONDS)
        assert self.trouble is None, repr(self.trouble)
        assert went_on
        for lba in range(0, BLOCKS, 128):
            assert self.read(lba, 128) == self.kept(lba, 128), f"at {lba}"
        self.close()


class IscsiLoad(Load):
    """Over iSCSI with header and data digests, on a memory disk that keeps metadata apart, and therefore
    lends no pages: reads and writes are copies."""

    def __init__(self, client, seed=1):
        super().__init__(seed)
        disk = client.bdev_malloc_create(BLOCKS, BLOCK, name="Apart", md_size=8)
        target = export(client, disk)
        self.peer = Peer(target.portal, timeout=SECONDS)
        assert self.peer.login(target.iqn, HeaderDigest="CRC32C", DataDigest="CRC32C") == 0
        assert self.peer.header_digest and self.peer.data_digest
        assert self.peer.ready() == GOOD

    def read(self, lba, blocks):
        return self.peer.read(lba, blocks)

    def close(self):
        self.peer.close()

    def write_same(self, lba, blocks, block):
        cdb = struct.pack(">BBIBHB", 0x41, 0, lba, 0, blocks, 0)
        status, _, answer = self.peer.run(cdb, data=block)
        assert status == GOOD, answer.data.hex()
        self.keep(lba, block * blocks)

    def round(self):
        blocks = self.random.choice([1, 7, 8, 16, 33, 128])
        lba = self.somewhere(blocks)
        if self.rounds % 5 == 4:
            self.write_same(lba, blocks, self.random.choice([bytes(BLOCK), self.some_data(1)]))
        else:
            data = self.some_data(blocks)
            self.peer.write(lba, data)
            self.keep(lba, data)
        lba = self.somewhere(blocks)
        assert self.read(lba, blocks) == self.kept(lba, blocks), f"{blocks} blocks at {lba}"


class NvmeLoad(Load):
    """Over NVMe/TCP with header and data digests, on a memory disk: its Copy, and writes of zeroes."""

    def __init__(self, client, seed=2):
        super().__init__(seed)
        subsystem = Subsystem(client)
        subsystem.add_memory(blocks=BLOCKS, disk="Lent")
        self.controller = subsystem.connect(header_digest=True, data_digest=True, timeout=SECONDS)
        queue = self.controller.queues[0]
        assert queue.header_digest and queue.data_digest

    def read(self, lba, blocks):
        return self.controller.read(1, lba, blocks)

    def close(self):
        self.controller.close()

    def round(self):
        blocks = self.random.choice([1, 8, 16, 33, 128])
        lba = self.somewhere(blocks)
        data = self.some_data(blocks)
        self.controller.write(1, lba, data).check()
        self.keep(lba, data)
        # Not onto itself.
        half = BLOCKS // 2
        source = lba
        target = (lba + half) % BLOCKS
        target = min(target, BLOCKS - blocks)
        self.controller.copy(1, target, (source, blocks)).check()
        self.keep(target, data)
        if self.rounds % 3 == 2:
            lba = self.somewhere(blocks)
            self.controller.write_zeroes(1, lba, blocks).check()
            self.keep(lba, bytes(blocks * BLOCK))
        for lba in (target, self.somewhere(blocks)):
            assert self.read(lba, blocks) == self.kept(lba, blocks), f"{blocks} blocks at {lba}"


@pytest.fixture
def loads(polluxd):
    """Hosts of both kinds at work."""
    hosts = [IscsiLoad(polluxd.client), NvmeLoad(polluxd.client)]
    for host in hosts:
        host.start()
    yield hosts
    for host in hosts:
        host.ended.set()
    for host in hosts:
        host.join(SECONDS)


def all_go_on(loads, rounds=20):
    for load in loads:
        assert load.goes_on(rounds), repr(load.trouble)


def finish(loads):
    for load in loads:
        load.finish()


# What a device is.


def test_a_device_shows_itself_and_takes_what_it_can(polluxd, start_model):
    model = start_model("--channels", 2)
    client = polluxd.client
    assert client.ioat_get_devices() == []
    assert set(assigned(client).values()) == {"software"}
    assert client.ioat_attach_device(model.address) is True
    shown = device(client)
    assert (shown["address"], shown["state"]) == (model.address, "attached")
    assert (shown["vendor_id"], shown["device_id"], shown["version"]) == ("0x8086", "0x0b00", "3.4")
    assert shown["model"] == "Ice Lake"
    assert shown["capabilities"] == ["copy", "fill", "xor", "pq"]
    assert shown["transfer_bytes_max"] == 1 << 20 and shown["descriptors"] > 0
    assert [one["index"] for one in shown["channels"]] == [0, 1]
    assert {one["state"] for one in shown["channels"]} == {"running"}
    [used] = [one for one in shown["channels"] if "lcore" in one]
    [reactor] = client.framework_get_reactors()["reactors"]
    assert used["lcore"] == reactor["lcore"]
    assert used["thread_name"] in [one["name"] for one in client.thread_get_stats()["threads"]]
    assert used["reason"] == "" and used["failed"] == used["errors"] == 0
    assert (assigned(client)["copy"], assigned(client)["fill"]) == ("ioat", "ioat")
    assert assigned(client)["crc32c"] == "software"
    assert client.framework_get_pci_devices() == []
    assert client.ioat_detach_device(model.address) is True
    assert client.ioat_get_devices() == []
    assert set(assigned(client).values()) == {"software"}


def test_the_module_is_known_without_a_device(shared_polluxd):
    modules = {one["module"]: one["supported ops"] for one in shared_polluxd.client.accel_get_module_info()}
    assert {"copy", "fill"} <= set(modules["ioat"])
    assert shared_polluxd.client.ioat_get_devices() == []


def test_a_device_without_fill_copies(polluxd, start_model):
    client = polluxd.client
    client.ioat_attach_device(start_model("--without", "fill", "--version", "3.2").address)
    assert device(client)["version"] == "3.2"
    assert "fill" not in device(client)["capabilities"]
    assert assigned(client)["copy"] == "ioat"


def test_each_reactor_has_a_channel_of_its_own(start_polluxd, start_model):
    client = start_polluxd("-m", "0x3").client
    one, other = start_model(), start_model()
    client.ioat_attach_device(one.address)
    assert len([channel for channel in channels(client) if "lcore" in channel]) == 1
    client.ioat_attach_device(other.address)
    assert {channel["lcore"] for channel in channels(client)} == {0, 1}
    client.ioat_detach_device(one.address)
    assert [channel["lcore"] in (0, 1) for channel in channels(client)] == [True]


# Who copies.


def test_the_device_copies_what_iscsi_reads_and_writes(polluxd, model):
    client = polluxd.client
    client.ioat_attach_device(model.address)
    load = IscsiLoad(client)
    before = completed(client)
    data = bytes(range(256)) * 256
    load.peer.write(8, data)
    assert completed(client) > before and by_ioat(client) == len(data)
    assert load.peer.read(8, 128) == data
    assert by_ioat(client) == 2 * len(data)
    assert client.accel_get_stats()["given_back"] == 0
    load.peer.close()


def test_the_device_copies_what_nvme_copies_and_zeroes_what_it_zeroes(polluxd, model):
    client = polluxd.client
    client.ioat_attach_device(model.address)
    load = NvmeLoad(client)
    data = bytes(range(256)) * 128
    load.controller.write(1, 0, data).check()
    assert by_ioat(client) == 0  # The disk lent its pages.
    load.controller.copy(1, 1000, (0, 64)).check()
    assert by_ioat(client) >= len(data)
    before = completed(client)
    load.controller.write_zeroes(1, 1008, 40).check()
    assert completed(client) > before
    assert load.read(1000, 64) == data[: 8 * BLOCK] + bytes(40 * BLOCK) + data[48 * BLOCK :]
    load.controller.close()


def test_what_is_short_is_not_worth_it(polluxd, model):
    client = polluxd.client
    client.ioat_attach_device(model.address)
    load = IscsiLoad(client)
    client.accel_set_options(offload_min_bytes=65536)
    load.peer.write(0, bytes(64 * BLOCK))
    assert by_ioat(client) == 0
    load.peer.write(0, bytes(128 * BLOCK))
    assert by_ioat(client) == 128 * BLOCK
    client.accel_set_options(offload_min_bytes=0)
    load.peer.write(0, bytes(BLOCK))
    assert by_ioat(client) == 129 * BLOCK
    polluxd.restart()
    [options] = [
        call for call in polluxd.client.framework_get_config("accel") if call["method"] == "accel_set_options"
    ]
    assert options["params"]["offload_min_bytes"] == 0
    load.peer.close()


def test_who_assigned_an_opcode_decides(polluxd, model):
    client = polluxd.client
    client.ioat_attach_device(model.address)
    load = IscsiLoad(client)
    client.accel_assign_opc("copy", "software")
    load.peer.write(0, bytes(128 * BLOCK))
    assert by_ioat(client) == 0
    client.accel_assign_opc("copy", "ioat")
    load.peer.write(0, bytes(128 * BLOCK))
    assert by_ioat(client) == 128 * BLOCK
    client.ioat_detach_device(model.address)
    assert assigned(client)["copy"] == "ioat"
    load.peer.write(0, bytes(128 * BLOCK))  # By the CPU, in its place.
    assert by_ioat(client) == 128 * BLOCK
    with pytest.raises(pollux.InvalidParams):
        client.accel_assign_opc("crc32c", "ioat")
    load.peer.close()


# Under load: proof that nothing is lost.


def test_a_device_comes_and_goes_under_load_and_nothing_is_lost(polluxd, model, loads):
    client = polluxd.client
    for _ in range(5):
        before = by_ioat(client)
        client.ioat_attach_device(model.address)
        all_go_on(loads)
        channel = device(client)["channels"][0]
        assert by_ioat(client) > before and channel["completed"] > 0
        assert (channel["state"], channel["failed"]) == ("running", 0)
        client.ioat_detach_device(model.address)
        by_then = by_ioat(client)
        all_go_on(loads)
        assert by_ioat(client) == by_then
    assert health(client)["state"] == "ok"
    finish(loads)
    print(f"{[load.rounds for load in loads]} rounds, {by_ioat(client)} bytes by the device")


def test_a_killed_device_loses_nothing_and_is_attached_when_it_is_back(polluxd, model, loads):
    client = polluxd.client
    client.ioat_attach_device(model.address)
    for _ in range(3):
        before = by_ioat(client)
        all_go_on(loads)
        assert by_ioat(client) > before
        model.kill()
        assert wait_until(lambda: device(client)["state"] == "pending", SECONDS)
        assert device(client)["reason"]
        [waiting] = pending(client)
        assert (waiting["name"], waiting["method"]) == (model.address, "ioat_attach_device")
        assert health(client)["state"] == "degraded"
        assert any(model.address in why for why in health(client)["reasons"])
        assert model.address in polluxd.log()
        assert "ioat_attach_device" in [call["method"] for call in client.framework_get_config("accel")]
        all_go_on(loads)
        model.start()
        assert wait_until(lambda: device(client)["state"] == "attached", SECONDS)
        assert wait_until(lambda: health(client)["state"] == "ok", SECONDS) and not pending(client)
    all_go_on(loads)
    assert completed(client) > 0
    finish(loads)
    print(f"{[load.rounds for load in loads]} rounds, {by_ioat(client)} bytes by the device")


@pytest.mark.parametrize("how", ["--fail-every", "--stall-after"])
def test_a_device_that_fails_loses_nothing_and_says_why(polluxd, start_model, loads, how):
    client = polluxd.client
    model = start_model(how, 50)
    client.ioat_attach_device(model.address)
    assert wait_until(lambda: client.accel_get_stats()["given_back"] > 0, SECONDS)
    all_go_on(loads)
    channel = device(client)["channels"][0]
    assert channel["reason"] and channel["failed"] > 0
    if how == "--fail-every":
        assert channel["errors"] > 1 and channel["resets"] > 1
    finish(loads)
    assert client.ioat_detach_device(model.address) is True
    assert health(client)["state"] == "ok"


def test_a_device_that_lies_is_out_of_service_and_nothing_is_lost(polluxd, start_model, loads):
    client = polluxd.client
    model = start_model("--lie-after", 50)

    def is_caught():
        client.ioat_attach_device(model.address)
        all_go_on(loads, 100)
        if device(client)["channels"][0]["state"] == "out of service":
            return True
        # It told the truth before anybody looked.
        client.ioat_detach_device(model.address)
        return False

    assert any(is_caught() for _ in range(20))
    channel = device(client)["channels"][0]
    assert channel["reason"] and "lcore" not in channel
    assert client.accel_get_stats()["given_back"] > 0
    assert set(assigned(client).values()) == {"software"}
    assert health(client)["state"] == "degraded"
    assert any(model.address in why and channel["reason"] in why for why in health(client)["reasons"])
    all_go_on(loads)
    finish(loads)
    assert client.ioat_detach_device(model.address) is True
    assert health(client)["state"] == "ok"


def test_a_second_device_takes_over(polluxd, start_model, loads):
    client = polluxd.client
    one, other = start_model(), start_model()
    client.ioat_attach_device(one.address)
    client.ioat_attach_device(other.address)
    all_go_on(loads)
    [used] = [address for address, shown in devices(client).items() if "lcore" in shown["channels"][0]]
    assert used == one.address
    one.kill()
    assert wait_until(lambda: "lcore" in devices(client)[other.address]["channels"][0], SECONDS)
    before = devices(client)[other.address]["channels"][0]["completed"]
    all_go_on(loads)
    assert devices(client)[other.address]["channels"][0]["completed"] > before
    finish(loads)


# The configuration.


def test_a_restart_attaches_again(polluxd, model):
    polluxd.client.ioat_attach_device(model.address)
    before = saved(polluxd.client)
    polluxd.restart()
    assert device(polluxd.client)["state"] == "attached"
    assert saved(polluxd.client) == before
    polluxd.kill()
    polluxd.start()
    assert device(polluxd.client)["state"] == "attached"
    polluxd.client.ioat_detach_device(model.address)
    polluxd.restart()
    assert polluxd.client.ioat_get_devices() == []


def test_a_device_that_is_missing_at_start_is_pending(polluxd, model):
    polluxd.client.ioat_attach_device(model.address)
    polluxd.stop()
    model.kill()
    polluxd.start()
    client = polluxd.client
    shown = device(client)
    assert shown["state"] == "pending" and shown["reason"] and "channels" not in shown
    assert set(assigned(client).values()) == {"software"}
    with pytest.raises(pollux.RpcError) as refused:
        client.ioat_attach_device(model.address)
    assert refused.value.code == -17
    model.start()
    assert wait_until(lambda: device(client)["state"] == "attached", SECONDS)
    assert wait_until(lambda: health(client)["state"] == "ok", SECONDS)


def test_a_pending_device_can_be_detached(polluxd, model):
    polluxd.client.ioat_attach_device(model.address)
    polluxd.stop()
    model.kill()
    polluxd.start()
    # By another spelling.
    assert polluxd.client.ioat_detach_device(model.address + "/cntrl") is True
    assert polluxd.client.ioat_get_devices() == []
    polluxd.restart()
    assert polluxd.client.ioat_get_devices() == [] and not pending(polluxd.client)


def test_an_address_has_several_spellings(polluxd, model):
    client = polluxd.client
    client.ioat_attach_device(model.address + "/./cntrl")
    assert device(client)["address"] == model.address
    for spelling in (model.address, model.address + "/", model.address + "/cntrl"):
        with pytest.raises(pollux.RpcError) as refused:
            client.ioat_attach_device(spelling)
        assert refused.value.code == -17
    assert client.ioat_detach_device(model.address + "/") is True


def test_a_scan_is_asked_for_before_initialisation_and_kept(start_polluxd):
    polluxd = start_polluxd("--wait-for-rpc")
    client = polluxd.client
    assert client.ioat_scan_accel_module() is True
    client.framework_start_init()
    call = {"method": "ioat_scan_accel_module", "params": {"enable": True}}
    assert client.framework_get_config("accel") == [call]
    polluxd.restart("--wait-for-rpc")
    assert polluxd.client.ioat_scan_accel_module(enable=False) is True
    polluxd.client.framework_start_init()
    assert polluxd.client.framework_get_config("accel") == []


# What cannot be.


def test_what_is_no_such_device_is_refused(polluxd, start_model, tmp_path):
    client = polluxd.client
    file = tmp_path / "file"
    file.write_bytes(b"")
    nvme = start_model(kind=NvmeModel)
    for address, codes in [
        ("", {-22}),
        ("0000:ff:1f.7", {-19, -2}),
        (str(tmp_path / "nothing"), {-19, -2}),
        (str(file), {-19, -22, -20, -111}),
        ("x" * 300, {-22, -19, -36}),
        (nvme.address, {-19}),
    ]:
        with pytest.raises(pollux.RpcError) as refused:
            client.ioat_attach_device(address)
        assert refused.value.code in codes, (address, refused.value)
        with pytest.raises(pollux.RpcError) as refused:
            client.ioat_detach_device(address)
        assert refused.value.code == -19
    assert client.ioat_get_devices() == [] and client.framework_get_config("accel") == []


def test_a_slow_device_holds_nobody_up(polluxd, model, start_model):
    slow = start_model("--reset-steps", 2**32 - 1)
    calls = [
        ("slow", "ioat_attach_device", {"address": slow.address}),
        ("fast", "ioat_attach_device", {"address": model.address}),
        ("disk", "bdev_null_create", {"name": "Null0", "num_blocks": 2048, "block_size": 512}),
        ("state", "ioat_get_devices", {}),
    ]
    connection = polluxd.client.connection
    for name, method, params in calls:
        call = {"jsonrpc": "2.0", "id": name, "method": method, "params": params}
        connection.send(json.dumps(call).encode() + b"\n")
    answers = [connection.receive(connection.deadline()) for _ in calls]
    assert answers[-1]["id"] == "slow" and answers[-1]["error"]["code"] == -110
    assert all("result" in one for one in answers[:-1])
    assert device(polluxd.client)["address"] == model.address


def test_an_attach_ends_when_polluxd_does(polluxd, start_model):
    slow = start_model("--reset-steps", 2**32 - 1)
    call = {"jsonrpc": "2.0", "id": 1, "method": "ioat_attach_device", "params": {"address": slow.address}}
    polluxd.client.connection.send(json.dumps(call).encode() + b"\n")
    polluxd.stop()  # In time: see Daemon.
    polluxd.start()
    assert polluxd.client.ioat_get_devices() == []
