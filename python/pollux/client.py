"""JSON-RPC calls, one at a time, many at a time, or as a batch."""

import itertools
import json
import os

from pollux.errors import ConnectionLost, RpcError
from pollux.methods import Methods
from pollux.transport import Connection

# How many calls call_many keeps in flight. The server takes 1024 per connection.
WINDOW = 256


def default_address():
    """Where polluxd listens unless told otherwise."""
    if os.geteuid() == 0:
        return "/run/pollux/pollux.sock"
    directory = os.environ.get("XDG_RUNTIME_DIR", "")
    if not directory.startswith("/"):
        directory = os.path.join(os.environ.get("HOME", "/tmp"), ".cache")
    return os.path.join(directory, "pollux/pollux.sock")


class Client(Methods):
    """A connection to polluxd, and the methods that it can be asked.

    `address` is the path of a Unix socket, "127.0.0.1:5260", or (host, port). `timeout` is for each
    call, in seconds; None: wait for ever. One client belongs to one thread.
    """

    def __init__(self, address=None, timeout=60.0, catalog=None):
        super().__init__(catalog)
        self.connection = Connection(default_address() if address is None else address, timeout)
        # Answers to requests whose id could not be read, and errors of notifications.
        self.unasked = []
        self._ids = itertools.count(1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.connection.close()

    @property
    def timeout(self):
        return self.connection.timeout

    @timeout.setter
    def timeout(self, seconds):
        self.connection.timeout = seconds

    def call(self, method, params=None):
        """Any method with any params, unchecked. Returns the result or raises an RpcError."""
        deadline = self.connection.deadline()
        request = self._request(method, params)
        self.connection.send(_line(request), deadline)
        answer = self._answer({request["id"]}, deadline)
        return _result(answer, method)

    def call_many(self, calls, window=WINDOW):
        """Pipelines (method, params) pairs: each is sent without waiting for the one before. The
        server may carry them out in any order, apart from changes, which keep theirs. Returns the
        results in the order of the calls, an RpcError in place of each that failed."""
        calls = list(calls)
        results = [None] * len(calls)
        waiting = {}  # Index in `calls` by id.
        next_call = 0
        while next_call < len(calls) or waiting:
            deadline = self.connection.deadline()
            lines = []
            while next_call < len(calls) and len(waiting) < window:
                request = self._request(*calls[next_call])
                waiting[request["id"]] = next_call
                lines.append(_line(request))
                next_call += 1
            if lines:
                self.connection.send(b"".join(lines), deadline)
            answer = self._answer(waiting.keys(), deadline)
            index = waiting.pop(answer["id"])
            results[index] = _outcome(answer, calls[index][0])
        return results

    def batch(self, calls):
        """Sends (method, params) pairs as one JSON-RPC batch. Returns as call_many does."""
        calls = list(calls)
        deadline = self.connection.deadline()
        requests = [self._request(method, params) for method, params in calls]
        self.connection.send(_line(requests), deadline)
        ids = [request["id"] for request in requests]
        answers = self._answer(ids, deadline, batch=True)
        by_id = {answer.get("id"): answer for answer in answers}
        missing = [id for id in ids if id not in by_id]
        if missing:
            raise ConnectionLost(f"the batch's answer lacks {len(missing)} of {len(ids)} calls")
        return [_outcome(by_id[id], method) for id, (method, _) in zip(ids, calls)]

    def notify(self, method, params=None):
        """A call without an answer. The server answers errors all the same; a later call that meets
        one puts it into `unasked`."""
        request = self._request(method, params)
        del request["id"]
        self.connection.send(_line(request), self.connection.deadline())

    def _request(self, method, params=None):
        request = {"jsonrpc": "2.0", "method": method, "id": next(self._ids)}
        if params:
            request["params"] = params
        return request

    def _answer(self, ids, deadline, batch=False):
        """The next answer to one of `ids`, or to all of them as a batch. An answer to a call that
        was given up on is dropped."""
        while True:
            answer = self.connection.receive(deadline)
            if isinstance(answer, list):
                if batch and any(one.get("id") in ids for one in answer):
                    return answer
                continue
            if not batch and answer.get("id") in ids:
                return answer
            if answer.get("id") is None:
                error = RpcError.of(answer.get("error", {}))
                self.unasked.append(error)
                if batch:
                    raise error


def _line(request):
    return json.dumps(request, separators=(",", ":")).encode() + b"\n"


def _result(answer, method):
    if "error" in answer:
        raise RpcError.of(answer["error"], method)
    return answer.get("result")


def _outcome(answer, method):
    try:
        return _result(answer, method)
    except RpcError as error:
        return error
