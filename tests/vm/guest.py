"""A Linux kernel in an emulated machine, for tests that need a real initiator.

    guest = Guest()
    guest.boot()
    output = guest.run("iscsiadm -m session")   # raises CommandFailed unless it exits with 0
    guest.stop()

    guest = Guest(iommu=True, hugepages=64, host_root=True, nvme=[Nvme("64M"), Nvme("64M", "64M")])
    guest.run("bind_vfio 0000:01:00.0; in_host_root /path/of/the/host/bin/pollux-perf ...")
    guest.monitor("device_del nvme0")         # QEMU's monitor

The machine is QEMU without KVM: it boots in 5 s where it is alone, and does 2 to 10 MB/s of I/O over
TCP. Seconds mean nothing in it. In the guest 10.0.2.2 is 127.0.0.1 of the host, and nothing else can
be reached; `forward` lets the host reach ports of the guest. Its root is thrown away at the end; guests
do not disturb one another. `build-guest` makes the image, and guest/functions holds what scripts may call.
"""

import base64
import os
import pathlib
import selectors
import shutil
import socket
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
CACHE = pathlib.Path(os.environ.get("POLLUX_VM_CACHE") or HERE / "cache")
HOST = "10.0.2.2"
ADDRESS = "10.0.2.15"  # The guest's own.

BOOT_SECONDS_MAX = 120  # 5 s alone, 11 s beside four compilers.
KERNEL_LINES = 40  # Of the kernel log, in the message of a guest that died.
# One boot of a hundred ended in a panic of the emulated kernel, before any command ran.
BOOT_ATTEMPTS = 2

KERNEL_PARAMETERS = (
    "console=ttyS0 quiet loglevel=5 panic=-1 oops=panic no5lvl mitigations=off nokaslr tsc=reliable "
    "no_timer_check cryptomgr.notests random.trust_cpu=on audit=0 rcupdate.rcu_expedited=1"
)


class GuestDied(Exception):
    """The machine is gone, or does not answer. The message ends with its last kernel messages."""


class CommandFailed(Exception):
    """A script in the guest ended with another exit code than 0."""

    def __init__(self, script, code, output):
        super().__init__(f"exit code {code} of:\n{script.strip()}\n--- output:\n{output}")
        self.code = code
        self.output = output


class Nvme:
    """An NVMe SSD: a namespace for each size; `controller` and `namespace` are properties of QEMU's
    devices nvme and nvme-ns. Its serial number is VM0, VM1, ... in the order given. `faults`: which
    sector of 512 bytes fails, by the event of QEMU's blkdebug: {"read_aio": 16, "write_aio": 32}."""

    def __init__(self, *sizes, controller="", namespace="", faults=None):
        self.sizes = sizes
        self.faults = faults or {}
        self.controller = controller
        self.namespace = namespace


