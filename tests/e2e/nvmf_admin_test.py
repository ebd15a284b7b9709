"""Identify, features, log pages, events, abort, keep alive: the admin commands of our target, from outside."""

import struct
import threading
import uuid

import pytest

import nvme_structures as structures
import nvme_tcp_host as nvme
from exports import BLOCK, MIB, file_disk
from nvme_tcp_host import Host
from nvme_structures import IdentifyController, IdentifyNamespace, namespace_list
from nvme_tcp_wire import Closed
from nvmf_exports import DISK_BLOCKS, NQN, Subsystem, listen_address, wait_until

SERIAL, MODEL = "POLLUX-0042", "A model of a test"
MAX_NAMESPACES = 40
UUID = "0b5a8f0e-5c0f-4b7c-9a51-0d5f5f8a1c77"
NGUID = "00112233445566778899AABBCCDDEEFF"
EUI64 = "1122334455667788"


@pytest.fixture(scope="module")
def subsystem(shared_polluxd):
    one = Subsystem(
        shared_polluxd.client,
        serial_number=SERIAL,
        model_number=MODEL,
        max_namespaces=MAX_NAMESPACES,
        ana_reporting=True,
    )
    one.add_memory(1, uuid=UUID, nguid=NGUID, eui64=EUI64)
    one.add_memory(5, blocks=1024, block=4096)
    return one


@pytest.fixture
def controller(subsystem):
    with subsystem.connect() as one:
        yield one


# Identify.


def test_the_controller_says_who_it_is(controller, subsystem):
    told = IdentifyController(controller.identify(1).check().data)
    assert (told.sn, told.mn, told.subnqn, told.cntlid) == (SERIAL, MODEL, NQN, controller.cntlid)
    assert told.ver == controller.admin.property_get(nvme.VS).check().dw0
    assert told.cntrltype == 1
    assert (told.sqes, told.cqes) == (0x66, 0x44)
    assert told.maxcmd == 128 and told.mdts >= 5  # 128 KiB
    assert told.ioccsz * 16 == 64 + 8192 and told.iorcsz == 1 and told.icdoff == 0
    assert told.sgls & 3 and told.sgls >> 20 & 1  # SGLs, and offsets into capsules.
    assert told.nn == MAX_NAMESPACES
    assert told.kas > 0 and told.acl <= 7 and told.aerl >= 3
    assert told.ctratt & 1, "host identifiers of 128 bits"
    assert told.cmic & 0b1011 == 0b1011, "several ports, several controllers, ANA"
    assert told.anagrpmax >= 1 and told.nanagrpid >= 1 and told.anatt > 0 and told.anacap & 7 == 7
    assert told.lpa & 4, "long log pages"
    assert told.oaes & (1 << 8 | 1 << 11) == 1 << 8 | 1 << 11
    assert not told.oacs & 1 << 3, "no namespace management"
    del subsystem


def test_a_namespace_says_what_it_is(controller):
    told = IdentifyNamespace(controller.identify(0, 1).check().data)
    assert (told.nsze, told.ncap, told.block_size) == (DISK_BLOCKS, DISK_BLOCKS, BLOCK)
    assert told.nmic & 1, "several controllers may have it"
    assert told.nguid.hex().upper() == NGUID and told.eui64.hex() == EUI64
    assert told.anagrpid == 1
    told = IdentifyNamespace(controller.identify(0, 5).check().data)
    assert (told.nsze, told.block_size, told.anagrpid) == (1024, 4096, 5)


def test_identifiers_of_a_namespace(controller, subsystem):
    named = structures.identifiers(controller.identify(3, 1).check().data)
    assert named[3] == uuid.UUID(UUID) and named[2].hex().upper() == NGUID and named[1].hex() == EUI64
    assert named[4] == b"\0"  # The NVM command set.
    # What nobody gave comes from the disk, and is told as it is.
    [space] = [one for one in subsystem.client.nvmf_get_subsystems(NQN)[0]["namespaces"] if one["nsid"] == 5]
    assert structures.identifiers(controller.identify(3, 5).check().data)[3] == uuid.UUID(space["uuid"])


