"""Connect, properties, disconnect, who may come in and how it ends: the fabrics commands, from outside."""

import struct
import time

import pytest

import nvme_tcp_host as nvme
from nvme_tcp_host import CC, CC_ENABLE, CSTS, Controller, Host, Queue
from nvme_tcp_wire import Closed
from nvmf_exports import IMPATIENT, NQN, Subsystem, wait_until

IN_DATA = 1 << 16  # IATTR of Connect's completion: the offset is one of the data.
HOSTID, CNTLID, SUBNQN, HOSTNQN = 0, 16, 256, 512  # Offsets in Connect's data.
RECFMT, QID, SQSIZE = 40, 42, 44  # In the command.
DEPTH_MAX = 128  # The transport's default.


@pytest.fixture(scope="module")
def subsystem(shared_polluxd):
    one = Subsystem(shared_polluxd.client)
    one.add_memory(1)
    return one


@pytest.fixture
def queue(subsystem):
    with Queue(subsystem.address) as one:
        yield one


@pytest.fixture
def controller(subsystem):
    with subsystem.connect() as one:
        yield one


def changed(offset, data):
    """Connect's data, with a part of it replaced."""
    good = bytearray(nvme.connect_data(NQN, Host()))
    good[offset : offset + len(data)] = data
    return bytes(good)


def name(text):
    return text.ljust(256, b"\0")


# Connect of an admin queue.


def test_connect_makes_a_controller_and_tells_its_identifier(queue, subsystem):
    host = Host()
    completion = queue.connect(NQN, host).check()
    [found] = [one for one in subsystem.controllers() if one["hostnqn"] == host.nqn]
    assert completion.dw0 == found["cntlid"]  # And AUTHREQ, the upper half, is 0.
    assert bytes.fromhex(found["hostid"].replace("-", "")) == host.id
    assert found["num_io_qpairs"] == 0


def test_identifiers_of_controllers_differ_and_lie_in_the_range_of_the_subsystem(shared_polluxd):
    one = Subsystem(shared_polluxd.client, f"{NQN}-range", min_cntlid=100, max_cntlid=102)
    try:
        controllers = [one.connect(queues=0) for _ in range(3)]
        assert sorted(each.cntlid for each in controllers) == [100, 101, 102]
        with Queue(one.address) as fourth:
            assert fourth.connect(one.nqn, Host()).status == nvme.CONTROLLER_BUSY
        controllers.pop(1).close()
        one.await_controllers(2)
        with one.connect(queues=0) as again:
            assert again.cntlid in (100, 101, 102)
        for each in controllers:
            each.close()
    finally:
        shared_polluxd.client.nvmf_delete_subsystem(one.nqn)


@pytest.mark.parametrize(
    "data, offset",
    [
        (changed(CNTLID, b"\1\0"), CNTLID),
        (changed(CNTLID, b"\xfe\xff"), CNTLID),
        (changed(HOSTID, bytes(16)), HOSTID),
        (changed(SUBNQN, name(b"")), SUBNQN),
        (changed(SUBNQN, name(b"nqn.2024-01.io.pollux:nobody")), SUBNQN),
        (changed(SUBNQN, name(b"x" * 224)), SUBNQN),
        (changed(SUBNQN, b"n" * 256), SUBNQN),
        (changed(SUBNQN, name(b"nqn.2024-01.io.pollux:\xff\xfe")), SUBNQN),
        (changed(SUBNQN, name(b"%n%s%n%s%n%s")), SUBNQN),
        (changed(HOSTNQN, name(b"")), HOSTNQN),
        (changed(HOSTNQN, b"n" * 256), HOSTNQN),
        (changed(HOSTNQN, name(b"x" * 224)), HOSTNQN),
    ],
    ids=lambda value: value if isinstance(value, int) else "",
)
def test_what_is_wrong_in_the_data_is_named_by_its_offset(queue, data, offset):
    completion = queue.connect(NQN, Host(), data=data)
    assert (completion.status, completion.dw0) == (nvme.CONNECT_PARAMETERS, IN_DATA | offset)
    assert queue.connect(NQN, Host()).ok, "a Connect that was refused may be tried again"


