// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the life of an ASID or VMID, on fake SMMUs: from the attach
 * that takes it to the detach that flushes it and gives it back.
 */
#include <linux/iommu.h>
#include <uapi/linux/iommufd.h>

#include "arm-smmu-v3-fake.h"

#define TEST_BITS	4
#define TEST_MAX_ID	((1 << TEST_BITS) - 1)
#define TEST_PASID	3

struct tag_test_stage {
	const char *name;
	u32 flags;
	enum arm_smmu_inv_type type;
};

static const struct tag_test_stage tag_test_stages[] = {
	{ "stage 1", 0, INV_TYPE_S1_ASID },
	{ "stage 2", IOMMU_HWPT_ALLOC_NEST_PARENT, INV_TYPE_S2_VMID },
};

KUNIT_ARRAY_PARAM_DESC(tag_test_stage, tag_test_stages, name);

struct tag_test {
	const struct tag_test_stage *stage;
	struct arm_smmu_fake *fake;
	struct arm_smmu_fake_master *fm;
	struct arm_smmu_fake_master *fm_too;
	struct iommu_domain *domain;
	struct iommu_domain *other;
};

static struct arm_smmu_fake *tag_test_create(struct kunit *test)
{
	struct arm_smmu_fake *fake = arm_smmu_fake_create(test, 8);

	fake->smmu.asid_bits = TEST_BITS;
	fake->smmu.vmid_bits = TEST_BITS;
	return fake;
}

static int tag_test_init(struct kunit *test)
{
	struct tag_test *tt;

	tt = kunit_kzalloc(test, sizeof(*tt), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, tt);
	test->priv = tt;
	tt->stage = test->param_value ?: &tag_test_stages[0];

	tt->fake = tag_test_create(test);
	tt->fm = arm_smmu_fake_add_master(tt->fake, 1, 4);
	tt->fm_too = arm_smmu_fake_add_master(tt->fake, 2, 4);
	tt->domain = arm_smmu_fake_alloc_domain(tt->fm, tt->stage->flags);
	tt->other = arm_smmu_fake_alloc_domain(tt->fm, tt->stage->flags);
	return 0;
}

static struct ida *tag_test_ida(struct kunit *test, struct arm_smmu_fake *fake)
{
	struct tag_test *tt = test->priv;

	return tt->stage->type == INV_TYPE_S1_ASID ? &fake->smmu.asid_map :
						     &fake->smmu.vmid_map;
}

static unsigned int tag_test_num_ids(struct kunit *test,
				     struct arm_smmu_fake *fake)
{
	return arm_smmu_fake_num_ids(tag_test_ida(test, fake));
}

/* The entry of the domain's own tag on this SMMU, of which there is one */
static struct arm_smmu_inv *tag_test_inv(struct kunit *test,
					 struct iommu_domain *domain,
					 struct arm_smmu_fake *fake)
{
	struct arm_smmu_invs *invs = arm_smmu_fake_invs(domain);
	struct arm_smmu_inv *found = NULL;
	size_t i;

	for (i = 0; i < invs->num_invs; i++) {
		struct arm_smmu_inv *inv = &invs->inv[i];

		if (!inv->users || inv->smmu != &fake->smmu ||
		    (inv->type != INV_TYPE_S1_ASID &&
		     inv->type != INV_TYPE_S2_VMID))
			continue;
		KUNIT_ASSERT_NULL(test, found);
		found = inv;
	}
	return found;
}

/* The id of a domain in use: in its array with @users, and taken */
static u32 tag_test_id(struct kunit *test, struct iommu_domain *domain,
		       struct arm_smmu_fake *fake, int users)
{
	struct arm_smmu_inv *inv = tag_test_inv(test, domain, fake);

	KUNIT_ASSERT_NOT_NULL(test, inv);
	KUNIT_EXPECT_EQ(test, inv->users, users);
	KUNIT_EXPECT_TRUE(test, ida_exists(tag_test_ida(test, fake), inv->id));
	return inv->id;
}

static u32 tag_test_cd_asid(struct arm_smmu_fake_master *fm, ioasid_t pasid)
{
	u64 val = le64_to_cpu(arm_smmu_fake_cd(fm, pasid)->data[0]);

	return val & CTXDESC_CD_0_V ? FIELD_GET(CTXDESC_CD_0_ASID, val) : 0;
}

