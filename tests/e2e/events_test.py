"""What changes is told as it changes: Events.Watch of gRPC, and notify_get_notifications that waits."""

import concurrent.futures
import re
import time

import grpc
import pytest

import pollux
from exports import MIB, export, memory_disk, wait_until
from iscsi_peer import Peer
from nvmf_exports import Subsystem
from pollux.pytest_plugin import is_instrumented, polluxd_path

# A sanitizer keeps what was freed for a while: up to 256 MiB of it.
GROWTH_KIB = 8 * 1024 if not is_instrumented(polluxd_path()) else 512 * 1024


@pytest.fixture
def grpc_client(polluxd):
    with polluxd.connect_grpc() as client:
        yield client


def events_of(answers, count):
    """The next `count` events of a watch, each as (type, kind, name)."""
    found = []
    while len(found) < count:
        found += [(one["type"], one["kind"], one["name"]) for one in next(answers)["events"]]
    return found


def objects(answer):
    return {(one["kind"], one["name"]): one.get("pending") for one in answer["snapshot"]["objects"]}


# The stream.


def test_a_snapshot_comes_first_then_what_changes(polluxd, grpc_client):
    client = polluxd.client
    client.bdev_null_create("Old", 2048, 512)
    answers = grpc_client.watch(timeout=60)
    first = next(answers)
    assert objects(first) == {("bdev", "Old"): None}
    assert first["missed"] == 0 and first["next_id"] == 1 and not first["events"]
    client.bdev_null_create("New", 2048, 512)
    client.bdev_null_resize("New", 2)
    client.bdev_null_delete("Old")
    assert events_of(answers, 3) == [
        ("bdev_register", "bdev", "New"),
        ("bdev_resize", "bdev", "New"),
        ("bdev_unregister", "bdev", "Old"),
    ]


def test_the_events_of_a_target_have_its_kind_and_name(polluxd, grpc_client):
    client = polluxd.client
    answers = grpc_client.watch(timeout=60)
    next(answers)
    target = export(client, memory_disk(client, MIB))
    name = target.iqn
    client.iscsi_delete_target_node(name)
    found = []
    while ("config_removed", "iscsi_target_node", name) not in found:
        found += events_of(answers, 1)
    assert found.index(("config_created", "iscsi_target_node", name)) < found.index(
        ("config_removed", "iscsi_target_node", name)
    )
    assert any(kind == "iscsi_portal_group" for _, kind, _ in found)
    # JSON-RPC tells the same, with the same numbers.
    told = {(one["type"], one["ctx"]) for one in client.notify_get_notifications()}
    assert ("config_removed", f"iscsi_target_node {name}") in told
    assert {one["type"] for one in client.notify_get_notifications()} <= set(client.notify_get_types())


def test_hosts_that_come_and_go_are_told(polluxd, grpc_client):
    client = polluxd.client
    target = export(client, memory_disk(client, MIB))
    answers = grpc_client.watch(types=["host_connected", "host_disconnected"], timeout=60)
    next(answers)
    peer = Peer(target.portal)
    host = "iqn.2026-01.test:host"
    assert peer.login(target.iqn, name=host) == 0
    assert events_of(answers, 1) == [("host_connected", "iscsi_session", f"{host} {target.iqn}")]
    peer.close()
    assert events_of(answers, 1) == [("host_disconnected", "iscsi_session", f"{host} {target.iqn}")]

    subsystem = Subsystem(client)
    with subsystem.connect() as controller:
        name = f"{controller.host.nqn} {subsystem.nqn}"
        assert events_of(answers, 1) == [("host_connected", "nvmf_controller", name)]
    assert events_of(answers, 1) == [("host_disconnected", "nvmf_controller", name)]