class Guest:
    """`iommu`: an Intel one, with interrupt remapping. `hugepages`: of 2 MiB, reserved at boot.
    `host_root`: the host's file system, read-only, at /host. `spare_drives`: sizes of drives spare0,
    spare1, ... for devices that the monitor adds. `disks`: virtio disks as QEMU names them, such as
    "nbd+unix:///?socket=PATH"; their serial numbers are disk0, disk1, ... `forward`: which port of
    127.0.0.1 of the host reaches which port of the guest: {40001: 4420}. `polled`: each virtio disk has a
    queue that Linux polls for who asks for it, beside one with interrupts."""

    def __init__(
        self,
        memory_mib=1024,
        cpus=2,
        *,
        iommu=False,
        hugepages=0,
        host_root=False,
        nvme=(),
        spare_drives=(),
        disks=(),
        forward=None,
        polled=False,
    ):
        self._memory_mib = memory_mib
        self._cpus = cpus
        self._iommu = iommu
        self._hugepages = hugepages
        self._host_root = host_root
        self._nvme = list(nvme)
        self._spare_drives = list(spare_drives)
        self._disks = list(disks)
        self._forward = dict(forward or {})
        self._polled = polled
        self._monitor = None
        self._directory = None
        self._process = None
        self._commands = None
        self._received = b""

    def boot(self):
        """Starts the machine and waits until it takes commands."""
        if not (CACHE / "stamp").exists():
            raise GuestDied(f"no guest in {CACHE}: run tests/vm/build-guest")
        for attempt in range(1, BOOT_ATTEMPTS + 1):
            try:
                return self._boot()
            except GuestDied:
                self.stop()
                if attempt == BOOT_ATTEMPTS:
                    raise

    def run(self, script, timeout=120):
        """Runs a bash script to its end. Returns its output, standard error included."""
        self._commands.sendall(base64.b64encode(script.encode()) + b"\n")
        code, _, output = self._line(timeout, f"of:\n{script.strip()}").partition(" ")
        output = base64.b64decode(output).decode(errors="replace")
        if code != "0":
            raise CommandFailed(script, int(code), output)
        return output

    def monitor(self, command):
        """A line for QEMU's monitor; returns what it says."""
        if self._monitor is None:
            self._monitor = socket.socket(socket.AF_UNIX)
            self._monitor.settimeout(BOOT_SECONDS_MAX)
            self._monitor.connect(str(self._directory / "monitor"))
            self._until_prompt()
        self._monitor.sendall(command.encode() + b"\n")
        echoed, _, answer = self._until_prompt().partition("\n")  # The line editor repeats the command.
        del echoed
        return answer.strip()

    def kernel_log(self):
        return (self._directory / "console").read_text(errors="replace")

    def stop(self):
        """Ends the machine at once, as a power failure would."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._commands.close()
            self._process = None
        if self._monitor:
            self._monitor.close()
            self._monitor = None
        if self._directory:
            shutil.rmtree(self._directory)
            self._directory = None

    def _boot(self):
        self._directory = pathlib.Path(tempfile.mkdtemp(prefix="pollux-guest."))
        # We listen and QEMU connects, so that neither has to wait for the other's socket file.
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self._directory / "commands"))
            listener.listen(1)
            listener.settimeout(BOOT_SECONDS_MAX)
            with open(self._directory / "qemu.log", "wb") as log:
                self._process = subprocess.Popen(
                    self._qemu(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            try:
                self._commands, _ = listener.accept()
            except TimeoutError:
                self._commands = socket.socket()
                raise GuestDied(self._story("QEMU did not start")) from None
        self._received = b""
        ready = self._line(BOOT_SECONDS_MAX, "of the boot")
        if ready != "ready":
            raise GuestDied(self._story(f"it began with {ready!r}"))

    def _until_prompt(self):
        said = b""
        while not said.endswith(b"(qemu) "):
            data = self._monitor.recv(1 << 16)
            if not data:
                raise GuestDied(self._story("its monitor closed"))
            said += data
        return said.decode(errors="replace").removesuffix("(qemu) ")

    def _drive(self, name, size, faults=None):
        path = self._directory / f"{name}.img"
        units = {"K": 2**10, "M": 2**20, "G": 2**30}
        with open(path, "wb") as image:
            image.truncate(int(size[:-1]) * units[size[-1]])
        options = f"if=none,id={name},format=raw,cache=writeback"
        if not faults:
            return ["-drive", f"file={path},{options},discard=unmap"]
        rules = self._directory / f"{name}.faults"
        rule = '[inject-error]\nevent = "{}"\nerrno = "5"\nsector = "{}"\nonce = "off"\n'
        rules.write_text("".join(rule.format(event, sector) for event, sector in faults.items()))
        return ["-drive", f"file=blkdebug:{rules}:{path},{options}"]

    def _ssds(self):
        """Each behind a port of its own, where it may be unplugged and plugged in."""
        arguments = []
        for number, ssd in enumerate(self._nvme):
            name = f"nvme{number}"
            arguments += ["-device", f"pcie-root-port,id=port{number},chassis={number + 1},slot={number + 1}"]
            arguments += ["-device", f"nvme,id={name},serial=VM{number},bus=port{number}{ssd.controller}"]
            for nsid, size in enumerate(ssd.sizes, 1):
                arguments += self._drive(f"{name}n{nsid}", size, ssd.faults)
                properties = f"bus={name},nsid={nsid},drive={name}n{nsid}{ssd.namespace}"
                arguments += ["-device", f"nvme-ns,{properties}"]
        for number, size in enumerate(self._spare_drives):
            arguments += self._drive(f"spare{number}", size)
        return arguments

    def _others(self):
        arguments = []
        queues = ",num-queues=2" if self._polled else ""
        for number, disk in enumerate(self._disks):
            name = f"disk{number}"
            arguments += ["-drive", f"file={disk},if=none,id={name},format=raw,cache=none,discard=unmap"]
            arguments += ["-device", f"virtio-blk-pci,drive={name},serial={name}{queues}"]
        return arguments

    def _qemu(self):
        parameters = KERNEL_PARAMETERS
        network = "user,id=net" + "".join(
            f",hostfwd=tcp:127.0.0.1:{outside}-{ADDRESS}:{inside}" for outside, inside in self._forward.items()
        )
        iommu, host_root = [], []
        if self._iommu:
            parameters += " intel_iommu=on"
            iommu = ["-device", "intel-iommu,intremap=on"]
        if self._polled:
            parameters += " virtio_blk.poll_queues=1"
        if self._hugepages:
            parameters += f" hugepages={self._hugepages}"
        if self._host_root:
            parameters += " host_root"
            host_root = [
                *("-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"),
                *("-device", "virtio-9p-pci,fsdev=host,mount_tag=host"),
            ]
        return [
            "qemu-system-x86_64",
            *("-machine", "q35,sata=off,usb=off,vmport=off", "-accel", "tcg,thread=multi,tb-size=512"),
            *("-cpu", "max", "-smp", str(self._cpus), "-m", str(self._memory_mib)),
            *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
            *("-kernel", CACHE / "vmlinux", "-initrd", CACHE / "initrd", "-append", parameters),
            *("-serial", f"file:{self._directory}/console"),
            *iommu,  # Before every PCI device.
            *("-drive", f"file={CACHE}/root.img,if=none,id=root,format=raw,snapshot=on,cache=unsafe"),
            *("-device", "virtio-blk-pci,drive=root,serial=root"),
            *("-chardev", f"socket,id=commands,path={self._directory}/commands"),
            *("-device", "virtio-serial-pci"),
            *("-device", "virtserialport,chardev=commands,name=commands"),
            *("-netdev", network, "-device", "virtio-net-pci,netdev=net,romfile="),
            *("-chardev", f"socket,id=monitor,path={self._directory}/monitor,server=on,wait=off"),
            *("-mon", "monitor,mode=readline"),
            *host_root,
            *self._ssds(),
            *self._others(),
        ]

    def _line(self, timeout, what):
        """The next line that the guest sends."""
        end = time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            selector.register(self._commands, selectors.EVENT_READ)
            while b"\n" not in self._received:
                if not selector.select(max(0, end - time.monotonic())):
                    raise GuestDied(self._story(f"no end after {timeout} s {what}"))
                data = self._commands.recv(1 << 16)
                if not data:
                    raise GuestDied(self._story(f"it died in the middle {what}"))
                self._received += data
        line, _, self._received = self._received.partition(b"\n")
        return line.decode()

    def _story(self, reason):
        console = self._directory / "console"
        kernel = console.read_text(errors="replace").splitlines() if console.exists() else []
        qemu = (self._directory / "qemu.log").read_text(errors="replace")
        return "\n".join([f"guest: {reason}", qemu, "--- last kernel messages:", *kernel[-KERNEL_LINES:]])
