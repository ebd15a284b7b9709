"""A client over gRPC, beside the one over JSON-RPC: the same methods, results and errors.

    from pollux.grpc_client import GrpcClient

    with GrpcClient("/run/pollux/pollux.sock.grpc") as client:
        print(client.bdev_get_bdevs())

It needs python3-grpcio, and no generated code: requests and responses are made from the descriptors.
"""

import grpc

from pollux.client import WINDOW, default_address
from pollux.errors import CallTimeout, CannotConnect, ConnectionLost, PolluxError, RpcError
from pollux.messages import Codec
from pollux.methods import Methods
from pollux.transport import parse_address

# An answer of the server may be this large, and a little more on the way.
ANSWER_BYTES_MAX = 33 << 20

# gRPC shares connections between clients of one address unless told otherwise.
_OPTIONS = (
    ("grpc.max_receive_message_length", ANSWER_BYTES_MAX),
    ("grpc.use_local_subchannel_pool", 1),
)


def default_grpc_address():
    """Where polluxd serves gRPC unless told otherwise."""
    return default_address() + ".grpc"


def target(address):
    """An address as gRPC writes it: "unix:/run/x", "127.0.0.1:50051"."""
    parsed = parse_address(address)
    if isinstance(parsed, tuple):
        host, port = parsed
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return parsed if parsed.startswith("unix:") else f"unix:{parsed}"


class GrpcClient(Methods):
    """Calls of polluxd by gRPC.

    `address` is the path of a Unix socket, "127.0.0.1:50051", or (host, port). `timeout` is the
    deadline of each call, in seconds, which the server knows; None: there is none. It connects with
    the first call, and again by itself when the connection was lost. Threads may share it.

    `credentials` are for a polluxd with certificates (--grpc-tls-cert): what
    grpc.ssl_channel_credentials() makes of the CA, our key and our certificate.
    """

    def __init__(self, address=None, timeout=60.0, catalog=None, credentials=None):
        super().__init__(catalog)
        self.timeout = timeout
        where = target(default_grpc_address() if address is None else address)
        self.channel = (
            grpc.insecure_channel(where, _OPTIONS)
            if credentials is None
            else grpc.secure_channel(where, credentials, _OPTIONS)
        )
        self._codec = Codec(self.catalog)
        self._calls = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.channel.close()

    def call(self, method, params=None):
        """Any method with any params, by its JSON-RPC name. Returns the result or raises an RpcError."""
        return self._result(method, self._begin(method, params))

    def call_many(self, calls, window=WINDOW):
        """Makes (method, params) pairs, as many as `window` at a time. The server may carry them out
        in any order. Returns the results in the order of the calls, an RpcError in place of each that
        failed."""
        results, under_way = [], []

        def settle():
            method, future = under_way.pop(0)
            try:
                results.append(future if isinstance(future, RpcError) else self._result(method, future))
            except RpcError as error:
                results.append(error)

        for method, params in calls:
            if len(under_way) == window:
                settle()
            try:
                under_way.append((method, self._begin(method, params)))
            except RpcError as error:
                under_way.append((method, error))
        while under_way:
            settle()
        return results

    def watch(self, from_id=None, instance="", types=(), timeout=None):
        """What changes, as it changes: the answers of Events.Watch, without end. The first is a
        snapshot, unless it goes on `from_id` of an `instance`. Closing the generator ends it.

            for answer in client.watch():
                for event in answer["events"]:
                    print(event["type"], event["kind"], event["name"])
        """
        request = self.catalog.new("pollux.v1.EventsWatchRequest")
        if from_id is not None:
            setattr(request, "from", from_id)
        request.instance = instance
        request.types.extend(types)
        call = self.channel.unary_stream("/pollux.v1.Events/Watch")
        answers = call(request.SerializeToString(), timeout=timeout)
        try:
            for data in answers:
                yield self._codec.decode_message("pollux.v1.EventsWatchResponse", data)
        except grpc.RpcError as error:
            raise self._error("Events.Watch", error, timeout) from error
        finally:
            answers.cancel()

    def _begin(self, name, params):
        method = self.catalog.methods.get(name)
        if method is None:
            # The server's answer is the same to any path that it does not know.
            return self.channel.unary_unary(f"/pollux.v1/{name}").future(b"", timeout=self.timeout)
        if name not in self._calls:
            self._calls[name] = self.channel.unary_unary(method.path)
        request = self._codec.encode(method, params)
        return self._calls[name].future(request.SerializeToString(), timeout=self.timeout)

    def _result(self, name, future):
        try:
            data = future.result()
        except grpc.RpcError as error:
            raise self._error(name, error, self.timeout) from error
        except grpc.FutureCancelledError as error:
            raise ConnectionLost(f"{name} was cancelled") from error
        return self._codec.decode(self.catalog.methods[name], data)

    def _error(self, name, error, timeout):
        for key, value in error.trailing_metadata() or ():
            if key == "grpc-status-details-bin":
                return self._detailed(name, value)
        code, text = error.code(), error.details() or ""
        if code == grpc.StatusCode.DEADLINE_EXCEEDED:
            # Without one of ours: the server, or somebody between, gave up.
            return CallTimeout(text if timeout is None else f"no answer within {timeout:g} s")
        if code == grpc.StatusCode.UNAVAILABLE:
            return (CannotConnect if "failed to connect" in text else ConnectionLost)(text)
        return PolluxError(f"{name}: {code.name}: {text}")

    def _detailed(self, name, data):
        """The error that JSON-RPC would have made of it."""
        status = self.catalog.new("pollux.v1.ErrorStatus")
        status.ParseFromString(data)
        detail = self.catalog.new("pollux.v1.ErrorDetail")
        detail.ParseFromString(status.details[0].value)
        told = {}
        if detail.field:
            told = {"field": detail.field, "value": detail.value}
        if told or detail.json_rpc_code != -detail.error_number:
            told |= {"reason": detail.reason, "errno": detail.error_number}
        error = {"code": detail.json_rpc_code, "message": status.message}
        return RpcError.of(error | ({"data": told} if told else {}), name)
