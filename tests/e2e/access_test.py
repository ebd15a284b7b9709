"""Who may call what: gRPC with TLS and client certificates, roles, groups on the Unix sockets, and the
audit log."""

import grp
import json
import os
import pathlib
import socket
import ssl
import subprocess
import sys
import time

import grpc
import pytest
from certificates import Authority
from cryptography.x509.oid import ExtendedKeyUsageOID
from hang_up import send_and_hang_up

from pollux.client import Client
from pollux.errors import CannotConnect, ConnectionLost, PolluxError, RpcError
from pollux.grpc_client import GrpcClient
from pollux.pytest_plugin import StartFailed, free_port

EACCES = 13
ANSIBLE = "CN=ansible,O=Example"


@pytest.fixture(scope="module")
def authority():
    return Authority()


class Secure:
    """A polluxd that serves gRPC with TLS."""

    def __init__(self, start_polluxd, authority, directory):
        self.authority = authority
        self.certificate, self.key = authority.server().write(directory, "server")
        self.ca = directory / "ca.crt"
        self.ca.write_bytes(authority.pem)
        self.port = free_port()
        self.daemon = start_polluxd(*self.arguments())
        self.client = self.daemon.client

    def arguments(self):
        return [
            f"--grpc=127.0.0.1:{self.port}",
            f"--grpc-tls-cert={self.certificate}",
            f"--grpc-tls-key={self.key}",
            f"--grpc-tls-ca={self.ca}",
        ]

    def connect(self, pair, ca=None, timeout=20.0):
        return GrpcClient(
            ("localhost", self.port), timeout=timeout, credentials=pair.credentials(ca or self.authority)
        )


@pytest.fixture
def secure(start_polluxd, authority, tmp_path):
    return Secure(start_polluxd, authority, tmp_path)


def audit(daemon):
    """The lines of the audit log once `daemon` has answered all."""
    path = daemon.state_dir / "audit.log"
    return [json.loads(line) for line in path.read_text().splitlines()]


def await_audit(daemon, matches):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = [line for line in audit(daemon) if matches(line)]
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"not in the audit log: {audit(daemon)}")


def refused(call):
    with pytest.raises(RpcError) as caught:
        call()
    assert caught.value.code == -EACCES
    return str(caught.value)


# --- TLS.


def test_a_certificate_with_a_role_may_call(secure):
    secure.client.pollux_access_grant(who=ANSIBLE, role="operator")
    with secure.connect(secure.authority.client(ANSIBLE)) as caller:
        me = caller.pollux_access_whoami()
        assert me["role"] == "operator"
        assert me["subject"] == ANSIBLE
        assert me["name"] == ANSIBLE
        assert caller.bdev_malloc_create(name="M0", num_blocks=2048, block_size=512) == "M0"
        assert [disk["name"] for disk in caller.bdev_get_bdevs()] == ["M0"]


def test_a_certificate_without_a_role_is_told_so(secure):
    with secure.connect(secure.authority.client("CN=nobody")) as caller:
        reason = refused(lambda: caller.bdev_get_bdevs())
    assert "CN=nobody" in reason and "pollux_access_grant" in reason
    assert secure.client.bdev_get_bdevs() == []


def test_a_role_is_looked_up_for_each_call(secure):
    with secure.connect(secure.authority.client(ANSIBLE)) as caller:
        refused(caller.bdev_get_bdevs)
        secure.client.pollux_access_grant(who=ANSIBLE, role="read-only")
        assert caller.bdev_get_bdevs() == []
        assert "operator" in refused(
            lambda: caller.bdev_malloc_create(name="M0", num_blocks=2048, block_size=512)
        )
        secure.client.pollux_access_grant(who=ANSIBLE, role="operator")
        caller.bdev_malloc_create(name="M0", num_blocks=2048, block_size=512)
        assert "admin" in refused(caller.pollux_access_get)
        refused(lambda: caller.pollux_access_grant(who=ANSIBLE, role="admin"))
        refused(lambda: caller.framework_get_config(name="bdev"))
        secure.client.pollux_access_grant(who=ANSIBLE, role="admin")
        assert caller.pollux_access_get()["grants"] == [{"who": ANSIBLE, "role": "admin"}]
        secure.client.pollux_access_revoke(who=ANSIBLE)
        refused(caller.bdev_get_bdevs)


