"""CHAP: who must prove to be who, how, and what those see who cannot. RFC 7143 §12.1, §9.2."""

import json
import os
import re
import subprocess

import pytest

import pollux
from exports import export, listen, memory_disk, saved, shown
from iscsi_chap import AUTHENTICATION_FAILURE, HASHES, ChapPeer, chap_response
from iscsi_peer import GOOD, Peer

USER, SECRET = "anna", "what only anna knows"
MUTUAL_USER, MUTUAL_SECRET = "the-target", "what only the target knows"
MUTUAL = (MUTUAL_USER, MUTUAL_SECRET)
ONE = {"user": USER, "secret": SECRET}
BOTH = {**ONE, "muser": MUTUAL_USER, "msecret": MUTUAL_SECRET}
GROUP = 7


@pytest.fixture
def client(polluxd):
    return polluxd.client


@pytest.fixture
def target(client):
    """A node whose initiators must be a user of group 7."""
    client.iscsi_create_auth_group(GROUP, secrets=[BOTH, {"user": "ben", "secret": "what only ben knows"}])
    target = export(client, memory_disk(client))
    client.iscsi_target_node_set_auth(target.iqn, require_chap=True, chap_group=GROUP)
    return target


def log_in(target, *args, discovery=False, **kwargs):
    with ChapPeer(target.portal) as peer:
        return peer.authenticate(None if discovery else target.iqn, *args, **kwargs)


def fails(peer, keys, transit=True):
    status, answer, _ = peer.say(keys, transit)
    assert (status, answer) == (AUTHENTICATION_FAILURE, {})
    # And that is the end of the connection.
    assert peer.socket.recv(1) == b""


def right(challenged, secret=SECRET):
    algorithm, identifier, challenge = challenged
    return ("CHAP_R", chap_response(algorithm, identifier, secret, challenge))


# Who gets in.


@pytest.mark.parametrize("algorithm", HASHES)
@pytest.mark.parametrize("mutual", [None, MUTUAL])
def test_each_algorithm_lets_in_who_has_the_secret(target, algorithm, mutual):
    with ChapPeer(target.portal) as peer:
        assert peer.authenticate(target.iqn, USER, SECRET, algorithm, mutual) == 0
        assert peer.ready() == GOOD
        data = os.urandom(4096)
        peer.write(8, data)
        assert peer.read(8, 8) == data
        peer.logout()


@pytest.mark.parametrize("algorithm", HASHES)
def test_nobody_else_gets_in(target, algorithm):
    for user, secret in [(USER, "what only ben knows"), ("ben", SECRET), ("nobody", SECRET), ("", ""), (USER, "")]:
        assert log_in(target, user, secret, algorithm) == AUTHENTICATION_FAILURE
    assert log_in(target, "ben", "what only ben knows", algorithm) == 0


def test_the_first_algorithm_of_the_initiator_that_there_is_counts(target):
    for algorithms, chosen in [("8,7,6,5", "8"), ("5,8", "5"), ("99,4,6", "6")]:
        with ChapPeer(target.portal) as peer:
            assert peer.challenged(target.iqn, algorithms)[0] == chosen
    for algorithms in ("", "4", "9,10", "MD5", "5 "):
        with ChapPeer(target.portal) as peer:
            peer.offer(target.iqn)
            fails(peer, [("CHAP_A", algorithms)])


@pytest.mark.parametrize("methods", ["None", None, "KRB5,SRP", ""])
@pytest.mark.parametrize("transit", [True, False])
def test_without_chap_nobody_comes_further(target, methods, transit):
    with ChapPeer(target.portal) as peer:
        status, _, left = peer.offer(target.iqn, methods, transit)
        if methods is None and not transit:
            assert (status, left) == (0, False)
            status, _, _ = peer.say(transit=True)
        assert status == AUTHENTICATION_FAILURE


def test_the_security_stage_cannot_be_left_out(target):
    with Peer(target.portal) as peer:
        assert peer.login(target.iqn) == AUTHENTICATION_FAILURE


