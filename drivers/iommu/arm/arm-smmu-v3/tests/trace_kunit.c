// SPDX-License-Identifier: GPL-2.0
/* KUnit tests of the tracepoints and of the file in debugfs, on fake SMMUs */
#include <linux/seq_file.h>
#include <uapi/linux/iommufd.h>

#include "fake.h"
#include "../trace.h"

/* Two devices behind the first SMMU, one behind the second; what was traced */
struct trace_test {
	struct arm_smmu_fake_master *fms[3];
	struct iommu_domain *domain;
	struct seq_file trace;
	char buf[2][2048];
};

static void trace_test_get(void *data, const struct arm_smmu_domain *domain,
			   const struct arm_smmu_inv *tag, unsigned int users, bool is_new)
{
	seq_printf(data, "get %u/%u%s ", tag->id, users, is_new ? " new" : "");
}

static void trace_test_put(void *data, const struct arm_smmu_domain *domain,
			   const struct arm_smmu_inv *tag, unsigned int users, bool freed)
{
	seq_printf(data, "put %u/%u%s ", tag->id, users, freed ? " freed" : "");
}

static void trace_test_inv(void *data, const struct arm_smmu_domain *domain, unsigned long iova,
			   size_t size, unsigned int entries, unsigned int smmus,
			   unsigned int phases, unsigned int cmds, u64 nsecs)
{
	seq_printf(data, "inv %lx+%zx entries %u smmus %u phases %u cmds %u ",
		   iova, size, entries, smmus, phases, cmds);
}

static void trace_test_off(void *data)
{
	unregister_trace_arm_smmu_tag_get(trace_test_get, data);
	unregister_trace_arm_smmu_tag_put(trace_test_put, data);
	unregister_trace_arm_smmu_inv(trace_test_inv, data);
	tracepoint_synchronize_unregister();
}

static struct trace_test *trace_test_setup(struct kunit *test, u32 flags)
{
	struct trace_test *tt = kunit_kzalloc(test, sizeof(*tt), GFP_KERNEL);
	struct arm_smmu_fake *fake = arm_smmu_fake_create(test, 9);

	KUNIT_ASSERT_NOT_NULL(test, tt);
	tt->trace = (struct seq_file){ .buf = tt->buf[0], .size = sizeof(tt->buf[0]) };
	tt->fms[0] = arm_smmu_fake_add_pci_master(fake, (u32[]){ 1 }, 1, 0);
	tt->fms[1] = arm_smmu_fake_add_pci_master(fake, (u32[]){ 2 }, 1, 0);
	fake = arm_smmu_fake_create(test, 9);
	tt->fms[2] = arm_smmu_fake_add_pci_master(fake, (u32[]){ 3 }, 1, 0);
	tt->domain = arm_smmu_fake_alloc_domain(tt->fms[0], flags);
	KUNIT_ASSERT_EQ(test, 0,
			register_trace_arm_smmu_tag_get(trace_test_get, &tt->trace) ?:
			register_trace_arm_smmu_tag_put(trace_test_put, &tt->trace) ?:
			register_trace_arm_smmu_inv(trace_test_inv, &tt->trace));
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, trace_test_off, &tt->trace));
	return tt;
}

static void trace_test_expect(struct kunit *test, struct trace_test *tt, const char *want)
{
	tt->trace.buf[tt->trace.count] = 0;
	KUNIT_EXPECT_STREQ(test, tt->trace.buf, want);
	tt->trace.count = 0;
}

/* The file of the SMMU has @want as a line or part of one, or has not */
static void trace_test_file(struct kunit *test, struct trace_test *tt, unsigned int smmu,
			    const char *want, bool has)
{
#ifdef CONFIG_IOMMU_DEBUGFS
	struct seq_file file = { .buf = tt->buf[1], .size = sizeof(tt->buf[1]) };

	file.private = &tt->fms[2 * smmu]->fake->smmu;
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_debugfs_show(&file, NULL));
	file.buf[file.count] = 0;
	KUNIT_EXPECT_EQ_MSG(test, has, !!strstr(file.buf, want), "%s in %s", want, file.buf);
#endif
}

static void trace_test_tags(struct kunit *test)
{
	struct trace_test *tt = trace_test_setup(test, 0);
	struct arm_smmu_device *smmu;
	struct arm_smmu_inv *inv;
	unsigned int i;

	for (i = 0; i < 3; i++)
		KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(tt->fms[i], tt->domain));
	trace_test_expect(test, tt, "get 1/1 new get 1/2 get 1/1 new ");
	trace_test_file(test, tt, 0, "users 1\ndomain", false);
	trace_test_file(test, tt, 1, "ATS sid 0x3 ssid 0 users 1\n", true);

	/* One command by one of 100 on each SMMU, then ATC_INVs */
	arm_smmu_domain_inv_range(to_smmu_domain(tt->domain), SZ_1G, 100 * SZ_4K, SZ_4K, true);
	trace_test_expect(test, tt, "inv 40000000+64000 entries 5 smmus 2 phases 2 cmds 207 ");

	/* Trash, as when there is no memory for a purge */
	smmu = &tt->fms[2]->fake->smmu;
	inv = arm_smmu_invs_find(arm_smmu_fake_invs(tt->domain), smmu, INV_TYPE_S1_ASID);
	inv->users = 0;
	tt->domain->ops->flush_iotlb_all(tt->domain);
	trace_test_expect(test, tt, "inv 0+0 entries 4 smmus 1 phases 2 cmds 7 ");
	trace_test_file(test, tt, 0, "smmu - type S1_ASID id 1 users 0 trash", true);
	trace_test_file(test, tt, 1, "asid 1 unowned", true);
	inv->users = 1;

	/* The first SMMU does not answer, so its ASID is dirty */
	arm_smmu_fake_stop(tt->fms[0]->fake, 0);
	for (i = 0; i < 3; i++)
		KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_block(tt->fms[i]));
	arm_smmu_fake_start(tt->fms[0]->fake);
	trace_test_expect(test, tt, "put 1/1 put 1/0 put 1/0 freed ");
	trace_test_file(test, tt, 0, "asid 1 dirty", true);
}

static void trace_test_vsmmu(struct kunit *test)
{
#if IS_ENABLED(CONFIG_ARM_SMMU_V3_IOMMUFD)
	struct trace_test *tt = trace_test_setup(test, IOMMU_HWPT_ALLOC_NEST_PARENT);
	struct arm_vsmmu *vsmmu = arm_smmu_fake_alloc_vsmmu(tt->fms[0]->fake, tt->domain);

	trace_test_expect(test, tt, "get 1/0 new ");
	trace_test_file(test, tt, 0, "vmid 1 vsmmu", true);
	trace_test_file(test, tt, 0, "unowned", false);
	kunit_release_action(test, arm_smmu_fake_vsmmu_destroy, vsmmu);
	trace_test_expect(test, tt, "put 1/0 freed ");
	trace_test_file(test, tt, 0, "vmid 1", false);
#endif
}

static struct kunit_case trace_test_cases[] = {
	KUNIT_CASE(trace_test_tags),
	KUNIT_CASE(trace_test_vsmmu),
	{}
};

static struct kunit_suite trace_test_suite = {
	.name = "arm-smmu-v3-trace",
	.suite_init = arm_smmu_fake_suite_init,
	.suite_exit = arm_smmu_fake_suite_exit,
	.test_cases = trace_test_cases,
};

kunit_test_suite(trace_test_suite);
