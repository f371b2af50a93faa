/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What tests/bench_kunit.c of the series needs in place of its fake.h, where the fake
 * SMMU is the one of the patch "Measure invalidation and attaching with KUnit".
 * scripts/kernel puts both files into that tree for the flavour fake-bench, so the
 * base and the series are measured by the same code.
 */
#include "arm-smmu-v3-fake.h"

static inline struct iommu_domain *
arm_smmu_fake_blocked(struct arm_smmu_fake_master *fm)
{
	return arm_smmu_ops.blocked_domain;
}

/* That driver has no hooks */
#undef kunit_deactivate_static_stub
#define kunit_deactivate_static_stub(test, function)	do { } while (0)