/* What the CD or the STE of the device says, 0 if it says nothing */
static u32 tag_test_hw_id(struct kunit *test, struct arm_smmu_fake_master *fm)
{
	struct tag_test *tt = test->priv;
	u64 val = le64_to_cpu(arm_smmu_fake_ste(fm)->data[0]);

	switch (FIELD_GET(STRTAB_STE_0_CFG, val)) {
	case STRTAB_STE_0_CFG_S1_TRANS:
		KUNIT_EXPECT_EQ(test, tt->stage->type, INV_TYPE_S1_ASID);
		return tag_test_cd_asid(fm, IOMMU_NO_PASID);
	case STRTAB_STE_0_CFG_S2_TRANS:
		KUNIT_EXPECT_EQ(test, tt->stage->type, INV_TYPE_S2_VMID);
		return FIELD_GET(STRTAB_STE_2_S2VMID,
				 le64_to_cpu(arm_smmu_fake_ste(fm)->data[2]));
	}
	return 0;
}

/*
 * How often the id was flushed, out of what has been issued. Nothing else may
 * be, and the STE and the CD have to be done with before.
 */
static unsigned int tag_test_num_flushes(struct kunit *test,
					 struct arm_smmu_fake *fake, u32 id)
{
	unsigned int num = 0;
	struct arm_smmu_cmd cmd;
	u32 flushed;

	while (arm_smmu_fake_next_cmd(fake, &cmd)) {
		switch (FIELD_GET(CMDQ_0_OP, cmd.data[0])) {
		case CMDQ_OP_TLBI_NH_ASID:
			flushed = FIELD_GET(CMDQ_TLBI_0_ASID, cmd.data[0]);
			break;
		case CMDQ_OP_TLBI_S12_VMALL:
			flushed = FIELD_GET(CMDQ_TLBI_0_VMID, cmd.data[0]);
			break;
		case CMDQ_OP_CFGI_STE:
		case CMDQ_OP_CFGI_CD:
		case CMDQ_OP_PREFETCH_CFG:
			KUNIT_EXPECT_EQ(test, num, 0);
			continue;
		case CMDQ_OP_CMD_SYNC:
			continue;
		default:
			KUNIT_FAIL(test, "unexpected command %#llx",
				   cmd.data[0]);
			continue;
		}
		KUNIT_EXPECT_EQ(test, flushed, id);
		num++;
		KUNIT_ASSERT_TRUE(test, arm_smmu_fake_next_cmd(fake, &cmd));
		KUNIT_EXPECT_EQ(test, cmd.data[0] & CMDQ_0_OP,
				CMDQ_OP_CMD_SYNC);
	}
	return num;
}

static void tag_test_attach_ok(struct kunit *test,
			       struct arm_smmu_fake_master *fm,
			       struct iommu_domain *domain)
{
	arm_smmu_fake_drop_cmds(fm->fake);
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(fm, domain));
}

static void tag_test_block(struct kunit *test, struct arm_smmu_fake_master *fm)
{
	tag_test_attach_ok(test, fm, arm_smmu_ops.blocked_domain);
}

/* Take the lowest ids, for somebody else */
static void tag_test_reserve(struct kunit *test, struct arm_smmu_fake *fake,
			     unsigned int num)
{
	while (num--)
		KUNIT_ASSERT_GT(test, ida_alloc_range(tag_test_ida(test, fake),
						      1, TEST_MAX_ID,
						      GFP_KERNEL), 0);
}

static void tag_test_unreserve(struct kunit *test, struct arm_smmu_fake *fake,
			       unsigned int num)
{
	for (; num; num--)
		ida_free(tag_test_ida(test, fake), num);
}

