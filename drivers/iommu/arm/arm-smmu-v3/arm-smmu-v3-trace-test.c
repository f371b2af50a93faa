// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the tracepoints, on fake SMMUs
 */
#include <linux/iommu.h>
#include <uapi/linux/iommufd.h>

#include "arm-smmu-v3-fake.h"
#include "trace.h"

#define TEST_BITS	4
#define TEST_MAX_ID	((1 << TEST_BITS) - 1)
#define TEST_PASID	3
#define TEST_IOVA	SZ_1G
#define TEST_MAX_EVENTS	8

enum trace_test_what {
	TAG_GET,
	TAG_PUT,
	INV,
};

/* An event, with what its tracepoint has */
struct trace_test_event {
	enum trace_test_what what;
	const struct arm_smmu_device *smmu;
	const struct arm_smmu_domain *domain;
	enum arm_smmu_inv_type type;
	u32 id;
	unsigned int users;
	bool flag;
	unsigned long iova;
	size_t size;
	unsigned int entries;
	unsigned int smmus;
	unsigned int phases;
	unsigned int cmds;
	u64 nsecs;
};

/* Two devices behind the first SMMU, one behind the second */
struct trace_test {
	struct arm_smmu_fake *fakes[2];
	struct arm_smmu_fake_master *fms[3];
	struct iommu_domain *domain;
	struct iommu_domain *other;
	enum arm_smmu_inv_type type;
	struct trace_test_event events[TEST_MAX_EVENTS];
	unsigned int num;
	unsigned int next;
	unsigned int num_probes;
};

struct trace_test_stage {
	const char *name;
	u32 flags;
	enum arm_smmu_inv_type type;
};

static const struct trace_test_stage trace_test_stages[] = {
	{ "stage 1", 0, INV_TYPE_S1_ASID },
	{ "stage 2", IOMMU_HWPT_ALLOC_NEST_PARENT, INV_TYPE_S2_VMID },
};

KUNIT_ARRAY_PARAM_DESC(trace_test_stage, trace_test_stages, name);

/* All that happens to the domains of the test, happens in its task */
static void trace_test_record(struct trace_test *tt,
			      const struct trace_test_event *event)
{
	if (event->domain != to_smmu_domain(tt->domain) &&
	    event->domain != to_smmu_domain(tt->other))
		return;
	if (tt->num < TEST_MAX_EVENTS)
		tt->events[tt->num] = *event;
	tt->num++;
}

static void trace_test_probe_get(void *data, const struct arm_smmu_device *smmu,
				 const struct arm_smmu_domain *domain,
				 const struct arm_smmu_tag *tag,
				 unsigned int users)
{
	trace_test_record(data, &(struct trace_test_event){
		.what = TAG_GET,
		.smmu = smmu,
		.domain = domain,
		.type = tag->type,
		.id = tag->id,
		.users = users,
		.flag = tag->is_new,
	});
}

static void trace_test_probe_put(void *data, const struct arm_smmu_device *smmu,
				 const struct arm_smmu_domain *domain,
				 const struct arm_smmu_tag *tag,
				 unsigned int users, bool freed)
{
	trace_test_record(data, &(struct trace_test_event){
		.what = TAG_PUT,
		.smmu = smmu,
		.domain = domain,
		.type = tag->type,
		.id = tag->id,
		.users = users,
		.flag = freed,
	});
}

static void trace_test_probe_inv(void *data,
				 const struct arm_smmu_domain *domain,
				 unsigned long iova, size_t size,
				 unsigned int entries, unsigned int smmus,
				 unsigned int phases, unsigned int cmds,
				 u64 nsecs)
{
	trace_test_record(data, &(struct trace_test_event){
		.what = INV,
		.domain = domain,
		.iova = iova,
		.size = size,
		.entries = entries,
		.smmus = smmus,
		.phases = phases,
		.cmds = cmds,
		.nsecs = nsecs,
	});
}

