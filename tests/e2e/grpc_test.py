"""gRPC: the same methods, answers and errors as by JSON-RPC; health, reflection, deadlines."""

import concurrent.futures
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

import pollux
from exports import MIB, export, fails_to_start, file_disk, memory_disk, saved, wait_until
from hang_up import send_and_hang_up
from pollux import descriptors
from pollux.grpc_client import GrpcClient, target
from pollux.pytest_plugin import is_instrumented, polluxd_path
from rpc_errors_test import METHOD_NAMES, METHODS, OPTIONS, STARTUP, required_of, some_value

CATALOG = descriptors.load()
# These end the process, or wait, or move it to the next state.
LEFT_OUT = {"spdk_kill_instance", "framework_start_init", "framework_wait_init"}
# Field 1001, which no message has, with the value 7.
UNKNOWN_FIELD = b"\xc8\x3e\x07"
ANY = object()


def serving(channel, service="", timeout=60):
    """The answer of grpc.health.v1 in words."""
    request = CATALOG.new("grpc.health.v1.HealthCheckRequest")
    request.service = service
    check = channel.unary_unary("/grpc.health.v1.Health/Check")
    answer = CATALOG.new("grpc.health.v1.HealthCheckResponse")
    answer.ParseFromString(check(request.SerializeToString(), timeout=timeout, wait_for_ready=True))
    return answer.DESCRIPTOR.fields_by_name["status"].enum_type.values_by_number[answer.status].name


@pytest.fixture
def daemon(request):
    """In the state that the method wants."""
    name = request.node.callspec.params["name"]
    waiting = OPTIONS[name].state == STARTUP
    return request.getfixturevalue("waiting_polluxd" if waiting else "shared_polluxd")


@pytest.fixture
def grpc_client(polluxd):
    with polluxd.connect_grpc() as client:
        yield client


# One definition, two faces.


def outcome(client, name, params):
    """("result", what) or ("error", all that an error tells)."""
    try:
        return "result", client.call(name, params)
    except pollux.RpcError as error:
        told = error.code, error.message, error.field, error.value, error.reason, error.errno, type(error)
        return "error", told


def merge(one, other):
    """What two answers have in common: ANY stands where they differ, since the thing itself moves."""
    if type(one) is not type(other):
        return ANY
    if isinstance(one, dict) and one.keys() == other.keys():
        return {key: merge(one[key], other[key]) for key in one}
    if isinstance(one, (list, tuple)) and len(one) == len(other):
        return [merge(*pair) for pair in zip(one, other)]
    return one if one == other else ANY


def agrees(answer, known):
    if known is ANY:
        return True
    if isinstance(known, dict):
        return answer.keys() == known.keys() and all(agrees(answer[key], known[key]) for key in known)
    if isinstance(known, list):
        return len(answer) == len(known) and all(map(agrees, answer, known))
    return answer == known and type(answer) is type(known)


