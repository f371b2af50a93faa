// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of attaching domains, on a fake SMMU
 */
#include <linux/mman.h>
#include <linux/sched/mm.h>
#include <linux/uaccess.h>
#include <uapi/linux/iommufd.h>

#include "arm-smmu-v3-fake.h"

#define TEST_PASID	3
#define TEST_VMID	0x1234

struct attach_test {
	struct arm_smmu_fake *fake;
	struct arm_smmu_fake_master *fm;
	struct iommu_domain *s1;
	struct iommu_domain *s1_other;
	struct iommu_domain *s2;
	struct iommu_domain *pasid_domain;
};

static int attach_test_init(struct kunit *test)
{
	struct attach_test *at;

	at = kunit_kzalloc(test, sizeof(*at), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, at);
	test->priv = at;

	at->fake = arm_smmu_fake_create(test, 8);
	at->fm = arm_smmu_fake_add_master(at->fake, 1, 4);
	at->s1 = arm_smmu_fake_alloc_domain(at->fm, 0);
	at->s1_other = arm_smmu_fake_alloc_domain(at->fm, 0);
	at->s2 = arm_smmu_fake_alloc_domain(at->fm,
					    IOMMU_HWPT_ALLOC_NEST_PARENT);

	/* From now on there is a CD table, which stays with the device */
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(at->fm, at->s1));
	arm_smmu_fake_drop_cmds(at->fake);
	return 0;
}

static struct arm_smmu_invs *attach_test_invs(struct iommu_domain *domain)
{
	/* Nobody attaches but the test itself */
	return rcu_dereference_protected(to_smmu_domain(domain)->invs, true);
}

/* How many live entries the domain's array has */
static unsigned int attach_test_num_live(struct iommu_domain *domain)
{
	struct arm_smmu_invs *invs = attach_test_invs(domain);
	unsigned int num = 0;
	size_t i;

	for (i = 0; i < invs->num_invs; i++)
		if (invs->inv[i].users)
			num++;
	return num;
}

/* The only tag that the domain has */
static u32 attach_test_tag(struct kunit *test, struct iommu_domain *domain)
{
	struct arm_smmu_invs *invs = attach_test_invs(domain);

	KUNIT_ASSERT_EQ(test, invs->num_invs, 1);
	return invs->inv[0].id;
}

static bool attach_test_cd_valid(struct attach_test *at, ioasid_t pasid)
{
	/* With so few bits of PASID the table is linear */
	struct arm_smmu_cd *cd = &at->fm->master->cd_table.linear.table[pasid];

	return cd->data[0] & cpu_to_le64(CTXDESC_CD_0_V);
}

/*
 * Let each allocation of an attach fail in turn until the attach succeeds. Up
 * to there it must have changed nothing and given back all it took.
 */
static void attach_test_fail_nth(struct kunit *test,
				 struct iommu_domain *domain, ioasid_t pasid)
{
	struct arm_smmu_domain *smmu_domain = to_smmu_domain(domain);
	struct attach_test *at = test->priv;
	struct arm_smmu_invs *old_invs = attach_test_invs(at->s1);
	struct arm_smmu_invs *new_invs = attach_test_invs(domain);
	struct arm_smmu_cmd cmd;
	unsigned int nth;
	int ret, balance;
	bool failed;