def test_lists_of_namespaces(controller):
    for cns in (2, 0x10):
        answer = controller.identify(cns)
        if cns == 0x10 and not answer.ok:
            continue  # Namespace management's own list.
        assert namespace_list(answer.check().data) == [1, 5]
    assert namespace_list(controller.identify(2, 1).check().data) == [5]
    assert namespace_list(controller.identify(2, 5).check().data) == []
    assert namespace_list(controller.identify(2, 0xFFFFFFFD).check().data) == []
    assert namespace_list(controller.identify(7, 0, csi=0).check().data) == [1, 5]


@pytest.mark.parametrize("nsid", [0xFFFFFFFE, 0xFFFFFFFF])
def test_a_list_of_namespaces_cannot_begin_there(controller, nsid):
    assert controller.identify(2, nsid).status == nvme.INVALID_NAMESPACE


def test_lists_of_controllers(controller, subsystem):
    with subsystem.connect(queues=0) as other:
        both = sorted([controller.cntlid, other.cntlid])
        assert [one for one in structures.controller_list(controller.identify(0x13).check().data) if one in both] == both
        assert set(both) <= set(structures.controller_list(controller.identify(0x12, 1).check().data))
        after = structures.controller_list(controller.identify(0x13, cntid=both[0] + 1).check().data)
        assert both[0] not in after and both[1] in after


def test_identify_of_the_command_set(controller):
    assert controller.identify(6, csi=0).ok
    assert controller.identify(5, 1, csi=0).ok
    told = controller.identify(8, 1).check().data
    assert told[14] & 1, "it is ready"  # NSTAT
    sets = controller.identify(0x1C, cntid=controller.cntlid).check().data
    assert struct.unpack_from("<Q", sets)[0] == 1


@pytest.mark.parametrize("cns", [0, 3, 8])
@pytest.mark.parametrize("nsid", [0, MAX_NAMESPACES + 1, 0xFFFFFFFE])
def test_identify_of_a_namespace_that_cannot_be(controller, cns, nsid):
    assert controller.identify(cns, nsid).status == nvme.INVALID_NAMESPACE


@pytest.mark.parametrize("nsid", [2, MAX_NAMESPACES])
def test_identify_of_a_namespace_that_is_not_there(controller, nsid):
    assert not any(controller.identify(0, nsid).check().data)
    assert controller.identify(3, nsid).status in (nvme.INVALID_NAMESPACE, nvme.INVALID_FIELD)


@pytest.mark.parametrize("cns", [4, 9, 0xA, 0x20, 0x7F, 0xC0, 0xFF])
def test_identify_of_what_is_not_offered(controller, cns):
    assert controller.identify(cns, 1).status == nvme.INVALID_FIELD


@pytest.mark.parametrize("csi", [1, 2, 0x30, 0xFF])
@pytest.mark.parametrize("cns", [5, 6, 7])
def test_identify_of_a_command_set_that_is_not_offered(controller, cns, csi):
    answer = controller.identify(cns, 1, csi=csi)
    assert answer.status == nvme.INVALID_FIELD or (answer.ok and not any(answer.data))


@pytest.mark.parametrize("length", [0, 1, 4, 512, 4092, 4095])
def test_identify_into_too_little_room(controller, length):
    assert controller.identify(1, length=length).status in (nvme.SGL_LENGTH, nvme.INVALID_FIELD)
    assert controller.identify(1).ok


def test_identify_into_more_room_than_it_needs_sends_no_more(controller):
    for length in (4097, 8192, 1 << 20):
        answer = controller.identify(1, length=length)
        assert answer.ok and len(answer.data) == 4096


# Features.

DEFAULTS_ZERO = [nvme.ARBITRATION, nvme.POWER, nvme.ERROR_RECOVERY, nvme.ATOMICITY, nvme.EVENTS]


@pytest.mark.parametrize("feature, value", [(nvme.ARBITRATION, 0x03020104), (nvme.EVENTS, 1 << 8), (nvme.ATOMICITY, 1)])
def test_a_feature_has_the_value_that_was_set(controller, subsystem, feature, value):
    before = controller.get_features(feature).check().dw0
    assert before != value
    controller.set_features(feature, value).check()
    assert controller.get_features(feature).check().dw0 == value
    assert controller.get_features(feature, select=1).check().dw0 == before
    with subsystem.connect(queues=0) as other:
        assert other.get_features(feature).check().dw0 == before, "it belongs to the controller"