@pytest.mark.parametrize("step", range(3))
def test_the_stage_is_not_left_before_its_end(target, step):
    with ChapPeer(target.portal) as peer:
        status, _, left = peer.offer(target.iqn, transit=True)
        assert (status, left) == (0, False)
        if step == 0:  # On all the same.
            peer.send(peer.login_pdu(b""))
            assert peer.finish_login() == 0x0200
            return
        status, _, left = peer.say([("CHAP_A", "5")], transit=True)
        assert (status, left) == (0, False)
        if step == 1:
            peer.send(peer.login_pdu(b""))
            assert peer.finish_login() == 0x0200
            return
        for _ in range(3):
            status, _, left = peer.say(transit=True)
            assert (status, left) == (0, False)


def test_initiators_may_choose_where_neither_is_required(client, target):
    client.iscsi_target_node_set_auth(target.iqn, chap_group=GROUP)
    with Peer(target.portal) as peer:
        assert peer.login(target.iqn) == 0
    with ChapPeer(target.portal) as peer:
        assert peer.offer(target.iqn, "None,CHAP", transit=True)[1]["AuthMethod"] == "None"
    assert log_in(target, USER, SECRET) == 0
    assert log_in(target, USER, "wrong") == AUTHENTICATION_FAILURE
    client.iscsi_target_node_set_auth(target.iqn, disable_chap=True, chap_group=GROUP)
    with ChapPeer(target.portal) as peer:
        assert peer.offer(target.iqn, "CHAP", transit=True)[0] == AUTHENTICATION_FAILURE


# Mutual authentication.


def test_where_it_is_mutual_the_initiator_must_want_it(client, target):
    client.iscsi_target_node_set_auth(target.iqn, require_chap=True, mutual_chap=True, chap_group=GROUP)
    assert log_in(target, USER, SECRET, mutual=MUTUAL) == 0
    assert log_in(target, USER, SECRET) == AUTHENTICATION_FAILURE
    # There is no secret of ours for ben.
    assert log_in(target, "ben", "what only ben knows", mutual=MUTUAL) == AUTHENTICATION_FAILURE
    # Who does not know the secret learns nothing of ours.
    assert log_in(target, USER, "wrong", mutual=MUTUAL) == AUTHENTICATION_FAILURE


def test_a_challenge_that_comes_back_is_refused(target):
    with ChapPeer(target.portal) as peer:
        challenged = peer.challenged(target.iqn)
        challenge = ("CHAP_C", "0x" + challenged[2].hex())
        fails(peer, [("CHAP_N", USER), right(challenged), ("CHAP_I", challenged[1]), challenge])


@pytest.mark.parametrize(
    "keys",
    [
        [("CHAP_I", "1")],
        [("CHAP_C", "0x00")],
        [("CHAP_I", "256"), ("CHAP_C", "0x00")],
        [("CHAP_I", "-1"), ("CHAP_C", "0x00")],
        [("CHAP_I", "one"), ("CHAP_C", "0x00")],
        [("CHAP_I", "1"), ("CHAP_C", "")],
        [("CHAP_I", "1"), ("CHAP_C", "0x")],
        [("CHAP_I", "1"), ("CHAP_C", "0x0")],
        [("CHAP_I", "1"), ("CHAP_C", "0x0g")],
        [("CHAP_I", "1"), ("CHAP_C", "00")],
        [("CHAP_I", "1"), ("CHAP_C", "0bZg")],
        [("CHAP_I", "1"), ("CHAP_C", "0bZg===")],
        [("CHAP_I", "1"), ("CHAP_C", "0bZ=g=")],
        [("CHAP_I", "1"), ("CHAP_C", "0x" + "00" * 1025)],
        [("CHAP_I", "1"), ("CHAP_C", "0x" + "00" * 3900)],
    ],
    ids=lambda keys: ",".join(f"{key}={value[:10]}" for key, value in keys),
)
def test_an_odd_challenge_is_refused(target, keys):
    with ChapPeer(target.portal) as peer:
        fails(peer, [("CHAP_N", USER), right(peer.challenged(target.iqn)), *keys])


@pytest.mark.parametrize("length", [1, 16, 17, 1024])
def test_a_challenge_may_have_any_length_up_to_1024(target, length):
    ours = os.urandom(length)
    with ChapPeer(target.portal) as peer:
        challenged = peer.challenged(target.iqn, "8")
        keys = [("CHAP_N", USER), right(challenged), ("CHAP_I", "0"), ("CHAP_C", "0x" + ours.hex())]
        status, answer, _ = peer.say(keys, transit=True)
        assert status == 0
        assert answer["CHAP_R"] == chap_response("8", "0", MUTUAL_SECRET, ours)


