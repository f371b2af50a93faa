// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the sequence of commands and CMD_SYNCs of each path of the driver.
 * They fail if a change adds, removes or moves a command. Other suites test whether
 * the commands are right.
 */
#include <linux/iommu.h>
#include <linux/mmu_notifier.h>
#include <linux/sched/mm.h>
#include <uapi/linux/iommufd.h>

#include "fake.h"

#define TEST_SMMUS	2
#define TEST_PASID	3
#define TEST_IOVA	SZ_1G
#define MAX_CMDS	64

enum attach_type { TYPE_S1, TYPE_S2, TYPE_NESTED, TYPE_SVA };

/* In the order in which they are run */
enum counts_path {
	ATTACH,
	/* Once for all SMMUs, the others for each SMMU */
	UNMAP_PAGE, UNMAP_TABLE, FLUSH_ALL, MM_UNMAP, MM_EXIT,
	SET_PASID, CLEAR_PASID, DETACH, FREE_VSMMU, NUM_PATHS
};

/*
 * The commands that each SMMU gets on each path:
 * s CFGI_STE, c CFGI_CD, a TLBI_NH_ASID, v TLBI_NH_VA, i TLBI_S2_IPA, n TLBI_NH_ALL,
 * m TLBI_S12_VMALL, t ATC_INV, '.' CMD_SYNC.
 */
static const struct sequence {
	const char *name;
	enum attach_type type;
	bool ats;
	const char *ops[NUM_PATHS];
} sequences[] = {
	{ "S1", TYPE_S1, false,
	  { [ATTACH] = "c.c.s.s.", [UNMAP_PAGE] = "v.", [UNMAP_TABLE] = "a.v.", [FLUSH_ALL] = "a.",
	    [SET_PASID] = "c.c.", [CLEAR_PASID] = "c.c.", [DETACH] = "s.s.c.c.a." } },
	{ "S1 ATS", TYPE_S1, true,
	  { [ATTACH] = "c.c.s.s.t.", [UNMAP_PAGE] = "v.t.", [UNMAP_TABLE] = "a.t.v.t.",
	    [FLUSH_ALL] = "a.t.", [DETACH] = "s.s.c.c.t.a." } },
	{ "S2", TYPE_S2, false,
	  { [ATTACH] = "s.s.", [UNMAP_PAGE] = "i.", [UNMAP_TABLE] = "m.i.", [FLUSH_ALL] = "m.",
	    [DETACH] = "s.s.m." } },
	{ "S2 ATS", TYPE_S2, true,
	  { [ATTACH] = "s.s.t.", [UNMAP_PAGE] = "i.t.", [DETACH] = "s.s.t.m." } },
	{ "nested", TYPE_NESTED, false,
	  { [ATTACH] = "s.s.", [UNMAP_PAGE] = "i.n.", [FLUSH_ALL] = "m.", [DETACH] = "s.s.m.",
	    [FREE_VSMMU] = "m." } },
	{ "nested ATS", TYPE_NESTED, true,
	  { [ATTACH] = "s.s.t.", [UNMAP_PAGE] = "i.n.t.", [FLUSH_ALL] = "m.t.",
	    [DETACH] = "s.s.t.m." } },
	{ "SVA", TYPE_SVA, false,
	  { [ATTACH] = "c.c.s.s.", [MM_UNMAP] = "v.", [DETACH] = "c.c.a.s.s." } },
	{ "SVA exit", TYPE_SVA, false,
	  { [ATTACH] = "c.c.s.s.", [MM_EXIT] = "c.a.", [DETACH] = "c.c.c.a.s.s." } },
	{ "SVA ATS", TYPE_SVA, true,
	  { [ATTACH] = "c.c.s.s.t.", [MM_UNMAP] = "v.t.", [MM_EXIT] = "c.a.t.",
	    [DETACH] = "c.c.c.t.a.s.s.t." } },
};

KUNIT_ARRAY_PARAM_DESC(sequences, sequences, name);

struct counts {
	struct kunit *test;
	enum attach_type type;
	struct arm_smmu_fake_master *fms[TEST_SMMUS];
	struct iommu_domain *domain;
	struct iommu_domain *attached[TEST_SMMUS];
	struct arm_vsmmu *vsmmus[TEST_SMMUS];
	struct iommu_sva *handles[TEST_SMMUS];
	struct mm_struct *mm;
};

KUNIT_DEFINE_ACTION_WRAPPER(mmput_wrapper, mmput, struct mm_struct *);

/* Allocate the domains, and map the pages of one table and one page of the next */
static void alloc(struct counts *ct)
{
	u32 flags = ct->type == TYPE_S1 ? 0 : IOMMU_HWPT_ALLOC_NEST_PARENT;
	unsigned int i;

	if (ct->type == TYPE_SVA) {
		ct->mm = mm_alloc();
		KUNIT_ASSERT_NOT_NULL(ct->test, ct->mm);
		arm_smmu_fake_add_action(ct->test, mmput_wrapper, ct->mm);
		return;
	}
	ct->domain = arm_smmu_fake_alloc_domain(ct->fms[0], flags);
	/* The output address is not aligned to a block */
	KUNIT_ASSERT_EQ(ct->test, 0, iommu_map(ct->domain, TEST_IOVA, SZ_4K, SZ_2M + SZ_4K,
					       IOMMU_READ, GFP_KERNEL));
	for (i = 0; i < TEST_SMMUS; i++) {
		ct->attached[i] = ct->domain;
		if (ct->type != TYPE_NESTED)
			continue;
		ct->vsmmus[i] = arm_smmu_fake_alloc_vsmmu(ct->fms[i]->fake, ct->domain);
		ct->attached[i] = arm_smmu_fake_alloc_nested(ct->fms[i], ct->vsmmus[i],
							     STRTAB_STE_0_CFG_BYPASS,
							     STRTAB_STE_1_EATS_TRANS);
	}
}