def outcome_by_command_line(daemon, name):
    """The same, of which the program tells code and message."""
    command = [polluxd_path().parent / "pollux", "-s", daemon.socket, "--json", name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode == 0:
        return "result", json.loads(done.stdout)
    assert done.returncode == 1, done.stderr
    message, code = re.match(rf"pollux: {name}: (.*)\n  code +(-\d+)\n", done.stderr).groups()
    return "error", (int(code), message)


def same_by_both(daemon, name, params):
    """Asked by JSON-RPC, gRPC and JSON-RPC again: gRPC says what JSON-RPC says on both sides of it,
    and so does the command line. Returns what that was."""
    before = outcome(daemon.client, name, params)
    with daemon.connect_grpc() as client:
        answers = [outcome(client, name, params)]
    if not required_of(METHODS[name]):
        answers.append(outcome_by_command_line(daemon, name))
    after = outcome(daemon.client, name, params)
    if before[0] != after[0]:  # The first of them changed something.
        before = after
    known = merge(list(before), list(after))
    for kind, told in answers:
        assert kind == after[0], (told, after)
        part = known[1][: len(told)] if kind == "error" else known[1]
        assert agrees(list(told) if kind == "error" else told, part), (told, before, after)
    return after


@pytest.mark.parametrize("name", [name for name in METHOD_NAMES if name not in LEFT_OUT])
def test_a_call_without_parameters_is_answered_alike(daemon, name):
    # A list that is absent and one that is empty are the same in a message, and not in JSON.
    params = {one.name: [some_value(one)[0]] for one in METHODS[name].parameters if one.required and one.repeated}
    kind, told = same_by_both(daemon, name, params)
    if required_of(METHODS[name]).keys() - params.keys():
        assert kind == "error" and told[2] in required_of(METHODS[name])


@pytest.mark.parametrize("name", [name for name in METHOD_NAMES if name not in LEFT_OUT])
def test_an_unknown_field_is_refused_by_its_number(daemon, name):
    with daemon.connect_grpc() as client:
        future = client.channel.unary_unary(METHODS[name].path).future(UNKNOWN_FIELD, timeout=60)
        assert future.code() == grpc.StatusCode.INVALID_ARGUMENT
        with pytest.raises(pollux.RpcError) as caught:
            client._result(name, future)
    error = caught.value
    assert (error.code, error.field, error.value) == (
        OPTIONS[name].decode_error,
        "params",
        "field number 1001",
    )


@pytest.mark.parametrize("name", [name for name in METHOD_NAMES if METHODS[name].parameters])
def test_parameters_that_no_message_can_carry_are_refused_alike(daemon, name):
    with daemon.connect_grpc() as client:
        for wrong in [{"no_such_parameter": 1}] + [{one.name: object} for one in METHODS[name].parameters]:
            if OPTIONS[name].relaxed and "no_such_parameter" in wrong:
                continue
            wrong = {key: [[]] if value is object else value for key, value in wrong.items()}
            errors = [outcome(one, name, wrong) for one in (daemon.client, client)]
            by_json, by_grpc = ((kind, told[0], told[2], told[6]) for kind, told in errors)
            assert by_json == by_grpc


@pytest.mark.parametrize("name", [name for name in METHOD_NAMES if OPTIONS[name].state == STARTUP])
def test_a_method_of_the_other_state_is_refused_alike(shared_polluxd, name):
    kind, told = same_by_both(shared_polluxd, name, None)
    assert (kind, told[0], told[6]) == ("error", -1, pollux.NotPermitted)


def test_an_unknown_method_is_unimplemented(shared_polluxd):
    with shared_polluxd.connect_grpc() as client:
        with pytest.raises(pollux.MethodNotFound) as caught:
            client.call("bdev_malloc_creat")
        assert caught.value.__cause__.code() == grpc.StatusCode.UNIMPLEMENTED


def test_errors_of_operations_have_grpcs_codes(polluxd, grpc_client):
    codes, make = grpc.StatusCode, "bdev_malloc_create"
    grpc_client.bdev_malloc_create(2048, 512, name="Mem")
    for name, params, kind, code, field in [
        (make, {"num_blocks": 8, "block_size": 7}, pollux.InvalidArgument, codes.INVALID_ARGUMENT, "block_size"),
        (make, {"num_blocks": 8, "block_size": 512, "name": "Mem"}, pollux.Exists, codes.ALREADY_EXISTS, None),
        ("bdev_get_bdevs", {"name": "No"}, pollux.NoDevice, codes.NOT_FOUND, None),
        ("bdev_null_delete", {"name": "No"}, pollux.NoDevice, codes.NOT_FOUND, None),
    ]:
        with pytest.raises(kind) as caught:
            grpc_client.call(name, params)
        assert caught.value.__cause__.code() == code
        assert caught.value.field == field or field is None
        assert outcome(polluxd.client, name, params) == outcome(grpc_client, name, params)


# What is done by gRPC is done.


def test_disks_made_and_exported_by_grpc_survive(polluxd, tmp_path):
    with polluxd.connect_grpc() as client:
        disk = file_disk(client, tmp_path / "disk")
        target_node = export(client, disk, memory_disk(client, name="Mem"))
        before = saved(client)
        assert before == saved(polluxd.client)
    polluxd.kill()
    polluxd.start()
    with polluxd.connect_grpc() as client:
        (node,) = client.iscsi_get_target_nodes()
        assert node["name"] == target_node.iqn
        assert saved(client) == before == saved(polluxd.client)
        assert client.bdev_get_bdevs(disk) == polluxd.client.bdev_get_bdevs(disk)
        client.iscsi_delete_target_node(target_node.iqn)
        assert polluxd.client.iscsi_get_target_nodes() == []


def test_every_acknowledged_change_of_many_survives_a_kill(polluxd, grpc_client):
    calls = [("bdev_null_create", {"name": f"N{i}", "num_blocks": 8, "block_size": 512}) for i in range(200)]
    assert grpc_client.call_many(calls) == [f"N{i}" for i in range(200)]
    polluxd.kill()
    polluxd.start()
    assert len(polluxd.client.bdev_get_bdevs()) == 200


# State, deadlines, cancellation.


def test_health_follows_the_state(start_polluxd):
    polluxd = start_polluxd("--wait-for-rpc")
    channel = grpc.insecure_channel(target(polluxd.grpc_socket))
    assert serving(channel) == "NOT_SERVING"
    watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"", timeout=60)
    assert next(watch) == b"\x08\x02"
    with polluxd.connect_grpc() as client:
        assert client.framework_start_init() is True
    assert next(watch) == b"\x08\x01"
    assert serving(channel) == serving(channel, "pollux.v1.Bdev") == "SERVING"
    with pytest.raises(grpc.RpcError) as caught:
        serving(channel, "pollux.v1.No")
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    polluxd.stop()
    assert next(watch) == b"\x08\x02"
    with pytest.raises(grpc.RpcError) as caught:
        next(watch)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    channel.close()


