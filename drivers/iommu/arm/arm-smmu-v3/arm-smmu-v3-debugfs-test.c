// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the text of the file in debugfs, on fake SMMUs
 */
#include <linux/iommu.h>
#include <linux/kthread.h>
#include <linux/seq_file.h>
#include <uapi/linux/iommufd.h>

#include "arm-smmu-v3-fake.h"

#define TEST_PASID	3
#define TEST_SIZE	SZ_4K

/* Two devices behind the first SMMU, one behind the second */
struct debugfs_test {
	struct arm_smmu_fake *fakes[2];
	struct arm_smmu_fake_master *fms[3];
	struct seq_file got;
	struct seq_file want;
	int lost;
};

KUNIT_DEFINE_ACTION_WRAPPER(sva_unbind_wrapper, iommu_sva_unbind_device,
			    struct iommu_sva *);

static void debugfs_test_alloc_text(struct kunit *test, struct seq_file *m)
{
	m->size = TEST_SIZE;
	m->buf = kunit_kzalloc(test, m->size, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, m->buf);
}

static struct debugfs_test *debugfs_test_setup(struct kunit *test, u32 features,
					       bool pci)
{
	struct debugfs_test *dt;
	unsigned int i;

	dt = kunit_kzalloc(test, sizeof(*dt), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, dt);
	debugfs_test_alloc_text(test, &dt->got);
	debugfs_test_alloc_text(test, &dt->want);

	for (i = 0; i < ARRAY_SIZE(dt->fakes); i++) {
		dt->fakes[i] = arm_smmu_fake_create(test, 8);
		dt->fakes[i]->smmu.features |= features;
	}
	for (i = 0; i < ARRAY_SIZE(dt->fms); i++) {
		struct arm_smmu_fake *fake = dt->fakes[i / 2];

		if (pci)
			dt->fms[i] = arm_smmu_fake_add_pci_master(fake,
								  (u32[]){ i + 1 },
								  1, 4);
		else
			dt->fms[i] = arm_smmu_fake_add_master(fake, i + 1, 4);
	}
	return dt;
}

static void debugfs_test_attach(struct kunit *test,
				struct arm_smmu_fake_master *fm,
				struct iommu_domain *domain)
{
	arm_smmu_fake_drop_cmds(fm->fake);
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(fm, domain));
}

static void debugfs_test_set_pasid(struct kunit *test,
				   struct arm_smmu_fake_master *fm,
				   struct iommu_domain *domain,
				   struct iommu_domain *old)
{
	arm_smmu_fake_drop_cmds(fm->fake);
	KUNIT_ASSERT_EQ(test, 0,
			arm_smmu_fake_set_pasid(fm, domain, TEST_PASID, old));
}

static void debugfs_test_block(struct kunit *test,
			       struct arm_smmu_fake_master *fm)
{
	debugfs_test_attach(test, fm, arm_smmu_ops.blocked_domain);
}

#define want(dt, fmt, ...) seq_printf(&(dt)->want, fmt "\n", ##__VA_ARGS__)

static void debugfs_test_want_smmu(struct debugfs_test *dt, unsigned int smmu)
{
	want(dt, "smmu %s", dev_name(dt->fakes[smmu]->smmu.dev));
}

/* The lines of an array come in the order in which the SMMUs are in memory */
static unsigned int debugfs_test_nth(struct debugfs_test *dt, unsigned int n)
{
	return dt->fakes[0] < dt->fakes[1] ? n : !n;
}

static void debugfs_test_want_entry(struct debugfs_test *dt, unsigned int smmu,
				    const char *phase, const char *type,
				    u32 id, int users)
{
	want(dt, "\tentry phase %s smmu %s type %s id %u users %d", phase,
	     dev_name(dt->fakes[smmu]->smmu.dev), type, id, users);
}

