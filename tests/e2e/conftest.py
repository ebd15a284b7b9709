"""Fixtures of the end-to-end tests, beside those of python/pollux/pytest_plugin.py."""

import pytest

from pollux.pytest_plugin import Daemon, is_instrumented, polluxd_path

# A sanitizer has an allocator of its own, which is not ours to replace by one that counts.
collect_ignore = ["allocations_test.py"] if is_instrumented(polluxd_path()) else []


def daemon_of_module(tmp_path_factory, *arguments):
    daemon = Daemon(tmp_path_factory.mktemp("module") / "polluxd", arguments).start()
    try:
        yield daemon
    finally:
        daemon.finish()


@pytest.fixture(scope="module")
def shared_polluxd(tmp_path_factory):
    """One polluxd for all tests of a module that leave nothing behind."""
    yield from daemon_of_module(tmp_path_factory)


@pytest.fixture(scope="module")
def waiting_polluxd(tmp_path_factory):
    """One that stays in the start-up state."""
    yield from daemon_of_module(tmp_path_factory, "--wait-for-rpc")
