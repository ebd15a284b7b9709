"""What can go wrong with a call.

PolluxError
    CannotConnect     nobody listens there
    ConnectionLost    the connection ended before the answer came
    CallTimeout       no answer in time; the call may still be carried out
    RpcError          the server answered with an error; its subclasses tell the code
"""

import errno


class PolluxError(Exception):
    """Anything that goes wrong with a call, apart from arguments that do not fit the method."""


class CannotConnect(PolluxError, ConnectionError):
    """Nobody listens at the address."""


class ConnectionLost(PolluxError, ConnectionError):
    """The connection ended before the answer came. Whether the call was carried out is open."""


class CallTimeout(PolluxError, TimeoutError):
    """No answer in time. The call may still be carried out."""


class RpcError(PolluxError):
    """The server's answer is an error.

    `code` is JSON-RPC's, `message` is for people. What the server tells programs is in `data`, and
    from there in `field` (a path: "portals[0].port"), `value`, `reason` and `errno` (positive). What
    does not apply is None; without a reason of its own the message is the reason.
    """

    def __init__(self, code, message, data=None, method=None):
        super().__init__(code, message, data, method)
        self.code = code
        self.message = message
        self.data = data
        self.method = method
        detail = data if isinstance(data, dict) else {}
        self.field = detail.get("field")
        self.value = detail.get("value")
        self.reason = detail.get("reason", message)
        self.errno = detail.get("errno", -code if _is_errno(code) else None)

    @classmethod
    def of(cls, error, method=None):
        """The typed error of a JSON-RPC error object."""
        code = error.get("code")
        kind = _BY_CODE.get(code, RpcError)
        return kind(code, error.get("message", ""), error.get("data"), method)

    def __str__(self):
        where = f"{self.method}: " if self.method else ""
        return f"{where}{self.message} (code {self.code})"


class ParseError(RpcError):
    """-32700: the request is no JSON, or too large."""


class InvalidRequest(RpcError):
    """-32600: the request is JSON, but no JSON-RPC request."""


class MethodNotFound(RpcError):
    """-32601: there is no such method."""


class InvalidParams(RpcError):
    """-32602: a parameter is missing, unknown, malformed or, for many methods, unacceptable."""


class InternalError(RpcError):
    """-32603: the operation failed; or, for bdev_* methods, a parameter did not decode."""


class NotPermitted(RpcError):
    """-1: forbidden, or not in this state (start-up, run time)."""


class NotFound(RpcError):
    """-2: what was named is not there."""


class NoMemory(RpcError):
    """-12: there is not enough memory."""


class Busy(RpcError):
    """-16: somebody uses it."""


class Exists(RpcError):
    """-17: the name is taken."""


class NoDevice(RpcError):
    """-19: there is no such block device."""


class InvalidArgument(RpcError):
    """-22: a parameter is not acceptable."""


class NoSpace(RpcError):
    """-28: there is no room left."""


class NotSupported(RpcError):
    """-95: this is not supported."""


class TimedOut(RpcError):
    """-110: the server gave up waiting."""


class AlreadyDone(RpcError):
    """-114: it is so already, or under way."""


def _is_errno(code):
    return isinstance(code, int) and -4096 < code < 0


_BY_CODE = {
    -32700: ParseError,
    -32600: InvalidRequest,
    -32601: MethodNotFound,
    -32602: InvalidParams,
    -32603: InternalError,
    -errno.EPERM: NotPermitted,
    -errno.ENOENT: NotFound,
    -errno.ENOMEM: NoMemory,
    -errno.EBUSY: Busy,
    -errno.EEXIST: Exists,
    -errno.ENODEV: NoDevice,
    -errno.EINVAL: InvalidArgument,
    -errno.ENOSPC: NoSpace,
    -errno.ENOTSUP: NotSupported,
    -errno.ETIMEDOUT: TimedOut,
    -errno.EALREADY: AlreadyDone,
}