static void tag_test_attach_and_detach(struct kunit *test)
{
	struct tag_test *tt = test->priv;
	u32 id;

	/* A domain that nobody uses needs none */
	KUNIT_EXPECT_EQ(test, tag_test_num_ids(test, tt->fake), 0);

	tag_test_attach_ok(test, tt->fm, tt->domain);
	id = tag_test_id(test, tt->domain, tt->fake, 1);
	KUNIT_EXPECT_NE(test, id, 0);
	KUNIT_EXPECT_EQ(test, tag_test_hw_id(test, tt->fm), id);
	KUNIT_EXPECT_EQ(test, tag_test_num_ids(test, tt->fake), 1);
	KUNIT_EXPECT_EQ(test, tag_test_num_flushes(test, tt->fake, id), 0);

	tag_test_block(test, tt->fm);
	KUNIT_EXPECT_NULL(test, tag_test_inv(test, tt->domain, tt->fake));
	KUNIT_EXPECT_EQ(test, tag_test_hw_id(test, tt->fm), 0);
	KUNIT_EXPECT_EQ(test, tag_test_num_ids(test, tt->fake), 0);
	KUNIT_EXPECT_EQ(test, tag_test_num_flushes(test, tt->fake, id), 1);
}

static int tag_test_reattach_locked(struct device *dev, void *data)
{
	struct iommu_domain *domain = data;

	return domain->ops->attach_dev(domain, dev, domain);
}

/* The core has no reason to, so call the driver under the group's mutex */
static void tag_test_reattach(struct kunit *test)
{
	struct tag_test *tt = test->priv;
	u32 id;

	tag_test_attach_ok(test, tt->fm, tt->domain);
	id = tag_test_id(test, tt->domain, tt->fake, 1);
	arm_smmu_fake_drop_cmds(tt->fake);

	KUNIT_EXPECT_EQ(test, 0,
			iommu_group_for_each_dev(tt->fm->group, tt->domain,
						 tag_test_reattach_locked));
	KUNIT_EXPECT_EQ(test, tag_test_id(test, tt->domain, tt->fake, 1), id);
	KUNIT_EXPECT_EQ(test, tag_test_hw_id(test, tt->fm), id);
	KUNIT_EXPECT_EQ(test, tag_test_num_ids(test, tt->fake), 1);
	KUNIT_EXPECT_EQ(test, tag_test_num_flushes(test, tt->fake, id), 0);
}

static void tag_test_replace(struct kunit *test)
{
	struct tag_test *tt = test->priv;
	u32 id, new_id;

	tag_test_attach_ok(test, tt->fm, tt->domain);
	id = tag_test_id(test, tt->domain, tt->fake, 1);

	tag_test_attach_ok(test, tt->fm, tt->other);
	new_id = tag_test_id(test, tt->other, tt->fake, 1);
	/* There is a moment at which the SMMU knows both */
	KUNIT_EXPECT_NE(test, new_id, id);
	KUNIT_EXPECT_EQ(test, tag_test_hw_id(test, tt->fm), new_id);
	KUNIT_EXPECT_NULL(test, tag_test_inv(test, tt->domain, tt->fake));
	KUNIT_EXPECT_EQ(test, tag_test_num_ids(test, tt->fake), 1);
	KUNIT_EXPECT_EQ(test, tag_test_num_flushes(test, tt->fake, id), 1);
}

static void tag_test_two_devices(struct kunit *test)
{
	struct tag_test *tt = test->priv;
	u32 id;

	tag_test_attach_ok(test, tt->fm, tt->domain);
	tag_test_attach_ok(test, tt->fm_too, tt->domain);
	id = tag_test_id(test, tt->domain, tt->fake, 2);
	KUNIT_EXPECT_EQ(test, tag_test_hw_id(test, tt->fm), id);
	KUNIT_EXPECT_EQ(test, tag_test_hw_id(test, tt->fm_too), id);
	KUNIT_EXPECT_EQ(test, tag_test_num_ids(test, tt->fake), 1);

	tag_test_block(test, tt->fm);
	KUNIT_EXPECT_EQ(test, tag_test_id(test, tt->domain, tt->fake, 1), id);
	KUNIT_EXPECT_EQ(test, tag_test_num_flushes(test, tt->fake, id), 0);

	tag_test_block(test, tt->fm_too);
	KUNIT_EXPECT_EQ(test, tag_test_num_ids(test, tt->fake), 0);
	KUNIT_EXPECT_EQ(test, tag_test_num_flushes(test, tt->fake, id), 1);
}