/* To unregister what was not registered is worth a warning */
static void trace_test_off(void *data)
{
	struct trace_test *tt = data;

	if (tt->num_probes > 0)
		unregister_trace_arm_smmu_tag_get(trace_test_probe_get, tt);
	if (tt->num_probes > 1)
		unregister_trace_arm_smmu_tag_put(trace_test_probe_put, tt);
	if (tt->num_probes > 2)
		unregister_trace_arm_smmu_inv(trace_test_probe_inv, tt);
	tracepoint_synchronize_unregister();
}

static void trace_test_on(struct kunit *test)
{
	struct trace_test *tt = test->priv;

	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, trace_test_off, tt));
	KUNIT_ASSERT_EQ(test, 0,
			register_trace_arm_smmu_tag_get(trace_test_probe_get,
							tt));
	tt->num_probes++;
	KUNIT_ASSERT_EQ(test, 0,
			register_trace_arm_smmu_tag_put(trace_test_probe_put,
							tt));
	tt->num_probes++;
	KUNIT_ASSERT_EQ(test, 0,
			register_trace_arm_smmu_inv(trace_test_probe_inv, tt));
	tt->num_probes++;
}

static void trace_test_setup(struct kunit *test, u32 flags,
			     enum arm_smmu_inv_type type, bool ats)
{
	struct trace_test *tt;
	unsigned int i;

	tt = kunit_kzalloc(test, sizeof(*tt), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, tt);
	test->priv = tt;
	tt->type = type;

	for (i = 0; i < ARRAY_SIZE(tt->fakes); i++) {
		tt->fakes[i] = arm_smmu_fake_create(test, 9);
		tt->fakes[i]->smmu.asid_bits = TEST_BITS;
		tt->fakes[i]->smmu.vmid_bits = TEST_BITS;
	}
	for (i = 0; i < ARRAY_SIZE(tt->fms); i++) {
		struct arm_smmu_fake *fake = tt->fakes[i / 2];

		if (ats)
			tt->fms[i] = arm_smmu_fake_add_pci_master(fake,
								  (u32[]){ i + 1 },
								  1, 4);
		else
			tt->fms[i] = arm_smmu_fake_add_master(fake, i + 1, 4);
	}
	tt->domain = arm_smmu_fake_alloc_domain(tt->fms[0], flags);
	tt->other = arm_smmu_fake_alloc_domain(tt->fms[0], flags);
}

static void trace_test_attach(struct kunit *test,
			      struct arm_smmu_fake_master *fm,
			      struct iommu_domain *domain)
{
	arm_smmu_fake_drop_cmds(fm->fake);
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(fm, domain));
}

static void trace_test_block(struct kunit *test,
			     struct arm_smmu_fake_master *fm)
{
	trace_test_attach(test, fm, arm_smmu_ops.blocked_domain);
}

/* The next event that has not been looked at */
static struct trace_test_event *trace_test_next(struct kunit *test,
						enum trace_test_what what)
{
	struct trace_test *tt = test->priv;

	KUNIT_ASSERT_LT(test, tt->next, tt->num);
	KUNIT_ASSERT_LE(test, tt->num, TEST_MAX_EVENTS);
	KUNIT_EXPECT_EQ(test, tt->events[tt->next].what, what);
	return &tt->events[tt->next++];
}

static void trace_test_expect_none(struct kunit *test)
{
	struct trace_test *tt = test->priv;

	KUNIT_EXPECT_EQ(test, tt->num, tt->next);
	tt->num = 0;
	tt->next = 0;
}