def test_events_need_a_role(secure):
    with secure.connect(secure.authority.client(ANSIBLE)) as caller:
        with pytest.raises(PolluxError) as caught:
            next(iter(caller.watch()))
        assert "no role" in str(caught.value)
        secure.client.pollux_access_grant(who=ANSIBLE, role="read-only")
        assert next(iter(caller.watch())) is not None


def handshake_fails(secure, credentials):
    """No call gets through with these, and polluxd lives."""
    with GrpcClient(("localhost", secure.port), timeout=20.0, credentials=credentials) as caller:
        with pytest.raises((CannotConnect, ConnectionLost)):
            caller.bdev_get_bdevs()
    assert secure.client.bdev_get_bdevs() == []


def test_no_certificate_is_no_caller(secure):
    handshake_fails(secure, grpc.ssl_channel_credentials(secure.authority.pem))
    line = await_audit(secure.daemon, lambda l: l["result"] == "refused")[0]
    assert "certificate" in line["reason"] and line["who"].startswith("127.0.0.1:")


def test_a_certificate_of_somebody_else_is_none(secure):
    stranger = Authority("CN=Test CA")  # The same name, another key.
    secure.client.pollux_access_grant(who=ANSIBLE, role="admin")
    handshake_fails(secure, stranger.client(ANSIBLE).credentials(secure.authority))


@pytest.mark.parametrize("age_days, days", [(20, 10), (-1, 10)], ids=["ended", "not yet"])
def test_a_certificate_out_of_its_time_is_none(secure, age_days, days):
    secure.client.pollux_access_grant(who=ANSIBLE, role="admin")
    late = secure.authority.client(ANSIBLE, age_days=age_days, days=days)
    handshake_fails(secure, late.credentials(secure.authority))
    word = "expired" if age_days > 0 else "not yet valid"
    assert await_audit(secure.daemon, lambda l: word in l.get("reason", ""))


def test_a_servers_certificate_is_no_clients(secure):
    secure.client.pollux_access_grant(who=ANSIBLE, role="admin")
    wrong = secure.authority.client(ANSIBLE, use=ExtendedKeyUsageOID.SERVER_AUTH)
    handshake_fails(secure, wrong.credentials(secure.authority))


def test_plain_grpc_finds_nobody_at_a_tls_address(secure):
    with GrpcClient(("localhost", secure.port), timeout=20.0) as caller:
        with pytest.raises((CannotConnect, ConnectionLost)):
            caller.bdev_get_bdevs()
    assert secure.client.bdev_get_bdevs() == []


def test_renewed_files_count_without_a_restart(secure):
    secure.client.pollux_access_grant(who=ANSIBLE, role="read-only")
    old = secure.authority.client(ANSIBLE)
    other = Authority("CN=Next CA")
    with secure.connect(old) as kept:
        assert kept.bdev_get_bdevs() == []
        other.server().write(secure.certificate.parent, "server")
        secure.ca.write_bytes(other.pem)
        with secure.connect(other.client(ANSIBLE), ca=other) as renewed:
            assert renewed.bdev_get_bdevs() == []
        assert kept.bdev_get_bdevs() == []  # Connections that are there go on.
    handshake_fails(secure, old.credentials(other))


def test_damaged_files_leave_the_old_ones(secure):
    secure.client.pollux_access_grant(who=ANSIBLE, role="read-only")
    secure.certificate.write_bytes(secure.certificate.read_bytes()[:100])
    with secure.connect(secure.authority.client(ANSIBLE)) as caller:
        assert caller.bdev_get_bdevs() == []
    assert str(secure.certificate) in secure.daemon.log()
    secure.daemon.kill()  # Its log has an error, as it should.