static void tag_test_set_pasid(struct kunit *test, struct tag_test *tt,
			       struct iommu_domain *domain, ioasid_t pasid,
			       struct iommu_domain *old)
{
	arm_smmu_fake_drop_cmds(tt->fake);
	KUNIT_ASSERT_EQ(test, 0,
			arm_smmu_fake_set_pasid(tt->fm, domain, pasid, old));
}

/* PASIDs of a domain use its ASID as a device without PASID does */
static void tag_test_pasid(struct kunit *test)
{
	struct tag_test *tt = test->priv;
	u32 id, other_id;

	tag_test_attach_ok(test, tt->fm, tt->domain);
	id = tag_test_id(test, tt->domain, tt->fake, 1);

	tag_test_set_pasid(test, tt, tt->domain, TEST_PASID, NULL);
	KUNIT_EXPECT_EQ(test, tag_test_id(test, tt->domain, tt->fake, 2), id);
	KUNIT_EXPECT_EQ(test, tag_test_cd_asid(tt->fm, TEST_PASID), id);
	tag_test_set_pasid(test, tt, tt->other, TEST_PASID + 1, NULL);
	other_id = tag_test_id(test, tt->other, tt->fake, 1);
	KUNIT_EXPECT_NE(test, other_id, id);
	KUNIT_EXPECT_EQ(test, tag_test_cd_asid(tt->fm, TEST_PASID + 1),
			other_id);

	/* Attach it to what it is attached to */
	tag_test_set_pasid(test, tt, tt->other, TEST_PASID + 1, tt->other);
	KUNIT_EXPECT_EQ(test, tag_test_id(test, tt->other, tt->fake, 1),
			other_id);
	KUNIT_EXPECT_EQ(test, tag_test_num_flushes(test, tt->fake, 0), 0);

	/* From one domain to another, whose ASID exists */
	tag_test_set_pasid(test, tt, tt->domain, TEST_PASID + 1, tt->other);
	KUNIT_EXPECT_EQ(test, tag_test_id(test, tt->domain, tt->fake, 3), id);
	KUNIT_EXPECT_EQ(test, tag_test_cd_asid(tt->fm, TEST_PASID + 1), id);
	KUNIT_EXPECT_EQ(test, tag_test_num_flushes(test, tt->fake, other_id), 1);
	KUNIT_EXPECT_EQ(test, tag_test_num_ids(test, tt->fake), 1);

	tag_test_set_pasid(test, tt, arm_smmu_ops.blocked_domain, TEST_PASID,
			   tt->domain);
	tag_test_block(test, tt->fm);
	KUNIT_EXPECT_EQ(test, tag_test_id(test, tt->domain, tt->fake, 1), id);
	KUNIT_EXPECT_EQ(test, tag_test_num_flushes(test, tt->fake, id), 0);

	/* The last user of all */
	tag_test_set_pasid(test, tt, arm_smmu_ops.blocked_domain,
			   TEST_PASID + 1, tt->domain);
	KUNIT_EXPECT_EQ(test, tag_test_num_ids(test, tt->fake), 0);
	KUNIT_EXPECT_EQ(test, tag_test_cd_asid(tt->fm, TEST_PASID + 1), 0);
}

/*
 * All ids are used, the last of them by the domain that the device is attached
 * to. It stays there and everything else is as it was.
 */