def test_one_secret_for_both_directions_is_refused(client, target):
    for call, args in [
        (client.iscsi_create_auth_group, {"tag": 8, "secrets": [{**BOTH, "msecret": SECRET}]}),
        (client.iscsi_auth_group_add_secret, {"tag": GROUP, **BOTH, "user": "carl", "msecret": SECRET}),
    ]:
        before = saved(client)
        with pytest.raises(pollux.InvalidParams) as caught:
            call(**args)
        assert caught.value.field.endswith("msecret") and SECRET not in str(caught.value)
        assert saved(client) == before


# Damage.


def test_a_response_that_was_heard_is_of_no_use(target):
    with ChapPeer(target.portal) as peer:
        heard = right(peer.challenged(target.iqn))
        assert peer.say([("CHAP_N", USER), heard], transit=True)[0] == 0
    with ChapPeer(target.portal) as peer:
        peer.challenged(target.iqn)
        fails(peer, [("CHAP_N", USER), heard])


@pytest.mark.parametrize(
    "keys",
    [
        [("CHAP_N", USER)],
        [("CHAP_R", "0x00")],
        [("CHAP_I", "1"), ("CHAP_C", "0x00")],
        [("CHAP_A", "5")],
        [("CHAP_A", "5"), ("CHAP_N", USER), ("CHAP_R", "0x00")],
        [],
    ],
    ids=lambda keys: ",".join(key for key, _ in keys) or "with the method",
)
def test_keys_before_their_time_are_refused(target, keys):
    with ChapPeer(target.portal) as peer:
        if not keys:  # Before the method was chosen.
            said = [("InitiatorName", "iqn.2026-01.test:peer"), ("TargetName", target.iqn)]
            return fails(peer, [*said, ("AuthMethod", "CHAP"), ("CHAP_A", "5")], transit=False)
        peer.offer(target.iqn)
        if keys == [("CHAP_A", "5")]:
            peer.say(keys)
            keys = [("CHAP_I", "5")]
        fails(peer, keys)


@pytest.mark.parametrize("key", ["CHAP_A", "CHAP_N", "CHAP_R", "AuthMethod"])
def test_a_key_that_comes_twice_ends_the_login(target, key):
    with ChapPeer(target.portal) as peer:
        answer = right(peer.challenged(target.iqn))
        keys = {"CHAP_A": ("CHAP_A", "7"), "CHAP_N": ("CHAP_N", USER), "CHAP_R": answer}
        again = keys.get(key, ("AuthMethod", "None"))
        status, _, _ = peer.say([("CHAP_N", USER), answer, again], transit=True)
        assert status == 0x0200


@pytest.mark.parametrize("response", ["", "0x", "0x1", "0", "0xzz", "0x" + "0" * 8000, "0b", "0b====", "0b" + "A" * 4096])
def test_an_odd_response_is_refused(target, response):
    with ChapPeer(target.portal) as peer:
        peer.challenged(target.iqn)
        fails(peer, [("CHAP_N", USER), ("CHAP_R", response)])


@pytest.mark.parametrize("user", ["x" * 255, "x" * 300, "x" * 8000, "%n%s%s", "ä\u2028", "anna=", "ANNA", "anna "])
def test_an_odd_user_is_an_unknown_one(target, user):
    with ChapPeer(target.portal) as peer:
        challenged = peer.challenged(target.iqn)
        fails(peer, [("CHAP_N", user), right(challenged)])


def test_a_response_in_base64_is_read_too(target):
    import base64

    with ChapPeer(target.portal) as peer:
        response = bytes.fromhex(right(peer.challenged(target.iqn))[1][2:])
        keys = [("CHAP_N", USER), ("CHAP_R", "0b" + base64.b64encode(response).decode())]
        assert peer.say(keys, transit=True)[0] == 0


def test_no_challenge_comes_twice_across_starts(polluxd, target):
    seen = set()
    for _ in range(3):
        for _ in range(20):
            with ChapPeer(target.portal) as peer:
                seen.add(peer.challenged(target.iqn)[2])
        polluxd.restart()
        polluxd.client.framework_wait_init()
    assert len(seen) == 60


