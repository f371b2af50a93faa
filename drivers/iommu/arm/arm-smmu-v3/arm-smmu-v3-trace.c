// SPDX-License-Identifier: GPL-2.0
/*
 * Tracepoints of the arm-smmu-v3 driver
 */

#include "arm-smmu-v3.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

#if IS_ENABLED(CONFIG_KUNIT)
EXPORT_TRACEPOINT_SYMBOL_GPL(arm_smmu_tag_get);
EXPORT_TRACEPOINT_SYMBOL_GPL(arm_smmu_tag_put);
EXPORT_TRACEPOINT_SYMBOL_GPL(arm_smmu_inv);
#endif

/**
 * arm_smmu_trace_inv() - Trace a walk of an invalidation array that has ended
 * @smmu_domain: the domain
 * @invs: the array
 * @iova: the start of the range that was invalidated
 * @size: its size in bytes, 0 for everything
 * @num_cmds: how many commands were issued, with CMD_SYNCs
 * @start: when the walk began
 *
 * Counts the entries afterwards, so that a walk costs nothing more if it is not
 * traced. Entries that were removed during the walk are not counted.
 *
 * Context: any. The RCU read lock is held since @invs was looked up.
 */
void arm_smmu_trace_inv(const struct arm_smmu_domain *smmu_domain,
			const struct arm_smmu_invs *invs, unsigned long iova,
			size_t size, unsigned int num_cmds, ktime_t start)
{
	u64 nsecs = ktime_to_ns(ktime_sub(ktime_get(), start));
	unsigned int entries = 0, smmus = 0, phases = 0;
	const struct arm_smmu_inv *last = NULL;
	size_t i, num_invs;

	/* @num_invs and @users pair with the WRITE_ONCE()s in arm_smmu_invs_unref() */
	num_invs = READ_ONCE(invs->num_invs);
	for (i = 0; i != num_invs; i++) {
		const struct arm_smmu_inv *inv = &invs->inv[i];

		if (!READ_ONCE(inv->users))
			continue;
		/* The first phase has an entry for each SMMU, its tag */
		if (arm_smmu_inv_phase(inv) == INV_PHASE_TLBI &&
		    (!last || inv->smmu != last->smmu))
			smmus++;
		if (!last || arm_smmu_inv_phase(inv) != arm_smmu_inv_phase(last))
			phases++;
		entries++;
		last = inv;
	}
	trace_arm_smmu_inv(smmu_domain, iova, size, entries, smmus, phases,
			   num_cmds, nsecs);
}