@pytest.mark.parametrize(
    "feature", [nvme.ARBITRATION, nvme.POWER, nvme.TEMPERATURE, nvme.QUEUES, nvme.EVENTS, nvme.KATO, nvme.WRITE_CACHE]
)
def test_what_may_be_done_with_a_feature(controller, feature):
    capabilities = controller.get_features(feature, select=3).check().dw0
    assert capabilities & 1 == 0, "nothing is saved"
    assert controller.set_features(feature, save=True).status in (nvme.NOT_SAVEABLE, nvme.INVALID_FIELD)


@pytest.mark.parametrize("feature", [0, 3, 0xC, 0x70, 0x7F, 0xC0, 0xFF])
def test_a_feature_that_is_not_offered(controller, feature):
    assert controller.get_features(feature).status == nvme.INVALID_FIELD
    assert controller.set_features(feature).status == nvme.INVALID_FIELD


@pytest.mark.parametrize("select", [4, 5, 6, 7])
def test_a_selection_that_is_reserved(controller, select):
    assert controller.get_features(nvme.ARBITRATION, select=select).status == nvme.INVALID_FIELD


def test_a_feature_of_the_controller_is_not_one_of_a_namespace(controller):
    answer = controller.set_features(nvme.ARBITRATION, 1, nsid=1)
    assert answer.status in (nvme.NOT_PER_NAMESPACE, nvme.INVALID_NAMESPACE)


def test_power_has_one_state(controller):
    assert controller.set_features(nvme.POWER, 0).ok
    assert controller.set_features(nvme.POWER, 1).status == nvme.INVALID_FIELD
    assert controller.get_features(nvme.POWER).check().dw0 == 0


def test_temperature_thresholds(controller):
    controller.set_features(nvme.TEMPERATURE, 350).check()
    assert controller.get_features(nvme.TEMPERATURE).check().dw0 & 0xFFFF == 350
    assert controller.set_features(nvme.TEMPERATURE, 3 << 20 | 350).status == nvme.INVALID_FIELD


@pytest.mark.parametrize("value", [0xFFFF, 0xFFFF0000, 0xFFFFFFFF])
def test_the_number_of_queues_is_not_all_of_them(subsystem, value):
    with subsystem.connect(queues=0) as controller:
        assert controller.set_features(nvme.QUEUES, value).status == nvme.INVALID_FIELD


def test_the_number_of_queues_is_granted_once(subsystem):
    with subsystem.connect(queues=0) as controller:
        assert controller.set_features(nvme.QUEUES, 0xFFFE << 16 | 0xFFFE).check().dw0 == 126 << 16 | 126
        assert controller.set_features(nvme.QUEUES, 2 << 16 | 2).check().dw0 == 2 << 16 | 2
        controller.create_queues(1)
        assert controller.set_features(nvme.QUEUES, 3).status == nvme.SEQUENCE


def test_the_host_identifier_is_that_of_connect(controller):
    assert controller.get_features(nvme.HOST_ID, value=1, length=16).check().data == controller.host.id
    answer = controller.set_features(nvme.HOST_ID, 1, data=b"x" * 16)
    assert answer.status in (nvme.SEQUENCE, nvme.NOT_CHANGEABLE)


def test_host_behaviour(controller):
    assert controller.set_features(nvme.HOST_BEHAVIOUR, data=b"\1" + bytes(511)).ok
    assert controller.get_features(nvme.HOST_BEHAVIOUR, length=512).check().data[0] == 1
    assert controller.set_features(nvme.HOST_BEHAVIOUR, data=b"\2" + bytes(511)).status == nvme.INVALID_FIELD
    answer = controller.set_features(nvme.HOST_BEHAVIOUR, data=b"\1" * 16)
    assert answer.status in (nvme.SGL_LENGTH, nvme.INVALID_FIELD)


def test_events_that_are_not_offered_cannot_be_asked_for(controller):
    assert controller.set_features(nvme.EVENTS, 1 << 28).status == nvme.INVALID_FIELD


# Log pages.


def test_log_pages_that_are_supported_can_be_read(controller):
    supported = struct.unpack("<256I", controller.get_log(nvme.SUPPORTED_PAGES, 1024).check().data)
    listed = {page for page, entry in enumerate(supported) if entry & 1}
    assert listed >= {*range(6), nvme.ANA}
    for page in range(256):
        answer = controller.get_log(page, 512, nsid=0)
        assert answer.ok == (page in listed), (hex(page), hex(answer.status))
        if not answer.ok:
            assert answer.status == nvme.INVALID_LOG_PAGE and answer.dnr