def test_an_unknown_user_is_answered_like_a_wrong_secret(polluxd, target):
    """Also in the log, but for the name that the initiator gives itself."""
    answers = []
    for user, secret in [(USER, "wrong"), ("nobody", SECRET)]:
        with ChapPeer(target.portal) as peer:
            challenged = peer.challenged(target.iqn)
            pdu = peer.login_pdu(
                f"CHAP_N={user}\0{'='.join(right(challenged, secret))}\0".encode(), current=0, following=1
            )
            peer.isid = bytes(6)
            peer.send(pdu)
            answer = peer.receive()
            answers.append((answer.bhs[:8], answer.bhs[16:], answer.data))
    assert answers[0] == answers[1]
    refusals = set(re.findall(r"status 0201: .*", polluxd.log()))
    assert len(refusals) == 1, refusals


# Discovery.


def discovers(portal):
    with Peer(portal) as peer:
        return peer.login()


def test_discovery_has_rules_of_its_own(client, target):
    assert discovers(target.portal) == 0
    client.iscsi_set_discovery_auth(require_chap=True, chap_group=GROUP)
    assert discovers(target.portal) == AUTHENTICATION_FAILURE
    assert log_in(target, USER, "wrong", discovery=True) == AUTHENTICATION_FAILURE
    with ChapPeer(target.portal) as peer:
        assert peer.authenticate(None, USER, SECRET, mutual=MUTUAL) == 0
        assert target.iqn.encode() in peer.text(b"SendTargets=All\0").data
    options = client.iscsi_get_options()
    assert (options["require_chap"], options["chap_group"]) == (True, GROUP)
    # The node's own rule is another one.
    client.iscsi_target_node_set_auth(target.iqn, disable_chap=True)
    with Peer(target.portal) as peer:
        assert peer.login(target.iqn) == 0


def test_a_portal_group_may_differ(client, target):
    open_port = listen(client, 2)
    client.iscsi_set_discovery_auth(require_chap=True, chap_group=GROUP)
    client.iscsi_portal_group_set_auth(2, disable_chap=True)
    assert discovers(target.portal) == AUTHENTICATION_FAILURE
    assert discovers(f"127.0.0.1:{open_port}") == 0
    client.iscsi_set_discovery_auth()
    client.iscsi_portal_group_set_auth(1, require_chap=True, mutual_chap=True, chap_group=GROUP)
    assert discovers(target.portal) == AUTHENTICATION_FAILURE
    assert log_in(target, USER, SECRET, discovery=True, mutual=MUTUAL) == 0
    assert log_in(target, USER, SECRET, discovery=True) == AUTHENTICATION_FAILURE


# The configuration.


def test_groups_change_and_are_shown_as_spdk_shows_them(client):
    assert client.iscsi_get_auth_groups() == []
    assert client.iscsi_create_auth_group(1) is True
    assert client.iscsi_get_auth_groups() == [{"tag": 1, "secrets": []}]
    assert client.iscsi_auth_group_add_secret(1, USER, SECRET) is True
    assert client.iscsi_auth_group_add_secret(1, "ben", "b", muser="m", msecret="s") is True
    ben = {"user": "ben", "secret": "b", "muser": "m", "msecret": "s"}
    assert client.iscsi_get_auth_groups() == [{"tag": 1, "secrets": [ONE, ben]}]
    assert client.iscsi_auth_group_remove_secret(1, USER) is True
    assert client.iscsi_get_auth_groups() == [{"tag": 1, "secrets": [ben]}]
    assert client.iscsi_delete_auth_group(1) is True
    assert client.iscsi_get_auth_groups() == []


