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
#define TEST_USECS	100
#define MAX_CMDS	64

enum attach_type { TYPE_S1, TYPE_S2, TYPE_NESTED, TYPE_SVA };

enum way {
	PATH_END,
	/* Run for each SMMU, one after the other */
	PATH_ATTACH, PATH_DETACH, PATH_SET_PASID, PATH_CLEAR_PASID, PATH_VSMMU,
	/* Run once for all SMMUs */
	PATH_PAGE, PATH_TABLE, PATH_ALL, PATH_EXIT,
};

/*
 * Paths, in the order in which they are run, and the commands that each SMMU gets:
 * s CFGI_STE, c CFGI_CD, a TLBI_NH_ASID, v TLBI_NH_VA, i TLBI_S2_IPA, n TLBI_NH_ALL,
 * m TLBI_S12_VMALL, t ATC_INV, '.' CMD_SYNC.
 */
static const struct sequence {
	const char *name;
	enum attach_type type;
	bool ats;
	struct {
		enum way path;
		const char *ops;
	} rows[8];
} sequences[] = {
	{ "S1", TYPE_S1, false, {
		{ PATH_ATTACH, "c.c.s.s." },
		{ PATH_PAGE, "v." },
		{ PATH_TABLE, "a.v." },
		{ PATH_ALL, "a." },
		{ PATH_SET_PASID, "c.c." },
		{ PATH_CLEAR_PASID, "c.c." },
		{ PATH_DETACH, "s.s.c.c.a." },
	} }, { "S1 ATS", TYPE_S1, true, {
		{ PATH_ATTACH, "c.c.s.s.t." },
		{ PATH_PAGE, "v.t." },
		{ PATH_TABLE, "a.t.v.t." },
		{ PATH_ALL, "a.t." },
		{ PATH_DETACH, "s.s.c.c.t.a." },
	} }, { "S2", TYPE_S2, false, {
		{ PATH_ATTACH, "s.s." },
		{ PATH_PAGE, "i." },
		{ PATH_TABLE, "m.i." },
		{ PATH_ALL, "m." },
		{ PATH_DETACH, "s.s.m." },
	} }, { "S2 ATS", TYPE_S2, true, {
		{ PATH_ATTACH, "s.s.t." },
		{ PATH_PAGE, "i.t." },
		{ PATH_DETACH, "s.s.t.m." },
	} }, { "nested", TYPE_NESTED, false, {
		{ PATH_ATTACH, "s.s." },
		{ PATH_PAGE, "i.n." },
		{ PATH_ALL, "m." },
		{ PATH_DETACH, "s.s.m." },
		{ PATH_VSMMU, "m." },
	} }, { "nested ATS", TYPE_NESTED, true, {
		{ PATH_ATTACH, "s.s.t." },
		{ PATH_PAGE, "i.n.t." },
		{ PATH_ALL, "m.t." },
		{ PATH_DETACH, "s.s.t.m." },
	} }, { "SVA", TYPE_SVA, false, {
		{ PATH_ATTACH, "c.c.s.s." },
		{ PATH_PAGE, "v." },
		{ PATH_DETACH, "c.c.a.s.s." },
		{ PATH_ATTACH, "c.c.s.s." },
		{ PATH_EXIT, "c.a." },
		{ PATH_DETACH, "c.c.c.a.s.s." },
	} }, { "SVA ATS", TYPE_SVA, true, {
		{ PATH_ATTACH, "c.c.s.s.t." },
		{ PATH_PAGE, "v.t." },
		{ PATH_EXIT, "c.a.t." },
		{ PATH_DETACH, "c.c.c.t.a.s.s.t." },
	} },
};

KUNIT_ARRAY_PARAM_DESC(sequences, sequences, name);