	for (nth = 1;; nth++) {
		if (arm_smmu_fake_slab_start(test, nth))
			kunit_skip(test,
				   "needs CONFIG_KPROBES and CONFIG_FAILSLAB");
		if (pasid == IOMMU_NO_PASID)
			ret = arm_smmu_fake_attach(at->fm, domain);
		else
			ret = arm_smmu_fake_set_pasid(at->fm, domain, pasid,
						      NULL);
		failed = arm_smmu_fake_slab_stop(test, &balance);
		if (!failed)
			break;

		KUNIT_ASSERT_EQ_MSG(test, ret, -ENOMEM, "allocation %u", nth);
		KUNIT_EXPECT_EQ_MSG(test, balance, 0, "allocation %u", nth);
		KUNIT_EXPECT_PTR_EQ(test, attach_test_invs(at->s1), old_invs);
		KUNIT_EXPECT_EQ(test, attach_test_num_live(at->s1), 1);
		KUNIT_EXPECT_PTR_EQ(test, attach_test_invs(domain), new_invs);
		KUNIT_EXPECT_TRUE(test, list_empty(&smmu_domain->devices));
		KUNIT_EXPECT_FALSE(test,
				   arm_smmu_fake_next_cmd(at->fake, &cmd));
	}

	KUNIT_EXPECT_EQ(test, ret, 0);
	/* The array and the arm_smmu_master_domain */
	KUNIT_EXPECT_EQ(test, nth, 3);
	KUNIT_EXPECT_FALSE(test, list_empty(&smmu_domain->devices));
}

static void attach_test_no_memory_s1(struct kunit *test)
{
	struct attach_test *at = test->priv;

	attach_test_fail_nth(test, at->s1_other, IOMMU_NO_PASID);
	KUNIT_EXPECT_EQ(test, attach_test_num_live(at->s1_other), 1);
	KUNIT_EXPECT_EQ(test, attach_test_num_live(at->s1), 0);
}

static void attach_test_no_memory_s2(struct kunit *test)
{
	struct attach_test *at = test->priv;

	attach_test_fail_nth(test, at->s2, IOMMU_NO_PASID);
	KUNIT_EXPECT_EQ(test, attach_test_num_live(at->s2), 1);
	KUNIT_EXPECT_EQ(test, attach_test_num_live(at->s1), 0);
}

static void attach_test_no_memory_pasid(struct kunit *test)
{
	struct attach_test *at = test->priv;

	attach_test_fail_nth(test, at->s1_other, TEST_PASID);
	KUNIT_EXPECT_EQ(test, attach_test_num_live(at->s1_other), 1);
	KUNIT_EXPECT_EQ(test, attach_test_num_live(at->s1), 1);

	KUNIT_EXPECT_EQ(test, 0,
			arm_smmu_fake_set_pasid(at->fm,
						arm_smmu_ops.blocked_domain,
						TEST_PASID, at->s1_other));
	KUNIT_EXPECT_EQ(test, attach_test_num_live(at->s1_other), 0);
}

/*
 * A device that has never used stage 1 without a PASID, and a PASID that is not
 * in the first of the tables of a two-level CD table: there is no CD[0].
 */
static void attach_test_no_cd0(struct kunit *test)
{
	struct attach_test *at = test->priv;
	struct arm_smmu_device *smmu = &at->fake->smmu;
	struct arm_smmu_fake_master *fm;

	smmu->features |= ARM_SMMU_FEAT_2_LVL_CDTAB;
	smmu->ssid_bits = ilog2(CTXDESC_L2_ENTRIES) + 1;
	/* If the default domain is one of stage 1 it brings a CD[0] */
	smmu->features &= ~ARM_SMMU_FEAT_TRANS_S1;
	fm = arm_smmu_fake_add_master(at->fake, 2, smmu->ssid_bits);
	smmu->features |= ARM_SMMU_FEAT_TRANS_S1;

	KUNIT_ASSERT_EQ(test, 0,
			arm_smmu_fake_set_pasid(fm, at->s1_other,
						CTXDESC_L2_ENTRIES, NULL));
	KUNIT_ASSERT_NULL(test, fm->master->cd_table.l2.l2ptrs[0]);
	kunit_warning_suppress(test) {
		KUNIT_EXPECT_EQ(test, 0,
				arm_smmu_fake_attach(fm,
						     arm_smmu_ops.identity_domain));
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 0);
	}
	KUNIT_EXPECT_EQ(test, 0,
			arm_smmu_fake_set_pasid(fm, arm_smmu_ops.blocked_domain,
						CTXDESC_L2_ENTRIES,
						at->s1_other));
}