def test_a_deadline_that_passes_and_a_call_that_is_cancelled_harm_nothing(start_polluxd):
    polluxd = start_polluxd("--wait-for-rpc")
    with polluxd.connect_grpc() as client:
        assert client.spdk_get_version()
        client.timeout = 0.2
        with pytest.raises(pollux.CallTimeout):
            client.framework_wait_init()
        client.timeout = 60
        future = client.channel.unary_unary(METHODS["framework_wait_init"].path).future(b"", timeout=60)
        future.cancel()
        assert client.framework_start_init() is True
        assert client.framework_wait_init() is True


def test_there_is_a_limit_to_calls_under_way(start_polluxd):
    polluxd = start_polluxd("--wait-for-rpc")
    path, limit, each = METHODS["framework_wait_init"].path, 512, 100
    clients = [polluxd.connect_grpc() for _ in range(6)]
    futures = []
    for client in clients:
        assert client.spdk_get_version()
        wait = client.channel.unary_unary(path)
        futures += [wait.future(b"", timeout=60) for _ in range(each)]
    refused = len(futures) - limit
    assert wait_until(lambda: sum(one.done() for one in futures) == refused, 60)
    codes = {one.code() for one in futures if one.done()}
    assert codes == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert polluxd.client.framework_start_init() is True
    assert [one.code() for one in futures].count(grpc.StatusCode.OK) == limit
    assert clients[0].framework_wait_init() is True
    for client in clients:
        client.close()


def test_sixty_four_clients_at_once(polluxd):
    def work(number):
        with polluxd.connect_grpc() as client:
            for turn in range(10):
                name = client.bdev_null_create(f"N{number}-{turn}", 8, 512)
                assert client.bdev_get_bdevs(name)[0]["name"] == name
                client.bdev_null_delete(name)
        return number

    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        assert sorted(pool.map(work, range(64))) == list(range(64))
    assert polluxd.client.bdev_get_bdevs() == []


# Reflection.


