"""A client of Pollux's control plane.

    import pollux

    with pollux.Client("/run/pollux/pollux.sock") as client:
        client.bdev_malloc_create(131072, 512, name="Malloc0")
        try:
            client.bdev_malloc_create(131072, 512, name="Malloc0")
        except pollux.Exists as error:
            print(error.field, error.value, error.reason)

The methods, their parameters and their help come from the descriptor set that the build makes of
proto/; this package names none of them. help(client.bdev_malloc_create) shows one, dir(client) all.
"""

from pollux.client import Client, default_address
from pollux.descriptors import Catalog, DescriptorsMissing, Method, Parameter
from pollux.errors import (
    AlreadyDone,
    Busy,
    CallTimeout,
    CannotConnect,
    ConnectionLost,
    Exists,
    InternalError,
    InvalidArgument,
    InvalidParams,
    InvalidRequest,
    MethodNotFound,
    NoDevice,
    NoMemory,
    NoSpace,
    NotFound,
    NotPermitted,
    NotSupported,
    ParseError,
    PolluxError,
    RpcError,
    TimedOut,
)
from pollux.transport import Connection

__all__ = [
    "AlreadyDone",
    "Busy",
    "CallTimeout",
    "CannotConnect",
    "Catalog",
    "Client",
    "Connection",
    "ConnectionLost",
    "DescriptorsMissing",
    "Exists",
    "InternalError",
    "InvalidArgument",
    "InvalidParams",
    "InvalidRequest",
    "Method",
    "MethodNotFound",
    "NoDevice",
    "NoMemory",
    "NoSpace",
    "NotFound",
    "NotPermitted",
    "NotSupported",
    "Parameter",
    "ParseError",
    "PolluxError",
    "RpcError",
    "TimedOut",
    "default_address",
]