/*
 * An old domain of which the array has lost the device is a bug of the driver.
 * It must warn and leave that array alone, and the attach must go on: it may be
 * one that is not allowed to fail. Nobody else gets the tag, which may be in use.
 */
static void attach_test_break_domain(struct iommu_domain *domain)
{
	attach_test_invs(domain)->num_invs = 0;
}

static void attach_test_mend_domain(struct iommu_domain *domain)
{
	attach_test_invs(domain)->num_invs = 1;
}

static void attach_test_free_flushes(struct kunit *test,
				     struct iommu_domain *domain)
{
	struct attach_test *at = test->priv;
	u32 asid = attach_test_tag(test, domain);
	unsigned int num_tlbi = 0;
	struct arm_smmu_cmd cmd;
	u32 id;

	arm_smmu_fake_drop_cmds(at->fake);
	arm_smmu_fake_free_domain(at->fm, domain);
	while (arm_smmu_fake_next_cmd(at->fake, &cmd)) {
		if (FIELD_GET(CMDQ_0_OP, cmd.data[0]) != CMDQ_OP_TLBI_NH_ASID)
			continue;
		id = FIELD_GET(CMDQ_TLBI_0_ASID, cmd.data[0]);
		KUNIT_EXPECT_EQ(test, id, asid);
		num_tlbi++;
	}
	KUNIT_EXPECT_EQ(test, num_tlbi, 1);
	KUNIT_EXPECT_TRUE(test, ida_exists(&at->fake->smmu.asid_map, asid));
	ida_free(&at->fake->smmu.asid_map, asid);
}

static void attach_test_old_broken(struct kunit *test,
				   struct iommu_domain *domain)
{
	struct attach_test *at = test->priv;
	struct arm_smmu_invs *old_invs = attach_test_invs(at->s1);
	int ret;

	attach_test_break_domain(at->s1);
	kunit_warning_suppress(test) {
		ret = arm_smmu_fake_attach(at->fm, domain);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 1);
	}
	attach_test_mend_domain(at->s1);

	KUNIT_EXPECT_EQ(test, ret, 0);
	KUNIT_EXPECT_PTR_EQ(test, attach_test_invs(at->s1), old_invs);
	KUNIT_EXPECT_EQ(test, attach_test_num_live(at->s1), 1);
	attach_test_free_flushes(test, at->s1);
}

static void attach_test_old_broken_s1(struct kunit *test)
{
	struct attach_test *at = test->priv;

	attach_test_old_broken(test, at->s1_other);
	KUNIT_EXPECT_EQ(test, attach_test_num_live(at->s1_other), 1);
}

static void attach_test_old_broken_blocked(struct kunit *test)
{
	attach_test_old_broken(test, arm_smmu_ops.blocked_domain);
}

static void attach_test_old_broken_identity(struct kunit *test)
{
	attach_test_old_broken(test, arm_smmu_ops.identity_domain);
}

static void attach_test_old_broken_pasid(struct kunit *test)
{
	struct attach_test *at = test->priv;
	int ret;

	KUNIT_ASSERT_EQ(test, 0,
			arm_smmu_fake_set_pasid(at->fm, at->s1_other,
						TEST_PASID, NULL));
	attach_test_break_domain(at->s1_other);
	kunit_warning_suppress(test) {
		ret = arm_smmu_fake_set_pasid(at->fm,
					      arm_smmu_ops.blocked_domain,
					      TEST_PASID, at->s1_other);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 1);
	}
	attach_test_mend_domain(at->s1_other);

	KUNIT_EXPECT_EQ(test, ret, 0);
	KUNIT_EXPECT_EQ(test, attach_test_num_live(at->s1_other), 1);
	KUNIT_EXPECT_FALSE(test, attach_test_cd_valid(at, TEST_PASID));
	attach_test_free_flushes(test, at->s1_other);
}