@pytest.mark.parametrize(
    "options, status, dw0",
    [
        ({"recfmt": 1}, nvme.CONNECT_FORMAT, 0),
        ({"recfmt": 0xFFFF}, nvme.CONNECT_FORMAT, 0),
        ({"depth": 1}, nvme.CONNECT_PARAMETERS, SQSIZE),
        ({"depth": DEPTH_MAX + 1}, nvme.CONNECT_PARAMETERS, SQSIZE),
        ({"depth": 65536}, nvme.CONNECT_PARAMETERS, SQSIZE),
        ({"qid": 0xFFFF, "cntlid": 1}, nvme.CONNECT_PARAMETERS, QID),
        ({"qid": 128, "cntlid": 1}, nvme.CONNECT_PARAMETERS, QID),
        ({"qid": 1, "cntlid": 0xFFEE}, nvme.CONNECT_PARAMETERS, IN_DATA | CNTLID),
        ({"qid": 1}, nvme.CONNECT_PARAMETERS, IN_DATA | CNTLID),
    ],
    ids=str,
)
def test_what_is_wrong_in_the_command_is_named_by_its_offset(queue, options, status, dw0):
    completion = queue.connect(NQN, Host(), **options)
    assert completion.status == status
    if status == nvme.CONNECT_PARAMETERS:
        assert completion.dw0 == dw0
    assert queue.connect(NQN, Host(), depth=DEPTH_MAX).ok


@pytest.mark.parametrize("size", [0, 1, 512, 1023, 1025, 2048, 8192])
def test_data_of_another_length_is_refused(queue, size):
    data = nvme.connect_data(NQN, Host()).ljust(8192, b"\0")[:size]
    assert queue.connect(NQN, Host(), data=data).status in (nvme.SGL_LENGTH, nvme.INVALID_FIELD)
    assert queue.connect(NQN, Host()).ok


def test_data_may_come_by_a_transfer_instead_of_in_the_capsule(queue):
    assert queue.connect(NQN, Host(), in_capsule=False).ok


@pytest.mark.parametrize(
    "sqe",
    [
        nvme.entry(nvme.IDENTIFY, cdw10=1),
        nvme.entry(nvme.KEEP_ALIVE),
        nvme.entry(nvme.ASYNC_EVENT),
        nvme.fabrics_entry(nvme.PROPERTY_GET, struct.pack("<B3xI", 0, CSTS)),
        nvme.fabrics_entry(nvme.DISCONNECT),
        nvme.lba_entry(nvme.READ, 1, 0, 1),
        nvme.entry(0xFF),
    ],
    ids=lambda sqe: sqe[:5].hex(),
)
def test_before_connect_every_other_command_is_a_sequence_error(queue, sqe):
    assert queue.run(sqe, expect=4096).status == nvme.SEQUENCE
    assert queue.connect(NQN, Host()).ok


def test_a_second_connect_is_a_sequence_error(controller, subsystem):
    assert controller.admin.connect(NQN, controller.host).status == nvme.SEQUENCE
    data = nvme.connect_data(NQN, controller.host, controller.cntlid)
    assert controller.queues[0].connect(NQN, controller.host, 2, data=data).status == nvme.SEQUENCE
    assert controller.read(1, 0, 1)
    del subsystem


def test_two_connects_at_once_make_one_controller(queue, subsystem):
    host = Host()
    sqe = nvme.fabrics_entry(nvme.CONNECT, struct.pack("<HHHBxI", 0, 0, 31, 0, 0))
    data = nvme.connect_data(NQN, host)
    done = queue.wait_all(queue.submit_together((sqe, data, 0), (sqe, data, 0)))
    assert sorted(one.status for one in done) == [0, nvme.SEQUENCE]
    assert len([one for one in subsystem.controllers() if one["hostnqn"] == host.nqn]) == 1


# Properties.


