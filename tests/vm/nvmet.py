"""Linux's own NVMe/TCP target, nvmet, in a guest: subsystems, namespaces, ports, ANA.

    guest = Guest(forward={outside: 4420})        # outside = free_port() of the host
    target = nvmet.Target(guest)
    target.add_subsystem(NQN)
    target.add_namespace(NQN, 1, mib=64)          # null_blk that holds its data
    target.add_port(1, 4420)                      # the guest's 10.0.2.15:4420
    target.serve(NQN, 1)                          # a host may connect from here on
    target.set_ana_state(1, 1, "inaccessible")
    target.withdraw(NQN, 1)                       # its connections break off, connects are refused
    target.clear()

Everything is a directory of configfs; the names of attributes are the kernel's.
"""

import uuid

from guest import ADDRESS

NVMET = "/sys/kernel/config/nvmet"
DISKS = "/sys/kernel/config/nullb"

OPTIMIZED, NON_OPTIMIZED, INACCESSIBLE = "optimized", "non-optimized", "inaccessible"
PERSISTENT_LOSS, CHANGE = "persistent-loss", "change"


class Target:
    def __init__(self, guest):
        self._guest = guest
        self._ports = {}  # What each serves.
        self._namespaces = {}  # Of each subsystem.
        self._disks = []
        guest.run(
            """
            set -e
            modprobe -a nvmet nvmet-tcp
            modprobe null_blk nr_devices=0
            mountpoint -q /sys/kernel/config || mount -t configfs configfs /sys/kernel/config
            """
        )

    def _set(self, directory, **attributes):
        """Writes attributes in the order given. A write that is refused fails the script."""
        lines = [f"echo '{value}' >{directory}/{name}" for name, value in attributes.items()]
        self._guest.run("set -e\n" + "\n".join(lines))

    def add_subsystem(self, nqn, hosts=None, serial="NVMET0001", **attributes):
        """`hosts`: the NQNs that may connect; None: everybody."""
        path = f"{NVMET}/subsystems/{nqn}"
        self._guest.run(f"mkdir {path}")
        self._namespaces[nqn] = []
        self._set(path, attr_allow_any_host=int(hosts is None), attr_serial=serial, **attributes)
        for host in hosts or ():
            self.admit(nqn, host)

    def admit(self, nqn, host):
        self._guest.run(
            f"mkdir -p {NVMET}/hosts/{host} && "
            f"ln -s {NVMET}/hosts/{host} {NVMET}/subsystems/{nqn}/allowed_hosts/{host}"
        )

    def expel(self, nqn, host):
        """Its controllers end at once."""
        self._guest.run(f"rm {NVMET}/subsystems/{nqn}/allowed_hosts/{host}")

    def add_namespace(self, nqn, nsid=1, mib=64, block_size=512, device=None, group=1, **attributes):
        """On `device` of the guest, or on a disk of its own that lasts until clear(). A UUID of its own is
        made unless `device_uuid` gives one. Returns the device."""
        if device is None:
            device = self._make_disk(mib, block_size)
        path = f"{NVMET}/subsystems/{nqn}/namespaces/{nsid}"
        self._guest.run(f"mkdir {path}")
        self._namespaces[nqn].append(nsid)
        attributes.setdefault("device_uuid", uuid.uuid4())
        self._set(path, device_path=device, ana_grpid=group, **attributes, enable=1)
        return device

    def remove_namespace(self, nqn, nsid):
        self._guest.run(f"rmdir {NVMET}/subsystems/{nqn}/namespaces/{nsid}")
        self._namespaces[nqn].remove(nsid)

    def enable_namespace(self, nqn, nsid, enable=True):
        self._set(f"{NVMET}/subsystems/{nqn}/namespaces/{nsid}", enable=int(enable))

    def revalidate_size(self, nqn, nsid):
        """The target looks at its device's size again, and tells its hosts."""
        self._set(f"{NVMET}/subsystems/{nqn}/namespaces/{nsid}", revalidate_size=1)

    def move_to_group(self, nqn, nsid, group):
        self._set(f"{NVMET}/subsystems/{nqn}/namespaces/{nsid}", ana_grpid=group)

    def _make_disk(self, mib, block_size):
        name = f"disk{len(self._disks)}"
        path = f"{DISKS}/{name}"
        self._guest.run(f"mkdir {path}")
        self._disks.append(name)
        self._set(path, size=mib, blocksize=block_size, memory_backed=1, discard=1, power=1)
        # Older kernels number their disks, newer ones name them after the directory.
        return self._guest.run(
            f"test -b /dev/{name} && echo /dev/{name} || echo /dev/nullb$(cat {path}/index)"
        ).strip()

    def add_port(self, number, service=4420, address=ADDRESS, **attributes):
        """Listens as soon as it serves something."""
        path = f"{NVMET}/ports/{number}"
        self._guest.run(f"mkdir {path}")
        self._ports[number] = []
        family = "ipv6" if ":" in address else "ipv4"
        where = {"addr_traddr": address, "addr_trsvcid": service}
        self._set(path, addr_trtype="tcp", addr_adrfam=family, **where, **attributes)

    def serve(self, nqn, port):
        """The subsystem can be reached by the port."""
        self._guest.run(f"ln -s {NVMET}/subsystems/{nqn} {NVMET}/ports/{port}/subsystems/{nqn}")
        self._ports[port].append(nqn)

    def withdraw(self, nqn, port):
        """The end of serve(): the subsystem's connections by this port break off."""
        self._guest.run(f"rm {NVMET}/ports/{port}/subsystems/{nqn}")
        self._ports[port].remove(nqn)

    def set_ana_state(self, port, group, state):
        """Of a group at a port; group 1 is there from the beginning. Hosts hear of it."""
        path = f"{NVMET}/ports/{port}/ana_groups/{group}"
        self._guest.run(f"test -d {path} || mkdir {path}")
        self._set(path, ana_state=state)

    def add_referral(self, port, name, address, service):
        path = f"{NVMET}/ports/{port}/referrals/{name}"
        self._guest.run(f"mkdir {path}")
        self._set(
            path, addr_trtype="tcp", addr_adrfam="ipv4", addr_traddr=address, addr_trsvcid=service, enable=1
        )

    def clear(self):
        """Takes everything away again, in the order that configfs wants."""
        for port, served in self._ports.items():
            for nqn in list(served):
                self.withdraw(nqn, port)
            self._guest.run(
                f"""
                for one in {NVMET}/ports/{port}/referrals/* {NVMET}/ports/{port}/ana_groups/*; do
                  case $one in *'/*' | */ana_groups/1) ;; *) rmdir "$one" ;; esac
                done
                rmdir {NVMET}/ports/{port}
                """
            )
        for nqn, namespaces in self._namespaces.items():
            for nsid in list(namespaces):
                self.remove_namespace(nqn, nsid)
            self._guest.run(f"rm -f {NVMET}/subsystems/{nqn}/allowed_hosts/*; rmdir {NVMET}/subsystems/{nqn}")
        self._guest.run(f"for one in {NVMET}/hosts/*; do test ! -d $one || rmdir $one; done")
        for name in self._disks:
            self._guest.run(f"echo 0 >{DISKS}/{name}/power; rmdir {DISKS}/{name}")
        self._ports, self._namespaces, self._disks = {}, {}, []