static void attach_test_clear_pasid(void *data)
{
	struct attach_test *at = data;

	WARN_ON(arm_smmu_fake_set_pasid(at->fm, arm_smmu_ops.blocked_domain,
					TEST_PASID, at->pasid_domain));
}

static void attach_test_set_pasid(struct kunit *test,
				  struct iommu_domain *domain)
{
	struct attach_test *at = test->priv;

	KUNIT_ASSERT_EQ(test, 0,
			arm_smmu_fake_set_pasid(at->fm, domain, TEST_PASID,
						NULL));
	at->pasid_domain = domain;
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, attach_test_clear_pasid,
						  at));
}

/*
 * Leave a stage 1 domain. Its ASID is flushed when nobody uses it any more, and
 * never again, so by then no CD may name it, in memory or in a cache.
 */
static void attach_test_leave_s1(struct kunit *test,
				 struct iommu_domain *domain)
{
	struct attach_test *at = test->priv;
	bool ste_done = false, asid_flushed = false;
	unsigned int num_cd = 0;
	u32 asid = attach_test_tag(test, at->s1);
	struct arm_smmu_cmd cmd;
	u32 id;

	KUNIT_ASSERT_TRUE(test, attach_test_cd_valid(at, IOMMU_NO_PASID));
	arm_smmu_fake_drop_cmds(at->fake);
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(at->fm, domain));

	while (arm_smmu_fake_next_cmd(at->fake, &cmd)) {
		switch (FIELD_GET(CMDQ_0_OP, cmd.data[0])) {
		case CMDQ_OP_CFGI_STE:
			/* Else traffic could fault on the missing CD */
			KUNIT_EXPECT_EQ(test, num_cd, 0);
			ste_done = true;
			break;
		case CMDQ_OP_CFGI_CD:
			id = FIELD_GET(CMDQ_CFGI_0_SSID, cmd.data[0]);
			KUNIT_EXPECT_EQ(test, id, IOMMU_NO_PASID);
			KUNIT_EXPECT_TRUE(test, ste_done);
			KUNIT_EXPECT_FALSE(test, asid_flushed);
			num_cd++;
			break;
		case CMDQ_OP_TLBI_NH_ASID:
			id = FIELD_GET(CMDQ_TLBI_0_ASID, cmd.data[0]);
			KUNIT_EXPECT_EQ(test, id, asid);
			/* V goes first, then the rest */
			KUNIT_EXPECT_EQ(test, num_cd, 2);
			asid_flushed = true;
			break;
		}
	}
	KUNIT_EXPECT_TRUE(test, asid_flushed);
	KUNIT_EXPECT_FALSE(test, attach_test_cd_valid(at, IOMMU_NO_PASID));
}

static void attach_test_s1_to_blocked(struct kunit *test)
{
	attach_test_leave_s1(test, arm_smmu_ops.blocked_domain);
}

static void attach_test_s1_to_identity(struct kunit *test)
{
	attach_test_leave_s1(test, arm_smmu_ops.identity_domain);
}

static void attach_test_s1_to_s2(struct kunit *test)
{
	struct attach_test *at = test->priv;

	attach_test_leave_s1(test, at->s2);
}

/* With a PASID in use the CD table stays in the STE and only S1DSS changes */
static void attach_test_s1_with_pasid(struct kunit *test,
				      struct iommu_domain *domain)
{
	struct attach_test *at = test->priv;

	attach_test_set_pasid(test, at->s1_other);
	attach_test_leave_s1(test, domain);
	KUNIT_EXPECT_TRUE(test, at->fm->master->cd_table.in_ste);
	KUNIT_EXPECT_TRUE(test, attach_test_cd_valid(at, TEST_PASID));
	kunit_release_action(test, attach_test_clear_pasid, at);
	KUNIT_EXPECT_FALSE(test, at->fm->master->cd_table.in_ste);
}

