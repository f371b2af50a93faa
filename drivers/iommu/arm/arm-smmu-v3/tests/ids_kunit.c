// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of ASIDs and VMIDs: when a domain takes and frees one, that nothing
 * is lost or left when an attach fails, and that a flush comes before the free.
 */
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/iommu.h>
#include <linux/kthread.h>
#include <linux/rcupdate.h>
#include <uapi/linux/iommufd.h>

#include "fake.h"

#define TEST_BITS	4
#define TEST_MAX_ID	((1 << TEST_BITS) - 1)
#define TEST_PASID	3
#define TEST_READER_MS	50

static const struct ids_test_stage {
	const char *name;
	u32 flags;
	enum arm_smmu_inv_type type;
} ids_test_stages[] = {
	{ "stage 1", 0, INV_TYPE_S1_ASID },
	{ "stage 2", IOMMU_HWPT_ALLOC_NEST_PARENT, INV_TYPE_S2_VMID },
};

KUNIT_ARRAY_PARAM_DESC(ids_test_stage, ids_test_stages, name);

/* Two devices behind one SMMU, and two domains */
struct ids_test {
	const struct ids_test_stage *stage;
	struct arm_smmu_fake *fake;
	struct arm_smmu_fake_master *fm;
	struct arm_smmu_fake_master *fm_too;
	struct iommu_domain *domain;
	struct iommu_domain *other;
	struct ida *ida;
};

static int ids_test_init(struct kunit *test)
{
	struct ids_test *it = kunit_kzalloc(test, sizeof(*it), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, it);
	test->priv = it;
	it->stage = test->param_value ?: &ids_test_stages[0];
	it->fake = arm_smmu_fake_create(test, 8);
	it->fake->smmu.asid_bits = TEST_BITS;
	it->fake->smmu.vmid_bits = TEST_BITS;
	it->ida = it->stage->type == INV_TYPE_S1_ASID ?
			  &it->fake->smmu.asid_map : &it->fake->smmu.vmid_map;
	it->fm = arm_smmu_fake_add_master(it->fake, 1, 4);
	it->fm_too = arm_smmu_fake_add_master(it->fake, 2, 4);
	it->domain = arm_smmu_fake_alloc_domain(it->fm, it->stage->flags);
	it->other = arm_smmu_fake_alloc_domain(it->fm, it->stage->flags);
	return 0;
}

/* The id of the domain: allocated, and with this many users in the array */
static u32 ids_test_id(struct kunit *test, struct iommu_domain *domain,
		       int expected)
{
	struct ids_test *it = test->priv;
	int users;
	u32 id = arm_smmu_fake_id(domain, it->fake, it->stage->type, &users);

	KUNIT_EXPECT_EQ(test, users, expected);
	KUNIT_EXPECT_EQ(test, !!id, !!expected);
	if (id)
		KUNIT_EXPECT_TRUE(test, ida_exists(it->ida, id));
	return id;
}

/*
 * Number of flushes since the last call. Only @id may be flushed, and after the
 * CDs have changed.
 */
static unsigned int ids_test_num_flushes(struct kunit *test, u32 id)
{
	struct ids_test *it = test->priv;
	unsigned int num = 0;
	struct arm_smmu_cmd cmd;
	u32 flushed;

	while (arm_smmu_fake_next_cmd(it->fake, &cmd)) {
		switch (FIELD_GET(CMDQ_0_OP, cmd.data[0])) {
		case CMDQ_OP_TLBI_NH_ASID:
			flushed = FIELD_GET(CMDQ_TLBI_0_ASID, cmd.data[0]);
			break;
		case CMDQ_OP_TLBI_S12_VMALL:
			flushed = FIELD_GET(CMDQ_TLBI_0_VMID, cmd.data[0]);
			break;
		case CMDQ_OP_CFGI_CD:
			KUNIT_EXPECT_EQ(test, num, 0);
			continue;
		default:
			continue;
		}
		KUNIT_EXPECT_EQ(test, flushed, id);
		num++;
	}
	return num;
}

static void ids_test_attach(struct kunit *test, struct arm_smmu_fake_master *fm,
			    struct iommu_domain *domain)
{
	arm_smmu_fake_drop_cmds(fm->fake);
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(fm, domain));
}

