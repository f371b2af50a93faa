// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests that count the commands and CMD_SYNCs of each path, in their order.
 * What they must do is not the subject here, only that they cost no more.
 */
#include <linux/iommu.h>
#include <linux/mman.h>
#include <linux/sched/mm.h>
#include <linux/uaccess.h>
#include <uapi/linux/iommufd.h>

#include "fake.h"

#define TEST_MAX_SMMUS	4
#define TEST_PASID	3
#define TEST_IOVA	SZ_1G
#define TEST_USECS	100

enum counts_test_kind {
	KIND_S1,
	KIND_S2,
	KIND_NESTED,
	KIND_SVA,
};

enum counts_test_path {
	PATH_ATTACH,
	PATH_DETACH,
	PATH_SET_PASID,
	PATH_CLEAR_PASID,
	PATH_PAGE,
	PATH_TABLE,
	PATH_ALL,
	PATH_EXIT,
	PATH_VSMMU,
};

/*
 * @ops: what each SMMU gets, see arm_smmu_fake_read_ops(). Dots of an unmap or a
 * flush divide it into phases, which are common to all SMMUs.
 */
static const struct counts_test_row {
	const char *name;
	enum counts_test_kind kind;
	enum counts_test_path path;
	bool ats;
	const char *ops;
} counts_test_rows[] = {
	{ "S1 attach", KIND_S1, PATH_ATTACH, false, "c.c.s.s." },
	{ "S1 attach ATS", KIND_S1, PATH_ATTACH, true, "c.c.s.s.t." },
	{ "S1 detach", KIND_S1, PATH_DETACH, false, "s.s.c.c.a." },
	{ "S1 detach ATS", KIND_S1, PATH_DETACH, true, "s.s.c.c.t.a." },
	{ "S1 page", KIND_S1, PATH_PAGE, false, "v." },
	{ "S1 page ATS", KIND_S1, PATH_PAGE, true, "v.t." },
	{ "S1 table", KIND_S1, PATH_TABLE, false, "a.v." },
	{ "S1 table ATS", KIND_S1, PATH_TABLE, true, "a.t.v.t." },
	{ "S1 all", KIND_S1, PATH_ALL, false, "a." },
	{ "S1 all ATS", KIND_S1, PATH_ALL, true, "a.t." },
	{ "S2 attach", KIND_S2, PATH_ATTACH, false, "s.s." },
	{ "S2 detach", KIND_S2, PATH_DETACH, false, "s.s.m." },
	{ "S2 page", KIND_S2, PATH_PAGE, false, "i." },
	{ "S2 page ATS", KIND_S2, PATH_PAGE, true, "i.t." },
	{ "S2 table", KIND_S2, PATH_TABLE, false, "m.i." },
	{ "S2 all", KIND_S2, PATH_ALL, false, "m." },
	{ "PASID set", KIND_S1, PATH_SET_PASID, false, "c.c." },
	{ "PASID clear", KIND_S1, PATH_CLEAR_PASID, false, "c.c." },
	{ "nested attach", KIND_NESTED, PATH_ATTACH, false, "s.s." },
	{ "nested detach", KIND_NESTED, PATH_DETACH, false, "s.s.m." },
	{ "nested page", KIND_NESTED, PATH_PAGE, false, "i.n." },
	{ "nested page ATS", KIND_NESTED, PATH_PAGE, true, "i.n.t." },
	{ "nested all", KIND_NESTED, PATH_ALL, false, "m." },
	{ "nested all ATS", KIND_NESTED, PATH_ALL, true, "m.t." },
	{ "vSMMU destroy", KIND_NESTED, PATH_VSMMU, false, "m." },
	{ "SVA attach", KIND_SVA, PATH_ATTACH, false, "c.c.s.s." },
	{ "SVA page", KIND_SVA, PATH_PAGE, false, "v." },
	{ "SVA page ATS", KIND_SVA, PATH_PAGE, true, "v.t." },
	{ "SVA exit", KIND_SVA, PATH_EXIT, false, "c.c.a." },
	{ "SVA exit ATS", KIND_SVA, PATH_EXIT, true, "c.c.a.t." },
	{ "SVA detach", KIND_SVA, PATH_DETACH, false, "c.c.a.s.s." },
};

KUNIT_ARRAY_PARAM_DESC(counts_test_row, counts_test_rows, name);

struct counts_test {
	const struct counts_test_row *row;
	unsigned int num;
	struct arm_smmu_fake *fakes[TEST_MAX_SMMUS];
	struct arm_smmu_fake_master *fms[TEST_MAX_SMMUS];
	struct iommu_domain *domain;
	struct iommu_domain *attached[TEST_MAX_SMMUS];
	struct arm_vsmmu *vsmmus[TEST_MAX_SMMUS];
	struct iommu_sva *handles[TEST_MAX_SMMUS];
	struct mm_struct *mm;
};