def test_what_is_pending_and_comes_back_is_told(polluxd, grpc_client, tmp_path):
    client = polluxd.client
    file = tmp_path / "disk"
    file.write_bytes(bytes(MIB))
    client.bdev_aio_create(name="File", filename=str(file), block_size=512)
    polluxd.stop()
    file.rename(tmp_path / "away")
    polluxd.start()
    answers = grpc_client.watch(timeout=60)
    snapshot = next(answers)
    assert "No such file" in objects(snapshot)[("bdev", "File")]
    # The start has told it, too.
    told = next(grpc_client.watch(from_id=0, timeout=60))["events"]
    assert [(one["type"], one["name"]) for one in told] == [("config_pending", "File")]
    assert "No such file" in told[0]["reason"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", told[0]["time"])
    (tmp_path / "away").rename(file)
    client = polluxd.client
    client.bdev_null_create("Other", 2048, 512)  # A change, after which what is pending is tried.
    found = []
    while ("config_restored", "bdev", "File") not in found:
        found += events_of(answers, 1)
    assert ("bdev_register", "bdev", "File") in found


def test_a_pending_disk_that_is_deleted_is_told(polluxd, grpc_client, tmp_path):
    file = tmp_path / "disk"
    file.write_bytes(bytes(MIB))
    polluxd.client.bdev_aio_create(name="File", filename=str(file), block_size=512)
    polluxd.stop()
    file.unlink()
    polluxd.start()
    answers = grpc_client.watch(timeout=60)
    next(answers)
    polluxd.client.bdev_aio_delete("File")
    assert events_of(answers, 1) == [("config_removed", "bdev", "File")]


def test_a_watch_goes_on_where_another_ended(polluxd, grpc_client):
    client = polluxd.client
    first = next(grpc_client.watch(timeout=60))
    for i in range(5):
        client.bdev_null_create(f"N{i}", 8, 512)
    answers = grpc_client.watch(first["next_id"] + 2, first["instance"], timeout=60)
    answer = next(answers)
    assert "snapshot" not in answer and answer["missed"] == 0
    assert [one["id"] for one in answer["events"]] == [2, 3, 4]
    assert answer["next_id"] == 5


def test_only_the_types_that_are_wanted(polluxd, grpc_client):
    client = polluxd.client
    answers = grpc_client.watch(types=["bdev_unregister"], timeout=60)
    next(answers)
    for i in range(300):  # More than one answer has.
        client.bdev_null_create(f"N{i}", 8, 512)
    client.bdev_null_delete("N7")
    assert events_of(answers, 1) == [("bdev_unregister", "bdev", "N7")]


def flood(client, pairs):
    for _ in range(pairs):
        client.call_many([("bdev_null_create", {"name": "N", "num_blocks": 8, "block_size": 512}),
                          ("bdev_null_delete", {"name": "N"})], window=1)  # fmt: skip


def test_who_comes_too_late_gets_a_snapshot_and_the_number_of_what_is_lost(polluxd, grpc_client):
    client = polluxd.client
    first = next(grpc_client.watch(timeout=60))
    client.bdev_null_create("Stays", 8, 512)
    flood(client, 520)  # 1,041 events in all, of which 1,024 are kept.
    answer = next(grpc_client.watch(first["next_id"], first["instance"], timeout=60))
    assert answer["missed"] == 17 and objects(answer) == {("bdev", "Stays"): None}
    assert answer["next_id"] == 1041 and not answer["events"]


@pytest.mark.parametrize("where", ["another instance", "the future"])
def test_a_number_that_means_nothing_here_gets_a_snapshot(polluxd, where):
    with polluxd.connect_grpc() as client:
        instance = next(client.watch(timeout=60))["instance"]
    polluxd.restart()
    polluxd.client.bdev_null_create("N", 8, 512)
    arguments = (0, instance) if where == "another instance" else (2**64 - 1, "")
    with polluxd.connect_grpc() as client:
        answer = next(client.watch(*arguments, timeout=60))
    assert objects(answer) == {("bdev", "N"): None} and answer["instance"] != instance


def test_many_watch_and_each_gets_all(polluxd):
    def watch(_):
        with polluxd.connect_grpc() as client:
            answers = client.watch(timeout=120)
            ids = []
            next_id = next(answers)["next_id"]
            ready.append(1)
            while len(ids) < 200:
                answer = next(answers)
                assert answer["missed"] == 0
                ids += [one["id"] for one in answer["events"]]
            return ids == list(range(next_id, next_id + 200))

    ready = []
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        results = pool.map(watch, range(16))
        assert wait_until(lambda: len(ready) == 16, 60)
        flood(polluxd.client, 100)
        assert all(results)


def test_who_does_not_read_costs_a_bounded_amount_and_is_told_what_is_lost(polluxd):
    client = polluxd.client

    def resident():
        text = open(f"/proc/{polluxd.pid}/status", encoding="ascii").read()
        return int(re.search(r"VmRSS:\s+(\d+)", text)[1])

    with polluxd.connect_grpc() as idle:
        # Flow control stops the server: nobody takes these answers.
        idle_answers = [idle.watch(timeout=300) for _ in range(8)]
        firsts = [next(one) for one in idle_answers]
        flood(client, 600)
        before = resident()
        flood(client, 3000)
        assert resident() - before < GROWTH_KIB
        for first, answers in zip(firsts, idle_answers):
            # Whatever was on its way comes first; every event is told or counted.
            at = first["next_id"]
            while at < 7200:
                answer = next(answers)
                if "snapshot" in answer:
                    at += answer["missed"]
                    # A snapshot stands for what is kept, too.
                    at = answer["next_id"] - len(answer["events"])
                for event in answer["events"]:
                    assert event["id"] == at
                    at += 1
                assert answer["next_id"] == at


def test_the_stop_of_the_server_ends_a_watch(polluxd):
    with polluxd.connect_grpc() as client:
        answers = client.watch(timeout=60)
        next(answers)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            end = pool.submit(lambda: list(answers))
            polluxd.stop()  # In time, and clean.
            with pytest.raises((pollux.ConnectionLost, pollux.PolluxError)):
                end.result(60)


def test_during_the_start_up_state_there_is_nothing_to_tell_but_what_is_saved(start_polluxd):
    polluxd = start_polluxd()
    polluxd.client.bdev_null_create("N", 8, 512)
    polluxd.restart("--wait-for-rpc")
    with polluxd.connect_grpc() as client:
        answers = client.watch(timeout=60)
        assert objects(next(answers)) == {}
        polluxd.client.framework_start_init()
        assert events_of(answers, 1) == [("bdev_register", "bdev", "N")]


# What is no watch.


@pytest.mark.parametrize("data", [b"\xff", b"\x0a\x05no", b""])
def test_a_request_that_is_none(polluxd, data):
    with polluxd.connect_grpc() as client:
        call = client.channel.unary_stream("/pollux.v1.Events/Watch")(data, timeout=60)
        if data == b"":  # Nothing is asked for: that is a watch.
            assert next(call)
            return
        with pytest.raises(grpc.RpcError) as error:
            next(call)
        assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_a_type_that_there_is_not(grpc_client):
    with pytest.raises(pollux.PolluxError, match="'nothing' is none of notify_get_types"):
        next(grpc_client.watch(types=["bdev_register", "nothing"], timeout=60))


def test_callers_that_go_away_leave_nothing(polluxd):
    with polluxd.connect_grpc() as client:
        for _ in range(700):  # More than there are places for calls.
            answers = client.watch(timeout=60)
            next(answers)
            answers.close()
        assert client.bdev_get_bdevs() == []


# JSON-RPC waits, too.


def test_notifications_can_be_waited_for(polluxd):
    with polluxd.connect() as other, concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(other.notify_get_notifications, id=0, wait_ms=60000)
        time.sleep(0.1)
        assert not waiting.done()
        polluxd.client.bdev_null_create("N", 8, 512)
        assert waiting.result(30) == [{"type": "bdev_register", "ctx": "N", "id": 0}]


def test_a_wait_ends_without_an_event(polluxd):
    assert polluxd.client.notify_get_notifications(wait_ms=1) == []
    assert polluxd.client.notify_get_notifications(id=2**64 - 1, wait_ms=1) == []
    with pytest.raises(pollux.RpcError) as error:
        polluxd.client.notify_get_notifications(wait_ms=60001)
    assert error.value.field == "wait_ms"


def test_the_stop_of_the_server_ends_a_wait(polluxd):
    with polluxd.connect() as other, concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(other.notify_get_notifications, wait_ms=60000)
        time.sleep(0.1)
        polluxd.stop()
        try:
            assert waiting.result(30) == []
        except pollux.ConnectionLost:
            pass


@pytest.mark.parametrize("of_the_client", [None, 60.0])
def test_the_deadline_of_a_watch_is_its_own(grpc_client, of_the_client):
    grpc_client.timeout = of_the_client
    answers = grpc_client.watch(timeout=0.5)
    assert next(answers)["snapshot"]
    with pytest.raises(pollux.CallTimeout, match="within 0.5 s"):
        for _ in answers:
            pass