static void ids_test_block(struct kunit *test, struct arm_smmu_fake_master *fm)
{
	ids_test_attach(test, fm, arm_smmu_fake_blocked(fm));
}

static void ids_test_set_pasid(struct kunit *test, struct iommu_domain *domain,
			       ioasid_t pasid, struct iommu_domain *old)
{
	struct ids_test *it = test->priv;

	arm_smmu_fake_drop_cmds(it->fake);
	KUNIT_ASSERT_EQ(test, 0,
			arm_smmu_fake_set_pasid(it->fm, domain, pasid, old));
}

static void ids_test_reserve(struct kunit *test, unsigned int num)
{
	struct ids_test *it = test->priv;

	while (num--)
		KUNIT_ASSERT_GT(test, ida_alloc_range(it->ida, 1, TEST_MAX_ID,
						      GFP_KERNEL), 0);
}

static void ids_test_unreserve(struct kunit *test, unsigned int num)
{
	struct ids_test *it = test->priv;

	for (; num; num--)
		ida_free(it->ida, num);
}

/* Taken by the first device, flushed and freed behind the last one */
static void ids_test_two_devices(struct kunit *test)
{
	struct ids_test *it = test->priv;
	u32 id;

	KUNIT_EXPECT_TRUE(test, ida_is_empty(it->ida));
	ids_test_attach(test, it->fm, it->domain);
	id = ids_test_id(test, it->domain, 1);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_hw_id(it->fm, 0), id);
	ids_test_attach(test, it->fm_too, it->domain);
	KUNIT_EXPECT_EQ(test, ids_test_id(test, it->domain, 2), id);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_hw_id(it->fm_too, 0), id);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_num_ids(it->ida), 1);

	ids_test_block(test, it->fm);
	KUNIT_EXPECT_EQ(test, ids_test_id(test, it->domain, 1), id);
	KUNIT_EXPECT_EQ(test, ids_test_num_flushes(test, id), 0);
	ids_test_block(test, it->fm_too);
	ids_test_id(test, it->domain, 0);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_hw_id(it->fm_too, 0), 0);
	KUNIT_EXPECT_TRUE(test, ida_is_empty(it->ida));
	KUNIT_EXPECT_EQ(test, ids_test_num_flushes(test, id), 1);
}

static int ids_test_reattach_locked(struct device *dev, void *data)
{
	struct iommu_domain *domain = data;

	return domain->ops->attach_dev(domain, dev, domain);
}

/* Attaching a device where it is already keeps the id and flushes nothing */
static void ids_test_reattach(struct kunit *test)
{
	struct ids_test *it = test->priv;
	u32 id;

	ids_test_attach(test, it->fm, it->domain);
	id = ids_test_id(test, it->domain, 1);
	arm_smmu_fake_drop_cmds(it->fake);
	KUNIT_EXPECT_EQ(test, 0,
			iommu_group_for_each_dev(it->fm->group, it->domain,
						 ids_test_reattach_locked));
	KUNIT_EXPECT_EQ(test, ids_test_id(test, it->domain, 1), id);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_num_ids(it->ida), 1);
	KUNIT_EXPECT_EQ(test, ids_test_num_flushes(test, id), 0);
}

/* During a replace the SMMU may use both ids */
static void ids_test_replace(struct kunit *test)
{
	struct ids_test *it = test->priv;
	u32 id, new_id;

	ids_test_attach(test, it->fm, it->domain);
	id = ids_test_id(test, it->domain, 1);
	ids_test_attach(test, it->fm, it->other);
	new_id = ids_test_id(test, it->other, 1);
	KUNIT_EXPECT_NE(test, new_id, id);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_hw_id(it->fm, 0), new_id);
	ids_test_id(test, it->domain, 0);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_num_ids(it->ida), 1);
	KUNIT_EXPECT_EQ(test, ids_test_num_flushes(test, id), 1);
}

