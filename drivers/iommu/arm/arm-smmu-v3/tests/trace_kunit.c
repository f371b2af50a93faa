// SPDX-License-Identifier: GPL-2.0
/* KUnit tests of the tracepoints and of the file in debugfs, on fake SMMUs */
#include <linux/seq_file.h>
#include <uapi/linux/iommufd.h>

#include "fake.h"
#include "../trace.h"

/* Two devices behind the first SMMU, one behind the second. @traced has the events. */
struct trace {
	struct kunit *test;
	struct arm_smmu_fake_master *fms[3];
	struct seq_file traced;
	char buf[2][2048];
};

static void tag_get(void *data, const struct arm_smmu_domain *domain,
		    const struct arm_smmu_inv *tag, unsigned int users, bool is_new)
{
	seq_printf(data, "get %u/%u%s ", tag->id, users, is_new ? " new" : "");
}

static void tag_put(void *data, const struct arm_smmu_domain *domain,
		    const struct arm_smmu_inv *tag, unsigned int users, bool freed)
{
	seq_printf(data, "put %u/%u%s ", tag->id, users, freed ? " freed" : "");
}

static void inval(void *data, const struct arm_smmu_domain *domain, unsigned long iova,
		  size_t size, unsigned int entries, unsigned int smmus, unsigned int phases,
		  unsigned int cmds, u64 nsecs)
{
	seq_printf(data, "inv %lx+%zx entries %u smmus %u phases %u cmds %u ",
		   iova, size, entries, smmus, phases, cmds);
}

static void trace_off(void *data)
{
	unregister_trace_arm_smmu_tag_get(tag_get, data);
	unregister_trace_arm_smmu_tag_put(tag_put, data);
	unregister_trace_arm_smmu_inv(inval, data);
	tracepoint_synchronize_unregister();
}

static struct trace *setup(struct kunit *test)
{
	struct trace *t = arm_smmu_fake_zalloc(test, sizeof(*t));
	struct arm_smmu_fake *fake = NULL;
	u32 sid;

	t->test = test;
	t->traced = (struct seq_file){ .buf = t->buf[0], .size = sizeof(t->buf[0]) };
	for (sid = 0; sid < 3; sid++) {
		if (sid != 1)
			fake = arm_smmu_fake_create(test, 9);
		t->fms[sid] = arm_smmu_fake_add_pci_master(fake, &sid, 1, 0);
	}
	KUNIT_ASSERT_EQ(test, 0, register_trace_arm_smmu_tag_get(tag_get, &t->traced) ?:
				 register_trace_arm_smmu_tag_put(tag_put, &t->traced) ?:
				 register_trace_arm_smmu_inv(inval, &t->traced));
	arm_smmu_fake_add_action(test, trace_off, &t->traced);
	return t;
}

static void expect(struct trace *t, const char *want)
{
	t->traced.buf[t->traced.count] = 0;
	KUNIT_EXPECT_STREQ(t->test, t->traced.buf, want);
	t->traced.count = 0;
}

/* Check that the debugfs file of the SMMU contains @want, or that it does not */
static void expect_file(struct trace *t, unsigned int smmu, const char *want, bool has)
{
#ifdef CONFIG_IOMMU_DEBUGFS
	struct seq_file file = { .buf = t->buf[1], .size = sizeof(t->buf[1]) };

	file.private = &t->fms[2 * smmu]->fake->smmu;
	KUNIT_ASSERT_EQ(t->test, 0, arm_smmu_debugfs_show(&file, NULL));
	file.buf[file.count] = 0;
	KUNIT_EXPECT_EQ_MSG(t->test, has, !!strstr(file.buf, want), "%s in %s", want, file.buf);
#endif
}

static void trace_test_tags(struct kunit *test)
{
	struct trace *t = setup(test);
	struct iommu_domain *domain = arm_smmu_fake_alloc_domain(t->fms[0], 0);
	struct arm_smmu_inv *trash;
	struct arm_vsmmu *vsmmu;
	unsigned int i;

	for (i = 0; i < 3; i++)
		KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(t->fms[i], domain));
	expect(t, "get 1/1 new get 1/2 get 1/1 new ");
	expect_file(t, 0, "users 1\ndomain", false);
	expect_file(t, 1, "ATS sid 0x2 ssid 0 users 1\n", true);

	/* 100 TLBIs on each SMMU, then ATC_INVs */
	arm_smmu_domain_inv_range(to_smmu_domain(domain), SZ_1G, 100 * SZ_4K, SZ_4K, true);
	expect(t, "inv 40000000+64000 entries 5 smmus 2 phases 2 cmds 207 ");

	/* Leave an entry without users, as if there were no memory for a purge */
	trash = arm_smmu_invs_find(arm_smmu_fake_invs(domain), &t->fms[2]->fake->smmu,
				   INV_TYPE_S1_ASID);
	trash->users = 0;
	domain->ops->flush_iotlb_all(domain);
	expect(t, "inv 0+0 entries 4 smmus 1 phases 2 cmds 7 ");
	expect_file(t, 0, "smmu - type S1_ASID id 1 users 0 trash", true);
	expect_file(t, 1, "asid 1 unowned", true);
	trash->users = 1;

	/* The flush of the ASID times out on the first SMMU, so the ASID is dirty */
	arm_smmu_fake_stop(t->fms[0]->fake, 0);
	for (i = 0; i < 3; i++)
		KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_block(t->fms[i]));
	arm_smmu_fake_start(t->fms[0]->fake);
	expect(t, "put 1/1 put 1/0 put 1/0 freed ");
	expect_file(t, 0, "asid 1 dirty", true);

	if (!IS_ENABLED(CONFIG_ARM_SMMU_V3_IOMMUFD))
		return;
	domain = arm_smmu_fake_alloc_domain(t->fms[0], IOMMU_HWPT_ALLOC_NEST_PARENT);
	vsmmu = arm_smmu_fake_alloc_vsmmu(t->fms[0]->fake, domain);
	expect(t, "get 1/0 new ");
	expect_file(t, 0, "vmid 1 vsmmu", true);
	expect_file(t, 0, "unowned", false);
	kunit_release_action(test, arm_smmu_fake_vsmmu_destroy, vsmmu);
	expect(t, "put 1/0 freed ");
	expect_file(t, 0, "vmid 1", false);
}

static struct kunit_case trace_test_cases[] = {
	KUNIT_CASE(trace_test_tags),
	{}
};

static struct kunit_suite trace_test_suite = {
	.name = "arm-smmu-v3-trace",
	.suite_exit = arm_smmu_fake_suite_exit,
	.test_cases = trace_test_cases,
};

kunit_test_suite(trace_test_suite);
