// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of SVA with the mm of a real process, on fake SMMUs
 */
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/mman.h>
#include <linux/mmu_notifier.h>
#include <linux/sched/mm.h>
#include <linux/uaccess.h>

#include "arm-smmu-v3-fake.h"

#define TEST_SID	1
#define TEST_SSID_BITS	4
#define TEST_MAX_SMMUS	16

/* A device that a process is bound to, and its SMMU */
struct sva_test_dev {
	struct arm_smmu_fake *fake;
	struct arm_smmu_fake_master *fm;
	struct iommu_sva *handle;
	u32 asid;
};

KUNIT_DEFINE_ACTION_WRAPPER(mmput_wrapper, mmput, struct mm_struct *);
KUNIT_DEFINE_ACTION_WRAPPER(unbind_wrapper, iommu_sva_unbind_device,
			    struct iommu_sva *);

/* The mm of a process, which exits at kunit_release_action(mmput_wrapper) */
static struct mm_struct *sva_test_alloc_mm(struct kunit *test)
{
	struct mm_struct *mm = mm_alloc();

	KUNIT_ASSERT_NOT_NULL(test, mm);
	mm->task_size = TASK_SIZE;
	arch_pick_mmap_layout(mm, &current->signal->rlim[RLIMIT_STACK]);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, mmput_wrapper, mm));
	return mm;
}

static void sva_test_add_dev(struct kunit *test, struct sva_test_dev *td)
{
	td->fake = arm_smmu_fake_create(test, 8);
	td->fake->smmu.features |= ARM_SMMU_FEAT_SVA;
	td->fm = arm_smmu_fake_add_master(td->fake, TEST_SID, TEST_SSID_BITS);
}

static void sva_test_bind(struct kunit *test, struct sva_test_dev *td,
			  struct mm_struct *mm)
{
	td->handle = iommu_sva_bind_device(td->fm->dev, mm);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, td->handle);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, unbind_wrapper,
						  td->handle));
}

struct sva_test_exit {
	struct mm_struct *mm;
	unsigned int usecs;
	struct completion done;
};

static int sva_test_exit(void *data)
{
	struct sva_test_exit *exit = data;

	if (exit->usecs)
		usleep_range(exit->usecs, exit->usecs + 1);
	mmput(exit->mm);
	kthread_complete_and_exit(&exit->done, 0);
}

/*
 * A process exits on @exit_cpu while somebody unbinds a device from it on @cpu.
 * Whoever comes first, the CD is invalid in the end, and counted as such.
 */
static void sva_test_race(struct kunit *test, struct sva_test_dev *td,
			  unsigned int cpu, unsigned int exit_cpu)
{
	const unsigned int sync_usecs = 1500, rounds = 16;
	struct sva_test_exit *exit;
	struct task_struct *task;
	unsigned int usecs, i;
	u32 pasid;
	u64 cd0;

	exit = kunit_kzalloc(test, sizeof(*exit), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, exit);
	KUNIT_ASSERT_EQ(test, 0,
			set_cpus_allowed_ptr(current, cpumask_of(cpu)));

	for (i = 0; i < rounds; i++) {
		KUNIT_ASSERT_EQ(test, 0,
				arm_smmu_fake_set_time(td->fake, sync_usecs));
		usecs = i * sync_usecs / 6;
		exit->mm = sva_test_alloc_mm(test);
		exit->usecs = cpu == exit_cpu ? usecs : 0;
		init_completion(&exit->done);
		sva_test_bind(test, td, exit->mm);
		pasid = iommu_sva_get_pasid(td->handle);
		KUNIT_ASSERT_EQ(test, td->fm->master->cd_table.used_ssids, 1);

		task = kthread_create(sva_test_exit, exit, "sva-test-exit");
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, task);
		kunit_remove_action(test, mmput_wrapper, exit->mm);
		kthread_bind(task, exit_cpu);
		sched_set_fifo(task);
		wake_up_process(task);
		if (cpu != exit_cpu) {
			udelay(usecs);
			/* If the exit waits already, let the unbind overtake */
			arm_smmu_fake_set_time(td->fake, 0);
		}
		kunit_release_action(test, unbind_wrapper, td->handle);
		wait_for_completion(&exit->done);

		cd0 = le64_to_cpu(arm_smmu_fake_cd(td->fm, pasid)->data[0]);
		KUNIT_ASSERT_EQ_MSG(test, cd0, 0, "round %u", i);
		KUNIT_ASSERT_EQ_MSG(test, td->fm->master->cd_table.used_ssids,
				    0, "round %u", i);
		/* The next round gets the same PASID */
		mmu_notifier_synchronize();
	}
}