/* A PASID is a user of the ASID like a device */
static void ids_test_pasid(struct kunit *test)
{
	struct ids_test *it = test->priv;
	u32 id, other;

	ids_test_attach(test, it->fm, it->domain);
	ids_test_set_pasid(test, it->domain, TEST_PASID, NULL);
	id = ids_test_id(test, it->domain, 2);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_hw_id(it->fm, TEST_PASID), id);
	ids_test_set_pasid(test, it->other, TEST_PASID + 1, NULL);
	other = ids_test_id(test, it->other, 1);

	/* Where it is, and then to the domain of the others */
	ids_test_set_pasid(test, it->other, TEST_PASID + 1, it->other);
	KUNIT_EXPECT_EQ(test, ids_test_id(test, it->other, 1), other);
	KUNIT_EXPECT_EQ(test, ids_test_num_flushes(test, 0), 0);
	ids_test_set_pasid(test, it->domain, TEST_PASID + 1, it->other);
	KUNIT_EXPECT_EQ(test, ids_test_id(test, it->domain, 3), id);
	KUNIT_EXPECT_EQ(test, ids_test_num_flushes(test, other), 1);

	ids_test_set_pasid(test, arm_smmu_fake_blocked(it->fm), TEST_PASID,
			   it->domain);
	ids_test_block(test, it->fm);
	KUNIT_EXPECT_EQ(test, ids_test_id(test, it->domain, 1), id);
	KUNIT_EXPECT_EQ(test, ids_test_num_flushes(test, id), 0);
	/* The SMMU still uses the CD table, for the last PASID */
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_hw_id(it->fm, 0), 0);
	ids_test_set_pasid(test, arm_smmu_fake_blocked(it->fm), TEST_PASID + 1,
			   it->domain);
	KUNIT_EXPECT_EQ(test, ids_test_num_flushes(test, id), 1);
	KUNIT_EXPECT_TRUE(test, ida_is_empty(it->ida));
	KUNIT_EXPECT_FALSE(test, it->fm->master->cd_table.in_ste);
}

/* Without an id the device stays where it is, and nothing else changes */
static void ids_test_exhausted(struct kunit *test)
{
	struct ids_test *it = test->priv;
	struct arm_smmu_ste ste;
	u32 id;

	ids_test_reserve(test, TEST_MAX_ID - 1);
	ids_test_attach(test, it->fm, it->domain);
	id = ids_test_id(test, it->domain, 1);
	KUNIT_EXPECT_EQ(test, id, TEST_MAX_ID);
	/* A second device needs no other */
	ids_test_attach(test, it->fm_too, it->domain);

	memcpy(&ste, arm_smmu_fake_ste(it->fm), sizeof(ste));
	arm_smmu_fake_drop_cmds(it->fake);
	KUNIT_EXPECT_EQ(test, -ENOSPC, arm_smmu_fake_attach(it->fm, it->other));
	if (it->stage->type == INV_TYPE_S1_ASID)
		KUNIT_EXPECT_EQ(test, -ENOSPC,
				arm_smmu_fake_set_pasid(it->fm, it->other,
							TEST_PASID, NULL));
	arm_smmu_fake_expect_cmds(it->fake, NULL, 0);
	KUNIT_EXPECT_MEMEQ(test, &ste, arm_smmu_fake_ste(it->fm), sizeof(ste));
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_hw_id(it->fm, 0), id);
	KUNIT_EXPECT_EQ(test, ids_test_id(test, it->domain, 2), id);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_invs(it->other)->num_invs, 0);
	KUNIT_EXPECT_TRUE(test,
			  list_empty(&to_smmu_domain(it->other)->devices));

	ids_test_block(test, it->fm);
	ids_test_block(test, it->fm_too);
	ids_test_attach(test, it->fm, it->other);
	KUNIT_EXPECT_EQ(test, ids_test_id(test, it->other, 1), id);
	ids_test_unreserve(test, TEST_MAX_ID - 1);
}

static int ids_test_block_old(struct device *dev, void *data)
{
	struct ids_test *it = data;
	struct iommu_domain *blocked = arm_smmu_fake_blocked(it->fm);

	return blocked->ops->attach_dev(blocked, dev, it->domain);
}

/*
 * The core believes that a device is in a domain to which it could not be put
 * back. Leaving that domain takes nothing from another device.
 */
