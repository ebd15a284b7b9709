"""Discovery: which subsystems a host is told of, where, and how it hears of changes."""

import pytest

import nvme_tcp_host as nvme
from nvme_structures import IdentifyController, discovery_log
from nvme_tcp_host import DISCOVERY_NQN, Host, Queue
from nvmf_exports import NQN, Subsystem, free_port, listen_address, wait_until

TCP, IPV4, IPV6 = 3, 1, 2
REFERRAL, NVM, CURRENT = 1, 2, 3
LOG_BYTES = 65536


@pytest.fixture
def subsystem(polluxd):
    return Subsystem(polluxd.client)


def discovery(address, host=None, **options):
    return nvme.Controller(address, DISCOVERY_NQN, host, **options)


def read_log(controller):
    """The generation and the entries."""
    generation, count, entries = discovery_log(controller.get_log(nvme.DISCOVERY, LOG_BYTES, nsid=0).check().data)
    assert count == len(entries)
    return generation, entries


def log_of(address, host=None):
    with discovery(address, host) as controller:
        return read_log(controller)


def places(entries, nqn=NQN):
    return {(one.traddr, int(one.trsvcid)) for one in entries if one.subnqn == nqn}


def test_an_entry_tells_how_to_connect(subsystem):
    _, entries = log_of(subsystem.address)
    [entry] = [one for one in entries if one.subnqn == NQN]
    host, port = subsystem.address
    assert (entry.trtype, entry.adrfam, entry.subtype) == (TCP, IPV4, NVM)
    assert (entry.traddr, entry.trsvcid) == (host, str(port))
    assert entry.cntlid == nvme.DYNAMIC and entry.asqsz >= 32
    assert entry.treq & 3 == 0, "libnvme takes even \"TLS is not required\" for a wish"
    with nvme.Controller((entry.traddr, int(entry.trsvcid)), entry.subnqn) as controller:
        assert controller.keep_alive().status in (0, nvme.KATO_INVALID)


def test_every_listener_of_every_subsystem_is_listed_once(subsystem, polluxd):
    more = subsystem.listen()
    other = Subsystem(polluxd.client, f"{NQN}-other")
    _, entries = log_of(subsystem.address)
    assert places(entries) == {subsystem.address, more}
    assert places(entries, other.nqn) == {other.address}
    found = [(one.subnqn, one.traddr, one.trsvcid) for one in entries]
    assert len(found) == len(set(found))
    ports = {one.portid for one in entries if one.subnqn == NQN}
    assert len(ports) == 2, "each place is a port of its own"


def test_ipv6_is_told_as_such(polluxd):
    try:
        one = Subsystem(polluxd.client, host="::1")
    except OSError:
        pytest.skip("no IPv6")
    [entry] = [entry for entry in log_of(one.address)[1] if entry.subnqn == NQN]
    assert (entry.adrfam, entry.traddr) == (IPV6, "::1")


def test_a_host_is_told_of_what_it_may_use(polluxd):
    friend = Host()
    one = Subsystem(polluxd.client, allow_any_host=False)
    polluxd.client.nvmf_subsystem_add_host(NQN, friend.nqn)
    assert places(log_of(one.address, friend)[1]) == {one.address}
    assert places(log_of(one.address, Host())[1]) == set()


def test_the_generation_changes_with_what_is_listed(subsystem, polluxd):
    def generation():
        return log_of(subsystem.address)[0]

    before = generation()
    assert generation() == before, "reading changes nothing"
    more = subsystem.listen()
    added = generation()
    assert added > before
    subsystem.stop_listening(more)
    removed = generation()
    assert removed > added
    Subsystem(polluxd.client, f"{NQN}-other")
    assert generation() > removed