/* The exit comes in the middle of the unbind */
static void sva_test_exit_in_unbind(struct kunit *test)
{
	unsigned int cpu = raw_smp_processor_id();
	struct sva_test_dev td;

	/*
	 * The SMMU needs a CPU, so both share the other one. The exit has the
	 * higher priority: it cuts in whenever the unbind lets it.
	 */
	if (!IS_ENABLED(CONFIG_PREEMPTION) || num_online_cpus() < 2)
		kunit_skip(test, "needs CONFIG_PREEMPTION and two CPUs");
	sva_test_add_dev(test, &td);
	sva_test_race(test, &td, cpu, cpu);
}

/* The unbind comes in the middle of the exit, which nothing can preempt */
static void sva_test_unbind_in_exit(struct kunit *test)
{
	unsigned int cpu = raw_smp_processor_id();
	struct sva_test_dev td;

	if (num_online_cpus() < 3)
		kunit_skip(test, "needs three CPUs, one for the SMMU");
	sva_test_add_dev(test, &td);
	sva_test_race(test, &td, cpu, cpumask_any_but(cpu_online_mask, cpu));
}

static void sva_test_expect_cmd(struct kunit *test, struct sva_test_dev *td,
				u64 opcode, u64 *data)
{
	struct arm_smmu_cmd cmd;

	KUNIT_ASSERT_TRUE(test, arm_smmu_fake_next_cmd(td->fake, &cmd));
	KUNIT_ASSERT_EQ(test, cmd.data[0] & CMDQ_0_OP, opcode);
	if (data)
		memcpy(data, cmd.data, sizeof(cmd.data));
}

/* The CD translates with the page table of the process */
static void sva_test_expect_bound(struct kunit *test, struct sva_test_dev *td,
				  struct mm_struct *mm)
{
	struct arm_smmu_cd *cd = arm_smmu_fake_cd(td->fm, mm->iommu_mm->pasid);
	u64 val = le64_to_cpu(cd->data[0]);
	u64 ttb = le64_to_cpu(cd->data[1]) & CTXDESC_CD_1_TTB0_MASK;

	KUNIT_EXPECT_TRUE(test, val & CTXDESC_CD_0_V);
	KUNIT_EXPECT_FALSE(test, val & CTXDESC_CD_0_TCR_EPD0);
	KUNIT_EXPECT_EQ(test, ttb, virt_to_phys(mm->pgd));
	td->asid = FIELD_GET(CTXDESC_CD_0_ASID, val);
	KUNIT_EXPECT_TRUE(test, ida_exists(&td->fake->smmu.asid_map, td->asid));
}

/*
 * Unmap a page that the process has written to. Its neighbours keep the table
 * that maps it: if that went, too, it would be invalidated in a second call.
 */
static void sva_test_munmap(struct kunit *test, struct sva_test_dev *tds,
			    unsigned int num, struct mm_struct *mm)
{
	unsigned long uaddr;
	unsigned int i;
	u64 cmd[2];
	u32 asid;
	int ret;

	kthread_use_mm(mm);
	uaddr = vm_mmap(NULL, 0, 3 * PAGE_SIZE, PROT_READ | PROT_WRITE,
			MAP_ANONYMOUS | MAP_PRIVATE, 0);
	ret = clear_user((void __user *)uaddr, 3 * PAGE_SIZE);
	uaddr += PAGE_SIZE;
	for (i = 0; i < num; i++)
		arm_smmu_fake_drop_cmds(tds[i].fake);
	if (!ret)
		ret = vm_munmap(uaddr, PAGE_SIZE);
	kthread_unuse_mm(mm);
	KUNIT_ASSERT_EQ(test, ret, 0);

	for (i = 0; i < num; i++) {
		sva_test_expect_cmd(test, &tds[i], CMDQ_OP_TLBI_NH_VA, cmd);
		asid = FIELD_GET(CMDQ_TLBI_0_ASID, cmd[0]);
		KUNIT_EXPECT_EQ(test, asid, tds[i].asid);
		KUNIT_EXPECT_EQ(test, cmd[1] & CMDQ_TLBI_1_VA_MASK, uaddr);
		sva_test_expect_cmd(test, &tds[i], CMDQ_OP_CMD_SYNC, NULL);
		arm_smmu_fake_expect_cmds(tds[i].fake, NULL, 0);
	}
}