static void debugfs_test_want_ats(struct debugfs_test *dt, unsigned int smmu,
				  const char *type, u32 sid, u32 ssid)
{
	want(dt, "\tentry phase ATC smmu %s type %s sid 0x%x ssid %u users 1",
	     dev_name(dt->fakes[smmu]->smmu.dev), type, sid, ssid);
}

/* The file of the SMMU is what was wanted since the last time, to the letter */
static void debugfs_test_expect(struct kunit *test, struct debugfs_test *dt,
				unsigned int smmu)
{
	struct seq_file *got = &dt->got, *want = &dt->want;

	got->private = &dt->fakes[smmu]->smmu;
	got->count = 0;
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_debugfs_show(got, NULL));
	KUNIT_ASSERT_FALSE(test, seq_has_overflowed(got));
	KUNIT_ASSERT_FALSE(test, seq_has_overflowed(want));
	got->buf[got->count] = 0;
	want->buf[want->count] = 0;
	KUNIT_EXPECT_STREQ(test, got->buf, want->buf);
	want->count = 0;
}

static void debugfs_test_expect_nothing(struct kunit *test,
					struct debugfs_test *dt)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(dt->fakes); i++) {
		debugfs_test_want_smmu(dt, i);
		debugfs_test_expect(test, dt, i);
	}
}

/* Two domains and two SMMUs; both files have the whole array that they share */
static void debugfs_test_domains(struct kunit *test)
{
	struct arm_smmu_domain *s1_domain, *s2_domain;
	struct iommu_domain *s1, *s2;
	struct debugfs_test *dt;
	unsigned int i, j;

	dt = debugfs_test_setup(test, 0, false);
	debugfs_test_expect_nothing(test, dt);
	s1 = arm_smmu_fake_alloc_domain(dt->fms[0], 0);
	s1_domain = to_smmu_domain(s1);
	s2 = arm_smmu_fake_alloc_domain(dt->fms[0],
					IOMMU_HWPT_ALLOC_NEST_PARENT);
	s2_domain = to_smmu_domain(s2);
	debugfs_test_expect_nothing(test, dt);

	debugfs_test_attach(test, dt->fms[0], s1);
	debugfs_test_set_pasid(test, dt->fms[0], s1, NULL);
	debugfs_test_attach(test, dt->fms[2], s1);
	debugfs_test_attach(test, dt->fms[1], s2);

	debugfs_test_want_smmu(dt, 0);
	want(dt, "asid 1 domain %p users 2", s1_domain);
	want(dt, "vmid 1 domain %p users 1", s2_domain);
	want(dt, "domain %p stage S1", s1_domain);
	for (j = 0; j < 2; j++) {
		i = debugfs_test_nth(dt, j);
		debugfs_test_want_entry(dt, i, "TLBI", "S1_ASID", 1, i ? 1 : 2);
	}
	want(dt, "domain %p stage S2", s2_domain);
	debugfs_test_want_entry(dt, 0, "TLBI", "S2_VMID", 1, 1);
	debugfs_test_expect(test, dt, 0);

	debugfs_test_want_smmu(dt, 1);
	want(dt, "asid 1 domain %p users 1", s1_domain);
	want(dt, "domain %p stage S1", s1_domain);
	for (j = 0; j < 2; j++) {
		i = debugfs_test_nth(dt, j);
		debugfs_test_want_entry(dt, i, "TLBI", "S1_ASID", 1, i ? 1 : 2);
	}
	debugfs_test_expect(test, dt, 1);

	/* One attachment of two, then the last of one SMMU */
	debugfs_test_set_pasid(test, dt->fms[0], arm_smmu_ops.blocked_domain,
			       s1);
	debugfs_test_block(test, dt->fms[2]);
	debugfs_test_block(test, dt->fms[1]);
	debugfs_test_want_smmu(dt, 0);
	want(dt, "asid 1 domain %p users 1", s1_domain);
	want(dt, "domain %p stage S1", s1_domain);
	debugfs_test_want_entry(dt, 0, "TLBI", "S1_ASID", 1, 1);
	debugfs_test_expect(test, dt, 0);
	debugfs_test_want_smmu(dt, 1);
	debugfs_test_expect(test, dt, 1);

	debugfs_test_block(test, dt->fms[0]);
	debugfs_test_expect_nothing(test, dt);
}