static void trace_test_expect_tag(struct kunit *test, enum trace_test_what what,
				  unsigned int smmu,
				  struct iommu_domain *domain, u32 id,
				  unsigned int users, bool flag)
{
	struct trace_test_event *event = trace_test_next(test, what);
	struct trace_test *tt = test->priv;

	KUNIT_EXPECT_PTR_EQ(test, event->smmu, &tt->fakes[smmu]->smmu);
	KUNIT_EXPECT_PTR_EQ(test, event->domain, to_smmu_domain(domain));
	KUNIT_EXPECT_EQ(test, event->type, tt->type);
	KUNIT_EXPECT_EQ(test, event->id, id);
	KUNIT_EXPECT_EQ(test, event->users, users);
	KUNIT_EXPECT_EQ(test, event->flag, flag);
}

/* From the first device of a domain to the last */
static void trace_test_tags(struct kunit *test)
{
	const struct trace_test_stage *stage = test->param_value;
	struct trace_test *tt;

	trace_test_setup(test, stage->flags, stage->type, false);
	tt = test->priv;
	trace_test_on(test);

	trace_test_attach(test, tt->fms[0], tt->domain);
	trace_test_expect_tag(test, TAG_GET, 0, tt->domain, 1, 1, true);
	trace_test_attach(test, tt->fms[1], tt->domain);
	trace_test_expect_tag(test, TAG_GET, 0, tt->domain, 1, 2, false);
	trace_test_attach(test, tt->fms[2], tt->domain);
	trace_test_expect_tag(test, TAG_GET, 1, tt->domain, 1, 1, true);
	trace_test_expect_none(test);

	/* The new domain has its tag before the old one gives its own back */
	trace_test_attach(test, tt->fms[0], tt->other);
	trace_test_expect_tag(test, TAG_GET, 0, tt->other, 2, 1, true);
	trace_test_expect_tag(test, TAG_PUT, 0, tt->domain, 1, 1, false);
	trace_test_block(test, tt->fms[1]);
	trace_test_expect_tag(test, TAG_PUT, 0, tt->domain, 1, 0, true);
	trace_test_block(test, tt->fms[2]);
	trace_test_expect_tag(test, TAG_PUT, 1, tt->domain, 1, 0, true);
	trace_test_block(test, tt->fms[0]);
	trace_test_expect_tag(test, TAG_PUT, 0, tt->other, 2, 0, true);
	trace_test_expect_none(test);
}

static void trace_test_pasid(struct kunit *test)
{
	struct trace_test *tt;

	trace_test_setup(test, 0, INV_TYPE_S1_ASID, false);
	tt = test->priv;
	trace_test_attach(test, tt->fms[0], tt->domain);
	trace_test_on(test);

	KUNIT_ASSERT_EQ(test, 0,
			arm_smmu_fake_set_pasid(tt->fms[0], tt->domain,
						TEST_PASID, NULL));
	trace_test_expect_tag(test, TAG_GET, 0, tt->domain, 1, 2, false);
	trace_test_block(test, tt->fms[0]);
	trace_test_expect_tag(test, TAG_PUT, 0, tt->domain, 1, 1, false);
	KUNIT_ASSERT_EQ(test, 0,
			arm_smmu_fake_set_pasid(tt->fms[0],
						arm_smmu_ops.blocked_domain,
						TEST_PASID, tt->domain));
	trace_test_expect_tag(test, TAG_PUT, 0, tt->domain, 1, 0, true);
	trace_test_expect_none(test);
}

/* An attach that fails gives nobody a tag */
static void trace_test_no_id(struct kunit *test)
{
	struct trace_test *tt;
	struct ida *ida;
	int id;

	trace_test_setup(test, 0, INV_TYPE_S1_ASID, false);
	tt = test->priv;
	trace_test_on(test);

	ida = &tt->fakes[0]->smmu.asid_map;
	for (id = 1; id <= TEST_MAX_ID; id++)
		KUNIT_ASSERT_EQ(test, id,
				ida_alloc_range(ida, 1, TEST_MAX_ID,
						GFP_KERNEL));
	KUNIT_EXPECT_EQ(test, -ENOSPC,
			arm_smmu_fake_attach(tt->fms[0], tt->domain));
	for (id = 1; id <= TEST_MAX_ID; id++)
		ida_free(ida, id);
	trace_test_expect_none(test);
}