@pytest.mark.parametrize("which", ["certificate", "key", "ca"])
def test_a_start_without_good_files_fails_and_says_which(start_polluxd, authority, tmp_path, which):
    daemon = start_polluxd("--no-state", start=False)
    certificate, key = authority.server().write(tmp_path, "server")
    ca = tmp_path / "ca.crt"
    ca.write_bytes(authority.pem)
    bad = {"certificate": certificate, "key": key, "ca": ca}[which]
    bad.write_bytes(b"-----BEGIN NONSENSE-----\n")
    daemon.arguments += [
        f"--grpc=127.0.0.1:{free_port()}",
        f"--grpc-tls-cert={certificate}",
        f"--grpc-tls-key={key}",
        f"--grpc-tls-ca={ca}",
    ]
    with pytest.raises(StartFailed) as caught:
        daemon.start()
    assert str(bad) in str(caught.value)


def test_large_answers_and_many_calls_pass_through(secure):
    secure.client.pollux_access_grant(who=ANSIBLE, role="operator")
    with secure.connect(secure.authority.client(ANSIBLE)) as caller:
        names = [f"N{i}" for i in range(500)]
        made = caller.call_many(
            [("bdev_null_create", {"name": n, "num_blocks": 64, "block_size": 512}) for n in names]
        )
        assert sorted(made) == sorted(names)
        for _ in range(20):  # About 400 KiB each.
            assert len(caller.bdev_get_bdevs()) == 500
        assert len(caller.call("rpc.discover")["methods"]) > 100


# --- Damage to the handshake and after it.


