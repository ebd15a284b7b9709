"""Callers of the control plane that break off, flood or talk nonsense."""

import json
import os
import random
import socket
import struct

import pytest

import pollux
from exports import saved, wait_until

REQUEST_BYTES_MAX = 256 * 1024


@pytest.fixture
def call(polluxd):
    """A function that opens a connection to the socket."""

    def connect():
        one = socket.socket(socket.AF_UNIX)
        one.settimeout(10)
        one.connect(polluxd.socket)
        return one

    return connect


def request(number, method, **params):
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).encode() + b"\n"


def read_to_the_end(connection):
    data = b""
    while True:
        try:
            piece = connection.recv(65536)
        except ConnectionResetError:
            return data
        if not piece:
            return data
        data += piece


def descriptors(polluxd):
    return len(os.listdir(f"/proc/{polluxd.pid}/fd"))


def test_a_caller_that_vanishes_at_any_byte_harms_nothing(polluxd, call):
    before = descriptors(polluxd)
    make = request(1, "bdev_null_create", name="Null", num_blocks=8, block_size=512)
    for cut in range(len(make)):
        with call() as connection:
            connection.sendall(make[:cut])
    # Up to the last byte of the object, nothing was asked for.
    assert wait_until(lambda: descriptors(polluxd) <= before)
    names = [one["name"] for one in polluxd.client.bdev_get_bdevs()]
    assert names in ([], ["Null"])  # The last cut left out only the newline.


def test_a_caller_that_does_not_wait_for_its_answer_is_served_all_the_same(polluxd, call):
    for number in range(50):
        with call() as connection:
            connection.sendall(request(1, "bdev_null_create", name=f"N{number}", num_blocks=8, block_size=512))
    assert wait_until(lambda: len(polluxd.client.bdev_get_bdevs()) == 50)
    polluxd.client.bdev_null_create("Last", 8, 512)  # Saved after those that came before it.
    polluxd.kill()
    polluxd.start()
    assert len(polluxd.client.bdev_get_bdevs()) == 51


def test_a_caller_that_resets_while_waiting_is_forgotten(polluxd, call):
    before = descriptors(polluxd)
    for _ in range(100):
        with call() as connection:
            connection.sendall(request(1, "bdev_get_bdevs", name="Never", timeout=200))
            connection.sendall(request(2, "spdk_get_version")[:-5])
    assert wait_until(lambda: descriptors(polluxd) <= before)


def test_megabytes_of_garbage_end_in_a_close(polluxd, call):
    rng = random.Random(3)
    for begin in (b"", b"[", b'{"a":"', b'{"jsonrpc":"2.0","id":1,"method":"'):
        with call() as connection:
            try:
                connection.sendall(begin + rng.randbytes(8 << 20))
            except OSError:
                pass
            answer = read_to_the_end(connection)
            assert b"-32700" in answer or not answer
    assert polluxd.client.spdk_get_version()


def test_a_request_beyond_the_limit_is_refused(polluxd, call):
    padding = b" " * REQUEST_BYTES_MAX
    with call() as connection:
        connection.sendall(request(1, "spdk_get_version")[:-2] + padding)
        assert b"-32700" in read_to_the_end(connection)
    with call() as connection:
        # White space between requests is no part of one.
        connection.sendall(padding * 4 + request(1, "spdk_get_version"))
        assert b'"result"' in connection.recv(65536)


def test_deep_nesting_is_refused(polluxd, call):
    for text in (b"[" * 100_000, b'{"a":' * 50_000):
        with call() as connection:
            try:
                connection.sendall(text)
            except OSError:
                pass
            assert b"-32700" in read_to_the_end(connection)


