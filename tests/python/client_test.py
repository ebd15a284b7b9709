"""The Python client against a server that answers what the test says."""

import inspect
import json

import pytest

import pollux


def result(request, value=True):
    return {"jsonrpc": "2.0", "id": request["id"], "result": value}


def error(request, code, message="no", **data):
    answer = {"jsonrpc": "2.0", "id": request.get("id"), "error": {"code": code, "message": message}}
    if data:
        answer["error"]["data"] = data
    return answer


# Calls.


def test_a_method_of_the_descriptors_becomes_a_call(client, server):
    assert client.bdev_malloc_create(131072, block_size=512, name="Malloc0") == "bdev_malloc_create"
    (request,) = server.requests
    assert request["jsonrpc"] == "2.0"
    assert request["params"] == {"num_blocks": 131072, "block_size": 512, "name": "Malloc0"}


def test_no_parameters_are_no_params(client, server):
    client.spdk_get_version()
    client.bdev_get_bdevs(name=None)
    assert all("params" not in request for request in server.requests)


def test_tcp_addresses_are_texts_or_pairs(tcp_server, catalog):
    host, port = tcp_server.address
    for address in ((host, port), f"{host}:{port}"):
        with pollux.Client(address, catalog=catalog) as one:
            assert one.call("a_method") == "a_method"


def test_large_numbers_and_text_arrive_unchanged(client, server):
    value = {"n": 2**64 - 1, "text": "\n\u00e4\u2028 x"}
    server.answer = lambda request: result(request, request["params"])
    assert client.call("echo", value) == value


def test_an_answer_may_come_in_pieces_and_with_blank_lines(client, server):
    server.answer = lambda request: b"\n\n  \n" + json.dumps(result(request, "x" * 700_000)).encode() + b"\n"
    assert len(client.call("long")) == 700_000


# What does not fit a method is refused before anything is sent.


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.bdev_malloc_create(1),
        lambda c: c.bdev_malloc_create(1, 512, nmae="x"),
        lambda c: c.bdev_malloc_create(1, 512, "x"),
        lambda c: c.bdev_malloc_create(1, num_blocks=1, block_size=512),
        lambda c: c.iscsi_create_portal_group(1, [{"host": "::1"}]),
        lambda c: c.iscsi_create_portal_group(1, [{"host": "::1", "port": "1", "prot": "2"}]),
    ],
)
def test_arguments_that_do_not_fit_are_type_errors(client, server, call):
    with pytest.raises(TypeError):
        call(client)
    assert not server.requests


def test_a_wrong_nested_name_is_shown_with_its_place(client):
    with pytest.raises(TypeError, match=r"portals\[1\]\.hots"):
        client.iscsi_create_portal_group(1, [{"host": "a", "port": "1"}, {"hots": "a", "port": "1"}])


def test_an_unknown_method_is_an_attribute_error_with_a_hint(client):
    with pytest.raises(AttributeError, match="did you mean .*bdev_malloc_create"):
        client.bdev_maloc_create  # pylint: disable=pointless-statement


def test_a_raw_call_is_not_checked(client, server):
    client.call("bdev_malloc_create", {"nonsense": 1})
    assert server.requests[0]["params"] == {"nonsense": 1}


# Help.


def test_signature_and_help_come_from_the_proto(client):
    call = client.bdev_malloc_create
    parameters = inspect.signature(call).parameters
    assert list(parameters)[:2] == ["num_blocks", "block_size"]
    assert parameters["numa_id"].default == -1
    assert parameters["name"].kind == inspect.Parameter.KEYWORD_ONLY
    assert call.__doc__.startswith("Makes a disk of memory.")
    assert "block_size (int; bytes; a power of two, 512..65536; required)" in call.__doc__
    assert "bdev_malloc_create" in dir(client)


def test_an_enumeration_shows_its_json_values(catalog):
    (mode,) = [one for one in catalog.methods["bdev_reset_iostat"].parameters if one.name == "mode"]
    assert mode.type == "all|maxmin|error|none"
    assert mode.default == "all"


# Errors.


@pytest.mark.parametrize(
    "code, kind, number",
    [
        (-17, pollux.Exists, 17),
        (-19, pollux.NoDevice, 19),
        (-22, pollux.InvalidArgument, 22),
        (-1, pollux.NotPermitted, 1),
        (-32602, pollux.InvalidParams, None),
        (-32601, pollux.MethodNotFound, None),
        (-32603, pollux.InternalError, None),
        (-74, pollux.RpcError, 74),
        (5, pollux.RpcError, None),
    ],
)
def test_the_code_gives_the_type_of_the_error(client, server, code, kind, number):
    server.answer = lambda request: error(request, code, "because")
    with pytest.raises(kind) as caught:
        client.call("a_method")
    assert type(caught.value) is kind
    assert (caught.value.code, caught.value.message, caught.value.errno) == (code, "because", number)
    assert "a_method: because" in str(caught.value)