def descriptors(daemon):
    return len(os.listdir(f"/proc/{daemon.pid}/fd"))


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def hello_of(authority, pair, tmp_path):
    """A socket-less client of Python's own TLS, for bytes that we want to see."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ca = tmp_path / "hello-ca.crt"
    ca.write_bytes(authority.pem)
    context.load_verify_locations(ca)
    certificate, key = pair.write(tmp_path, "hello")
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["h2"])
    return context


def test_garbage_and_cut_handshakes_leave_nothing(secure, tmp_path):
    secure.client.pollux_access_grant(who=ANSIBLE, role="read-only")
    pair = secure.authority.client(ANSIBLE)
    context = hello_of(secure.authority, pair, tmp_path)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    begun = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        begun.do_handshake()
    hello = outgoing.read()
    with secure.connect(pair) as caller:
        assert caller.bdev_get_bdevs() == []
        before = descriptors(secure.daemon)
        damaged = [hello[:cut] for cut in range(0, len(hello), 16)]
        damaged += [bytes([hello[0] ^ 1]) + hello[1:], b"GET / HTTP/1.1\r\n\r\n", os.urandom(4096)]
        damaged += [hello[:3] + b"\xff\xff" + hello[5:], hello * 3]
        for text in damaged:
            with socket.create_connection(("127.0.0.1", secure.port), timeout=20) as peer:
                send_and_hang_up(peer, text)
        wait_for(lambda: descriptors(secure.daemon) <= before)
        assert caller.bdev_get_bdevs() == []


def test_a_client_without_our_protocol_is_refused(secure, tmp_path):
    context = hello_of(secure.authority, secure.authority.client(ANSIBLE), tmp_path)
    context.set_alpn_protocols(["http/1.1"])
    with socket.create_connection(("127.0.0.1", secure.port), timeout=20) as peer:
        with pytest.raises(ssl.SSLError):
            context.wrap_socket(peer, server_hostname="localhost").recv(1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_versions_are_refused(secure, tmp_path):
    context = hello_of(secure.authority, secure.authority.client(ANSIBLE), tmp_path)
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with socket.create_connection(("127.0.0.1", secure.port), timeout=20) as peer:
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            context.wrap_socket(peer, server_hostname="localhost")


def test_strangers_who_only_connect_are_let_go_and_keep_nobody_out_for_long(secure):
    secure.client.pollux_access_grant(who=ANSIBLE, role="read-only")
    strangers = [socket.create_connection(("127.0.0.1", secure.port)) for _ in range(200)]
    try:
        # Those beyond 128 are closed at once, the others after 10 s; nothing depends on how fast.
        for stranger in strangers:
            stranger.settimeout(60)
            assert stranger.recv(1) == b""
    finally:
        for stranger in strangers:
            stranger.close()
    with secure.connect(secure.authority.client(ANSIBLE)) as caller:
        assert caller.bdev_get_bdevs() == []


def test_a_caller_that_is_cut_off_leaves_nothing(secure):
    secure.client.pollux_access_grant(who=ANSIBLE, role="read-only")
    before = descriptors(secure.daemon)
    program = (
        "import sys, grpc\n"
        "from pollux.grpc_client import GrpcClient\n"
        "port, ca, crt, key = sys.argv[1:]\n"
        "read = lambda p: open(p, 'rb').read()\n"
        "c = grpc.ssl_channel_credentials(read(ca), read(key), read(crt))\n"
        "g = GrpcClient(('localhost', int(port)), credentials=c)\n"
        "g.bdev_get_bdevs(); print('ready', flush=True)\n"
        "for _ in iter(int, 1): g.bdev_get_bdevs()\n"
    )
    certificate, key = secure.authority.client(ANSIBLE).write(secure.ca.parent, "client")
    for _ in range(5):
        caller = subprocess.Popen(
            [sys.executable, "-c", program, str(secure.port), secure.ca, certificate, key],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        with caller:
            assert caller.stdout.readline() == b"ready\n"
            caller.kill()
    wait_for(lambda: descriptors(secure.daemon) <= before)


# --- Options.


@pytest.mark.parametrize(
    "arguments, word",
    [
        (["--grpc=0.0.0.0:50051"], "loopback"),
        (["--grpc-tls-cert=/tmp/x"], "go together"),
        (
            ["--grpc-tls-cert=/x", "--grpc-tls-key=/x", "--grpc-tls-ca=/x"],
            "needs a --grpc",
        ),
    ],
)
def test_a_start_that_would_let_anybody_call_is_refused(start_polluxd, arguments, word):
    daemon = start_polluxd("--no-state", *arguments, start=False)
    with pytest.raises(StartFailed) as caught:
        daemon.start()
    assert word in str(caught.value)


# --- Roles and their lists.


def test_grants_and_lists_survive_a_restart(secure):
    secure.client.pollux_access_grant(who=ANSIBLE, role="operator")
    secure.client.pollux_access_set_role(role="operator", methods=["bdev_null_*", "bdev_get_bdevs"])
    secure.daemon.restart()
    client = secure.daemon.client
    access = client.pollux_access_get()
    assert access["grants"] == [{"who": ANSIBLE, "role": "operator"}]
    operator = access["roles"][1]
    assert operator["allowed"] == ["bdev_null_*", "bdev_get_bdevs"]
    assert operator["methods"] == [
        "bdev_get_bdevs", "bdev_null_create", "bdev_null_delete", "bdev_null_resize",
        "pollux_access_whoami",
    ]  # fmt: skip
    with secure.connect(secure.authority.client(ANSIBLE)) as caller:
        caller.bdev_null_create(name="N0", num_blocks=64, block_size=512)
        assert "list" in refused(lambda: caller.bdev_malloc_create(num_blocks=64, block_size=512))
        client.pollux_access_set_role(role="operator", methods=[])
        caller.bdev_malloc_create(num_blocks=64, block_size=512)


def test_no_list_gives_away_who_may_call(secure):
    secure.client.pollux_access_grant(who=ANSIBLE, role="read-only")
    secure.client.pollux_access_set_role(role="read-only", methods=["*"])
    with secure.connect(secure.authority.client(ANSIBLE)) as caller:
        caller.bdev_null_create(name="N0", num_blocks=64, block_size=512)
        refused(lambda: caller.pollux_access_grant(who=ANSIBLE, role="admin"))
        refused(lambda: caller.pollux_access_set_role(role="read-only", methods=[]))
        refused(caller.pollux_access_get)


@pytest.mark.parametrize(
    "params, field",
    [
        ({"who": "ansible", "role": "admin"}, "who"),
        ({"who": "", "role": "admin"}, "who"),
        ({"who": "CN=" + "x" * 1100, "role": "admin"}, "who"),
        ({"who": "group:there-is-no-such-group", "role": "admin"}, "who"),
        ({"who": "group:", "role": "admin"}, "who"),
        ({"who": "CN=a"}, "role"),
        ({"role": "admin"}, "who"),
        ({"who": "CN=a", "role": "root"}, "role"),
    ],
)
def test_grants_that_mean_nothing_are_refused(polluxd, params, field):
    with pytest.raises(RpcError) as caught:
        polluxd.client.call("pollux_access_grant", params)
    assert caught.value.data["field"] == field
    assert polluxd.client.pollux_access_get()["grants"] == []


@pytest.mark.parametrize(
    "params, field",
    [
        ({"role": "admin", "methods": ["*"]}, "role"),
        ({"role": "operator", "methods": ["bdev_no_such_*"]}, "methods"),
        ({"role": "operator", "methods": ["*"] * 257}, "methods"),
    ],
)
def test_lists_that_mean_nothing_are_refused(polluxd, params, field):
    with pytest.raises(RpcError) as caught:
        polluxd.client.call("pollux_access_set_role", params)
    assert caught.value.data["field"] == field


def test_revoking_what_was_not_granted_is_an_error(polluxd):
    with pytest.raises(RpcError):
        polluxd.client.pollux_access_revoke(who="CN=a")


def test_every_method_has_a_role_that_fits(polluxd):
    """What changes something is nobody's who may only look."""
    roles = polluxd.client.pollux_access_get()["roles"]
    read_only, operator, admin = (set(role["methods"]) for role in roles)
    assert read_only < operator < admin
    assert admin == set(polluxd.client.rpc_get_methods(include_aliases=True)) | admin
    for word in ("create", "delete", "add", "remove", "attach", "detach", "inject", "resize", "kill"):
        assert not [name for name in read_only if word in name.split("_")]
    assert {"spdk_kill_instance", "framework_get_config", "iscsi_get_auth_groups"} <= admin - operator