def test_the_health_log_counts_what_was_done(controller):
    def counts():
        data = controller.get_log(nvme.SMART, 512).check().data
        return [int.from_bytes(data[place : place + 16], "little") for place in (32, 48, 64, 80)]

    before = counts()
    for i in range(10):
        controller.read(1, i * 8, 8)
        controller.write(1, i, bytes(BLOCK)).check()
    units_read, units_written, reads, writes = (b - a for a, b in zip(before, counts()))
    assert (reads, writes) == (10, 10)
    assert units_read in (0, 1) and units_written in (0, 1)  # Of 512,000 bytes.


def test_the_firmware_log_names_the_revision(controller):
    data = controller.get_log(nvme.FIRMWARE, 512).check().data
    assert data[0] & 7 == 1
    assert data[8:16].rstrip(b" \0").decode() == IdentifyController(controller.identify(1).check().data).fr


def test_the_effects_log_has_the_commands_that_are_offered(controller):
    data = controller.get_log(nvme.EFFECTS, 4096).check().data
    admin = struct.unpack_from("<256I", data)
    io = struct.unpack_from("<256I", data, 1024)
    for opcode in range(256):
        if opcode in (nvme.FABRICS, nvme.ASYNC_EVENT):
            continue
        unknown = controller.admin.run(nvme.entry(opcode, 1)).status == nvme.INVALID_OPCODE
        assert unknown != bool(admin[opcode] & 1), hex(opcode)
        if opcode in (nvme.FABRICS,):
            continue
        unknown = controller.io(nvme.entry(opcode, 1)).status == nvme.INVALID_OPCODE
        assert unknown != bool(io[opcode] & 1), hex(opcode)


@pytest.mark.parametrize("page, whole", [(nvme.EFFECTS, 4096), (nvme.SUPPORTED_PAGES, 1024), (nvme.SMART, 512)])
def test_a_log_page_is_read_in_pieces(controller, page, whole):
    data = controller.get_log(page, whole).check().data
    for offset in (4, 64, whole - 4):
        assert controller.get_log(page, whole - offset, offset).check().data[:4] == data[offset : offset + 4]


@pytest.mark.parametrize("offset", [1, 2, 3, 512, 513, 4096, 1 << 31, 1 << 32, (1 << 64) - 4, (1 << 64) - 1])
@pytest.mark.parametrize("page", [nvme.SMART, nvme.FIRMWARE, nvme.ERRORS, nvme.ANA, nvme.CHANGED_NAMESPACES])
def test_offsets_beyond_a_log_page(controller, page, offset):
    answer = controller.get_log(page, 64, offset)
    assert answer.status == nvme.INVALID_FIELD or (answer.ok and not any(answer.data))


def test_offsets_by_index_are_not_offered(controller):
    sqe = nvme.entry(nvme.GET_LOG_PAGE, nvme.EVERY_NSID, cdw10=nvme.SMART | 127 << 16, cdw14=1 << 23)
    assert controller.admin.run(sqe, expect=512).status == nvme.INVALID_FIELD


@pytest.mark.parametrize("dwords", [1, 2, 127, 129, 1024, 1 << 16, 1 << 20, 1 << 30, 1 << 32])
@pytest.mark.parametrize("room", [0, 4, 512, 4096])
def test_what_a_log_page_brings_is_bounded_by_both_lengths(controller, dwords, room):
    answer = controller.get_log(nvme.SMART, room, dwords=dwords)
    assert answer.status in (0, nvme.INVALID_FIELD, nvme.SGL_LENGTH)
    assert len(answer.data) <= min(4 * dwords, room)


def test_a_log_page_longer_than_it_is_ends_in_zeroes(controller):
    answer = controller.get_log(nvme.SMART, 4096)
    assert not answer.ok or not any(answer.data[512:])


@pytest.mark.parametrize("nsid", [2, MAX_NAMESPACES + 1, 0xFFFFFFFE])
def test_log_pages_are_of_the_controller(controller, nsid):
    assert controller.get_log(nvme.SMART, 512, nsid=nsid).status in (nvme.INVALID_FIELD, nvme.INVALID_NAMESPACE)


def test_the_ana_log_lists_groups_with_their_namespaces(controller):
    _, groups = structures.ana_groups(controller.get_log(nvme.ANA, 4096).check().data)
    assert {group.group: group.nsids for group in groups.values() if group.nsids} == {1: (1,), 5: (5,)}
    assert {group.state for group in groups.values()} == {1}
    changes, bare = structures.ana_groups(controller.get_log(nvme.ANA, 4096, lsp=1).check().data)
    assert bare and not any(group.nsids for group in bare.values())
    assert changes <= structures.ana_groups(controller.get_log(nvme.ANA, 4096).check().data)[0]