/* Nobody uses the tag any more, but it is not free */
static void trace_test_lost(struct kunit *test)
{
	struct trace_test *tt;

	trace_test_setup(test, 0, INV_TYPE_S1_ASID, false);
	tt = test->priv;
	trace_test_attach(test, tt->fms[0], tt->domain);
	trace_test_on(test);

	arm_smmu_fake_stop(tt->fakes[0], 0);
	trace_test_block(test, tt->fms[0]);
	arm_smmu_fake_start(tt->fakes[0]);
	trace_test_expect_tag(test, TAG_PUT, 0, tt->domain, 1, 0, false);
	trace_test_expect_none(test);
	ida_free(&tt->fakes[0]->smmu.asid_map, 1);
}

/* The VMID is the vSMMU's, with devices and without */
static void trace_test_vsmmu(struct kunit *test)
{
	struct iommu_domain *nested;
	struct arm_vsmmu *vsmmu;
	struct trace_test *tt;

	if (!IS_ENABLED(CONFIG_ARM_SMMU_V3_IOMMUFD))
		kunit_skip(test, "needs CONFIG_ARM_SMMU_V3_IOMMUFD");

	trace_test_setup(test, IOMMU_HWPT_ALLOC_NEST_PARENT,
			 INV_TYPE_S2_VMID_VSMMU, false);
	tt = test->priv;
	trace_test_on(test);

	vsmmu = arm_smmu_fake_alloc_vsmmu(tt->fakes[0], tt->domain);
	trace_test_expect_tag(test, TAG_GET, 0, tt->domain, 1, 0, true);
	nested = arm_smmu_fake_alloc_nested(tt->fms[0], vsmmu,
					    STRTAB_STE_0_CFG_BYPASS,
					    STRTAB_STE_1_EATS_TRANS);
	trace_test_attach(test, tt->fms[0], nested);
	trace_test_expect_tag(test, TAG_GET, 0, tt->domain, 1, 1, false);
	trace_test_attach(test, tt->fms[1], nested);
	trace_test_expect_tag(test, TAG_GET, 0, tt->domain, 1, 2, false);
	trace_test_block(test, tt->fms[0]);
	trace_test_expect_tag(test, TAG_PUT, 0, tt->domain, 1, 1, false);
	trace_test_block(test, tt->fms[1]);
	trace_test_expect_tag(test, TAG_PUT, 0, tt->domain, 1, 0, false);
	trace_test_expect_none(test);

	kunit_release_action(test, arm_smmu_fake_vsmmu_destroy, vsmmu);
	trace_test_expect_tag(test, TAG_PUT, 0, tt->domain, 1, 0, true);
	trace_test_expect_none(test);
}

static unsigned int trace_test_num_cmds(struct trace_test *tt)
{
	struct arm_smmu_cmd cmd;
	unsigned int i, num = 0;

	for (i = 0; i < ARRAY_SIZE(tt->fakes); i++)
		while (arm_smmu_fake_next_cmd(tt->fakes[i], &cmd))
			num++;
	return num;
}

/* As after an unmap; 0: everything */
static void trace_test_invalidate(struct trace_test *tt, size_t size)
{
	struct iommu_iotlb_gather gather = {
		.start = TEST_IOVA,
		.end = TEST_IOVA + size - 1,
		.pgsize = SZ_4K,
	};

	if (size)
		tt->domain->ops->iotlb_sync(tt->domain, &gather);
	else
		tt->domain->ops->flush_iotlb_all(tt->domain);
}

