"""The host of tests/e2e, which judges our target, is itself judged by Linux's target: nvmet."""

import pathlib
import shutil
import sys

import pytest

import guest as vm
import nvmet
from pollux.pytest_plugin import free_port

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "e2e"))
import nvme_structures as structures  # noqa: E402
import nvme_tcp_host as nvme  # noqa: E402
import nvme_tcp_wire as wire  # noqa: E402

NQN = "nqn.2024-01.io.pollux:linux"
INSIDE = (4420, 4421)
BLOCK, BLOCKS = 512, 8192
KIB = 1024


@pytest.fixture(scope="module")
def ports():
    return {free_port(): inside for inside in INSIDE}


@pytest.fixture(scope="module")
def target(ports):
    if not (vm.CACHE / "stamp").exists() or not shutil.which("qemu-system-x86_64"):
        pytest.skip(f"no guest in {vm.CACHE}: tests/run --vm builds it")
    machine = vm.Guest(forward=ports)
    machine.boot()
    one = nvmet.Target(machine)
    one.add_subsystem(NQN)
    one.add_namespace(NQN, 1, mib=BLOCKS * BLOCK >> 20, device_nguid="00112233-4455-6677-8899-aabbccddeeff")
    for number, inside in enumerate(INSIDE, 1):
        one.add_port(number, inside)
        one.serve(NQN, number)
    yield one
    machine.stop()


@pytest.fixture
def address(target, ports):
    del target
    return "127.0.0.1", min(ports, key=ports.get)


@pytest.fixture
def other_address(ports):
    return "127.0.0.1", max(ports, key=ports.get)


@pytest.fixture(params=["plain", "digests"])
def controller(address, request):
    digests = request.param == "digests"
    options = {"header_digest": digests, "data_digest": digests}
    with nvme.Controller(address, NQN, kato=120_000, timeout=60, **options) as one:
        one.create_queues(2)
        yield one


def test_crc32c_has_the_value_of_rfc_3720():
    assert wire.crc32c(b"123456789") == 0xE3069283
    assert wire.digest(bytes(32)) == bytes.fromhex("aa36918a")


def test_it_is_identified(controller):
    data = controller.identify(1).check().data
    told = structures.IdentifyController(data)
    assert (told.sn, told.mn, told.subnqn) == ("NVMET0001", "Linux", NQN)
    assert told.cntlid == controller.cntlid
    namespace = structures.IdentifyNamespace(controller.identify(0, 1).check().data)
    assert (namespace.nsze, namespace.block_size) == (BLOCKS, BLOCK)
    assert structures.namespace_list(controller.identify(2).check().data) == [1]
    named = structures.identifiers(controller.identify(3, 1).check().data)
    assert named[2] == namespace.nguid


@pytest.mark.parametrize("size", [BLOCK, 4 * KIB, 16 * KIB, 100 * KIB])
def test_what_is_written_is_read_back(controller, size):
    data = bytes(i * 7 & 0xFF for i in range(size))
    assert controller.write(1, 100, data).ok
    assert controller.read(1, 100, size // BLOCK) == data
    assert controller.read(1, 100, size // BLOCK, queue=controller.queues[1]) == data


def test_many_commands_at_once(controller):
    queue = controller.queues[0]
    cids = [
        queue.submit(nvme.lba_entry(nvme.WRITE, 1, 64 * i, 40), bytes([i]) * 40 * BLOCK) for i in range(24)
    ]
    assert all(done.ok for done in queue.wait_all(cids))
    cids = [queue.submit(nvme.lba_entry(nvme.READ, 1, 64 * i, 40), expect=40 * BLOCK) for i in range(24)]
    assert [one.check().data for one in queue.wait_all(cids)] == [bytes([i]) * 40 * BLOCK for i in range(24)]


def test_commands_without_data(controller):
    assert controller.flush(1).ok
    assert controller.write(1, 8, b"\1" * 4096).ok
    assert controller.write_zeroes(1, 8, 8).ok
    assert controller.read(1, 8, 8) == bytes(4096)
    assert controller.deallocate(1, (8, 8), (32, 8)).ok
    assert controller.keep_alive().ok


def test_features_and_log_pages(controller):
    assert controller.set_features(nvme.EVENTS, 1 << 8).ok
    assert controller.get_features(nvme.EVENTS).check().dw0 == 1 << 8
    assert len(controller.get_log(nvme.SMART, 512).check().data) == 512
    _, groups = structures.ana_groups(controller.get_log(nvme.ANA, 4096).check().data)
    assert groups[1].nsids == (1,)


def test_errors_have_their_status(controller):
    assert controller.admin.run(nvme.entry(0xC5)).status == nvme.INVALID_OPCODE
    assert controller.identify(0xCC).status == nvme.INVALID_FIELD
    failed = controller.io(nvme.lba_entry(nvme.READ, 1, BLOCKS, 1), expect=BLOCK)
    assert failed.status and failed.dnr  # Linux says Internal Error to what is beyond the end.
    assert controller.io(nvme.lba_entry(nvme.READ, 7, 0, 1), expect=BLOCK).status == nvme.INVALID_NAMESPACE


def test_an_event_tells_of_a_change(target, controller):
    controller.set_features(nvme.EVENTS, 1 << 11).check()
    controller.request_event()
    target.set_ana_state(1, 1, nvmet.NON_OPTIMIZED)
    assert controller.next_event() == (2, 3, nvme.ANA)
    _, groups = structures.ana_groups(controller.get_log(nvme.ANA, 4096).check().data)
    assert groups[1].state == 2
    target.set_ana_state(1, 1, nvmet.OPTIMIZED)


def test_discovery_lists_both_ports(target, address):
    with nvme.Controller(address, nvme.DISCOVERY_NQN) as discovery:
        _, count, entries = structures.discovery_log(discovery.get_log(nvme.DISCOVERY, 4096).check().data)
        assert count == len(entries)
        found = {(one.traddr, one.trsvcid) for one in entries if one.subnqn == NQN}
        assert found >= {(vm.ADDRESS, str(INSIDE[0]))}
    del target


def test_a_wrong_pdu_ends_the_connection(address):
    with nvme.Queue(address) as queue:
        queue.send_bytes(wire.common_header(wire.RESPONSE, plen=24) + bytes(16))
        with pytest.raises((nvme.Terminated, wire.Closed)):
            queue.serve_one()


def test_a_path_that_is_withdrawn_breaks_off(target, address, other_address):
    with nvme.Controller(address, NQN) as one, nvme.Controller(other_address, NQN, one.host) as other:
        other.create_queues(1)
        target.withdraw(NQN, 1)
        with pytest.raises(wire.Closed):
            while True:
                one.keep_alive()
        assert other.read(1, 0, 1)
        target.serve(NQN, 1)