static void attach_test_s1_to_blocked_pasid(struct kunit *test)
{
	attach_test_s1_with_pasid(test, arm_smmu_ops.blocked_domain);
}

static void attach_test_s1_to_identity_pasid(struct kunit *test)
{
	attach_test_s1_with_pasid(test, arm_smmu_ops.identity_domain);
}

#if IS_ENABLED(CONFIG_ARM_SMMU_V3_IOMMUFD)
static void attach_test_s1_to_nested(struct kunit *test)
{
	struct attach_test *at = test->priv;
	/* STE.V == 0, which needs no vDEVICE */
	struct iommu_hwpt_arm_smmuv3 arg = {};
	struct iommu_user_data data = {
		.type = IOMMU_HWPT_DATA_ARM_SMMUV3,
		.len = sizeof(arg),
	};
	struct iommu_domain *nested;
	struct arm_vsmmu *vsmmu;
	unsigned long uaddr;

	vsmmu = kunit_kzalloc(test, sizeof(*vsmmu), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, vsmmu);
	xa_init(&vsmmu->core.vdevs);
	vsmmu->smmu = &at->fake->smmu;
	vsmmu->s2_parent = to_smmu_domain(at->s2);
	vsmmu->vmid = TEST_VMID;

	uaddr = kunit_vm_mmap(test, NULL, 0, PAGE_SIZE, PROT_READ | PROT_WRITE,
			      MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_NE(test, uaddr, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR_VALUE(uaddr));
	data.uptr = (void __user *)uaddr;
	KUNIT_ASSERT_EQ(test, 0, copy_to_user(data.uptr, &arg, sizeof(arg)));

	nested = arm_vsmmu_alloc_domain_nested(&vsmmu->core, 0, &data);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, nested);
	arm_smmu_fake_own_domain(at->fm, nested);

	attach_test_leave_s1(test, nested);
}
#endif

KUNIT_DEFINE_ACTION_WRAPPER(mmput_wrapper, mmput, struct mm_struct *);

/*
 * A process exits under a device that is still attached to it. The CD must stay
 * valid all the way, fault every access and name no ASID.
 */
static void attach_test_sva_release(struct kunit *test)
{
	struct attach_test *at = test->priv;
	struct arm_smmu_cd *cd =
		&at->fm->master->cd_table.linear.table[TEST_PASID];
	unsigned int num_cfgi = 0, num_tlbi = 0;
	struct iommu_domain *domain;
	struct arm_smmu_cmd cmd;
	struct mm_struct *mm;
	u64 val;
	u32 id, asid;

	at->fake->smmu.features |= ARM_SMMU_FEAT_SVA;
	mm = mm_alloc();
	KUNIT_ASSERT_NOT_NULL(test, mm);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, mmput_wrapper, mm));
	domain = arm_smmu_ops.domain_alloc_sva(at->fm->dev, mm);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, domain);
	/* iommu_domain_free() drops it */
	mmgrab(mm);
	domain->mm = mm;
	domain->cookie_type = IOMMU_COOKIE_SVA;
	arm_smmu_fake_own_domain(at->fm, domain);

	attach_test_set_pasid(test, domain);
	asid = attach_test_tag(test, domain);
	val = le64_to_cpu(cd->data[0]);
	KUNIT_EXPECT_TRUE(test, val & CTXDESC_CD_0_V);
	KUNIT_EXPECT_FALSE(test, val & CTXDESC_CD_0_TCR_EPD0);
	id = FIELD_GET(CTXDESC_CD_0_ASID, val);
	KUNIT_EXPECT_EQ(test, id, asid);

	arm_smmu_fake_drop_cmds(at->fake);
	kunit_release_action(test, mmput_wrapper, mm);

	val = le64_to_cpu(cd->data[0]);
	KUNIT_EXPECT_TRUE(test, val & CTXDESC_CD_0_V);
	KUNIT_EXPECT_TRUE(test, val & CTXDESC_CD_0_TCR_EPD0);
	KUNIT_EXPECT_TRUE(test, val & CTXDESC_CD_0_TCR_EPD1);
	id = FIELD_GET(CTXDESC_CD_0_ASID, val);
	KUNIT_EXPECT_EQ(test, id, 0);
	KUNIT_EXPECT_EQ(test, 0, le64_to_cpu(cd->data[1]));

	while (arm_smmu_fake_next_cmd(at->fake, &cmd)) {
		switch (FIELD_GET(CMDQ_0_OP, cmd.data[0])) {
		case CMDQ_OP_CFGI_CD:
			/* The ASID is flushed when no CD translates with it */
			KUNIT_EXPECT_EQ(test, num_tlbi, 0);
			num_cfgi++;
			break;
		case CMDQ_OP_TLBI_NH_ASID:
			id = FIELD_GET(CMDQ_TLBI_0_ASID, cmd.data[0]);
			KUNIT_EXPECT_EQ(test, id, asid);
			num_tlbi++;
			break;
		}
	}
	/* It takes a third to make the CD invalid on the way */
	KUNIT_EXPECT_EQ(test, num_cfgi, 2);
	KUNIT_EXPECT_EQ(test, num_tlbi, 1);
}