/* Invalidate, and compare the event with what the SMMUs have got */
static void trace_test_expect_inv(struct kunit *test, size_t size,
				  unsigned int entries, unsigned int smmus,
				  unsigned int phases, unsigned int cmds)
{
	struct trace_test *tt = test->priv;
	struct trace_test_event *event;

	trace_test_num_cmds(tt);
	trace_test_invalidate(tt, size);
	event = trace_test_next(test, INV);
	KUNIT_EXPECT_PTR_EQ(test, event->domain, to_smmu_domain(tt->domain));
	KUNIT_EXPECT_EQ(test, event->iova, size ? TEST_IOVA : 0);
	KUNIT_EXPECT_EQ(test, event->size, size);
	KUNIT_EXPECT_EQ(test, event->entries, entries);
	KUNIT_EXPECT_EQ(test, event->smmus, smmus);
	KUNIT_EXPECT_EQ(test, event->phases, phases);
	KUNIT_EXPECT_EQ(test, event->cmds, cmds);
	KUNIT_EXPECT_EQ(test, trace_test_num_cmds(tt), cmds);
	trace_test_expect_none(test);
}

static void trace_test_inv(struct kunit *test)
{
	struct trace_test *tt;

	trace_test_setup(test, 0, INV_TYPE_S1_ASID, false);
	tt = test->priv;
	/* FORCE_SYNC puts a CMD_SYNC before the last command of a full batch */
	tt->fakes[1]->smmu.options |= ARM_SMMU_OPT_CMDQ_FORCE_SYNC;
	trace_test_on(test);
	trace_test_expect_inv(test, SZ_4K, 0, 0, 0, 0);

	trace_test_attach(test, tt->fms[0], tt->domain);
	trace_test_attach(test, tt->fms[1], tt->domain);
	trace_test_expect_tag(test, TAG_GET, 0, tt->domain, 1, 1, true);
	trace_test_expect_tag(test, TAG_GET, 0, tt->domain, 1, 2, false);
	trace_test_expect_inv(test, SZ_4K, 1, 1, 1, 2);
	trace_test_expect_inv(test, 100 * SZ_4K, 1, 1, 1, 100 + 1);
	trace_test_expect_inv(test, 0, 1, 1, 1, 2);

	trace_test_attach(test, tt->fms[2], tt->domain);
	trace_test_expect_tag(test, TAG_GET, 1, tt->domain, 1, 1, true);
	trace_test_expect_inv(test, SZ_4K, 2, 2, 1, 2 + 2);
	trace_test_expect_inv(test, 100 * SZ_4K, 2, 2, 1, 100 + 1 + 100 + 2);

	trace_test_block(test, tt->fms[2]);
	trace_test_expect_tag(test, TAG_PUT, 1, tt->domain, 1, 0, true);
	trace_test_expect_inv(test, SZ_4K, 1, 1, 1, 2);
}

/* Entries that nobody uses are there, but no part of the pass */
static void trace_test_trash(struct kunit *test)
{
	struct arm_smmu_inv *inv;
	struct trace_test *tt;

	trace_test_setup(test, 0, INV_TYPE_S1_ASID, false);
	tt = test->priv;
	trace_test_attach(test, tt->fms[0], tt->domain);
	trace_test_attach(test, tt->fms[2], tt->domain);
	trace_test_on(test);

	KUNIT_ASSERT_EQ(test, arm_smmu_fake_invs(tt->domain)->num_invs, 2);
	inv = &arm_smmu_fake_invs(tt->domain)->inv[0];
	inv->users--;
	trace_test_expect_inv(test, SZ_4K, 1, 1, 1, 2);
	inv->users++;
	trace_test_expect_inv(test, SZ_4K, 2, 2, 1, 4);
}

/* The ATCs come after the TLBs */
static void trace_test_ats(struct kunit *test)
{
	struct trace_test *tt;

	trace_test_setup(test, 0, INV_TYPE_S1_ASID, true);
	tt = test->priv;
	trace_test_attach(test, tt->fms[0], tt->domain);
	trace_test_attach(test, tt->fms[1], tt->domain);
	trace_test_attach(test, tt->fms[2], tt->domain);
	trace_test_on(test);
	/* TLBI and CMD_SYNC each, then ATC_INV twice and once, CMD_SYNC each */
	trace_test_expect_inv(test, SZ_4K, 5, 2, 2, 4 + 5);
}