def test_properties_have_the_values_that_the_transport_was_given(controller):
    cap = controller.capabilities()
    assert cap & 0xFFFF == DEPTH_MAX - 1  # MQES
    assert cap >> 16 & 1  # CQR: queues are contiguous, always so over fabrics.
    assert cap >> 24 & 0xFF > 0  # TO
    assert cap >> 37 & 1  # CSS: the NVM command set.
    assert cap >> 48 & 0xF == 0  # MPSMIN: 4 KiB.
    assert controller.admin.property_get(nvme.VS).check().dw0 >> 16 == 2
    assert controller.admin.property_get(CC).check().dw0 == CC_ENABLE
    assert controller.admin.property_get(CSTS).check().dw0 == nvme.CSTS_RDY


@pytest.mark.parametrize("offset, size", [(4, 4), (0x10, 4), (0x1000, 4), (0xFFFFFFFF, 8), (nvme.AQA, 4), (CC, 8), (1, 4)])
def test_properties_that_are_not_there_or_have_another_size(controller, offset, size):
    assert controller.admin.property_get(offset, size).status == nvme.INVALID_FIELD
    assert controller.admin.property_set(offset, 0, size).status == nvme.INVALID_FIELD


@pytest.mark.parametrize("offset, size", [(nvme.CAP, 8), (nvme.VS, 4), (CSTS, 4)])
def test_properties_that_cannot_be_written(controller, offset, size):
    assert controller.admin.property_set(offset, 0xFFFFFFFF, size).status == nvme.INVALID_FIELD
    assert controller.keep_alive().ok


@pytest.mark.parametrize("attrib", range(2, 8))
def test_property_sizes_that_are_reserved(controller, attrib):
    sqe = nvme.fabrics_entry(nvme.PROPERTY_GET, struct.pack("<B3xI", attrib, CSTS))
    assert controller.admin.run(sqe).status == nvme.INVALID_FIELD


def test_admin_commands_wait_for_enable(subsystem):
    with Controller(subsystem.address, NQN, enable=False) as controller:
        assert controller.identify(1).status == nvme.SEQUENCE
        assert controller.admin.property_get(CSTS).check().dw0 == 0
        controller.enable()
        assert controller.identify(1).ok


@pytest.mark.parametrize(
    "value", [1, CC_ENABLE ^ 1 << 16, CC_ENABLE ^ 1 << 20, CC_ENABLE | 1 << 7, CC_ENABLE | 1 << 11, CC_ENABLE | 1 << 4]
)
def test_a_configuration_that_cannot_be_is_a_fatal_status_until_it_is_taken_back(subsystem, value):
    with Controller(subsystem.address, NQN, enable=False) as controller:
        controller.admin.property_set(CC, value).check()
        assert controller.admin.property_get(CSTS).check().dw0 & (nvme.CSTS_RDY | nvme.CSTS_CFS) == nvme.CSTS_CFS
        assert controller.identify(1).status == nvme.SEQUENCE
        controller.admin.property_set(CC, 0).check()
        controller.enable()
        assert controller.identify(1).ok


def test_disabling_ends_the_io_queues_and_forgets_what_was_set(subsystem):
    with subsystem.connect(queues=2) as controller:
        controller.set_features(nvme.ARBITRATION, 5).check()
        controller.disable()
        for queue in controller.queues:
            with pytest.raises(Closed):
                queue.serve_one()
        controller.enable()
        assert controller.get_features(nvme.ARBITRATION).check().dw0 != 5
        controller.queues.clear()
        controller.create_queues(1)
        assert controller.read(1, 0, 1)


def test_shutting_down_is_reported_when_it_is_done(subsystem):
    controller = subsystem.connect()
    cntlid = controller.cntlid
    controller.shut_down()
    assert wait_until(lambda: cntlid not in [one["cntlid"] for one in subsystem.controllers()])


# I/O queues.


def test_io_queues_are_those_that_were_granted(subsystem):
    with subsystem.connect(queues=4) as controller:
        assert len(controller.queues) == 4
        qpairs = subsystem.client.nvmf_subsystem_get_qpairs(NQN)
        assert sorted(one["qid"] for one in qpairs if one["cntlid"] == controller.cntlid) == [0, 1, 2, 3, 4]
        assert {one["hostnqn"] for one in qpairs if one["cntlid"] == controller.cntlid} == {controller.host.nqn}
        assert {one["state"] for one in qpairs} == {"enabled"}
        for queue in controller.queues:
            assert queue.connected.dw0 & 0xFFFF == controller.cntlid
            assert controller.read(1, 0, 1, queue=queue)