def test_an_error_names_field_value_reason_and_errno(client, server):
    server.answer = lambda request: error(
        request, -32602, field="portals[0].port", value="0", reason="is taken", errno=98
    )
    with pytest.raises(pollux.InvalidParams) as caught:
        client.call("a_method")
    seen = caught.value
    assert (seen.field, seen.value, seen.reason, seen.errno) == ("portals[0].port", "0", "is taken", 98)


def test_data_of_another_shape_is_kept_and_harms_nothing(client, server):
    server.answer = lambda request: {
        "id": request["id"],
        "error": {"code": -32602, "message": "m", "data": ["text"]},
    }
    with pytest.raises(pollux.InvalidParams) as caught:
        client.call("a_method")
    assert caught.value.data == ["text"] and caught.value.field is None
    assert caught.value.reason == "m"


def test_nobody_listening_is_cannot_connect(tmp_path):
    with pytest.raises(pollux.CannotConnect, match="none.sock"):
        pollux.Client(tmp_path / "none.sock")


def test_a_closed_connection_is_lost(client, server):
    server.answer = lambda request: b""
    with pytest.raises(pollux.ConnectionLost):
        client.call("a_method")


def test_half_an_answer_and_then_the_end_is_lost(catalog, server):
    def answer(request):
        server.answer = lambda _: b""
        return b'{"id":1,"res'

    server.answer = answer
    with pollux.Client(server.address, catalog=catalog) as one:
        with pytest.raises(pollux.ConnectionLost):
            one.call_many([("a", None), ("b", None)])


def test_no_answer_is_a_timeout_and_a_late_one_is_dropped(client, server):
    held = []
    server.answer = held.append
    client.timeout = 0.01
    with pytest.raises(pollux.CallTimeout):
        client.call("slow")
    client.timeout = 10
    # The late answer and the new one arrive together.
    server.answer = lambda request: b"".join(
        json.dumps(result(one, one["method"])).encode() + b"\n" for one in (*held, request)
    )
    assert client.call("fast") == "fast"


# Many at a time.


def test_pipelined_answers_may_come_in_any_order(client, server):
    held = []

    def answer(request):
        held.append(request)
        if len(held) % 5:
            return None
        lines = [json.dumps(result(one, one["params"]["n"])) for one in reversed(held[-5:])]
        return "\n".join(lines).encode() + b"\n"

    server.answer = answer
    calls = [("echo", {"n": n}) for n in range(100)]
    assert client.call_many(calls, window=10) == list(range(100))


def test_pipelined_errors_stand_in_their_places(client, server):
    server.answer = lambda r: error(r, -19) if r["params"]["n"] == 1 else result(r, r["params"]["n"])
    first, second, third = client.call_many([("m", {"n": n}) for n in range(3)])
    assert (first, third) == (0, 2)
    assert isinstance(second, pollux.NoDevice) and second.method == "m"


def test_pipelining_never_exceeds_its_window(client, monkeypatch):
    sent, most = 0, 0
    send, receive = client.connection.send, client.connection.receive

    def counting_send(data, deadline):
        nonlocal sent, most
        sent += data.count(b"\n")
        most = max(most, sent)
        send(data, deadline)

    def counting_receive(deadline):
        nonlocal sent
        sent -= 1
        return receive(deadline)

    monkeypatch.setattr(client.connection, "send", counting_send)
    monkeypatch.setattr(client.connection, "receive", counting_receive)
    assert client.call_many([("m", None)] * 20, window=4) == ["m"] * 20
    assert (sent, most) == (0, 4)


def test_large_requests_and_answers_do_not_block_each_other(client, server):
    # Neither side's socket buffer holds all of it.
    server.answer = lambda request: result(request, request["params"]["text"])
    text = "x" * 200_000
    assert client.call_many([("echo", {"text": text})] * 20) == [text] * 20


def test_a_batch_is_one_array_each_way(client, server):
    server.answer = lambda batch: [error(batch[1], -17), result(batch[0], "first")]
    first, second = client.batch([("a", None), ("b", {"x": 1})])
    assert first == "first" and isinstance(second, pollux.Exists)
    assert [request["method"] for request in server.requests[0]] == ["a", "b"]


def test_a_batch_that_lacks_an_answer_is_lost(client, server):
    server.answer = lambda batch: [result(batch[0])]
    with pytest.raises(pollux.ConnectionLost, match="1 of 2"):
        client.batch([("a", None), ("b", None)])


def test_a_batch_refused_as_a_whole_is_an_error(client, server):
    server.answer = lambda batch: {"id": None, "error": {"code": -32600, "message": "too many"}}
    with pytest.raises(pollux.InvalidRequest):
        client.batch([("a", None)])


def test_a_notification_has_no_id_and_its_error_is_kept(client, server):
    server.answer = lambda request: error(request, -32601) if "id" not in request else result(request)
    client.notify("no_such")
    assert client.call("a_method") is True
    assert "id" not in server.requests[0]
    assert [type(one) for one in client.unasked] == [pollux.MethodNotFound]
