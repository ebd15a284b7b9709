"""An NVMe controller for the tests, in a process of its own."""

from model_peer import ServedModel


class NvmeModel(ServedModel):
    """pollux-nvme-model. `address` is the traddr of its controller."""

    def __init__(self, *arguments):
        super().__init__("pollux-nvme-model", *arguments)