class Reflected:
    """Services as reflection tells them, without a descriptor of our own."""

    def __init__(self, channel):
        self.pool = descriptor_pool.DescriptorPool()
        self.factory = message_factory.MessageFactory(self.pool)
        self._ask = channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
        self._known = set()

    def ask(self, **question):
        request = CATALOG.new("grpc.reflection.v1alpha.ServerReflectionRequest")
        (key, value), *_ = question.items()
        setattr(request, key, value)
        answer = CATALOG.new("grpc.reflection.v1alpha.ServerReflectionResponse")
        (data,) = self._ask(iter([request.SerializeToString()]), timeout=60, wait_for_ready=True)
        answer.ParseFromString(data)
        return answer

    def services(self):
        return [one.name for one in self.ask(list_services="").list_services_response.service]

    def service(self, name):
        answer = self.ask(file_containing_symbol=name)
        files = [
            descriptor_pb2.FileDescriptorProto.FromString(data)
            for data in answer.file_descriptor_response.file_descriptor_proto
        ]
        for file in reversed(files):
            if file.name not in self._known:
                self._known.add(file.name)
                self.pool.Add(file)
        return self.pool.FindServiceByName(name)


def test_a_client_that_knows_nothing_finds_and_calls_every_service(polluxd):
    with grpc.insecure_channel(target(polluxd.grpc_socket)) as channel:
        reflected = Reflected(channel)
        names = reflected.services()
        assert {"pollux." + "v1." + one.service for one in METHODS.values()} <= set(names)
        called = 0
        for name in names:
            service = reflected.service(name)
            if name.startswith("grpc."):
                continue
            for method in service.methods:
                if "Kill" in method.name or "Init" in method.name:
                    continue
                request = reflected.factory.GetPrototype(method.input_type)()
                call = channel.unary_unary(f"/{name}/{method.name}")
                try:
                    data = call(request.SerializeToString(), timeout=60)
                    reflected.factory.GetPrototype(method.output_type).FromString(data)
                except grpc.RpcError as error:
                    assert error.details() and "Method not found" not in error.details(), method.full_name
                called += 1
        assert called > len(METHODS) - 10


def test_reflection_tells_what_is_not_there(shared_polluxd):
    with grpc.insecure_channel(target(shared_polluxd.grpc_socket)) as channel:
        reflected = Reflected(channel)
        for question in (
            {"file_containing_symbol": "pollux.v1.No"},
            {"file_by_filename": "/etc/passwd"},
            {"all_extension_numbers_of_type": "No"},
        ):
            assert reflected.ask(**question).error_response.error_code == 5


# Addresses.


def test_the_socket_is_for_its_owner_alone(polluxd):
    mode = os.stat(polluxd.grpc_socket).st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600
    polluxd.stop()
    assert not os.path.exists(polluxd.grpc_socket)


def test_it_listens_where_it_is_told(start_polluxd, tmp_path):
    polluxd = start_polluxd("--grpc", "127.0.0.1:0", "--grpc", "[::1]:0")
    ports = [line.rpartition(" ")[2] for line in polluxd.log().splitlines() if "gRPC on" in line]
    assert len(ports) == 2 and not os.path.exists(polluxd.grpc_socket)
    for address in ports:
        with GrpcClient(address) as client:
            assert client.spdk_get_version() == polluxd.client.spdk_get_version()


def test_off_is_off(start_polluxd):
    polluxd = start_polluxd("--grpc", "off")
    assert polluxd.client.spdk_get_version()
    assert not os.path.exists(polluxd.grpc_socket)
    names = [open(f"/proc/{polluxd.pid}/task/{one}/comm").read() for one in os.listdir(f"/proc/{polluxd.pid}/task")]
    assert not any(name.startswith("grpc") for name in names)
    with polluxd.connect_grpc() as client, pytest.raises(pollux.CannotConnect):
        client.spdk_get_version()