def test_the_log_is_read_in_pieces(subsystem, polluxd):
    for number in range(5):
        polluxd.client.nvmf_create_subsystem(f"{NQN}-{number}", allow_any_host=True)
        polluxd.client.nvmf_subsystem_add_listener(f"{NQN}-{number}", listen_address(*subsystem.address))
    with discovery(subsystem.address) as controller:
        generation, entries = read_log(controller)
        assert len(entries) >= 6
        whole = controller.get_log(nvme.DISCOVERY, 1024 * (1 + len(entries)), nsid=0).check().data
        pieces = b"".join(
            controller.get_log(nvme.DISCOVERY, 512, offset, nsid=0).check().data for offset in range(0, len(whole), 512)
        )
        assert pieces == whole
        header = controller.get_log(nvme.DISCOVERY, 16, nsid=0).check().data
        assert int.from_bytes(header[:8], "little") == generation
        assert int.from_bytes(header[8:], "little") == len(entries)


@pytest.mark.parametrize("offset", [1, 3, 1 << 20, 1 << 32, (1 << 64) - 4, (1 << 64) - 1])
def test_offsets_beyond_the_log(subsystem, offset):
    with discovery(subsystem.address) as controller:
        answer = controller.get_log(nvme.DISCOVERY, 1024, offset, nsid=0)
        assert answer.status == nvme.INVALID_FIELD or (answer.ok and not any(answer.data))


def test_referrals(subsystem, polluxd):
    there = listen_address("192.0.2.1", 8009)
    polluxd.client.nvmf_discovery_add_referral(address=there)
    [entry] = [one for one in log_of(subsystem.address)[1] if one.subtype == REFERRAL]
    assert (entry.traddr, entry.trsvcid, entry.subnqn) == ("192.0.2.1", "8009", DISCOVERY_NQN)
    assert entry.portid not in {one.portid for one in log_of(subsystem.address)[1] if one.subtype == NVM}
    polluxd.client.nvmf_discovery_remove_referral(address=there)
    assert not [one for one in log_of(subsystem.address)[1] if one.subtype == REFERRAL]


def test_a_listener_of_the_discovery_subsystem_alone(subsystem, polluxd):
    place = "127.0.0.1", free_port()
    polluxd.client.nvmf_subsystem_add_listener(DISCOVERY_NQN, listen_address(*place))
    _, entries = log_of(place)
    assert places(entries) == {subsystem.address}
    assert (place in places(entries, DISCOVERY_NQN)) == any(one.subtype == CURRENT for one in entries)
    with Queue(place) as queue:
        assert not queue.connect(NQN, Host()).ok, "the disk is not reached there"


@pytest.mark.parametrize("word, listed", [("address", 1), ("svcid", 1), (None, 2)])
def test_what_is_listed_may_be_filtered_by_where_the_host_asks(start_polluxd, word, listed):
    polluxd = start_polluxd("--wait-for-rpc")
    if word:
        polluxd.client.nvmf_set_config(discovery_filters=[word])
    polluxd.client.framework_start_init()
    one = Subsystem(polluxd.client)
    one.listen("127.0.0.2")
    _, entries = log_of(one.address)
    assert len(places(entries)) == listed and one.address in places(entries)


# Its controller.


def test_a_discovery_controller_is_one(subsystem):
    with discovery(subsystem.address) as controller:
        told = IdentifyController(controller.identify(1).check().data)
        assert told.cntrltype == 2
        assert told.subnqn == DISCOVERY_NQN
        assert told.oaes >> 31 == 1, "it tells of changes"
        assert told.cntlid == controller.cntlid
        assert told.lpa & 4


def test_a_discovery_controller_has_no_io_queues(subsystem):
    with discovery(subsystem.address) as controller, Queue(subsystem.address) as queue:
        answer = queue.connect(DISCOVERY_NQN, controller.host, 1, cntlid=controller.cntlid)
        assert answer.status == nvme.CONNECT_PARAMETERS
        assert controller.set_features(nvme.QUEUES, 0).status == nvme.INVALID_FIELD


