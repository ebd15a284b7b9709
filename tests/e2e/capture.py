"""tshark, for tests that let Wireshark's dissectors read what a target says."""

import shutil
import signal
import subprocess
import time

import pytest

SECONDS = 20


class Capture:
    """What passes a port of the loopback interface, read as `protocol` of tshark's with its
    `preferences`, each "name:value". The test is skipped where nothing can be captured."""

    def __init__(self, path, port, protocol, preferences=()):
        if not shutil.which("tshark"):
            pytest.skip("no tshark")
        self.path = path
        self.options = ["-d", f"tcp.port=={port},{protocol}"]
        for preference in preferences:
            self.options += ["-o", preference]
        command = ["tshark", "-i", "lo", "-q", "-f", f"tcp port {port}", "-w", str(path)]
        self.log = open(f"{path}.log", "w+b")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + SECONDS
        while b"Capture started" not in self.said() and b"Capturing on" not in self.said():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                pytest.skip(f"no capture here: {self.said().decode(errors='replace')}")
            time.sleep(0.05)
        time.sleep(0.5)  # It says so a little before it does.

    def said(self):
        with open(self.log.name, "rb") as log:
            return log.read()

    def end(self):
        time.sleep(0.5)
        self.process.send_signal(signal.SIGINT)
        self.process.wait(SECONDS)
        self.log.close()

    def read(self, *words):
        command = ["tshark", "-r", self.path, *self.options, *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