def refusal(controller, qid=1, cntlid=None, host=None, subnqn=NQN, address=None, depth=32):
    """The completion of a Connect of an I/O queue."""
    with Queue(address or controller.address) as queue:
        cntlid = controller.cntlid if cntlid is None else cntlid
        return queue.connect(subnqn, host or controller.host, qid, depth, cntlid)


def test_an_io_queue_before_the_controller_is_enabled(subsystem):
    with Controller(subsystem.address, NQN, enable=False) as controller:
        assert refusal(controller).status == nvme.SEQUENCE
        controller.enable()
        assert refusal(controller).ok


def test_an_io_queue_beyond_those_granted(subsystem):
    with subsystem.connect(queues=0) as controller:
        controller.set_features(nvme.QUEUES, 1 << 16 | 1).check()
        assert refusal(controller, 2).ok
        answer = refusal(controller, 3)
        assert (answer.status, answer.dw0) == (nvme.CONNECT_PARAMETERS, QID)


def test_an_io_queue_for_another_hosts_controller(controller):
    other = Host()
    answer = refusal(controller, 2, host=other)
    assert answer.status in (nvme.CONNECT_PARAMETERS, nvme.CONNECT_HOST)
    answer = refusal(controller, 2, host=Host(controller.host.nqn, other.id))
    assert (answer.status, answer.dw0) == (nvme.CONNECT_PARAMETERS, IN_DATA | HOSTID)
    assert controller.read(1, 0, 1)


def test_an_io_queue_for_a_controller_of_another_subsystem(shared_polluxd, controller):
    other = Subsystem(shared_polluxd.client, f"{NQN}-other")
    try:
        answer = refusal(controller, 2, subnqn=other.nqn, address=other.address)
        assert (answer.status, answer.dw0) == (nvme.CONNECT_PARAMETERS, IN_DATA | CNTLID)
    finally:
        shared_polluxd.client.nvmf_delete_subsystem(other.nqn)


def test_a_queue_identifier_in_use(controller):
    answer = refusal(controller, 1)
    assert answer.status in (nvme.CONNECT_PARAMETERS, nvme.SEQUENCE)
    assert controller.read(1, 0, 1)


def test_a_queue_identifier_may_be_used_again_when_its_queue_is_gone(subsystem):
    with subsystem.connect() as controller:
        for _ in range(20):
            controller.queues.pop().close()
            assert wait_until(lambda: refusal_or_queue(controller)), "the old queue stays"
        assert controller.read(1, 0, 1)


def refusal_or_queue(controller):
    """Connects queue 1 into controller.queues, when it may."""
    queue = controller.open_queue(1, check=False)
    if queue.connected.ok:
        controller.queues.append(queue)
        return True
    queue.close()
    return False


def test_io_queues_end_with_their_admin_queue(subsystem):
    controller = subsystem.connect(queues=2)
    controller.admin.close()
    for queue in controller.queues:
        with pytest.raises(Closed):
            while True:
                queue.serve_one()
    assert wait_until(lambda: refusal(controller, 3).dw0 == IN_DATA | CNTLID)


def test_disconnect_deletes_one_io_queue(subsystem):
    with subsystem.connect(queues=2) as controller:
        first = controller.queues.pop(0)
        assert first.disconnect(recfmt=1).status in (nvme.CONNECT_FORMAT, nvme.INVALID_FIELD)
        assert first.disconnect().ok
        with pytest.raises(Closed):
            first.serve_one()
        assert controller.read(1, 0, 1)
        assert wait_until(lambda: refusal_or_queue(controller))


def test_an_admin_queue_is_not_disconnected_by_command(controller):
    assert controller.admin.disconnect().status in (0x185, nvme.INVALID_FIELD, nvme.INVALID_OPCODE)
    assert controller.keep_alive().ok


def test_fabrics_commands_of_the_admin_queue_on_an_io_queue(controller):
    queue = controller.queues[0]
    assert queue.property_get(CSTS).status in (0x185, nvme.INVALID_FIELD, nvme.INVALID_OPCODE)
    assert queue.property_set(CC, 0).status in (0x185, nvme.INVALID_FIELD, nvme.INVALID_OPCODE)
    assert controller.read(1, 0, 1)