def test_a_socket_that_another_process_has_is_refused(start_polluxd, polluxd):
    other = start_polluxd("--grpc", f"unix:{polluxd.grpc_socket}", start=False)
    fails_to_start(other, "another process does")
    with polluxd.connect_grpc() as client:
        assert client.spdk_get_version()


# Damage.

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind, flags=0, stream=0, payload=b"", length=None):
    """An HTTP/2 frame. RFC 9113 §4.1."""
    size = len(payload) if length is None else length
    return size.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
OPENED = PREFACE + frame(SETTINGS)

DAMAGE = {
    "not http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "json": b'{"jsonrpc":"2.0","id":1,"method":"spdk_get_version"}\n',
    "half a preface": PREFACE[:11],
    "no settings": PREFACE + frame(PING, payload=b"12345678"),
    "a frame that never ends": OPENED + frame(DATA, stream=1, length=2**24 - 1),
    "data on no stream": OPENED + frame(DATA, stream=1, payload=b"x" * 100),
    "headers that are garbage": OPENED + frame(HEADERS, 4, 1, b"\xff" * 64),
    "headers on stream 0": OPENED + frame(HEADERS, 4, 0, b"\x82"),
    "an even stream": OPENED + frame(HEADERS, 4, 2, b"\x82"),
    "endless continuation": OPENED + frame(HEADERS, 0, 1, b"\x82") + frame(CONTINUATION, 0, 1, b"\x82" * 1000) * 1000,
    "a huge table size": OPENED + frame(SETTINGS, payload=b"\x00\x01\xff\xff\xff\xff"),
    "settings that are cut": OPENED + frame(SETTINGS, payload=b"\x00\x01\xff"),
    "a window of zero": OPENED + frame(WINDOW, payload=bytes(4)),
    "a window beyond its end": OPENED + frame(WINDOW, payload=b"\x7f\xff\xff\xff") * 3,
    "a push": OPENED + frame(PUSH, 4, 1, b"\x00\x00\x00\x02\x82"),
    "many pings": OPENED + frame(PING, payload=b"12345678") * 20000,
    "many settings": OPENED + frame(SETTINGS) * 20000,
    "many resets": OPENED + b"".join(frame(RST_STREAM, 0, 2 * i + 1, bytes(4)) for i in range(20000)),
    "goaway": OPENED + frame(GOAWAY, payload=bytes(8)),
    "an unknown frame": OPENED + frame(99, 255, 7, b"x" * 16384),
    "megabytes": os.urandom(8 << 20),
}