static void ids_test_not_put_back(struct kunit *test)
{
	struct ids_test *it = test->priv;
	u32 id;

	ids_test_attach(test, it->fm, it->domain);
	ids_test_block(test, it->fm);
	ids_test_attach(test, it->fm_too, it->domain);
	id = ids_test_id(test, it->domain, 1);
	arm_smmu_fake_drop_cmds(it->fake);
	KUNIT_EXPECT_EQ(test, 0,
			iommu_group_for_each_dev(it->fm->group, it,
						 ids_test_block_old));
	KUNIT_EXPECT_EQ(test, ids_test_id(test, it->domain, 1), id);
	KUNIT_EXPECT_EQ(test, ids_test_num_flushes(test, id), 0);
}

/* Enforced coherency is the last thing that makes an attach fail */
static void ids_test_no_coherency(struct kunit *test)
{
	struct ids_test *it = test->priv;

	dev_iommu_fwspec_get(it->fm->dev)->flags &= ~IOMMU_FWSPEC_PCI_RC_CANWBS;
	KUNIT_ASSERT_TRUE(test,
			  it->domain->ops->enforce_cache_coherency(it->domain));
	KUNIT_EXPECT_EQ(test, -EINVAL, arm_smmu_fake_attach(it->fm, it->domain));
	KUNIT_EXPECT_TRUE(test, ida_is_empty(it->ida));
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_invs(it->domain)->num_invs, 0);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_hw_id(it->fm, 0), 0);
}

/* Each allocation of a replace fails in turn; nothing changes and none leaks */
static void ids_test_fail_nth(struct kunit *test, ioasid_t pasid)
{
	struct ids_test *it = test->priv;
	struct arm_smmu_invs *invs, *other = arm_smmu_fake_invs(it->other);
	int ret, balance;
	unsigned int nth;
	u32 id;

	/* A CD table stays with the device */
	ids_test_attach(test, it->fm, it->domain);
	invs = arm_smmu_fake_invs(it->domain);
	id = ids_test_id(test, it->domain, 1);
	arm_smmu_fake_drop_cmds(it->fake);
	for (nth = 1;; nth++) {
		if (arm_smmu_fake_slab_start(test, nth))
			kunit_skip(test,
				   "needs CONFIG_KPROBES and CONFIG_FAILSLAB");
		if (pasid == IOMMU_NO_PASID)
			ret = arm_smmu_fake_attach(it->fm, it->other);
		else
			ret = arm_smmu_fake_set_pasid(it->fm, it->other, pasid,
						      NULL);
		if (!arm_smmu_fake_slab_stop(test, &balance))
			break;
		KUNIT_ASSERT_EQ_MSG(test, ret, -ENOMEM, "allocation %u", nth);
		KUNIT_EXPECT_EQ_MSG(test, balance, 0, "allocation %u", nth);
		KUNIT_EXPECT_PTR_EQ(test, arm_smmu_fake_invs(it->domain), invs);
		KUNIT_EXPECT_PTR_EQ(test, arm_smmu_fake_invs(it->other), other);
		KUNIT_EXPECT_EQ(test, ids_test_id(test, it->domain, 1), id);
		KUNIT_EXPECT_EQ(test, arm_smmu_fake_num_ids(it->ida), 1);
		KUNIT_EXPECT_TRUE(test,
				  list_empty(&to_smmu_domain(it->other)->devices));
		arm_smmu_fake_expect_cmds(it->fake, NULL, 0);
	}
	KUNIT_EXPECT_EQ(test, ret, 0);
	/* The array and the arm_smmu_master_domain */
	KUNIT_EXPECT_EQ(test, nth, 3);
	ids_test_id(test, it->other, 1);
}

static void ids_test_no_memory(struct kunit *test)
{
	ids_test_fail_nth(test, IOMMU_NO_PASID);
}

static void ids_test_no_memory_pasid(struct kunit *test)
{
	struct ids_test *it = test->priv;

	ids_test_fail_nth(test, TEST_PASID);
	KUNIT_EXPECT_EQ(test, 0, arm_smmu_fake_clear_pasid(it->fm, TEST_PASID,
							   it->other));
}