struct counts {
	struct kunit *test;
	enum attach_type type;
	unsigned int num;
	struct arm_smmu_fake *fakes[TEST_SMMUS];
	struct arm_smmu_fake_master *fms[TEST_SMMUS];
	struct iommu_domain *domain;
	struct iommu_domain *attached[TEST_SMMUS];
	struct arm_vsmmu *vsmmus[TEST_SMMUS];
	struct iommu_sva *handles[TEST_SMMUS];
	struct mm_struct *mm;
	/* Numbers of the commands in the order in which all SMMUs consumed them */
	u64 stamps[TEST_SMMUS][MAX_CMDS];
};

KUNIT_DEFINE_ACTION_WRAPPER(mmput_wrapper, mmput, struct mm_struct *);

/* Allocate the domains for the first @num SMMUs */
static void alloc(struct counts *ct, unsigned int num)
{
	u32 flags = ct->type == TYPE_S1 ? 0 : IOMMU_HWPT_ALLOC_NEST_PARENT;
	unsigned int i;

	ct->num = num;
	if (ct->type == TYPE_SVA) {
		ct->mm = mm_alloc();
		KUNIT_ASSERT_NOT_NULL(ct->test, ct->mm);
		arm_smmu_fake_add_action(ct->test, mmput_wrapper, ct->mm);
		return;
	}
	ct->domain = arm_smmu_fake_alloc_domain(ct->fms[0], flags);
	for (i = 0; i < num; i++) {
		ct->attached[i] = ct->domain;
		if (ct->type != TYPE_NESTED)
			continue;
		ct->vsmmus[i] = arm_smmu_fake_alloc_vsmmu(ct->fakes[i], ct->domain);
		ct->attached[i] = arm_smmu_fake_alloc_nested(ct->fms[i], ct->vsmmus[i],
							     STRTAB_STE_0_CFG_BYPASS,
							     STRTAB_STE_1_EATS_TRANS);
	}
}

static void drop(struct counts *ct)
{
	unsigned int i;

	for (i = 0; i < TEST_SMMUS; i++)
		arm_smmu_fake_drop_cmds(ct->fakes[i]);
}

static int attach(struct counts *ct, unsigned int i)
{
	if (ct->type != TYPE_SVA)
		return arm_smmu_fake_attach(ct->fms[i], ct->attached[i]);
	ct->handles[i] = iommu_sva_bind_device(ct->fms[i]->dev, ct->mm);
	if (IS_ERR(ct->handles[i]))
		return PTR_ERR(ct->handles[i]);
	ct->domain = ct->handles[i]->handle.domain;
	return 0;
}

static int detach(struct counts *ct, unsigned int i)
{
	if (ct->type != TYPE_SVA)
		return arm_smmu_fake_block(ct->fms[i]);
	iommu_sva_unbind_device(ct->handles[i]);
	return 0;
}

/* Unmap all pages of a table, which frees the table, or only one page */
static int unmap(struct counts *ct, size_t size)
{
	struct mmu_notifier *mn = &to_smmu_domain(ct->domain)->mmu_notifier;
	unsigned long iova;
	int ret = 0;

	if (ct->type == TYPE_SVA) {
		mn->ops->arch_invalidate_secondary_tlbs(mn, ct->mm, TEST_IOVA,
						       TEST_IOVA + PAGE_SIZE);
		return 0;
	}
	for (iova = 0; iova < size && !ret; iova += SZ_4K)
		ret = iommu_map(ct->domain, TEST_IOVA + iova, SZ_4K, SZ_4K, IOMMU_READ,
				GFP_KERNEL);
	drop(ct);
	return ret ?: iommu_unmap(ct->domain, TEST_IOVA, size) - size;
}