static void attach_test_expect_streams(void *data)
{
	struct attach_test *at = data;
	struct rb_root *streams = &at->fake->smmu.streams;

	KUNIT_EXPECT_PTR_EQ(at->fake->test, rb_first(streams),
			    &at->fm->master->streams[0].node);
	KUNIT_EXPECT_PTR_EQ(at->fake->test, rb_last(streams),
			    &at->fm->master->streams[0].node);
	KUNIT_EXPECT_NULL(at->fake->test,
			  rb_parent(&at->fm->master->streams[0].node));
}

/* A device that has a stream ID twice goes, and the other one stays */
static void attach_test_duplicate_stream(struct kunit *test)
{
	struct attach_test *at = test->priv;
	/* In an order in which sort() moves the second of the two */
	const u32 sids[] = { 4, 14, 13, 8, 8 };

	/* Runs after the device that is added next is gone */
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action(test, attach_test_expect_streams, at));
	arm_smmu_fake_add_pci_master(at->fake, sids, ARRAY_SIZE(sids), 0);
}

static struct kunit_case arm_smmu_v3_attach_test_cases[] = {
	KUNIT_CASE(attach_test_no_memory_s1),
	KUNIT_CASE(attach_test_no_memory_s2),
	KUNIT_CASE(attach_test_no_memory_pasid),
	KUNIT_CASE(attach_test_no_cd0),
	KUNIT_CASE(attach_test_old_broken_s1),
	KUNIT_CASE(attach_test_old_broken_blocked),
	KUNIT_CASE(attach_test_old_broken_identity),
	KUNIT_CASE(attach_test_old_broken_pasid),
	KUNIT_CASE(attach_test_sva_release),
	KUNIT_CASE(attach_test_s1_to_blocked),
	KUNIT_CASE(attach_test_s1_to_identity),
	KUNIT_CASE(attach_test_s1_to_s2),
	KUNIT_CASE(attach_test_s1_to_blocked_pasid),
	KUNIT_CASE(attach_test_s1_to_identity_pasid),
#if IS_ENABLED(CONFIG_ARM_SMMU_V3_IOMMUFD)
	KUNIT_CASE(attach_test_s1_to_nested),
#endif
	KUNIT_CASE(attach_test_duplicate_stream),
	{}
};

static struct kunit_suite arm_smmu_v3_attach_test_suite = {
	.name = "arm-smmu-v3-attach",
	.init = attach_test_init,
	.test_cases = arm_smmu_v3_attach_test_cases,
};

kunit_test_suites(&arm_smmu_v3_attach_test_suite);
