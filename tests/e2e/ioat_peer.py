"""An I/OAT device for the tests, in a process of its own."""

from model_peer import ServedModel


class IoatModel(ServedModel):
    """pollux-ioat-model. `address` is what it is attached by."""

    def __init__(self, *arguments):
        super().__init__("pollux-ioat-model", *arguments)
