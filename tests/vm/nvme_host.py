"""Linux's own NVMe/TCP host in a guest: nvme-tcp with nvme-cli."""

import json

NQN, HOST_ID = "nqn.2024-01.io.pollux:guest", "6b5a8f0e-5c0f-4b7c-9a51-0d5f5f8a1c77"

# What the kernel waits between attempts to come back, and until it gives up, in seconds.
RECONNECT_DELAY, LOSS_TIMEOUT = 1, 120
STATE_SECONDS = 120


class Host:
    def __init__(self, guest):
        self.guest = guest
        guest.run("modprobe nvme-tcp; reach_host_loopback")

    def nvme(self, words, timeout=120):
        return self.guest.run(f"nvme {words}", timeout)

    def ask(self, words):
        """The answer as nvme-cli's JSON says it."""
        return json.loads(self.nvme(f"{words} -o json 2>/dev/null"))

    def discover(self, address, port, more=""):
        """The entries of the discovery log."""
        who = f"-q {NQN} -I {HOST_ID}"
        return self.ask(f"discover -t tcp -a {address} -s {port} {who} {more}")["records"]

    def connect(self, nqn, address, port, more="", keep_alive=None):
        """Connects and returns the controller's name: nvme0."""
        before = self.controllers(nqn)
        if keep_alive:
            more += f" -k {keep_alive}"
        self.nvme(
            f"connect -t tcp -a {address} -s {port} -n {nqn} -q {NQN} -I {HOST_ID} "
            f"-c {RECONNECT_DELAY} -l {LOSS_TIMEOUT} {more}"
        )
        return next(one for one in self.controllers(nqn) if one not in before)

    def connect_all(self, address, port):
        self.nvme(f"connect-all -t tcp -a {address} -s {port} -q {NQN} -I {HOST_ID} -c {RECONNECT_DELAY}")

    def disconnect(self, nqn):
        self.nvme(f"disconnect -n {nqn}")

    def disconnect_all(self):
        self.guest.run("umount /mnt 2>/dev/null; nvme disconnect-all")

    def controllers(self, nqn, state=""):
        return self.guest.run(f"nvme_controllers {nqn} {state}").split()

    def await_controllers(self, nqn, count, state="live"):
        self.guest.run(
            f"until_true {STATE_SECONDS} '[ $(nvme_controllers {nqn} {state} | wc -l) = {count} ]' || "
            "{ nvme list-subsys; dmesg | tail -n 30; false; }",
            STATE_SECONDS + 30,
        )

    def disk(self, nqn, nsid=1):
        """The namespace as a block device, when it is there."""
        return self.guest.run(
            f"until_true {STATE_SECONDS} 'test -b \"$(nvme_disk {nqn} {nsid})\"' && nvme_disk {nqn} {nsid}",
            STATE_SECONDS + 30,
        ).strip()

    def await_no_disk(self, nqn, nsid):
        self.guest.run(f"until_true {STATE_SECONDS} '[ -z \"$(nvme_disk {nqn} {nsid})\" ]'", STATE_SECONDS + 30)

    def await_size(self, disk, size):
        self.guest.run(f"until_true {STATE_SECONDS} '[ $(blockdev --getsize64 {disk}) = {size} ]'", STATE_SECONDS + 30)

    def ana_states(self, nqn):
        """The state that each controller has of its only namespace: {"nvme0": "optimized"}."""
        lines = self.guest.run(
            f"for one in $(nvme_controllers {nqn}); do "
            "echo $one $(cat /sys/class/nvme/$one/nvme*c*n*/ana_state); done"
        )
        return dict(line.split(maxsplit=1) for line in lines.splitlines())

    def await_ana_state(self, controller, state):
        path = f"/sys/class/nvme/{controller}/nvme*c*n*/ana_state"
        self.guest.run(f"until_true {STATE_SECONDS} '[ \"$(cat {path})\" = {state} ]'", STATE_SECONDS + 30)

    def written_by(self, controller):
        """How many writes of its only namespace went by this path."""
        return int(self.guest.run(f"awk '{{ print $5 }}' /sys/class/nvme/{controller}/nvme*c*n*/stat"))

    def cut(self, address):
        """What is sent to the address does not arrive, nor does anything come back."""
        self.guest.run(f"ip route add blackhole {address}")

    def mend(self, address):
        self.guest.run(f"ip route del blackhole {address}")