static void tag_test_no_id(struct kunit *test)
{
	struct tag_test *tt = test->priv;
	struct arm_smmu_ste ste;
	struct arm_smmu_cmd cmd;
	u32 id;

	tag_test_reserve(test, tt->fake, TEST_MAX_ID - 1);
	tag_test_attach_ok(test, tt->fm, tt->domain);
	id = tag_test_id(test, tt->domain, tt->fake, 1);
	KUNIT_EXPECT_EQ(test, id, TEST_MAX_ID);
	/* Sharing it needs no other */
	tag_test_attach_ok(test, tt->fm_too, tt->domain);

	memcpy(&ste, arm_smmu_fake_ste(tt->fm), sizeof(ste));
	arm_smmu_fake_drop_cmds(tt->fake);
	KUNIT_EXPECT_EQ(test, -ENOSPC, arm_smmu_fake_attach(tt->fm, tt->other));
	KUNIT_EXPECT_FALSE(test, arm_smmu_fake_next_cmd(tt->fake, &cmd));
	KUNIT_EXPECT_MEMEQ(test, &ste, arm_smmu_fake_ste(tt->fm), sizeof(ste));
	KUNIT_EXPECT_EQ(test, tag_test_hw_id(test, tt->fm), id);
	KUNIT_EXPECT_EQ(test, tag_test_id(test, tt->domain, tt->fake, 2), id);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_invs(tt->other)->num_invs, 0);
	KUNIT_EXPECT_TRUE(test,
			  list_empty(&to_smmu_domain(tt->other)->devices));

	if (tt->stage->type == INV_TYPE_S1_ASID) {
		KUNIT_EXPECT_EQ(test, -ENOSPC,
				arm_smmu_fake_set_pasid(tt->fm, tt->other,
							TEST_PASID, NULL));
		KUNIT_EXPECT_FALSE(test,
				   arm_smmu_fake_next_cmd(tt->fake, &cmd));
		KUNIT_EXPECT_EQ(test, tag_test_cd_asid(tt->fm, TEST_PASID), 0);
	}

	/* When it is free again there is one */
	tag_test_block(test, tt->fm);
	tag_test_block(test, tt->fm_too);
	tag_test_attach_ok(test, tt->fm, tt->other);
	KUNIT_EXPECT_EQ(test, tag_test_id(test, tt->other, tt->fake, 1), id);
	tag_test_unreserve(test, tt->fake, TEST_MAX_ID - 1);
}

static int tag_test_block_old(struct device *dev, void *old)
{
	struct iommu_domain *blocked = arm_smmu_ops.blocked_domain;

	return blocked->ops->attach_dev(blocked, dev, old);
}

/*
 * A device that the core could not put back into its domain, for want of an id,
 * leaves that domain all the same. What is there is another device's.
 */
static void tag_test_not_put_back(struct kunit *test)
{
	struct tag_test *tt = test->priv;
	u32 id;

	tag_test_attach_ok(test, tt->fm, tt->domain);
	tag_test_block(test, tt->fm);
	tag_test_reserve(test, tt->fake, TEST_MAX_ID);
	KUNIT_ASSERT_EQ(test, -ENOSPC,
			arm_smmu_fake_attach(tt->fm, tt->domain));
	tag_test_unreserve(test, tt->fake, TEST_MAX_ID);
	tag_test_attach_ok(test, tt->fm_too, tt->domain);
	id = tag_test_id(test, tt->domain, tt->fake, 1);

	arm_smmu_fake_drop_cmds(tt->fake);
	KUNIT_EXPECT_EQ(test, 0,
			iommu_group_for_each_dev(tt->fm->group, tt->domain,
						 tag_test_block_old));
	KUNIT_EXPECT_EQ(test, tag_test_id(test, tt->domain, tt->fake, 1), id);
	KUNIT_EXPECT_EQ(test, tag_test_num_flushes(test, tt->fake, id), 0);
}

/* The last thing that an attach may fail for */
static void tag_test_no_coherency(struct kunit *test)
{
	struct tag_test *tt = test->priv;

	dev_iommu_fwspec_get(tt->fm->dev)->flags &= ~IOMMU_FWSPEC_PCI_RC_CANWBS;
	KUNIT_ASSERT_TRUE(test,
			  tt->domain->ops->enforce_cache_coherency(tt->domain));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			arm_smmu_fake_attach(tt->fm, tt->domain));
	KUNIT_EXPECT_EQ(test, tag_test_num_ids(test, tt->fake), 0);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_invs(tt->domain)->num_invs, 0);
	KUNIT_EXPECT_EQ(test, tag_test_hw_id(test, tt->fm), 0);
}