# Events.


@pytest.fixture
def listening(controller):
    """A controller with events of namespaces and ANA asked for, and one request outstanding."""
    controller.set_features(nvme.EVENTS, 1 << 8 | 1 << 11).check()
    controller.request_event()
    return controller


def changed_namespaces(controller, retain=False):
    data = controller.get_log(nvme.CHANGED_NAMESPACES, 4096, retain=retain).check().data
    return namespace_list(data)


def test_a_namespace_that_comes_and_goes_is_told(listening, subsystem):
    subsystem.add_memory(9, blocks=64)
    assert listening.next_event() == (2, 0, nvme.CHANGED_NAMESPACES)
    listening.request_event()
    assert changed_namespaces(listening, retain=True) == [9]
    assert changed_namespaces(listening) == [9]
    assert changed_namespaces(listening) == []
    assert namespace_list(listening.identify(2).check().data) == [1, 5, 9]
    subsystem.remove(9)
    assert listening.next_event() == (2, 0, nvme.CHANGED_NAMESPACES)
    assert changed_namespaces(listening) == [9]
    assert namespace_list(listening.identify(2).check().data) == [1, 5]


def test_an_event_is_told_once_until_its_log_is_read(listening, subsystem):
    for _ in range(3):
        listening.request_event()
    for nsid in (9, 10, 11):
        subsystem.add_memory(nsid, blocks=64)
    assert listening.next_event() == (2, 0, nvme.CHANGED_NAMESPACES)
    listening.keep_alive().check()
    assert not listening.admin.events, "told twice"
    assert changed_namespaces(listening) == [9, 10, 11]
    for nsid in (9, 10, 11):
        subsystem.remove(nsid)
    assert listening.next_event()[2] == nvme.CHANGED_NAMESPACES
    assert set(changed_namespaces(listening)) <= {9, 10, 11}


def test_an_event_waits_for_a_request(controller, subsystem):
    controller.set_features(nvme.EVENTS, 1 << 8).check()
    subsystem.add_memory(9, blocks=64)
    controller.keep_alive().check()
    controller.request_event()
    assert controller.next_event() == (2, 0, nvme.CHANGED_NAMESPACES)
    subsystem.remove(9)


def test_an_event_that_was_not_asked_for_is_not_told(controller, subsystem):
    controller.set_features(nvme.EVENTS, 1 << 11).check()
    controller.request_event()
    subsystem.add_memory(9, blocks=64)
    subsystem.remove(9)
    controller.keep_alive().check()
    assert not controller.admin.events


def test_more_requests_for_events_than_are_taken(controller):
    limit = IdentifyController(controller.identify(1).check().data).aerl + 1
    for _ in range(limit):
        controller.request_event()
    assert controller.admin.run(nvme.entry(nvme.ASYNC_EVENT)).status == nvme.EVENT_LIMIT
    assert controller.keep_alive().ok


def test_more_than_a_thousand_changes_are_told_as_all(shared_polluxd):
    one = Subsystem(shared_polluxd.client, f"{NQN}-many", max_namespaces=1100)
    disk = shared_polluxd.client.bdev_null_create("Many", 2048, BLOCK)
    try:
        with one.connect(queues=0) as controller:
            controller.set_features(nvme.EVENTS, 1 << 8).check()
            for nsid in range(1, 1027):
                shared_polluxd.client.bdev_null_create(f"Many{nsid}", 1, BLOCK)
                one.add(f"Many{nsid}", nsid)
            assert changed_namespaces(controller) == [0xFFFFFFFF]
            found, last = [], 0
            while True:
                piece = namespace_list(controller.identify(2, last).check().data)
                if not piece:
                    break
                found += piece
                last = piece[-1]
            assert found == list(range(1, 1027))
    finally:
        shared_polluxd.client.nvmf_delete_subsystem(one.nqn)
        for nsid in range(1, 1027):
            shared_polluxd.client.bdev_null_delete(f"Many{nsid}")
        shared_polluxd.client.bdev_null_delete(disk)


