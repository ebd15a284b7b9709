"""Somebody who writes and reads an NVMe namespace while other things happen, and remembers all of it.

    writers = Writers(connect, blocks=32768)     # connect(): a Controller of tests/e2e with an I/O queue
    assert writers.go_on()                       # as often as one likes
    image = writers.finish()                     # what the namespace must hold, to the last byte
"""

import pathlib
import random
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "e2e"))
import nvme_tcp_host as nvme  # noqa: E402

BLOCK = 512
WRITERS = 3
DEPTH = 4  # Commands at a time of each.
BLOCKS_MAX = 64  # Of one command.
WAIT_SECONDS = 60


class Writer(threading.Thread):
    """Has a range of its own: `first` to `first + len(image)`."""

    def __init__(self, controller, nsid, first, blocks):
        super().__init__(daemon=True)
        self.controller, self.nsid, self.first, self.blocks = controller, nsid, first, blocks
        self.image = bytearray(blocks * BLOCK)
        self.ended = threading.Event()
        self.rounds = 0
        self.trouble = None

    def run(self):
        dice = random.Random(self.first)
        try:
            while not self.ended.is_set():
                self._write(dice)
                self._read(dice)
                self.rounds += 1
        except Exception as trouble:  # pylint: disable=broad-except
            self.trouble = trouble

    def _pieces(self, dice):
        """Of the range, none touching another."""
        part = self.blocks // DEPTH
        for number in range(DEPTH):
            size = dice.randint(1, BLOCKS_MAX)
            yield number * part + dice.randrange(part - size), size

    def _write(self, dice):
        queue, cids = self.controller.queues[0], []
        for at, size in self._pieces(dice):
            data = dice.randbytes(size * BLOCK)
            self.image[at * BLOCK : (at + size) * BLOCK] = data
            cids.append(queue.submit(nvme.lba_entry(nvme.WRITE, self.nsid, self.first + at, size), data))
        for done in queue.wait_all(cids):
            done.check()

    def _read(self, dice):
        queue, asked = self.controller.queues[0], []
        for at, size in self._pieces(dice):
            sqe = nvme.lba_entry(nvme.READ, self.nsid, self.first + at, size)
            asked.append((at, size, queue.submit(sqe, expect=size * BLOCK)))
        for (at, size, _), done in zip(asked, queue.wait_all([cid for _, _, cid in asked])):
            assert done.check().data == self.image[at * BLOCK : (at + size) * BLOCK], f"blocks at {at}"


class Writers:
    def __init__(self, connect, blocks, nsid=1):
        share = blocks // WRITERS
        self._rest = bytes((blocks - WRITERS * share) * BLOCK)
        self._all = [Writer(connect(), nsid, number * share, share) for number in range(WRITERS)]
        for one in self._all:
            one.start()

    def _trouble(self):
        return next((one.trouble for one in self._all if one.trouble), None)

    def go_on(self, rounds=3):
        """Waits until each has done some more rounds, none of which began before this call."""
        goals = [one.rounds + rounds + 1 for one in self._all]
        deadline = time.monotonic() + WAIT_SECONDS
        while any(one.rounds < goal for one, goal in zip(self._all, goals)):
            assert self._trouble() is None, repr(self._trouble())
            assert time.monotonic() < deadline, "the writers stand still"
            time.sleep(0.02)
        return True

    def rounds(self):
        return sum(one.rounds for one in self._all)

    def finish(self):
        for one in self._all:
            one.ended.set()
        for one in self._all:
            one.join(WAIT_SECONDS)
        assert self._trouble() is None, repr(self._trouble())
        assert not any(one.is_alive() for one in self._all)
        for one in self._all:
            for at in range(0, one.blocks, BLOCKS_MAX):
                size = min(BLOCKS_MAX, one.blocks - at)
                read = one.controller.read(one.nsid, one.first + at, size)
                assert read == one.image[at * BLOCK : (at + size) * BLOCK], f"blocks at {one.first + at}"
            one.controller.close()
        return b"".join(one.image for one in self._all) + self._rest
