# SPDX-License-Identifier: GPL-2.0
"""The VMM is killed while all controllers do DMA and memory changes; another one works."""
from testbed.scenarios.memory import PLUGGED
from testbed.scenarios.vm import Middle


def run(m: Middle) -> None:
    vm = m.running()
    m.check_nested(vm, "before")
    vm.sh("start_dma")
    for size in (PLUGGED, 0, PLUGGED):
        vm.request(size)
    vm.end(signal="KILL")
    m.clean("after kill -9")
    m.check_nested(m.running(), "a second VMM")