def test_a_disk_that_grows_is_told(polluxd, tmp_path):
    one = Subsystem(polluxd.client)
    one.add(file_disk(polluxd.client, tmp_path / "disk.img", 4 * MIB), 1)
    with one.connect() as controller:
        controller.set_features(nvme.EVENTS, 1 << 8).check()
        controller.request_event()
        with open(tmp_path / "disk.img", "r+b") as file:
            file.truncate(8 * MIB)
        polluxd.client.bdev_aio_rescan("File0")
        assert controller.next_event() == (2, 0, nvme.CHANGED_NAMESPACES)
        assert changed_namespaces(controller) == [1]
        assert IdentifyNamespace(controller.identify(0, 1).check().data).nsze == 8 * MIB // BLOCK
        assert controller.write(1, 4 * MIB // BLOCK, b"n" * 4096).ok


# ANA.

STATES = {"optimized": 1, "non_optimized": 2, "inaccessible": 3}


def groups_of(controller):
    return structures.ana_groups(controller.get_log(nvme.ANA, 4096).check().data)


def test_the_state_of_a_listener_changes_in_one_step_for_all_groups(listening, subsystem):
    before, _ = groups_of(listening)
    try:
        for word in ("inaccessible", "non_optimized"):
            subsystem.set_ana_state(word)
            assert listening.next_event() == (2, 3, nvme.ANA)
            listening.request_event()
            after, groups = groups_of(listening)
            assert {group.state for group in groups.values()} == {STATES[word]}
            assert after > before
            before = after
    finally:
        subsystem.set_ana_state("optimized")


def test_the_state_of_one_group_is_its_own_and_each_listeners(listening, subsystem):
    other_address = subsystem.listen()
    try:
        subsystem.set_ana_state("inaccessible", other_address, anagrpid=5)
        with subsystem.connect(address=other_address) as other:
            _, groups = groups_of(other)
            assert (groups[1].state, groups[5].state) == (1, 3)
            read = nvme.lba_entry(nvme.READ, 5, 0, 1)
            refused = other.io(read, expect=4096)
            assert refused.status == nvme.ANA_INACCESSIBLE and not refused.dnr
            assert other.read(1, 0, 1)
        listening.keep_alive().check()
        assert not listening.admin.events, "nothing changed at its listener"
        assert listening.read(5, 0, 1, 4096)
    finally:
        subsystem.stop_listening(other_address)


def test_a_namespace_moves_to_another_group(listening, subsystem):
    try:
        subsystem.client.nvmf_subsystem_set_ns_ana_group(NQN, 5, 1)
        assert listening.next_event()[0] == 2
        _, groups = groups_of(listening)
        assert groups[1].nsids == (1, 5)
        assert IdentifyNamespace(listening.identify(0, 5).check().data).anagrpid == 1
    finally:
        subsystem.client.nvmf_subsystem_set_ns_ana_group(NQN, 5, 5)


def test_a_host_that_comes_as_soon_as_a_listener_is_open_sees_its_state(shared_polluxd):
    """Hosts whose listener was away try again and again, and read the ANA log once."""
    one = Subsystem(shared_polluxd.client, f"{NQN}-impatient", ana_reporting=True)
    one.add_memory(1)
    address, ended, seen = one.address, threading.Event(), set()

    def come():
        while not ended.is_set():
            try:
                with nvme.Controller(address, one.nqn) as controller:
                    seen.add(groups_of(controller)[1][1].state)
            except (OSError, Closed, nvme.CommandFailed, nvme.Terminated):
                pass  # It is closed, or closing.

    threads = [threading.Thread(target=come) for _ in range(3)]
    try:
        for thread in threads:
            thread.start()
        for _ in range(20):
            one.stop_listening(address)
            shared_polluxd.client.nvmf_subsystem_add_listener(one.nqn, listen_address(*address))
            with nvme.Controller(address, one.nqn) as controller:
                assert groups_of(controller)[1][1].state == 1
    finally:
        ended.set()
        for thread in threads:
            thread.join(30)
        shared_polluxd.client.nvmf_delete_subsystem(one.nqn)
    assert seen == {1}


# Abort, keep alive, opcodes.


def test_an_event_request_is_aborted(controller):
    cid = controller.request_event()
    answer = controller.abort(0, cid)
    assert answer.ok
    if answer.dw0 & 1 == 0:
        while not controller.admin.events:
            controller.admin.serve_one()
        assert controller.admin.events.pop().status == nvme.ABORTED


@pytest.mark.parametrize("sqid, cid", [(0, 0xFFFF), (1, 3), (2, 1), (0xFFFF, 0)])
def test_what_is_not_there_is_not_aborted(controller, sqid, cid):
    answer = controller.abort(sqid, cid)
    assert (answer.status, answer.dw0 & 1) in ((0, 1), (nvme.INVALID_FIELD, 0))


def test_a_write_that_waits_for_its_host_is_aborted(controller):
    queue = controller.queues[0]
    queue.hold_r2t = True
    cid = queue.submit(nvme.lba_entry(nvme.WRITE, 1, 0, 64), bytes(64 * BLOCK), in_capsule=False)
    r2t = queue.next_r2t()
    answer = controller.abort(1, cid).check()
    # Either it is ended now, or its data is taken still.
    queue.hold_r2t = False
    queue.answer(r2t)
    done = queue.wait(cid)
    assert done.status == (nvme.ABORTED if answer.dw0 & 1 == 0 else 0)
    assert controller.read(1, 0, 1)


def test_keep_alive_needs_no_timeout(controller):
    assert controller.keep_alive().status in (0, nvme.KATO_INVALID)


@pytest.mark.parametrize("opcode", [0, 1, 4, 5, 0xD, 0x10, 0x11, 0x14, 0x15, 0x1C, 0x7C, 0x80, 0x81, 0x82, 0x84, 0xC0, 0xFF])
def test_admin_commands_that_are_not_offered(controller, opcode):
    answer = controller.admin.run(nvme.entry(opcode, 1), b"x" * 16 if opcode & 3 == 1 else b"")
    assert answer.status == nvme.INVALID_OPCODE and answer.dnr


@pytest.mark.parametrize("fuse", [1, 2, 3])
def test_admin_commands_are_not_fused(controller, fuse):
    assert controller.admin.run(nvme.entry(nvme.IDENTIFY, flags=fuse, cdw10=1), expect=4096).status == nvme.INVALID_FIELD


# Who sees which namespace.


def test_a_namespace_is_seen_by_those_it_is_shown_to(shared_polluxd):
    one = Subsystem(shared_polluxd.client, f"{NQN}-shown")
    friend, stranger = Host(), Host()
    try:
        one.add_memory(1)
        one.add_memory(2, no_auto_visible=True)
        with one.connect(friend) as seeing, one.connect(stranger) as blind:
            for controller in (seeing, blind):
                controller.set_features(nvme.EVENTS, 1 << 8).check()
                controller.request_event()
                assert namespace_list(controller.identify(2).check().data) == [1]
            shared_polluxd.client.nvmf_ns_add_host(one.nqn, 2, friend.nqn)
            assert seeing.next_event() == (2, 0, nvme.CHANGED_NAMESPACES)
            assert namespace_list(seeing.identify(2).check().data) == [1, 2]
            assert namespace_list(blind.identify(2).check().data) == [1]
            assert seeing.read(2, 0, 1)
            sqe = nvme.lba_entry(nvme.READ, 2, 0, 1)
            assert blind.io(sqe, expect=BLOCK).status == nvme.INVALID_NAMESPACE
            assert not any(blind.identify(0, 2).check().data)
            assert blind.identify(3, 2).status in (nvme.INVALID_NAMESPACE, nvme.INVALID_FIELD)
            assert not blind.admin.events
            seeing.request_event()
            assert changed_namespaces(seeing) == [2]
            shared_polluxd.client.nvmf_ns_remove_host(one.nqn, 2, friend.nqn)
            assert seeing.next_event() == (2, 0, nvme.CHANGED_NAMESPACES)
            assert seeing.io(sqe, expect=BLOCK).status == nvme.INVALID_NAMESPACE
    finally:
        shared_polluxd.client.nvmf_delete_subsystem(one.nqn)


def test_identifiers_stay_after_a_restart(polluxd, tmp_path):
    def told(address):
        try:
            with nvme.Controller(address, NQN) as controller:
                names = structures.identifiers(controller.identify(3, 1).check().data)
                return names, IdentifyController(controller.identify(1).check().data).sn
        except (OSError, nvme.CommandFailed):
            return None  # It does not listen yet.

    one = Subsystem(polluxd.client)
    one.add(file_disk(polluxd.client, tmp_path / "disk.img"), 1)
    before = told(one.address)
    polluxd.restart()
    assert before and wait_until(lambda: told(one.address) == before)