/* The process is gone. Its CD faults every access, and the TLB is clean. */
static void sva_test_expect_exited(struct kunit *test, struct sva_test_dev *td,
				   u32 pasid)
{
	u64 val = le64_to_cpu(arm_smmu_fake_cd(td->fm, pasid)->data[0]);
	u64 cmd[2];
	u32 asid;

	KUNIT_EXPECT_TRUE(test, val & CTXDESC_CD_0_V);
	KUNIT_EXPECT_TRUE(test, val & CTXDESC_CD_0_TCR_EPD0);
	KUNIT_EXPECT_TRUE(test, val & CTXDESC_CD_0_TCR_EPD1);
	asid = FIELD_GET(CTXDESC_CD_0_ASID, val);
	KUNIT_EXPECT_EQ(test, asid, 0);

	/* EPD0 and ASID first, then what EPD0 hides */
	sva_test_expect_cmd(test, td, CMDQ_OP_CFGI_CD, NULL);
	sva_test_expect_cmd(test, td, CMDQ_OP_CMD_SYNC, NULL);
	sva_test_expect_cmd(test, td, CMDQ_OP_CFGI_CD, NULL);
	sva_test_expect_cmd(test, td, CMDQ_OP_CMD_SYNC, NULL);
	sva_test_expect_cmd(test, td, CMDQ_OP_TLBI_NH_ASID, cmd);
	asid = FIELD_GET(CMDQ_TLBI_0_ASID, cmd[0]);
	KUNIT_EXPECT_EQ(test, asid, td->asid);
	sva_test_expect_cmd(test, td, CMDQ_OP_CMD_SYNC, NULL);
	arm_smmu_fake_expect_cmds(td->fake, NULL, 0);
}

/*
 * A process is bound to devices behind many SMMUs, unmaps memory and exits
 * before it is unbound.
 */
static void sva_test_many(struct kunit *test)
{
	unsigned int num = *(const unsigned int *)test->param_value;
	struct mm_struct *mm = sva_test_alloc_mm(test);
	struct sva_test_dev *tds;
	unsigned int i, j;
	u32 pasid;
	u64 cd0;

	tds = kunit_kcalloc(test, num, sizeof(*tds), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, tds);
	for (i = 0; i < num; i++) {
		sva_test_add_dev(test, &tds[i]);
		/* So that the process has another ASID on each SMMU */
		for (j = 0; j < i; j++)
			KUNIT_ASSERT_GT(test,
					ida_alloc_min(&tds[i].fake->smmu.asid_map,
						      1, GFP_KERNEL), 0);
	}

	for (i = 0; i < num; i++) {
		sva_test_bind(test, &tds[i], mm);
		sva_test_expect_bound(test, &tds[i], mm);
		if (i)
			KUNIT_EXPECT_NE(test, tds[i].asid, tds[i - 1].asid);
	}
	/* One domain, hence one notifier, which is a part of it */
	KUNIT_ASSERT_TRUE(test, list_is_singular(&mm->iommu_mm->sva_domains));

	/* With a second CPU the notifier, which must not sleep, has to wait */
	for (i = 0; i < num; i++)
		arm_smmu_fake_set_time(tds[i].fake, 200);

	sva_test_munmap(test, tds, num, mm);

	pasid = mm->iommu_mm->pasid;
	kunit_release_action(test, mmput_wrapper, mm);
	for (i = 0; i < num; i++)
		sva_test_expect_exited(test, &tds[i], pasid);

	for (i = 0; i < num; i++) {
		kunit_release_action(test, unbind_wrapper, tds[i].handle);
		cd0 = le64_to_cpu(arm_smmu_fake_cd(tds[i].fm, pasid)->data[0]);
		KUNIT_EXPECT_EQ(test, cd0, 0);
		KUNIT_EXPECT_FALSE(test,
				   ida_exists(&tds[i].fake->smmu.asid_map,
					      tds[i].asid));
		for (j = 1; j <= i; j++)
			ida_free(&tds[i].fake->smmu.asid_map, j);
	}
}

static const unsigned int sva_test_nums[] = { 1, 2, 8, TEST_MAX_SMMUS };

static void sva_test_num_desc(const unsigned int *num, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%u SMMUs", *num);
}

KUNIT_ARRAY_PARAM(sva_test_nums, sva_test_nums, sva_test_num_desc);