/* An id that may still be in the TLB does not get another owner */
static void ids_test_flush_timeout(struct kunit *test)
{
	struct ids_test *it = test->priv;
	struct arm_smmu_cmd cmd;
	unsigned int num = 0;
	u32 id;

	/* The last two commands of a detach are the flush */
	ids_test_attach(test, it->fm, it->domain);
	ids_test_block(test, it->fm);
	while (arm_smmu_fake_next_cmd(it->fake, &cmd))
		num++;
	ids_test_attach(test, it->fm, it->domain);
	id = ids_test_id(test, it->domain, 1);
	arm_smmu_fake_stop(it->fake, num - 1);
	ids_test_block(test, it->fm);
	arm_smmu_fake_start(it->fake);

	KUNIT_EXPECT_EQ(test, ids_test_num_flushes(test, id), 1);
	ids_test_id(test, it->domain, 0);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_hw_id(it->fm, 0), 0);
	KUNIT_EXPECT_TRUE(test, ida_exists(it->ida, id));
	ids_test_attach(test, it->fm, it->domain);
	KUNIT_EXPECT_NE(test, ids_test_id(test, it->domain, 1), id);
	ids_test_block(test, it->fm);
	KUNIT_EXPECT_EQ(test, arm_smmu_fake_num_ids(it->ida), 1);
}

/*
 * An array that has lost a device is a bug of the driver. The detach warns, goes
 * on, and leaves the id alone, which may be in use.
 */
static void ids_test_broken_array(struct kunit *test)
{
	struct ids_test *it = test->priv;
	u32 id;

	ids_test_attach(test, it->fm, it->domain);
	id = ids_test_id(test, it->domain, 1);
	arm_smmu_fake_invs(it->domain)->num_invs = 0;
	kunit_warning_suppress(test) {
		ids_test_attach(test, it->fm, it->other);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 1);
	}
	arm_smmu_fake_invs(it->domain)->num_invs = 1;
	KUNIT_EXPECT_EQ(test, ids_test_num_flushes(test, id), 0);
	KUNIT_EXPECT_EQ(test, ids_test_id(test, it->domain, 1), id);

	/* As the domain is freed its id is flushed, but not given away */
	arm_smmu_fake_free_domain(it->fm, it->domain);
	KUNIT_EXPECT_TRUE(test, ida_exists(it->ida, id));
	ida_free(it->ida, id);
}

/* A PASID beyond the first table of a two-level CD table needs no CD[0] */
static void ids_test_no_cd0(struct kunit *test)
{
	struct ids_test *it = test->priv;
	struct arm_smmu_device *smmu = &it->fake->smmu;
	struct arm_smmu_fake_master *fm;

	smmu->features |= ARM_SMMU_FEAT_2_LVL_CDTAB;
	smmu->ssid_bits = ilog2(CTXDESC_L2_ENTRIES) + 1;
	/* A default domain of stage 1 would bring a CD[0] */
	smmu->features &= ~ARM_SMMU_FEAT_TRANS_S1;
	fm = arm_smmu_fake_add_master(it->fake, 3, smmu->ssid_bits);
	smmu->features |= ARM_SMMU_FEAT_TRANS_S1;

	KUNIT_ASSERT_EQ(test, 0,
			arm_smmu_fake_set_pasid(fm, it->other,
						CTXDESC_L2_ENTRIES, NULL));
	KUNIT_ASSERT_NULL(test, fm->master->cd_table.l2.l2ptrs[0]);
	kunit_warning_suppress(test) {
		KUNIT_EXPECT_EQ(test, 0,
				arm_smmu_fake_attach(fm,
						     arm_smmu_fake_identity(fm)));
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 0);
	}
	KUNIT_EXPECT_EQ(test, 0,
			arm_smmu_fake_clear_pasid(fm, CTXDESC_L2_ENTRIES,
						  it->other));
}

static void ids_test_expect_streams(void *data)
{
	struct ids_test *it = data;
	struct rb_root *streams = &it->fake->smmu.streams;

	KUNIT_EXPECT_PTR_EQ(it->fake->test, rb_first(streams),
			    &it->fm->master->streams[0].node);
	KUNIT_EXPECT_PTR_EQ(it->fake->test, rb_last(streams),
			    &it->fm_too->master->streams[0].node);
}

