# SPDX-License-Identifier: GPL-2.0
"""The guest is reset in the middle of its DMA and comes back."""
from testbed.machine.smmu import STAGE2
from testbed.scenarios.vm import Middle


def run(m: Middle) -> None:
    vm = m.running()
    vm.sh("start_dma")
    before = m.stes()
    vm.answer("stop")
    vm.answer("system_reset")
    m.wait("the reset", lambda: m.configs() == [[STAGE2]] * m.smmus)
    at_reset = m.stes()
    m.expect("in a reset every STE bypasses stage 1, on the same stage-2 table and VMID",
             all((at_reset[bdf].s2ttb, at_reset[bdf].vmid) == (ste.s2ttb, ste.vmid)
                 for bdf, ste in before.items()), at_reset)
    boots = vm.lines("job.log").count("##ready")
    vm.answer("cont")
    vm.come_up(boots + 1)
    m.check_nested(vm, "after the reset")
