"""Write protection of a namespace, which a host sets: what lasts over a restart, and what ends with it."""

import json

import pytest

import nvme_tcp_host as nvme
from exports import BLOCK, file_disk, saved
from nvmf_exports import NQN, Subsystem

NONE, ON, UNTIL_RESTART, PERMANENT = range(4)
NAMES = [None, "on", "until_restart", "permanent"]


@pytest.fixture
def subsystem(polluxd, tmp_path):
    one = Subsystem(polluxd.client)
    one.add(file_disk(polluxd.client, tmp_path / "disk", name="File"), 1)
    return one


def protect(subsystem, *states):
    """What the last of these ends with."""
    with subsystem.connect(queues=0) as controller:
        for state in states:
            completion = controller.set_features(nvme.WRITE_PROTECTION, state, nsid=1)
        return completion


def state(subsystem):
    """As hosts and administrators see it, and whether a write goes through."""
    (shown,) = subsystem.client.nvmf_get_subsystems(NQN)  # Its answer comes when listeners are open.
    with subsystem.connect() as controller:
        now = controller.get_features(nvme.WRITE_PROTECTION, nsid=1).check().dw0
        written = controller.write(1, 0, bytes(BLOCK))
        assert written.status == (nvme.WRITE_PROTECTED if now else 0)
    assert shown["namespaces"][0].get("write_protection") == NAMES[now]
    return now


@pytest.mark.parametrize("ends", ["restart", "kill"])
@pytest.mark.parametrize(
    "set_to, then",
    [((ON,), ON), ((ON, NONE), NONE), ((UNTIL_RESTART,), NONE), ((ON, UNTIL_RESTART), NONE), ((PERMANENT,), PERMANENT)],
)
def test_a_restart_ends_what_it_should(polluxd, subsystem, set_to, then, ends):
    assert state(subsystem) == NONE
    assert protect(subsystem, *set_to).ok
    assert state(subsystem) == set_to[-1]
    if ends == "kill":
        polluxd.kill()
        polluxd.start()
    else:
        polluxd.restart()
    subsystem.client = polluxd.client
    assert state(subsystem) == then


@pytest.mark.parametrize("last", [UNTIL_RESTART, PERMANENT])
def test_nobody_takes_these_back(subsystem, last):
    assert protect(subsystem, last).ok
    for other in {NONE, ON, UNTIL_RESTART, PERMANENT} - {last}:
        assert protect(subsystem, other).status == nvme.NOT_CHANGEABLE
    assert protect(subsystem, last).ok
    assert state(subsystem) == last


@pytest.mark.parametrize("value", [4, 5, 6, 7])
def test_other_states_are_invalid(subsystem, value):
    assert protect(subsystem, value).status == nvme.INVALID_FIELD
    assert state(subsystem) == NONE


def test_what_is_saved_loads_elsewhere(polluxd, subsystem, start_polluxd, tmp_path):
    assert protect(subsystem, PERMANENT).ok
    configuration = saved(polluxd.client)
    (added,) = [
        call["params"]["namespace"]
        for one in configuration
        for call in one["config"] or []
        if call["method"] == "nvmf_subsystem_add_ns"
    ]
    assert added["write_protection"] == "permanent"
    polluxd.stop()
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"subsystems": configuration}))
    subsystem.client = start_polluxd("-c", path).client
    assert state(subsystem) == PERMANENT


def test_a_namespace_that_is_made_anew_is_not_protected(subsystem):
    assert protect(subsystem, PERMANENT).ok
    subsystem.remove(1)
    subsystem.add("File", 1)
    assert state(subsystem) == NONE


def test_a_namespace_that_goes_while_it_is_protected(subsystem):
    """The host's command and the administrator's call meet; neither waits for the other for ever."""
    with subsystem.connect(queues=0) as controller:
        for value in (ON, NONE) * 5:
            cid = controller.admin.submit(nvme.entry(nvme.SET_FEATURES, 1, cdw10=nvme.WRITE_PROTECTION, cdw11=value))
            subsystem.remove(1)
            completion = controller.admin.wait(cid)
            assert completion.status in (0, nvme.INVALID_NAMESPACE)
            subsystem.add("File", 1)
    assert state(subsystem) == NONE