KUNIT_DEFINE_ACTION_WRAPPER(mmput_wrapper, mmput, struct mm_struct *);
KUNIT_DEFINE_ACTION_WRAPPER(unbind_wrapper, iommu_sva_unbind_device,
			    struct iommu_sva *);

static void counts_test_setup(struct kunit *test, struct counts_test *ct)
{
	const u32 sids[] = { 1 };
	unsigned int i;

	if (ct->row->kind == KIND_SVA) {
		ct->mm = mm_alloc();
		KUNIT_ASSERT_NOT_NULL(test, ct->mm);
		ct->mm->task_size = TASK_SIZE;
		arch_pick_mmap_layout(ct->mm,
				      &current->signal->rlim[RLIMIT_STACK]);
		KUNIT_ASSERT_EQ(test, 0,
				kunit_add_action_or_reset(test, mmput_wrapper,
							  ct->mm));
	}
	for (i = 0; i < ct->num; i++) {
		ct->fakes[i] = arm_smmu_fake_create(test, 8);
		ct->fakes[i]->smmu.features |= ARM_SMMU_FEAT_SVA;
		ct->fms[i] = ct->row->ats ?
			arm_smmu_fake_add_pci_master(ct->fakes[i], sids, 1, 4) :
			arm_smmu_fake_add_master(ct->fakes[i], 1, 4);
		arm_smmu_fake_set_time(ct->fakes[i], TEST_USECS);
	}
	if (ct->row->kind == KIND_SVA)
		return;
	ct->domain = arm_smmu_fake_alloc_domain(ct->fms[0],
						ct->row->kind == KIND_S1 ? 0 :
						IOMMU_HWPT_ALLOC_NEST_PARENT);
	for (i = 0; i < ct->num; i++) {
		ct->attached[i] = ct->domain;
		if (ct->row->kind != KIND_NESTED)
			continue;
		ct->vsmmus[i] = arm_smmu_fake_alloc_vsmmu(ct->fakes[i],
							  ct->domain);
		ct->attached[i] =
			arm_smmu_fake_alloc_nested(ct->fms[i], ct->vsmmus[i],
						   STRTAB_STE_0_CFG_BYPASS,
						   STRTAB_STE_1_EATS_TRANS);
	}
}

static void counts_test_attach(struct kunit *test, struct counts_test *ct,
			       unsigned int i)
{
	if (ct->row->kind != KIND_SVA) {
		KUNIT_ASSERT_EQ(test, 0,
				arm_smmu_fake_attach(ct->fms[i],
						     ct->attached[i]));
		return;
	}
	ct->handles[i] = iommu_sva_bind_device(ct->fms[i]->dev, ct->mm);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, ct->handles[i]);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, unbind_wrapper,
						  ct->handles[i]));
}

static void counts_test_detach(struct kunit *test, struct counts_test *ct,
			       unsigned int i)
{
	if (ct->row->kind == KIND_SVA)
		kunit_release_action(test, unbind_wrapper, ct->handles[i]);
	else
		KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_block(ct->fms[i]));
}

static void counts_test_drop(struct counts_test *ct)
{
	unsigned int i;

	for (i = 0; i < ct->num; i++)
		arm_smmu_fake_drop_cmds(ct->fakes[i]);
}

/* The neighbours of the page keep the table that maps it */
static void counts_test_munmap(struct kunit *test, struct counts_test *ct)
{
	unsigned long uaddr;
	int ret;

	kthread_use_mm(ct->mm);
	uaddr = vm_mmap(NULL, 0, 3 * PAGE_SIZE, PROT_READ | PROT_WRITE,
			MAP_ANONYMOUS | MAP_PRIVATE, 0);
	ret = clear_user((void __user *)uaddr, 3 * PAGE_SIZE);
	counts_test_drop(ct);
	if (!ret)
		ret = vm_munmap(uaddr + PAGE_SIZE, PAGE_SIZE);
	kthread_unuse_mm(ct->mm);
	KUNIT_ASSERT_EQ(test, ret, 0);
}

/* With a block in place of it, a table goes. Otherwise a page does. */
static void counts_test_unmap(struct kunit *test, struct counts_test *ct,
			      bool table)
{
	size_t size = table ? SZ_2M : SZ_4K;
	struct iommu_domain *domain = ct->domain;

	if (ct->row->kind == KIND_SVA) {
		counts_test_munmap(test, ct);
		return;
	}
	KUNIT_ASSERT_EQ(test, 0,
			iommu_map(domain, TEST_IOVA, SZ_4K, SZ_4K, IOMMU_READ,
				  GFP_KERNEL));
	if (table)
		KUNIT_ASSERT_EQ(test, 0,
				iommu_map(domain, TEST_IOVA + SZ_4K, SZ_4K,
					  SZ_2M - SZ_4K, IOMMU_READ,
					  GFP_KERNEL));
	counts_test_drop(ct);
	KUNIT_ASSERT_EQ(test, size, iommu_unmap(domain, TEST_IOVA, size));
}