# --- Groups on the Unix sockets.

UNPRIVILEGED = 65534


def as_user(daemon, group, code, grpc_socket=False):
    """Runs Python as nobody with one further group. It may not be able to read our own modules."""
    os.chmod(pathlib.Path(daemon.socket).parent, 0o711)
    path = daemon.grpc_socket if grpc_socket else daemon.socket
    return subprocess.run(
        [sys.executable, "-c", code, path],
        user=UNPRIVILEGED,
        group=UNPRIVILEGED,
        extra_groups=[group] if group is not None else [],
        env={},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
    )


WHO = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
try:
    s.sendall(b'{"jsonrpc":"2.0","id":1,"method":"%s"}\\n')
except BrokenPipeError:  # It was let go already, with a word.
    pass
print(s.makefile().readline())
"""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")


@needs_root
def test_members_of_a_group_have_its_role(polluxd):
    group = grp.getgrnam("backup").gr_gid
    other = grp.getgrnam("audio").gr_gid
    ask = WHO % "pollux_access_whoami"
    assert "PermissionError" in as_user(polluxd, group, ask).stderr
    polluxd.client.pollux_access_grant(who="group:backup", role="read-only")
    assert json.loads(as_user(polluxd, group, ask).stdout)["result"]["role"] == "read-only"
    assert json.loads(as_user(polluxd, group, WHO % "bdev_get_bdevs").stdout)["result"] == []
    denied = json.loads(as_user(polluxd, group, WHO % "bdev_malloc_create").stdout)["error"]
    assert denied["code"] in (-EACCES, -32603, -32602)
    for stranger in (other, None):
        answer = json.loads(as_user(polluxd, stranger, ask).stdout)
        assert "no role" in answer["error"]["message"]
    polluxd.client.pollux_access_grant(who=f"group:{other}", role="operator")
    assert json.loads(as_user(polluxd, other, ask).stdout)["result"]["role"] == "operator"
    polluxd.client.pollux_access_revoke(who="group:backup")
    polluxd.client.pollux_access_revoke(who=f"group:{other}")
    assert "PermissionError" in as_user(polluxd, group, ask).stderr


@needs_root
def test_a_group_counts_by_grpc_and_after_a_restart(polluxd):
    group = grp.getgrnam("backup").gr_gid
    polluxd.client.pollux_access_grant(who="group:backup", role="operator")
    polluxd.restart()
    polluxd.client.bdev_get_bdevs()
    # The answer is a message: field 3 is the role, 2 the operator's.
    code = (
        "import sys, grpc\n"
        "channel = grpc.insecure_channel('unix:' + sys.argv[1])\n"
        "print(channel.unary_unary('/pollux.v1.Access/Whoami')(b'', timeout=30).hex())\n"
    )
    done = as_user(polluxd, group, code, grpc_socket=True)
    assert bytes.fromhex(done.stdout) == b"\n\x09uid 65534\x18\x02", done.stderr
    assert as_user(polluxd, None, code, grpc_socket=True).returncode != 0


# --- The audit log.


def test_changes_are_in_the_audit_log_and_looks_are_not(polluxd):
    polluxd.client.bdev_malloc_create(name="M0", num_blocks=2048, block_size=512)
    polluxd.client.bdev_get_bdevs()
    with pytest.raises(RpcError):
        polluxd.client.bdev_malloc_create(name="M0", num_blocks=2048, block_size=512)
    polluxd.client.log_set_level(level="NOTICE")
    lines = await_audit(polluxd, lambda l: l["method"] == "log_set_level")
    lines = audit(polluxd)
    assert [(l["method"], l["result"]) for l in lines] == [
        ("bdev_malloc_create", "ok"), ("bdev_malloc_create", "failed"), ("log_set_level", "ok"),
    ]  # fmt: skip
    assert lines[0]["params"]["name"] == "M0"
    assert lines[0]["who"].startswith(f"uid {os.geteuid()} pid {os.getpid()}")
    assert lines[1]["errno"] > 0 and "M0" in lines[1]["reason"]
    assert (polluxd.state_dir / "audit.log").stat().st_mode & 0o777 == 0o600


def test_no_secret_is_in_the_audit_log(polluxd):
    polluxd.client.iscsi_create_auth_group(
        tag=1, secrets=[{"user": "anna", "secret": "correct horse battery", "muser": "m",
                         "msecret": "staple or another"}]
    )  # fmt: skip
    polluxd.client.iscsi_auth_group_add_secret(tag=1, user="otto", secret="tremendously secret")
    await_audit(polluxd, lambda l: l["method"] == "iscsi_auth_group_add_secret")
    text = (polluxd.state_dir / "audit.log").read_text()
    assert "anna" in text and "otto" in text
    for secret in ("correct horse", "staple", "tremendously"):
        assert secret not in text


def test_refusals_are_in_the_audit_log(secure):
    with secure.connect(secure.authority.client("CN=nobody")) as caller:
        refused(lambda: caller.bdev_null_delete(name="N0"))
    line = await_audit(secure.daemon, lambda l: l["result"] == "refused")[0]
    assert line["method"] == "bdev_null_delete"
    assert "CN=nobody" in line["who"] and line["errno"] == EACCES


def test_a_log_that_was_moved_away_is_begun_anew(polluxd):
    path = polluxd.state_dir / "audit.log"
    polluxd.client.log_set_level(level="NOTICE")
    await_audit(polluxd, lambda l: True)
    path.rename(path.with_suffix(".old"))
    polluxd.client.log_set_level(level="NOTICE")
    wait_for(path.exists)
    assert len(await_audit(polluxd, lambda l: True)) == 1


def test_without_a_log_nothing_is_written(start_polluxd):
    daemon = start_polluxd("--audit-log=off")
    daemon.client.log_set_level(level="NOTICE")
    assert not (daemon.state_dir / "audit.log").exists()


def test_a_log_that_cannot_be_opened_stops_the_start(start_polluxd, tmp_path):
    daemon = start_polluxd(f"--audit-log={tmp_path}/no/such/directory/log", start=False)
    with pytest.raises(StartFailed) as caught:
        daemon.start()
    assert "audit log" in str(caught.value)


def test_a_full_disk_is_complained_of_and_calls_go_on(start_polluxd):
    daemon = start_polluxd("--audit-log=/dev/full")
    daemon.client.log_set_level(level="NOTICE")
    wait_for(lambda: any("audit log" in r for r in daemon.client.pollux_get_status()["health"]["reasons"]))
    daemon.client.bdev_null_create(name="N0", num_blocks=64, block_size=512)
    daemon.kill()  # Its log has an error, as it should.


def test_a_client_of_json_rpc_by_tcp_is_trusted(start_polluxd):
    port = free_port()
    daemon = start_polluxd(f"--rpc-tcp=127.0.0.1:{port}")
    with Client(("127.0.0.1", port)) as caller:
        assert caller.pollux_access_whoami()["role"] == "admin"
    assert daemon.client.pollux_access_whoami()["role"] == "admin"