@pytest.mark.parametrize("fctype", [2, 3, nvme.AUTH_SEND, nvme.AUTH_RECEIVE, 7, 9, 0x7F, 0xC0, 0xFF])
def test_fabrics_commands_that_are_not_offered(controller, fctype):
    for queue in (controller.admin, controller.queues[0]):
        answer = queue.run(nvme.fabrics_entry(fctype), b"x" * 16 if fctype & 3 == 1 else b"")
        assert answer.status in (nvme.INVALID_OPCODE, nvme.INVALID_FIELD)
    assert controller.read(1, 0, 1)


@pytest.mark.parametrize("depth", [2, 3, 17, DEPTH_MAX])
def test_the_submission_queue_head_goes_round_in_the_queue(subsystem, depth):
    with subsystem.connect(queues=1, depth=depth) as controller:
        queue = controller.queues[0]
        heads = [queue.run(nvme.entry(nvme.FLUSH, 1)).check().sqhd for _ in range(2 * depth)]
        # Connect itself was the first entry.
        assert heads == [(2 + i) % depth for i in range(2 * depth)]


def test_without_flow_control_the_head_is_not_told(subsystem):
    with subsystem.connect(queues=0) as controller:
        controller.set_features(nvme.QUEUES, 0).check()
        queue = controller.open_queue(1, cattr=4)
        controller.queues.append(queue)
        assert len({queue.run(nvme.entry(nvme.FLUSH, 1)).check().sqhd for _ in range(5)}) == 1


# Who may come in.


@pytest.fixture
def guarded(shared_polluxd):
    """A subsystem that admits two hosts."""
    one = Subsystem(shared_polluxd.client, f"{NQN}-guarded", allow_any_host=False)
    one.add_memory(1)
    one.friends = Host(), Host()
    for friend in one.friends:
        shared_polluxd.client.nvmf_subsystem_add_host(one.nqn, friend.nqn)
    yield one
    shared_polluxd.client.nvmf_delete_subsystem(one.nqn)


def test_a_host_that_is_not_on_the_list_is_refused(guarded):
    with Queue(guarded.address) as queue:
        assert queue.connect(guarded.nqn, Host()).status == nvme.CONNECT_HOST
    with guarded.connect(guarded.friends[0]) as friend:
        assert friend.read(1, 0, 1)


def test_a_host_that_is_removed_is_cut_off_and_others_stay(guarded):
    with guarded.connect(guarded.friends[0], queues=2) as first, guarded.connect(guarded.friends[1]) as second:
        guarded.client.nvmf_subsystem_remove_host(guarded.nqn, guarded.friends[0].nqn)
        for queue in (first.admin, *first.queues):
            with pytest.raises(Closed):
                queue.serve_one()
        assert second.read(1, 0, 1)
        with Queue(guarded.address) as again:
            assert again.connect(guarded.nqn, guarded.friends[0]).status == nvme.CONNECT_HOST


def test_the_end_of_allow_any_host_cuts_off_strangers_only(guarded):
    guarded.client.nvmf_subsystem_allow_any_host(guarded.nqn, True)
    with guarded.connect() as stranger, guarded.connect(guarded.friends[0]) as friend:
        guarded.client.nvmf_subsystem_allow_any_host(guarded.nqn, False)
        with pytest.raises(Closed):
            stranger.admin.serve_one()
        assert friend.read(1, 0, 1)


def test_a_removed_listener_ends_what_came_through_it(subsystem):
    other = subsystem.listen()
    with subsystem.connect(address=other) as leaving, subsystem.connect() as staying:
        subsystem.stop_listening(other)
        with pytest.raises(Closed):
            leaving.admin.serve_one()
        with pytest.raises(OSError):
            Queue(other)
        assert staying.read(1, 0, 1)