/* Trash names an SMMU that may be gone, unless it is the one that is asked */
static void debugfs_test_trash(struct kunit *test)
{
	struct iommu_domain *domain;
	struct debugfs_test *dt;
	struct arm_smmu_inv *inv;
	unsigned int i, j;

	dt = debugfs_test_setup(test, 0, false);
	domain = arm_smmu_fake_alloc_domain(dt->fms[0], 0);
	debugfs_test_attach(test, dt->fms[0], domain);
	debugfs_test_attach(test, dt->fms[2], domain);

	/* As when arm_smmu_invs_purge() finds no memory */
	inv = arm_smmu_invs_find(arm_smmu_fake_invs(domain),
				 &dt->fakes[1]->smmu, INV_TYPE_S1_ASID);
	KUNIT_ASSERT_NOT_NULL(test, inv);
	inv->users = 0;

	debugfs_test_want_smmu(dt, 0);
	want(dt, "asid 1 domain %p users 1", to_smmu_domain(domain));
	want(dt, "domain %p stage S1", to_smmu_domain(domain));
	for (j = 0; j < 2; j++) {
		i = debugfs_test_nth(dt, j);
		if (i)
			want(dt, "\tentry phase TLBI smmu - type S1_ASID id 1 users 0 trash");
		else
			debugfs_test_want_entry(dt, 0, "TLBI", "S1_ASID", 1, 1);
	}
	debugfs_test_expect(test, dt, 0);

	/* Its id is nobody's */
	debugfs_test_want_smmu(dt, 1);
	want(dt, "asid 1 lost");
	want(dt, "domain %p stage S1", to_smmu_domain(domain));
	for (j = 0; j < 2; j++) {
		i = debugfs_test_nth(dt, j);
		if (i)
			want(dt, "\tentry phase TLBI smmu %s type S1_ASID id 1 users 0 trash",
			     dev_name(dt->fakes[1]->smmu.dev));
		else
			debugfs_test_want_entry(dt, 0, "TLBI", "S1_ASID", 1, 1);
	}
	debugfs_test_expect(test, dt, 1);
	inv->users = 1;
}

/* Ids that nobody has, as their flush timed out */
static void debugfs_test_lost(struct kunit *test)
{
	struct iommu_domain *s1, *s2;
	struct debugfs_test *dt;

	dt = debugfs_test_setup(test, 0, false);
	s1 = arm_smmu_fake_alloc_domain(dt->fms[0], 0);
	s2 = arm_smmu_fake_alloc_domain(dt->fms[0],
					IOMMU_HWPT_ALLOC_NEST_PARENT);
	debugfs_test_attach(test, dt->fms[0], s1);
	debugfs_test_attach(test, dt->fms[1], s2);
	arm_smmu_fake_stop(dt->fakes[0], 0);
	debugfs_test_block(test, dt->fms[0]);
	debugfs_test_block(test, dt->fms[1]);
	arm_smmu_fake_start(dt->fakes[0]);

	debugfs_test_want_smmu(dt, 0);
	want(dt, "asid 1 lost");
	want(dt, "vmid 1 lost");
	debugfs_test_expect(test, dt, 0);
	debugfs_test_want_smmu(dt, 1);
	debugfs_test_expect(test, dt, 1);

	debugfs_test_attach(test, dt->fms[0], s1);
	debugfs_test_want_smmu(dt, 0);
	want(dt, "asid 2 domain %p users 1", to_smmu_domain(s1));
	want(dt, "asid 1 lost");
	want(dt, "vmid 1 lost");
	want(dt, "domain %p stage S1", to_smmu_domain(s1));
	debugfs_test_want_entry(dt, 0, "TLBI", "S1_ASID", 2, 1);
	debugfs_test_expect(test, dt, 0);
	ida_free(&dt->fakes[0]->smmu.asid_map, 1);
	ida_free(&dt->fakes[0]->smmu.vmid_map, 1);
}

