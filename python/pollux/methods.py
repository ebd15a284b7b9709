"""The methods of the control plane as methods of a client, whatever carries them."""

import difflib

from pollux import descriptors


class Methods:
    """A base of clients: client.bdev_get_bdevs(...) becomes self.call("bdev_get_bdevs", {...})."""

    def __init__(self, catalog=None):
        self._catalog = catalog

    @property
    def catalog(self):
        if self._catalog is None:
            self._catalog = descriptors.load()
        return self._catalog

    def call(self, method, params=None):
        """Any method with any params. Returns the result or raises an RpcError."""
        raise NotImplementedError

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        method = self.catalog.methods.get(name)
        if method is None:
            near = difflib.get_close_matches(name, self.catalog.methods)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise AttributeError(f"there is no method {name}{hint}")

        def call(*args, **kwargs):
            return self.call(method.name, method.arguments(args, kwargs))

        call.__name__ = call.__qualname__ = method.name
        call.__doc__ = method.doc
        call.__signature__ = method.signature
        setattr(self, name, call)
        return call

    def __dir__(self):
        return [*super().__dir__(), *self.catalog.methods]