@pytest.mark.parametrize(
    "method, params, field",
    [
        ("iscsi_create_auth_group", {"tag": 7}, "tag"),
        ("iscsi_create_auth_group", {"tag": 0}, "tag"),
        ("iscsi_create_auth_group", {"tag": 8, "secrets": [ONE, ONE]}, "secrets[1].user"),
        ("iscsi_create_auth_group", {"tag": 8, "secrets": [{"user": "a"}]}, "secrets[0].secret"),
        ("iscsi_create_auth_group", {"tag": 8, "secrets": [{"secret": "a"}]}, "secrets[0].user"),
        ("iscsi_create_auth_group", {"tag": 8, "secrets": [{**ONE, "muser": "a"}]}, "secrets[0].msecret"),
        ("iscsi_auth_group_add_secret", {"tag": 8, **ONE}, "tag"),
        ("iscsi_auth_group_add_secret", {"tag": GROUP, **ONE}, "user"),
        ("iscsi_auth_group_add_secret", {"tag": GROUP, "user": "a", "secret": ""}, "secret"),
        ("iscsi_auth_group_add_secret", {"tag": GROUP, "user": "a", "secret": "a" * 1024}, "secret"),
        ("iscsi_auth_group_add_secret", {"tag": GROUP, "user": "a" * 256, "secret": "a"}, "user"),
        ("iscsi_auth_group_add_secret", {"tag": GROUP, "user": "a", "secret": 1}, "secret"),
        ("iscsi_auth_group_remove_secret", {"tag": GROUP, "user": "nobody"}, "user"),
        ("iscsi_auth_group_remove_secret", {"tag": 8, "user": USER}, "tag"),
        ("iscsi_delete_auth_group", {"tag": 8}, "tag"),
        ("iscsi_target_node_set_auth", {"name": "no"}, "name"),
        ("iscsi_target_node_set_auth", {"name": "disk", "disable_chap": True, "require_chap": True}, "require_chap"),
        ("iscsi_target_node_set_auth", {"name": "disk", "mutual_chap": True}, "mutual_chap"),
        ("iscsi_target_node_set_auth", {"name": "disk", "chap_group": -1}, "chap_group"),
        ("iscsi_set_discovery_auth", {"mutual_chap": True}, "mutual_chap"),
        ("iscsi_set_discovery_auth", {"chap_group": -1}, "chap_group"),
        ("iscsi_portal_group_set_auth", {"tag": 2}, "tag"),
        ("iscsi_portal_group_set_auth", {"tag": 1, "disable_chap": True, "mutual_chap": True}, "mutual_chap"),
    ],
)
def test_what_is_unacceptable_changes_nothing(client, target, method, params, field):
    before = saved(client)
    with pytest.raises(pollux.RpcError) as caught:
        client.call(method, params)
    assert caught.value.code == -32602
    assert caught.value.field == field
    assert saved(client) == before


def test_everything_is_there_after_a_restart(polluxd, client, target):
    listen(client, 2)
    client.iscsi_portal_group_set_auth(2, require_chap=True, chap_group=GROUP)
    client.iscsi_set_discovery_auth(require_chap=True, mutual_chap=True, chap_group=GROUP)
    client.iscsi_auth_group_add_secret(GROUP, "carl", "what only carl knows")
    client.iscsi_auth_group_remove_secret(GROUP, "ben")

    def configured():  # A memory disk has another identifier after each start.
        rest = {kind: objects for kind, objects in shown(client).items() if kind != "bdevs"}
        return saved(client), rest, client.iscsi_get_auth_groups(), client.iscsi_get_options()

    before = configured()
    for end in (polluxd.restart, lambda: (polluxd.kill(), polluxd.start())):
        end()
        client = polluxd.client
        client.framework_wait_init()
        assert configured() == before
        assert log_in(target, USER, SECRET, mutual=MUTUAL) == 0
        assert log_in(target, "carl", "what only carl knows") == 0
        assert log_in(target, "ben", "what only ben knows") == AUTHENTICATION_FAILURE
        assert discovers(target.portal) == AUTHENTICATION_FAILURE
        assert log_in(target, USER, SECRET, discovery=True, mutual=MUTUAL) == 0


def test_a_file_of_spdks_brings_the_groups(start_polluxd, tmp_path):
    first = start_polluxd()
    first.client.iscsi_create_auth_group(GROUP, secrets=[BOTH])
    target = export(first.client, memory_disk(first.client))
    first.client.iscsi_target_node_set_auth(target.iqn, require_chap=True, chap_group=GROUP)
    config = {"subsystems": saved(first.client)}
    methods = [call["method"] for part in config["subsystems"] if part["subsystem"] == "iscsi" for call in part["config"]]
    assert methods == [
        "iscsi_create_auth_group",
        "iscsi_create_portal_group",
        "iscsi_create_initiator_group",
        "iscsi_create_target_node",
    ]
    first.stop()
    path = tmp_path / "spdk.json"
    path.write_text(json.dumps(config))
    second = start_polluxd("-c", path)
    assert second.client.iscsi_get_auth_groups() == [{"tag": GROUP, "secrets": [BOTH]}]
    assert log_in(target, USER, SECRET) == 0


