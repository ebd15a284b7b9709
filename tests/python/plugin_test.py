"""The fixtures that run polluxd, with a script in its place that behaves as the test says."""

import os
import stat
import sys

import pytest

from pollux import pytest_plugin

SCRIPT = '''#!{python}
import os, signal, socket, sys
mode = os.environ.get("MODE", "good")
path = sys.argv[sys.argv.index("-r") + 1]
print("started", *sys.argv[1:], flush=True)
if mode == "fails at start":
    print("no memory", flush=True)
    sys.exit(1)
if mode == "ignores SIGTERM":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(3 if mode == "ends badly" else 0))
if mode == "sanitizer":
    print("==1==ERROR: AddressSanitizer: heap-use-after-free", flush=True)
if mode == "check":
    print("core/loop.cc:12: CHECK(work > 0) failed: nothing", flush=True)
if os.path.exists(path):
    os.unlink(path)
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen()
while True:
    connection, _ = listener.accept()
    if mode == "dies":
        os.abort()
'''


@pytest.fixture(autouse=True)
def program(monkeypatch, tmp_path, descriptor_set):
    path = tmp_path / "program"
    path.write_text(SCRIPT.format(python=sys.executable))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("POLLUXD", str(path))
    monkeypatch.setenv("POLLUX_DESCRIPTORS", str(descriptor_set))
    return path


@pytest.fixture
def daemon(tmp_path):
    def make(mode="good", *arguments):
        return pytest_plugin.Daemon(tmp_path / "d", arguments, {"MODE": mode})

    return make


def test_it_has_a_socket_and_state_of_its_own(polluxd):
    assert polluxd.client is not None
    assert f"--state-dir {polluxd.state_dir}" in polluxd.log()
    assert "--hugepages off" in polluxd.log()
    assert len(polluxd.socket) < 60


def test_two_run_side_by_side(start_polluxd):
    one, other = start_polluxd("--no-state"), start_polluxd("-m", "0x1")
    assert one.socket != other.socket and one.log_path != other.log_path
    assert "--state-dir" not in one.log()
    assert "-m 0x1" in other.log()


def test_a_restart_keeps_socket_log_and_state(polluxd):
    first, socket = polluxd.pid, polluxd.socket
    polluxd.restart("-m", "0x2")
    assert polluxd.pid != first and polluxd.socket == socket
    assert polluxd.log().count("started") == 2
    assert "-m 0x2" in polluxd.log()


def test_a_killed_one_can_be_started_again(polluxd):
    polluxd.kill()
    assert polluxd.process is None and polluxd.client is None
    polluxd.start()
    assert polluxd.client is not None


def test_a_start_that_fails_shows_the_log(daemon):
    with pytest.raises(pytest_plugin.StartFailed, match="(?s)exit code 1.*no memory"):
        daemon("fails at start").start()


@pytest.mark.parametrize(
    "mode, complaint",
    [
        ("ends badly", "exit code 3"),
        ("sanitizer", "heap-use-after-free"),
        ("check", r"CHECK\(work > 0\)"),
    ],
)
def test_what_went_wrong_fails_the_test_at_its_end(daemon, mode, complaint):
    one = daemon(mode).start()
    with pytest.raises(AssertionError, match=complaint):
        one.finish()
    assert one.process is None and not os.path.exists(one.socket)


def test_one_that_died_fails_the_test_at_its_end(daemon):
    one = daemon("dies").start()
    one.process.wait()
    with pytest.raises(AssertionError, match="died with exit code -6"):
        one.finish()


def test_one_that_does_not_end_is_killed(daemon, monkeypatch):
    monkeypatch.setattr(pytest_plugin, "STOP_SECONDS", 0.05)
    monkeypatch.setattr(pytest_plugin.Daemon, "_signal_stacks", lambda self: None)
    one = daemon("ignores SIGTERM").start()
    with pytest.raises(AssertionError, match="did not end within"):
        one.finish()
    assert one.process is None


def test_ports_are_free():
    assert pytest_plugin.free_port() != pytest_plugin.free_port("::1")