/* Two vSMMUs on one SMMU, and a device that is attached to their parent */
static void debugfs_test_vsmmu(struct kunit *test)
{
	struct iommu_domain *parent, *nested;
	struct arm_vsmmu *vsmmus[2];
	struct debugfs_test *dt;
	unsigned int i;

	if (!IS_ENABLED(CONFIG_ARM_SMMU_V3_IOMMUFD))
		kunit_skip(test, "needs CONFIG_ARM_SMMU_V3_IOMMUFD");

	dt = debugfs_test_setup(test, 0, true);
	parent = arm_smmu_fake_alloc_domain(dt->fms[0],
					    IOMMU_HWPT_ALLOC_NEST_PARENT);
	for (i = 0; i < ARRAY_SIZE(vsmmus); i++)
		vsmmus[i] = arm_smmu_fake_alloc_vsmmu(dt->fakes[0], parent);
	debugfs_test_want_smmu(dt, 0);
	for (i = 0; i < ARRAY_SIZE(vsmmus); i++)
		want(dt, "vmid %u vsmmu %p domain %p users 0", i + 1,
		     vsmmus[i], to_smmu_domain(parent));
	debugfs_test_expect(test, dt, 0);

	nested = arm_smmu_fake_alloc_nested(dt->fms[0], vsmmus[1],
					    STRTAB_STE_0_CFG_BYPASS,
					    STRTAB_STE_1_EATS_TRANS);
	debugfs_test_attach(test, dt->fms[0], nested);
	debugfs_test_attach(test, dt->fms[1], parent);
	debugfs_test_want_smmu(dt, 0);
	want(dt, "vmid 3 domain %p users 1", to_smmu_domain(parent));
	want(dt, "vmid 1 vsmmu %p domain %p users 0", vsmmus[0],
	     to_smmu_domain(parent));
	want(dt, "vmid 2 vsmmu %p domain %p users 1", vsmmus[1],
	     to_smmu_domain(parent));
	want(dt, "domain %p stage S2", to_smmu_domain(parent));
	debugfs_test_want_entry(dt, 0, "TLBI", "S2_VMID", 3, 1);
	debugfs_test_want_entry(dt, 0, "TLBI", "S2_VMID_VSMMU", 2, 1);
	debugfs_test_want_entry(dt, 0, "S1_CLEAR", "S2_VMID_S1_CLEAR", 2, 1);
	debugfs_test_want_ats(dt, 0, "ATS", 2, 0);
	debugfs_test_want_ats(dt, 0, "ATS_FULL", 1, 0);
	debugfs_test_expect(test, dt, 0);
	debugfs_test_want_smmu(dt, 1);
	debugfs_test_expect(test, dt, 1);

	debugfs_test_block(test, dt->fms[0]);
	debugfs_test_block(test, dt->fms[1]);
	kunit_release_action(test, arm_smmu_fake_vsmmu_destroy, vsmmus[0]);
	debugfs_test_want_smmu(dt, 0);
	want(dt, "vmid 2 vsmmu %p domain %p users 0", vsmmus[1],
	     to_smmu_domain(parent));
	debugfs_test_expect(test, dt, 0);
	kunit_release_action(test, arm_smmu_fake_vsmmu_destroy, vsmmus[1]);
	debugfs_test_expect_nothing(test, dt);
}