/* An SMMU that cannot use the page table of the CPU gets none */
static void sva_test_unsupported(struct kunit *test)
{
	struct mm_struct *mm = sva_test_alloc_mm(test);
	struct sva_test_dev td, bad;
	struct iommu_domain *domain;

	sva_test_add_dev(test, &td);
	sva_test_add_dev(test, &bad);
	bad.fake->smmu.features &= ~ARM_SMMU_FEAT_SVA;

	sva_test_bind(test, &td, mm);
	domain = list_first_entry(&mm->iommu_mm->sva_domains,
				  struct iommu_domain, next);
	KUNIT_EXPECT_EQ(test, -EINVAL,
			arm_smmu_fake_set_pasid(bad.fm, domain,
						mm->iommu_mm->pasid, NULL));
	bad.handle = iommu_sva_bind_device(bad.fm->dev, mm);
	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(bad.handle), -EOPNOTSUPP);

	arm_smmu_fake_expect_cmds(bad.fake, NULL, 0);
	KUNIT_EXPECT_TRUE(test, ida_is_empty(&bad.fake->smmu.asid_map));
	kunit_release_action(test, unbind_wrapper, td.handle);
}

/* As if it had never been bound */
static void sva_test_expect_unbound(struct kunit *test, struct sva_test_dev *td,
				    struct mm_struct *mm, unsigned int nth)
{
	/* A domain goes back when nobody can be in its notifier any more */
	mmu_notifier_synchronize();
	KUNIT_EXPECT_TRUE_MSG(test, ida_is_empty(&td->fake->smmu.asid_map),
			      "allocation %u", nth);
	KUNIT_EXPECT_EQ_MSG(test, td->fm->master->cd_table.used_ssids, 0,
			    "allocation %u", nth);
	KUNIT_EXPECT_EQ_MSG(test, atomic_read(&mm->mm_users), 1,
			    "allocation %u", nth);
	if (mm->iommu_mm)
		KUNIT_EXPECT_TRUE_MSG(test,
				      list_empty(&mm->iommu_mm->sva_domains),
				      "allocation %u", nth);
}

/*
 * Let each allocation fail in turn, of a bind until it succeeds, then of an
 * unbind, which always does.
 */
static void sva_test_no_memory(struct kunit *test)
{
	struct mm_struct *mm = sva_test_alloc_mm(test);
	struct sva_test_dev td;
	unsigned int nth;
	bool failed;
	int balance;
	u32 pasid;
	u64 cd0;

	sva_test_add_dev(test, &td);
	for (nth = 1;; nth++) {
		if (arm_smmu_fake_slab_start(test, nth))
			kunit_skip(test,
				   "needs CONFIG_KPROBES and CONFIG_FAILSLAB");
		td.handle = iommu_sva_bind_device(td.fm->dev, mm);
		failed = arm_smmu_fake_slab_stop(test, &balance);
		if (!failed)
			break;
		KUNIT_ASSERT_EQ_MSG(test, PTR_ERR_OR_ZERO(td.handle), -ENOMEM,
				    "allocation %u", nth);
		sva_test_expect_unbound(test, &td, mm, nth);
	}
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, td.handle);
	/* The handle, the domain, its array, the arm_smmu_master_domain */
	KUNIT_EXPECT_GT(test, nth, 4);
	sva_test_expect_bound(test, &td, mm);

	pasid = iommu_sva_get_pasid(td.handle);
	for (nth = 1;; nth++) {
		KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_slab_start(test, nth));
		iommu_sva_unbind_device(td.handle);
		failed = arm_smmu_fake_slab_stop(test, &balance);
		sva_test_expect_unbound(test, &td, mm, nth);
		cd0 = le64_to_cpu(arm_smmu_fake_cd(td.fm, pasid)->data[0]);
		KUNIT_EXPECT_EQ_MSG(test, cd0, 0, "allocation %u", nth);
		if (!failed)
			break;
		td.handle = iommu_sva_bind_device(td.fm->dev, mm);
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, td.handle);
	}
}

static struct kunit_case arm_smmu_v3_sva_test_cases[] = {
	KUNIT_CASE_SLOW(sva_test_exit_in_unbind),
	KUNIT_CASE_SLOW(sva_test_unbind_in_exit),
	KUNIT_CASE_PARAM(sva_test_many, sva_test_nums_gen_params),
	KUNIT_CASE(sva_test_unsupported),
	KUNIT_CASE_SLOW(sva_test_no_memory),
	{}
};

static struct kunit_suite arm_smmu_v3_sva_test_suite = {
	.name = "arm-smmu-v3-sva",
	.test_cases = arm_smmu_v3_sva_test_cases,
};

kunit_test_suites(&arm_smmu_v3_sva_test_suite);