@pytest.mark.parametrize(
    "text, code",
    [
        (b"nonsense\n", -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"x"', None),
        (b"01\n", -32700),
        (b"5\n", -32600),
        (b"[]\n", -32600),
        (b"{}\n", -32600),
        (b'{"jsonrpc":"1.0","id":1,"method":"spdk_get_version"}', -32600),
        (b'{"jsonrpc":"2.0","id":true,"method":"spdk_get_version"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"spdk_get_version","extra":1}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"id":2,"method":"spdk_get_version"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":5}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"spdk_get_version","params":"x"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"spdk\\u0000get_version"}', None),
        (b'{"jsonrpc":"2.0","id":1,"method":"a\tb"}', -32700),
        (b'\xff\xfe{"id":1}', -32700),
    ],
)
def test_what_is_no_request_gets_its_code(shared_polluxd, text, code):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(shared_polluxd.socket)
        connection.sendall(text)
        connection.shutdown(socket.SHUT_WR)
        data = read_to_the_end(connection)
        if code is None:
            assert not data or json.loads(data.splitlines()[0])["error"]
        else:
            assert json.loads(data.splitlines()[0])["error"]["code"] == code
    assert shared_polluxd.client.spdk_get_version()


def test_ids_come_back_as_they_were(shared_polluxd):
    client = shared_polluxd.client
    for id_text in ('"a\\u00e4"', "12345678901234567890123", "-0.5e3", '""', "0"):
        client.connection.send(f'{{"id":{id_text},"method":"spdk_get_version"}}'.encode())
        answer = client.connection.receive(client.connection.deadline())
        assert answer["id"] == json.loads(id_text)


def test_a_flood_of_calls_that_nobody_reads(polluxd, call):
    flood = request(1, "bdev_get_bdevs") * 2000
    with call() as deaf:
        deaf.setblocking(False)
        sent = 0
        while sent < 32 << 20:
            try:
                sent += deaf.send(flood)
            except BlockingIOError:
                break
        assert polluxd.client.spdk_get_version()
        resident = int(open(f"/proc/{polluxd.pid}/statm", encoding="ascii").read().split()[1]) * 4096
        assert resident < 1 << 30
    assert polluxd.client.spdk_get_version()


def test_the_65th_caller_waits_for_a_place(polluxd, call):
    places = [call() for _ in range(63)]  # And the fixture's own client.
    late = call()
    late.sendall(request(1, "spdk_get_version"))
    late.settimeout(0.3)
    with pytest.raises(socket.timeout):
        late.recv(1)
    places.pop().close()
    late.settimeout(10)
    assert b'"result"' in late.recv(65536)
    for one in [*places, late]:
        one.close()


def test_pipelined_changes_are_made_in_their_order(polluxd):
    calls = []
    for _ in range(100):
        calls.append(("bdev_null_create", {"name": "N", "num_blocks": 8, "block_size": 512}))
        calls.append(("bdev_null_delete", {"name": "N"}))
    assert not [one for one in polluxd.client.call_many(calls) if isinstance(one, pollux.RpcError)]
    assert all(len(part["config"] or []) <= 1 for part in saved(polluxd.client))


def test_a_batch_is_answered_as_one(polluxd):
    client = polluxd.client
    answers = client.batch(
        [("bdev_null_create", {"name": "N", "num_blocks": 8, "block_size": 512})] * 2 + [("nonsense", None)]
    )
    assert sorted(type(one).__name__ for one in answers) == ["Exists", "MethodNotFound", "str"]
    client.connection.send(b'[{"jsonrpc":"2.0","method":"spdk_get_version"}]\n')
    assert client.spdk_get_version()  # A batch of notifications has no answer.
    assert not client.unasked


def test_deleting_twice_at_once_succeeds_once(polluxd):
    client = polluxd.client
    for _ in range(20):
        client.bdev_null_create("N", 8, 512)
        outcomes = []
        with polluxd.connect() as one, polluxd.connect() as other:
            for caller in (one, other):
                caller.connection.send(request("x", "bdev_null_delete", name="N"))
            for caller in (one, other):
                outcomes.append(caller.connection.receive(caller.connection.deadline()))
        assert sorted("result" in answer for answer in outcomes) == [False, True]
        (error,) = [answer["error"] for answer in outcomes if "error" in answer]
        assert error["code"] == -19


def test_resets_during_pipelined_work(polluxd, call):
    rng = random.Random(5)
    for _ in range(40):
        with call() as connection:
            text = b"".join(request(i, "bdev_get_bdevs") for i in range(rng.randint(1, 300)))
            connection.sendall(text[: rng.randrange(len(text))])
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert polluxd.client.spdk_get_version()