/* Three phases, in which the SMMU takes time */
static void trace_test_nested(struct kunit *test)
{
	const unsigned int usecs = 300;
	struct trace_test_event *event;
	struct iommu_domain *nested;
	struct arm_vsmmu *vsmmu;
	struct trace_test *tt;
	ktime_t start, end;

	if (!IS_ENABLED(CONFIG_ARM_SMMU_V3_IOMMUFD))
		kunit_skip(test, "needs CONFIG_ARM_SMMU_V3_IOMMUFD");

	trace_test_setup(test, IOMMU_HWPT_ALLOC_NEST_PARENT,
			 INV_TYPE_S2_VMID_VSMMU, true);
	tt = test->priv;
	vsmmu = arm_smmu_fake_alloc_vsmmu(tt->fakes[0], tt->domain);
	nested = arm_smmu_fake_alloc_nested(tt->fms[0], vsmmu,
					    STRTAB_STE_0_CFG_BYPASS,
					    STRTAB_STE_1_EATS_TRANS);
	trace_test_attach(test, tt->fms[0], nested);
	trace_test_on(test);
	trace_test_expect_inv(test, SZ_4K, 3, 1, 3, 6);
	/* S1_CLEAR has nothing to do when all of the VMID goes */
	trace_test_expect_inv(test, 0, 3, 1, 3, 4);

	if (arm_smmu_fake_set_time(tt->fakes[0], usecs))
		kunit_skip(test, "needs two CPUs");
	start = ktime_get();
	trace_test_invalidate(tt, SZ_4K);
	end = ktime_get();
	event = trace_test_next(test, INV);
	KUNIT_EXPECT_GE(test, event->nsecs, 3 * usecs * NSEC_PER_USEC);
	KUNIT_EXPECT_LE(test, event->nsecs,
			ktime_to_ns(ktime_sub(end, start)));
}

static void trace_test_not_registered(struct kunit *test)
{
	struct trace_test *tt;

	trace_test_setup(test, 0, INV_TYPE_S1_ASID, false);
	tt = test->priv;
	trace_test_on(test);
	trace_test_attach(test, tt->fms[0], tt->domain);
	trace_test_expect_tag(test, TAG_GET, 0, tt->domain, 1, 1, true);
	trace_test_expect_inv(test, SZ_4K, 1, 1, 1, 2);
	kunit_release_action(test, trace_test_off, tt);

	trace_test_invalidate(tt, SZ_4K);
	trace_test_attach(test, tt->fms[1], tt->domain);
	trace_test_block(test, tt->fms[1]);
	trace_test_block(test, tt->fms[0]);
	trace_test_expect_none(test);
}

static struct kunit_case arm_smmu_v3_trace_test_cases[] = {
	KUNIT_CASE_PARAM(trace_test_tags, trace_test_stage_gen_params),
	KUNIT_CASE(trace_test_pasid),
	KUNIT_CASE(trace_test_no_id),
	KUNIT_CASE_SLOW(trace_test_lost),
	KUNIT_CASE(trace_test_vsmmu),
	KUNIT_CASE(trace_test_inv),
	KUNIT_CASE(trace_test_trash),
	KUNIT_CASE(trace_test_ats),
	KUNIT_CASE(trace_test_nested),
	KUNIT_CASE(trace_test_not_registered),
	{}
};

static struct kunit_suite arm_smmu_v3_trace_test_suite = {
	.name = "arm-smmu-v3-trace",
	.test_cases = arm_smmu_v3_trace_test_cases,
};

kunit_test_suites(&arm_smmu_v3_trace_test_suite);