def test_a_deleted_subsystem_ends_its_controllers(shared_polluxd):
    one = Subsystem(shared_polluxd.client, f"{NQN}-deleted")
    one.add_memory(1)
    with one.connect(queues=2) as controller:
        cids = [controller.queues[0].submit(nvme.lba_entry(nvme.READ, 1, 0, 8), expect=4096) for _ in range(20)]
        shared_polluxd.client.nvmf_delete_subsystem(one.nqn)
        with pytest.raises(Closed):
            controller.queues[0].wait_all(cids)
            controller.queues[0].serve_one()
        with pytest.raises(Closed):
            controller.admin.serve_one()


def test_ipv6(shared_polluxd):
    try:
        one = Subsystem(shared_polluxd.client, f"{NQN}-six", host="::1")
    except OSError:
        pytest.skip("no IPv6")
    one.add_memory(1)
    with one.connect() as controller:
        assert controller.read(1, 0, 1)
    shared_polluxd.client.nvmf_delete_subsystem(one.nqn)


# Keep alive.


def test_a_host_that_keeps_silent_is_dropped_and_its_last_word_is_in_the_log(polluxd):
    one = Subsystem(polluxd.client, transport=IMPATIENT)
    one.add_memory(1)
    with one.connect(kato=1000) as silent, one.connect(kato=1000) as awake:
        ended = time.monotonic() + 2.5
        while time.monotonic() < ended:
            assert awake.keep_alive().ok
            time.sleep(0.1)
        with pytest.raises(Closed):
            silent.admin.serve_one()
        with pytest.raises(Closed):
            silent.queues[0].serve_one()
        assert awake.read(1, 0, 1)
        assert silent.host.nqn in polluxd.log() and "keep alive" in polluxd.log()


def test_any_admin_command_is_a_sign_of_life(polluxd):
    one = Subsystem(polluxd.client, transport=IMPATIENT)
    with one.connect(queues=0, kato=1000) as controller:
        ended = time.monotonic() + 2.5
        while time.monotonic() < ended:
            assert controller.get_features(nvme.KATO).check().dw0 == 1000
            time.sleep(0.2)


def test_the_keep_alive_timeout_is_changed_by_the_feature(polluxd):
    one = Subsystem(polluxd.client, transport=IMPATIENT)
    with one.connect(queues=0) as controller:
        assert controller.get_features(nvme.KATO).check().dw0 == 0
        controller.set_features(nvme.KATO, 1000).check()
        assert controller.get_features(nvme.KATO).check().dw0 >= 1000
        with pytest.raises(Closed):
            controller.admin.serve_one()


@pytest.mark.parametrize("cycles", [20, pytest.param(500, marks=pytest.mark.nightly)])
def test_hosts_that_come_and_go_under_load(subsystem, cycles):
    with subsystem.connect(queues=1) as staying:
        for i in range(cycles):
            cids = [staying.queues[0].submit(nvme.lba_entry(nvme.READ, 1, 0, 8), expect=4096) for _ in range(8)]
            passing = subsystem.connect(queues=2)
            assert passing.write(1, 64 + i % 8, bytes([i & 0xFF]) * 512).ok
            if i % 2:
                passing.shut_down()
            else:
                passing.close()
            assert all(done.ok for done in staying.queues[0].wait_all(cids))
    assert wait_until(lambda: subsystem.controllers() == [])


# The same host again.


def test_a_host_may_have_several_controllers(subsystem):
    host = Host()
    with subsystem.connect(host) as first, subsystem.connect(host) as second:
        assert first.cntlid != second.cntlid
        assert first.write(1, 0, b"f" * 512).ok
        assert second.read(1, 0, 1) == b"f" * 512


def test_a_host_may_be_held_to_one_controller_of_a_listener(start_polluxd):
    polluxd = start_polluxd("--wait-for-rpc")
    polluxd.client.nvmf_set_config(dup_host_policy="restrict_per_listener")
    polluxd.client.framework_start_init()
    one, host = Subsystem(polluxd.client), Host()
    one.add_memory(1)
    other_address = one.listen()
    with one.connect(host) as first, one.connect(host, address=other_address) as second:
        with Queue(one.address) as queue:
            assert not queue.connect(NQN, host).ok
        assert first.read(1, 0, 1) and second.read(1, 0, 1)
    one.await_controllers(0)
    with one.connect(host) as again:
        assert again.read(1, 0, 1)