/* A process, whose devices are named with their PASIDs */
static void debugfs_test_sva(struct kunit *test)
{
	struct arm_smmu_domain *smmu_domain;
	struct debugfs_test *dt;
	struct iommu_sva *sva;
	u32 pasid;

	KUNIT_ASSERT_EQ(test, 0, kunit_attach_mm());
	dt = debugfs_test_setup(test, ARM_SMMU_FEAT_SVA, true);
	sva = iommu_sva_bind_device(dt->fms[2]->dev, current->mm);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, sva);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, sva_unbind_wrapper,
						  sva));
	smmu_domain = to_smmu_domain(sva->handle.domain);
	pasid = iommu_sva_get_pasid(sva);

	debugfs_test_want_smmu(dt, 1);
	want(dt, "asid 1 domain %p users 1", smmu_domain);
	want(dt, "domain %p stage SVA", smmu_domain);
	debugfs_test_want_entry(dt, 1, "TLBI", "S1_ASID", 1, 1);
	debugfs_test_want_ats(dt, 1, "ATS", 3, pasid);
	debugfs_test_expect(test, dt, 1);

	kunit_release_action(test, sva_unbind_wrapper, sva);
	debugfs_test_expect_nothing(test, dt);
}

static int debugfs_test_read(void *data)
{
	struct debugfs_test *dt = data;

	while (!kthread_should_stop()) {
		dt->got.private = &dt->fakes[0]->smmu;
		dt->got.count = 0;
		if (arm_smmu_debugfs_show(&dt->got, NULL) ||
		    seq_has_overflowed(&dt->got)) {
			dt->lost = -EINVAL;
			break;
		}
		dt->got.buf[dt->got.count] = 0;
		dt->lost += !!strstr(dt->got.buf, "lost");
		cond_resched();
	}
	return 0;
}

/* Whoever reads meanwhile never finds an id that nobody has */
static void debugfs_test_race(struct kunit *test)
{
	struct iommu_domain *domain;
	struct task_struct *task;
	struct debugfs_test *dt;
	unsigned int i;

	dt = debugfs_test_setup(test, 0, false);
	domain = arm_smmu_fake_alloc_domain(dt->fms[0],
					    IOMMU_HWPT_ALLOC_NEST_PARENT);
	if (arm_smmu_fake_set_time(dt->fakes[0], 200))
		kunit_skip(test, "needs two CPUs");
	task = arm_smmu_fake_run_task(test, debugfs_test_read, dt);
	for (i = 0; i < 20; i++) {
		KUNIT_EXPECT_EQ(test, 0,
				arm_smmu_fake_attach(dt->fms[0], domain));
		KUNIT_EXPECT_EQ(test, 0,
				arm_smmu_fake_attach(dt->fms[0],
						     arm_smmu_ops.blocked_domain));
		if (IS_ENABLED(CONFIG_ARM_SMMU_V3_IOMMUFD)) {
			struct arm_vsmmu vsmmu = {};

			if (!arm_smmu_fake_vsmmu_init(&vsmmu, dt->fakes[0],
						      domain))
				arm_smmu_fake_vsmmu_destroy(&vsmmu);
			else
				KUNIT_FAIL(test, "no vSMMU");
		}
		arm_smmu_fake_drop_cmds(dt->fakes[0]);
	}
	arm_smmu_fake_stop_task(test, task);
	KUNIT_EXPECT_EQ(test, 0, dt->lost);
}

static struct kunit_case arm_smmu_v3_debugfs_test_cases[] = {
	KUNIT_CASE(debugfs_test_domains),
	KUNIT_CASE(debugfs_test_trash),
	KUNIT_CASE_SLOW(debugfs_test_lost),
	KUNIT_CASE(debugfs_test_vsmmu),
	KUNIT_CASE(debugfs_test_sva),
	KUNIT_CASE(debugfs_test_race),
	{}
};

static struct kunit_suite arm_smmu_v3_debugfs_test_suite = {
	.name = "arm-smmu-v3-debugfs",
	.test_cases = arm_smmu_v3_debugfs_test_cases,
};

kunit_test_suites(&arm_smmu_v3_debugfs_test_suite);