def test_a_change_holds_from_the_next_login(client, target):
    with ChapPeer(target.portal) as peer, ChapPeer(target.portal) as late:
        assert peer.authenticate(target.iqn, USER, SECRET) == 0
        challenged = late.challenged(target.iqn)
        client.iscsi_delete_auth_group(GROUP)
        # Who was asked before may still answer, and who is in stays.
        assert late.say([("CHAP_N", USER), right(challenged)], transit=True)[0] == 0
        assert peer.ready() == GOOD
    assert log_in(target, USER, SECRET) == AUTHENTICATION_FAILURE
    client.iscsi_create_auth_group(GROUP, secrets=[{"user": USER, "secret": "another one, of anna"}])
    assert log_in(target, USER, SECRET) == AUTHENTICATION_FAILURE
    assert log_in(target, USER, "another one, of anna") == 0


def test_a_log_has_no_secrets(start_polluxd):
    polluxd = start_polluxd("--log-level", "debug")
    client = polluxd.client
    client.iscsi_create_auth_group(GROUP, secrets=[BOTH])
    target = export(client, memory_disk(client))
    client.iscsi_target_node_set_auth(target.iqn, require_chap=True, chap_group=GROUP)
    client.iscsi_auth_group_add_secret(GROUP, "dora", "short-1")
    with pytest.raises(pollux.InvalidParams):
        client.iscsi_auth_group_add_secret(GROUP, "ella", "same-1", muser="m", msecret="same-1")
    assert log_in(target, USER, SECRET, mutual=MUTUAL) == 0
    assert log_in(target, "typed-secret", "wrong") == AUTHENTICATION_FAILURE
    client.iscsi_get_auth_groups()
    polluxd.restart()
    log = polluxd.log()
    for word in (SECRET, MUTUAL_SECRET, "short-1", "same-1", "typed-secret"):
        assert word not in log
    assert "user 'dora' has 7 bytes" in log


# Initiators that are not ours.


def libiscsi(tool, url, **environment):
    return subprocess.run(
        [tool, url], capture_output=True, text=True, timeout=60, env={**os.environ, **environment}, check=False
    )


THEIRS = {"LIBISCSI_CHAP_TARGET_USERNAME": MUTUAL_USER, "LIBISCSI_CHAP_TARGET_PASSWORD": "tsecret-of-ours"}


def test_libiscsi_gets_in_with_the_secret_only(client):
    secrets = {"user": "lib", "secret": "isecret-of-lib", "muser": MUTUAL_USER, "msecret": "tsecret-of-ours"}
    client.iscsi_create_auth_group(GROUP, secrets=[secrets])
    target = export(client, memory_disk(client))
    client.iscsi_target_node_set_auth(target.iqn, require_chap=True, chap_group=GROUP)
    client.iscsi_set_discovery_auth(require_chap=True, chap_group=GROUP)

    def inq(password, **environment):
        return libiscsi("iscsi-inq", f"iscsi://lib%{password}@{target.portal}/{target.iqn}/0", **environment)

    assert inq("isecret-of-lib").returncode == 0
    assert inq("isecret-of-bob").returncode != 0
    assert libiscsi("iscsi-inq", target.url()).returncode != 0
    assert target.iqn in libiscsi("iscsi-ls", f"iscsi://lib%isecret-of-lib@{target.portal}").stdout
    assert libiscsi("iscsi-ls", f"iscsi://{target.portal}").returncode != 0

    client.iscsi_target_node_set_auth(target.iqn, require_chap=True, mutual_chap=True, chap_group=GROUP)
    assert inq("isecret-of-lib", **THEIRS).returncode == 0
    assert inq("isecret-of-lib").returncode != 0
    wrong = {**THEIRS, "LIBISCSI_CHAP_TARGET_PASSWORD": "another-one-1"}
    assert inq("isecret-of-lib", **wrong).returncode != 0


# The file of groups.


def with_auth_file(start_polluxd, path):
    polluxd = start_polluxd("--wait-for-rpc")
    polluxd.client.iscsi_set_options(auth_file=str(path))
    polluxd.client.framework_start_init()
    polluxd.client.framework_wait_init()
    return polluxd.client