/* Let each allocation of an attach fail in turn until there is none left */
static void tag_test_no_memory(struct kunit *test)
{
	struct tag_test *tt = test->priv;
	unsigned int nth;
	int ret, balance;

	/* A CD table stays with the device, so get it before */
	tag_test_attach_ok(test, tt->fm, tt->domain);
	tag_test_block(test, tt->fm);

	for (nth = 1;; nth++) {
		if (arm_smmu_fake_slab_start(test, nth))
			kunit_skip(test,
				   "needs CONFIG_KPROBES and CONFIG_FAILSLAB");
		ret = arm_smmu_fake_attach(tt->fm, tt->domain);
		if (!arm_smmu_fake_slab_stop(test, &balance))
			break;
		KUNIT_EXPECT_EQ(test, ret, -ENOMEM);
		KUNIT_EXPECT_EQ_MSG(test, tag_test_num_ids(test, tt->fake), 0,
				    "allocation %u", nth);
	}
	KUNIT_EXPECT_EQ(test, ret, 0);
	KUNIT_EXPECT_GT(test, nth, 1);
	KUNIT_EXPECT_EQ(test, tag_test_num_ids(test, tt->fake), 1);
}

/*
 * Nobody knows what the TLB still has under the id, so nobody else gets it. The
 * detach itself is done all the same.
 */
static void tag_test_flush_timeout(struct kunit *test)
{
	struct tag_test *tt = test->priv;
	unsigned int num_cmds = 0;
	struct arm_smmu_cmd cmd;
	u32 lost, id;

	/* How many commands are there, of which the last two are the flush? */
	tag_test_attach_ok(test, tt->fm, tt->domain);
	tag_test_block(test, tt->fm);
	while (arm_smmu_fake_next_cmd(tt->fake, &cmd))
		num_cmds++;

	tag_test_attach_ok(test, tt->fm, tt->domain);
	lost = tag_test_id(test, tt->domain, tt->fake, 1);
	arm_smmu_fake_stop(tt->fake, num_cmds - 1);
	tag_test_block(test, tt->fm);
	arm_smmu_fake_start(tt->fake);

	KUNIT_EXPECT_EQ(test, tag_test_num_flushes(test, tt->fake, lost), 1);
	KUNIT_EXPECT_NULL(test, tag_test_inv(test, tt->domain, tt->fake));
	KUNIT_EXPECT_EQ(test, tag_test_hw_id(test, tt->fm), 0);
	KUNIT_EXPECT_TRUE(test, ida_exists(tag_test_ida(test, tt->fake), lost));

	/* The domain is as good as ever, with another id */
	tag_test_attach_ok(test, tt->fm, tt->domain);
	id = tag_test_id(test, tt->domain, tt->fake, 1);
	KUNIT_EXPECT_NE(test, id, lost);
	tag_test_block(test, tt->fm);
	KUNIT_EXPECT_EQ(test, tag_test_num_flushes(test, tt->fake, id), 1);
	KUNIT_EXPECT_EQ(test, tag_test_num_ids(test, tt->fake), 1);

	/* It is all that is left */
	ida_free(tag_test_ida(test, tt->fake), lost);
}

static struct kunit_case arm_smmu_v3_tag_test_cases[] = {
	KUNIT_CASE_PARAM(tag_test_attach_and_detach, tag_test_stage_gen_params),
	KUNIT_CASE_PARAM(tag_test_reattach, tag_test_stage_gen_params),
	KUNIT_CASE_PARAM(tag_test_replace, tag_test_stage_gen_params),
	KUNIT_CASE_PARAM(tag_test_two_devices, tag_test_stage_gen_params),
	KUNIT_CASE(tag_test_pasid),
	KUNIT_CASE_PARAM(tag_test_no_id, tag_test_stage_gen_params),
	KUNIT_CASE_PARAM(tag_test_not_put_back, tag_test_stage_gen_params),
	KUNIT_CASE_PARAM(tag_test_no_coherency, tag_test_stage_gen_params),
	KUNIT_CASE_PARAM(tag_test_no_memory, tag_test_stage_gen_params),
	KUNIT_CASE_PARAM_ATTR(tag_test_flush_timeout, tag_test_stage_gen_params,
			      { .speed = KUNIT_SPEED_SLOW }),
	{}
};

static struct kunit_suite arm_smmu_v3_tag_test_suite = {
	.name = "arm-smmu-v3-tag",
	.init = tag_test_init,
	.test_cases = arm_smmu_v3_tag_test_cases,
};

kunit_test_suites(&arm_smmu_v3_tag_test_suite);