static void run_path(struct counts *ct, enum counts_path path, unsigned int i)
{
	struct arm_smmu_fake_master *fm = ct->fms[i];
	struct mmu_notifier *mn;
	int ret = 0;

	switch (path) {
	case ATTACH:
		if (ct->type != TYPE_SVA) {
			ret = arm_smmu_fake_attach(fm, ct->attached[i]);
			break;
		}
		ct->handles[i] = iommu_sva_bind_device(fm->dev, ct->mm);
		KUNIT_ASSERT_NOT_ERR_OR_NULL(ct->test, ct->handles[i]);
		ct->domain = ct->handles[i]->handle.domain;
		break;
	case DETACH:
		if (ct->type == TYPE_SVA)
			iommu_sva_unbind_device(ct->handles[i]);
		else
			ret = arm_smmu_fake_block(fm);
		break;
	case SET_PASID:
		ret = arm_smmu_fake_set_pasid(fm, ct->domain, TEST_PASID, NULL);
		break;
	case CLEAR_PASID:
		ret = arm_smmu_fake_clear_pasid(fm, TEST_PASID, ct->domain);
		break;
	case UNMAP_PAGE:
		ret = iommu_unmap(ct->domain, TEST_IOVA + SZ_2M, SZ_4K) != SZ_4K;
		break;
	case UNMAP_TABLE:
		ret = iommu_unmap(ct->domain, TEST_IOVA, SZ_2M) != SZ_2M;
		break;
	case FLUSH_ALL:
		iommu_flush_iotlb_all(ct->domain);
		break;
	case MM_UNMAP:
		mn = &to_smmu_domain(ct->domain)->mmu_notifier;
		mn->ops->arch_invalidate_secondary_tlbs(mn, ct->mm, 0, PAGE_SIZE);
		break;
	case MM_EXIT:
		kunit_release_action(ct->test, mmput_wrapper, ct->mm);
		break;
	default:
		kunit_release_action(ct->test, arm_smmu_fake_vsmmu_destroy, ct->vsmmus[i]);
	}
	KUNIT_ASSERT_EQ(ct->test, ret, 0);
}

static void expect(struct arm_smmu_fake *fake, const char *want, enum counts_path path,
		   unsigned int num)
{
	static const char letters[256] = {
		[CMDQ_OP_CFGI_STE] = 's', [CMDQ_OP_CFGI_CD] = 'c',
		[CMDQ_OP_TLBI_NH_ASID] = 'a', [CMDQ_OP_TLBI_NH_VA] = 'v',
		[CMDQ_OP_TLBI_S2_IPA] = 'i', [CMDQ_OP_TLBI_NH_ALL] = 'n',
		[CMDQ_OP_TLBI_S12_VMALL] = 'm', [CMDQ_OP_ATC_INV] = 't',
		[CMDQ_OP_CMD_SYNC] = '.',
	};
	struct arm_smmu_cmd cmd;
	char ops[MAX_CMDS] = "";
	unsigned int n = 0;
	u8 op;

	while (n < MAX_CMDS - 1 && arm_smmu_fake_next_cmd(fake, &cmd)) {
		op = FIELD_GET(CMDQ_0_OP, cmd.data[0]);
		if (op != CMDQ_OP_PREFETCH_CFG)
			ops[n++] = letters[op] ?: '?';
	}
	KUNIT_EXPECT_STREQ_MSG(fake->test, ops, want, "path %u, %u SMMUs", path, num);
}

static void counts_test_run(struct kunit *test)
{
	const struct sequence *sequence = test->param_value;
	struct counts *ct = arm_smmu_fake_zalloc(test, sizeof(*ct));
	const u32 sid = 1;
	unsigned int i, num;
	enum counts_path path;

	ct->test = test;
	ct->type = sequence->type;
	for (i = 0; i < TEST_SMMUS; i++) {
		struct arm_smmu_fake *fake = arm_smmu_fake_create(test, 8);

		fake->smmu.features |= ARM_SMMU_FEAT_SVA;
		ct->fms[i] = sequence->ats ? arm_smmu_fake_add_pci_master(fake, &sid, 1, 4) :
					     arm_smmu_fake_add_master(fake, sid, 4);
	}
	for (num = 1; num <= TEST_SMMUS; num++) {
		alloc(ct);
		for (path = 0; path < NUM_PATHS; path++) {
			if (!sequence->ops[path])
				continue;
			for (i = 0; i < (path >= UNMAP_PAGE && path <= MM_EXIT ? 1 : num); i++)
				run_path(ct, path, i);
			for (i = 0; i < num; i++)
				expect(ct->fms[i]->fake, sequence->ops[path], path, num);
		}
	}
}

static struct kunit_case counts_test_cases[] = {
	KUNIT_CASE_PARAM(counts_test_run, sequences_gen_params),
	{}
};

static struct kunit_suite counts_test_suite = {
	.name = "arm-smmu-v3-counts",
	.suite_exit = arm_smmu_fake_suite_exit,
	.test_cases = counts_test_cases,
};

kunit_test_suite(counts_test_suite);