/* All of a phase is done on each SMMU before the next phase begins on any */
static void counts_test_expect_phases(struct kunit *test,
				      struct counts_test *ct)
{
	u64 first[4], last[4] = {}, stamp;
	struct arm_smmu_cmd cmd;
	unsigned int i, phase;

	memset(first, 0xff, sizeof(first));
	for (i = 0; i < ct->num; i++) {
		phase = 0;
		while (arm_smmu_fake_next_cmd(ct->fakes[i], &cmd)) {
			KUNIT_ASSERT_LT(test, phase, ARRAY_SIZE(first));
			stamp = arm_smmu_fake_stamp(ct->fakes[i]);
			first[phase] = min(first[phase], stamp);
			last[phase] = max(last[phase], stamp);
			if (FIELD_GET(CMDQ_0_OP, cmd.data[0]) ==
			    CMDQ_OP_CMD_SYNC)
				phase++;
		}
	}
	for (phase = 0; phase + 1 < ARRAY_SIZE(first); phase++)
		KUNIT_EXPECT_LT(test, last[phase], first[phase + 1]);
}

static void counts_test_run(struct kunit *test, unsigned int num)
{
	const struct counts_test_row *row = test->param_value;
	struct counts_test *ct;
	unsigned int i, phases = 0;
	bool invs = false;
	u64 start, time;
	char ops[128];
	const char *p;

	ct = kunit_kzalloc(test, sizeof(*ct), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, ct);
	ct->row = row;
	ct->num = num;
	counts_test_setup(test, ct);
	if (row->path != PATH_ATTACH && row->path != PATH_VSMMU)
		for (i = 0; i < num; i++)
			counts_test_attach(test, ct, i);
	if (row->path == PATH_CLEAR_PASID)
		for (i = 0; i < num; i++)
			KUNIT_ASSERT_EQ(test, 0,
					arm_smmu_fake_set_pasid(ct->fms[i],
								ct->domain,
								TEST_PASID,
								NULL));
	counts_test_drop(ct);

	start = arm_smmu_fake_now();
	switch (row->path) {
	case PATH_PAGE:
	case PATH_TABLE:
		counts_test_unmap(test, ct, row->path == PATH_TABLE);
		invs = true;
		break;
	case PATH_ALL:
		iommu_flush_iotlb_all(ct->domain);
		invs = true;
		break;
	case PATH_EXIT:
		kunit_release_action(test, mmput_wrapper, ct->mm);
		break;
	default:
		for (i = 0; i < num; i++) {
			if (row->path == PATH_ATTACH)
				counts_test_attach(test, ct, i);
			else if (row->path == PATH_DETACH)
				counts_test_detach(test, ct, i);
			else if (row->path == PATH_SET_PASID)
				KUNIT_ASSERT_EQ(test, 0,
						arm_smmu_fake_set_pasid(ct->fms[i],
									ct->domain,
									TEST_PASID,
									NULL));
			else if (row->path == PATH_CLEAR_PASID)
				KUNIT_ASSERT_EQ(test, 0,
						arm_smmu_fake_clear_pasid(ct->fms[i],
									  TEST_PASID,
									  ct->domain));
			else
				kunit_release_action(test,
						     arm_smmu_fake_vsmmu_destroy,
						     ct->vsmmus[i]);
		}
	}
	time = arm_smmu_fake_now() - start;

	if (invs) {
		u64 seen[TEST_MAX_SMMUS];

		for (i = 0; i < num; i++)
			seen[i] = ct->fakes[i]->seen;
		counts_test_expect_phases(test, ct);
		for (i = 0; i < num; i++)
			ct->fakes[i]->seen = seen[i];
		/* The SMMUs take their time at once */
		for (p = row->ops; *p; p++)
			phases += *p == '.';
		KUNIT_EXPECT_LE(test, time,
				(phases * TEST_USECS + TEST_USECS) *
				NSEC_PER_USEC);
	}
	for (i = 0; i < num; i++) {
		arm_smmu_fake_read_ops(ct->fakes[i], ops, sizeof(ops));
		KUNIT_EXPECT_STREQ_MSG(test, ops, row->ops, "SMMU %u", i);
	}
	if (row->path == PATH_SET_PASID)
		for (i = 0; i < num; i++)
			KUNIT_EXPECT_EQ(test, 0,
					arm_smmu_fake_clear_pasid(ct->fms[i],
								  TEST_PASID,
								  ct->domain));
}

static void counts_test_one_smmu(struct kunit *test)
{
	counts_test_run(test, 1);
}

static void counts_test_four_smmus(struct kunit *test)
{
	counts_test_run(test, TEST_MAX_SMMUS);
}

static struct kunit_case counts_test_cases[] = {
	KUNIT_CASE_PARAM(counts_test_one_smmu, counts_test_row_gen_params),
	KUNIT_CASE_PARAM(counts_test_four_smmus, counts_test_row_gen_params),
	{}
};

static struct kunit_suite counts_test_suite = {
	.name = "arm-smmu-v3-counts",
	.test_cases = counts_test_cases,
};

kunit_test_suite(counts_test_suite);