def resident_kib(polluxd):
    assert polluxd.client.spdk_get_version()
    with open(f"/proc/{polluxd.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def descriptors_of(polluxd):
    assert polluxd.client.spdk_get_version()  # It is initialised, and has our connection.
    return len(os.listdir(f"/proc/{polluxd.pid}/fd"))


def raw(polluxd):
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(30)
    connection.connect(polluxd.grpc_socket)
    return connection


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_harms_nobody_else(shared_polluxd, what):
    before = descriptors_of(shared_polluxd)
    with raw(shared_polluxd) as connection:
        send_and_hang_up(connection, DAMAGE[what])
    with shared_polluxd.connect_grpc() as client:
        assert client.spdk_get_version()
    assert wait_until(lambda: descriptors_of(shared_polluxd) <= before, 60)


def test_a_stream_that_is_cut_anywhere_leaves_nothing_behind(shared_polluxd):
    """A call as a real client sends it, recorded, and cut at every byte."""
    call = record(shared_polluxd, "spdk_get_version")
    before = descriptors_of(shared_polluxd)
    for cut in range(len(call)):
        with raw(shared_polluxd) as connection:
            connection.sendall(call[:cut])
    with shared_polluxd.connect_grpc() as client:
        assert client.spdk_get_version()
    assert wait_until(lambda: descriptors_of(shared_polluxd) <= before, 60)


def record(polluxd, name):
    """The bytes that gRPC's client sends for one call, by a proxy."""
    directory = os.path.dirname(polluxd.grpc_socket)
    path = os.path.join(directory, "proxy")
    sent = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def carry(source, sink, keep):
            while True:
                try:
                    data = source.recv(1 << 16)
                    if not data:
                        break
                    if keep:
                        sent.append(data)
                    sink.sendall(data)
                except OSError:
                    break
            for one in (source, sink):
                try:
                    one.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

        def proxy():
            client, _ = listener.accept()
            with client, raw(polluxd) as server:
                server.settimeout(None)
                back = threading.Thread(target=carry, args=(server, client, False))
                back.start()
                carry(client, server, True)
                back.join()

        thread = threading.Thread(target=proxy)
        thread.start()
        with GrpcClient(path) as client:
            assert client.call(name)
        thread.join()
    os.unlink(path)
    return b"".join(sent)


def test_a_silent_connection_and_huge_messages_cost_little(polluxd):
    before = resident_kib(polluxd)
    silent = [raw(polluxd) for _ in range(60)]
    for connection in silent:
        connection.sendall(OPENED)
    path = METHODS["bdev_get_bdevs"].path
    with polluxd.connect_grpc() as client:
        call = client.channel.unary_unary(path)
        futures = [call.future(b"\x0a" + bytes(MIB), timeout=60) for _ in range(64)]
        assert {one.code() for one in futures} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        # The largest that may be, of garbage.
        futures = [call.future(b"\xff" * (256 * 1024), timeout=60) for _ in range(64)]
        assert {one.code() for one in futures} == {grpc.StatusCode.INVALID_ARGUMENT}
        compressed = call.future(bytes(MIB), timeout=60, compression=grpc.Compression.Gzip)
        assert compressed.code() == grpc.StatusCode.UNIMPLEMENTED
        assert client.bdev_get_bdevs() == []
    for connection in silent:
        connection.close()
    # A sanitizer keeps what was freed for a while: up to 256 MiB of it.
    most_mib = 512 if is_instrumented(polluxd_path()) else 128
    assert resident_kib(polluxd) - before < most_mib * 1024


KILLED = """
import os, sys
from pollux.grpc_client import GrpcClient
client = GrpcClient(sys.argv[1])
client.spdk_get_version()
print("begun", flush=True)
number = 0
while True:
    calls = [("bdev_null_create", {"name": f"{os.getpid()}-{number + i}", "num_blocks": 8, "block_size": 512})
             for i in range(50)]
    client.call_many(calls)
    number += 50
"""


def test_a_client_that_is_killed_leaves_nothing_behind_but_its_changes(polluxd):
    before = descriptors_of(polluxd)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", KILLED, polluxd.grpc_socket], stdout=subprocess.PIPE, env=environment
        ) as victim:
            assert victim.stdout.readline() == b"begun\n"
            made = len(polluxd.client.bdev_get_bdevs())
            assert wait_until(lambda: len(polluxd.client.bdev_get_bdevs()) > made, 60)
            victim.send_signal(signal.SIGKILL)
    assert wait_until(lambda: descriptors_of(polluxd) <= before, 60)
    disks = {one["name"] for one in polluxd.client.bdev_get_bdevs()}
    polluxd.client.bdev_null_create("Last", 8, 512)  # Saved after those that came before it.
    polluxd.kill()
    polluxd.start()
    after = {one["name"] for one in polluxd.client.bdev_get_bdevs()}
    assert disks <= after  # One whose caller was gone may have come after we looked.
    with polluxd.connect_grpc() as client:
        assert client.spdk_get_version()


def test_it_stops_in_time_whatever_its_callers_do(start_polluxd):
    polluxd = start_polluxd("--wait-for-rpc")
    client = polluxd.connect_grpc()
    waiting = client.channel.unary_unary(METHODS["framework_wait_init"].path).future(b"")
    watching = client.channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")
    assert next(watching)
    with raw(polluxd) as silent:
        silent.sendall(OPENED)
        polluxd.stop()
    assert waiting.exception() is not None
    client.close()