def test_a_file_of_groups_says_who_gets_in(start_polluxd, tmp_path):
    path = tmp_path / "auth.conf"
    path.write_text(f'[AuthGroup{GROUP}]\n  Auth "{USER}" "{SECRET}" "{MUTUAL_USER}" "{MUTUAL_SECRET}"\n')
    client = with_auth_file(start_polluxd, path)
    assert client.iscsi_get_options()["auth_file"] == str(path)
    target = export(client, memory_disk(client))
    client.iscsi_target_node_set_auth(target.iqn, require_chap=True, chap_group=GROUP)
    assert log_in(target, USER, SECRET, mutual=MUTUAL) == 0
    assert log_in(target, USER, "wrong") == AUTHENTICATION_FAILURE
    # It changes with the file alone, and is no part of what is saved.
    for method, parameters in [
        (client.iscsi_delete_auth_group, {"tag": GROUP}),
        (client.iscsi_auth_group_add_secret, {"tag": GROUP, "user": "carl", "secret": "what only carl knows"}),
        (client.iscsi_auth_group_remove_secret, {"tag": GROUP, "user": USER}),
    ]:
        with pytest.raises(pollux.RpcError, match="belongs to auth_file"):
            method(**parameters)
    assert log_in(target, USER, SECRET) == 0
    assert SECRET not in json.dumps(saved(client))


def test_a_short_secret_of_the_file_is_warned_of_once_for_each_reading(start_polluxd, tmp_path):
    path = tmp_path / "auth.conf"
    path.write_text(f'[AuthGroup{GROUP}]\nAuth "{USER}" "short"\n')
    polluxd = start_polluxd("--wait-for-rpc")

    def warnings():
        return polluxd.log().count("a secret of user")

    polluxd.client.iscsi_set_options(auth_file=str(path))
    assert warnings() == 1
    polluxd.client.framework_start_init()
    assert warnings() == 2


def test_a_damaged_file_of_groups_is_refused(start_polluxd, tmp_path):
    client = start_polluxd("--wait-for-rpc").client
    path = tmp_path / "auth.conf"
    for text, why in [
        (None, "cannot be read"),
        (f"Auth {USER} secret", "line 1"),
        (f"[AuthGroup1]\n\nAuth {USER}", "line 3"),
    ]:
        if text is not None:
            path.write_text(text)
        with pytest.raises(pollux.RpcError, match=f"auth_file.*{why}"):
            client.iscsi_set_options(auth_file=str(path))
    path.write_text(f'[AuthGroup1]\nAuth {USER} "{SECRET}"\n')
    client.iscsi_set_options(auth_file=str(path))


def test_a_file_of_groups_is_read_again_at_each_start(start_polluxd, tmp_path):
    path = tmp_path / "auth.conf"
    path.write_text(f'[AuthGroup{GROUP}]\nAuth "{USER}" "{SECRET}"\n')
    polluxd = start_polluxd("--wait-for-rpc")
    polluxd.client.iscsi_set_options(auth_file=str(path))
    polluxd.client.framework_start_init()
    polluxd.client.framework_wait_init()
    target = export(polluxd.client, memory_disk(polluxd.client))
    polluxd.client.iscsi_target_node_set_auth(target.iqn, require_chap=True, chap_group=GROUP)
    polluxd.stop()
    polluxd.arguments.remove("--wait-for-rpc")
    path.write_text(f'[AuthGroup{GROUP}]\nAuth "{USER}" "another long secret"\n')
    polluxd.start()
    memory_disk(polluxd.client)
    assert log_in(target, USER, SECRET) == AUTHENTICATION_FAILURE
    assert log_in(target, USER, "another long secret") == 0
    polluxd.stop()
    path.write_text("Auth without a group\n")
    before = (polluxd.state_dir / "pollux.db").read_bytes()
    polluxd.start()  # It listens, and gives up when it comes to the file.
    with pytest.raises(AssertionError, match="exit code 1"):
        polluxd.wait()
    (told,) = [line for line in polluxd.log().splitlines() if line.startswith("polluxd:")]
    assert "auth_file" in told and "line 1" in told and "without" not in told
    assert (polluxd.state_dir / "pollux.db").read_bytes() == before