@pytest.mark.parametrize("page", [nvme.SMART, nvme.ERRORS, nvme.ANA, nvme.CHANGED_NAMESPACES, nvme.EFFECTS])
def test_a_discovery_controller_has_no_pages_of_disks(subsystem, page):
    with discovery(subsystem.address) as controller:
        assert controller.get_log(page, 512).status == nvme.INVALID_LOG_PAGE
        assert read_log(controller)


def test_an_nvm_controller_has_no_discovery_log(subsystem):
    with subsystem.connect() as controller:
        assert controller.get_log(nvme.DISCOVERY, 1024, nsid=0).status == nvme.INVALID_LOG_PAGE


@pytest.mark.parametrize("cns", [0, 2, 3, 5, 8, 0x13])
def test_a_discovery_controller_has_no_namespaces(subsystem, cns):
    with discovery(subsystem.address) as controller:
        answer = controller.identify(cns, 1)
        assert answer.status in (nvme.INVALID_FIELD, nvme.INVALID_NAMESPACE) or not any(answer.data)


# Changes.


@pytest.fixture
def persistent(subsystem):
    """A discovery controller that stays and hears of changes."""
    with discovery(subsystem.address, kato=30_000) as controller:
        controller.set_features(nvme.EVENTS, 1 << 31).check()
        controller.request_event()
        yield controller


def test_a_change_is_told(persistent, subsystem, polluxd):
    changes = [
        subsystem.listen,
        lambda: Subsystem(polluxd.client, f"{NQN}-new"),
        lambda: polluxd.client.nvmf_discovery_add_referral(address=listen_address("192.0.2.1", 8009)),
        lambda: polluxd.client.nvmf_delete_subsystem(f"{NQN}-new"),
    ]
    generation = read_log(persistent)[0]
    for change in changes:
        change()
        assert persistent.next_event() == (2, 0xF0, nvme.DISCOVERY)
        after = read_log(persistent)[0]
        assert after > generation
        generation = after
        persistent.admin.events.clear()
        persistent.request_event()
        # What the same change told a second time, after the log was read.
        persistent.keep_alive().check()
        if persistent.admin.events:
            persistent.admin.events.clear()
            read_log(persistent)
            persistent.request_event()


def test_a_change_that_was_not_asked_for_is_not_told(subsystem):
    with discovery(subsystem.address, kato=30_000) as controller:
        controller.request_event()
        subsystem.listen()
        controller.keep_alive().check()
        assert not controller.admin.events


def test_events_of_disks_cannot_be_asked_for(subsystem):
    with discovery(subsystem.address) as controller:
        assert controller.set_features(nvme.EVENTS, 1 << 8).status == nvme.INVALID_FIELD


@pytest.mark.parametrize("count", [200, pytest.param(10_000, marks=pytest.mark.nightly)])
def test_many_sessions_of_discovery(subsystem, polluxd, count):
    staying = [discovery(subsystem.address) for _ in range(20)]
    for _ in range(count):
        controller = discovery(subsystem.address)
        assert places(read_log(controller)[1]) == {subsystem.address}
        controller.close()
    for controller in staying:
        assert read_log(controller)
        controller.close()
    assert wait_until(lambda: polluxd.client.nvmf_subsystem_get_controllers(DISCOVERY_NQN) == [])


def test_configuration_comes_back_after_a_restart(subsystem, polluxd):
    polluxd.client.nvmf_discovery_add_referral(address=listen_address("192.0.2.1", 8009))
    before = {(one.subnqn, one.traddr, one.trsvcid, one.subtype) for one in log_of(subsystem.address)[1]}
    polluxd.restart()

    def after():
        try:
            return {(one.subnqn, one.traddr, one.trsvcid, one.subtype) for one in log_of(subsystem.address)[1]}
        except (OSError, nvme.CommandFailed):
            return None

    assert wait_until(lambda: after() == before), after()