static int run_path(struct counts *ct, enum way path, unsigned int i)
{
	switch (path) {
	case PATH_ATTACH:
		return attach(ct, i);
	case PATH_DETACH:
		return detach(ct, i);
	case PATH_SET_PASID:
		return arm_smmu_fake_set_pasid(ct->fms[i], ct->domain, TEST_PASID, NULL);
	case PATH_CLEAR_PASID:
		return arm_smmu_fake_clear_pasid(ct->fms[i], TEST_PASID, ct->domain);
	case PATH_PAGE:
		return unmap(ct, SZ_4K);
	case PATH_TABLE:
		return unmap(ct, SZ_2M);
	case PATH_ALL:
		iommu_flush_iotlb_all(ct->domain);
		return 0;
	case PATH_EXIT:
		kunit_release_action(ct->test, mmput_wrapper, ct->mm);
		return 0;
	default:
		kunit_release_action(ct->test, arm_smmu_fake_vsmmu_destroy, ct->vsmmus[i]);
		return 0;
	}
}

static void expect(struct counts *ct, unsigned int i, const char *want)
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
	unsigned int num = 0;
	u8 op;

	while (arm_smmu_fake_next_cmd(ct->fakes[i], &cmd)) {
		op = FIELD_GET(CMDQ_0_OP, cmd.data[0]);
		if (op == CMDQ_OP_PREFETCH_CFG)
			continue;
		KUNIT_ASSERT_LT(ct->test, num, MAX_CMDS - 1);
		ct->stamps[i][num] = arm_smmu_fake_last_cmd(ct->fakes[i])->stamp;
		ops[num++] = letters[op] ?: '?';
	}
	KUNIT_EXPECT_STREQ_MSG(ct->test, ops, want, "SMMU %u of %u", i, ct->num);
}

/* The driver waits for all SMMUs at the same time. All end a phase before the next begins. */
static void run_row(struct counts *ct, enum way path, const char *want)
{
	unsigned int i, n, num = path < PATH_PAGE ? ct->num : 1, phases = 1;
	u64 start = arm_smmu_fake_now(), time;

	drop(ct);
	for (i = 0; i < num; i++)
		KUNIT_ASSERT_EQ(ct->test, 0, run_path(ct, path, i));
	time = arm_smmu_fake_now() - start;
	for (i = 0; i < ct->num; i++)
		expect(ct, i, want);
	if (path < PATH_PAGE || path == PATH_EXIT)
		return;
	for (n = 0; want[n]; n++) {
		phases += want[n] == '.';
		for (i = 0; want[n] == '.' && want[n + 1] && i < ct->num; i++)
			KUNIT_EXPECT_LT(ct->test, ct->stamps[i][n],
					ct->stamps[ct->num - 1 - i][n + 1]);
	}
	KUNIT_EXPECT_LE(ct->test, time, phases * TEST_USECS * NSEC_PER_USEC);
}

static void counts_test_run(struct kunit *test)
{
	const struct sequence *sequence = test->param_value;
	struct counts *ct = arm_smmu_fake_zalloc(test, sizeof(*ct));
	const u32 sid = 1;
	unsigned int i, row;

	ct->test = test;
	ct->type = sequence->type;
	for (i = 0; i < TEST_SMMUS; i++) {
		ct->fakes[i] = arm_smmu_fake_create(test, 8);
		ct->fakes[i]->smmu.features |= ARM_SMMU_FEAT_SVA;
		ct->fms[i] = sequence->ats ?
			arm_smmu_fake_add_pci_master(ct->fakes[i], &sid, 1, 4) :
			arm_smmu_fake_add_master(ct->fakes[i], sid, 4);
		arm_smmu_fake_set_time(ct->fakes[i], TEST_USECS);
	}
	for (i = 1; i <= TEST_SMMUS; i++) {
		alloc(ct, i);
		for (row = 0; sequence->rows[row].path != PATH_END; row++)
			run_row(ct, sequence->rows[row].path, sequence->rows[row].ops);
	}
}

static struct kunit_case counts_test_cases[] = {
	KUNIT_CASE_PARAM(counts_test_run, sequences_gen_params),
	{}
};

static struct kunit_suite counts_test_suite = {
	.name = "arm-smmu-v3-counts",
	.suite_init = arm_smmu_fake_suite_init,
	.suite_exit = arm_smmu_fake_suite_exit,
	.test_cases = counts_test_cases,
};

kunit_test_suite(counts_test_suite);