/* A device that has a stream ID twice goes, and the other ones stay */
static void ids_test_duplicate_stream(struct kunit *test)
{
	struct ids_test *it = test->priv;
	/* In an order in which sort() moves the second of the two */
	const u32 sids[] = { 4, 14, 13, 8, 8 };

	/* Runs after the device that is added next is gone */
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action(test, ids_test_expect_streams, it));
	arm_smmu_fake_add_pci_master(it->fake, sids, ARRAY_SIZE(sids), 0);
}

/* A table needs the device that it was made for as long as the domain lives */
static void ids_test_table_device(struct kunit *test)
{
	struct ids_test *it = test->priv;
	struct arm_smmu_fake *far = arm_smmu_fake_create(test, 8);
	struct arm_smmu_fake_master *fm = arm_smmu_fake_add_master(far, 1, 0);
	struct kref *ref = &it->fake->smmu.dev->kobj.kref;
	struct kref *ref_far = &far->smmu.dev->kobj.kref;
	unsigned int before = kref_read(ref), before_far = kref_read(ref_far);

	ids_test_attach(test, it->fm, it->domain);
	ids_test_attach(test, fm, it->domain);
	ids_test_block(test, it->fm);
	ids_test_block(test, fm);
	KUNIT_EXPECT_EQ(test, kref_read(ref), before);
	arm_smmu_fake_free_domain(it->fm, it->domain);
	KUNIT_EXPECT_EQ(test, kref_read(ref), before - 1);
	KUNIT_EXPECT_EQ(test, kref_read(ref_far), before_far);
}

struct ids_test_reader {
	struct completion began;
	bool left;
};

static int ids_test_read(void *data)
{
	struct ids_test_reader *reader = data;

	rcu_read_lock();
	complete(&reader->began);
	mdelay(TEST_READER_MS);
	WRITE_ONCE(reader->left, true);
	rcu_read_unlock();
	return 0;
}

/* An SMMU is turned off when no reader of an array can issue commands to it */
static void ids_test_disable_waits(struct kunit *test)
{
	struct ids_test *it = test->priv;
	struct ids_test_reader *reader;

	reader = kunit_kzalloc(test, sizeof(*reader), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, reader);
	init_completion(&reader->began);
	arm_smmu_fake_run_task(test, ids_test_read, reader);
	wait_for_completion(&reader->began);
	arm_smmu_disable_action(&it->fake->smmu);
	KUNIT_EXPECT_TRUE(test, READ_ONCE(reader->left));
	KUNIT_EXPECT_EQ(test, 0, readl(it->fake->smmu.base + ARM_SMMU_CR0));
}

static struct kunit_case ids_test_cases[] = {
	KUNIT_CASE_PARAM(ids_test_two_devices, ids_test_stage_gen_params),
	KUNIT_CASE_PARAM(ids_test_reattach, ids_test_stage_gen_params),
	KUNIT_CASE_PARAM(ids_test_replace, ids_test_stage_gen_params),
	KUNIT_CASE(ids_test_pasid),
	KUNIT_CASE_PARAM(ids_test_exhausted, ids_test_stage_gen_params),
	KUNIT_CASE_PARAM(ids_test_not_put_back, ids_test_stage_gen_params),
	KUNIT_CASE_PARAM(ids_test_no_coherency, ids_test_stage_gen_params),
	KUNIT_CASE_PARAM(ids_test_no_memory, ids_test_stage_gen_params),
	KUNIT_CASE(ids_test_no_memory_pasid),
	KUNIT_CASE_PARAM(ids_test_flush_timeout, ids_test_stage_gen_params),
	KUNIT_CASE(ids_test_broken_array),
	KUNIT_CASE(ids_test_no_cd0),
	KUNIT_CASE(ids_test_duplicate_stream),
	KUNIT_CASE_PARAM(ids_test_table_device, ids_test_stage_gen_params),
	KUNIT_CASE(ids_test_disable_waits),
	{}
};

static struct kunit_suite ids_test_suite = {
	.name = "arm-smmu-v3-ids",
	.init = ids_test_init,
	.test_cases = ids_test_cases,
};

kunit_test_suite(ids_test_suite);
