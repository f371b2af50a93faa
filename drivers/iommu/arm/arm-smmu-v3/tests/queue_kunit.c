// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the command queues: invalidations on several SMMUs at the same
 * time, timeouts, errors, MSIs, full queues and errata; and of the commands that
 * invalidate a range. They run on fake SMMUs in virtual time.
 */
#include <linux/delay.h>
#include <linux/iopoll.h>
#include <linux/prandom.h>
#include <linux/workqueue.h>

#include "fake.h"

/* The smallest queue that a batch and its CMD_SYNC fit into */
#define TEST_SHIFT	7
#define TEST_QUEUE	128
#define TEST_SID	3
#define TEST_IOVA	SZ_1G
#define TEST_PAGES	(CMDQ_BATCH_ENTRIES + 2)
#define TEST_USECS	1000
#define TEST_NSECS	(TEST_USECS * NSEC_PER_USEC)
/* Longest time that a test waits for the driver, in microseconds */
#define TEST_PATIENCE	(100 * USEC_PER_SEC)
#define TEST_TIMEOUT	(ARM_SMMU_POLL_TIMEOUT_US * NSEC_PER_USEC)
#define TEST_MAX_SMMUS	18
#define TEST_MAX_INVS	300
#define TEST_RANGES	300

/* SMMUs, and a domain. The test writes the entries of its array. */
struct queue_test {
	struct kunit *test;
	struct arm_smmu_fake *fakes[TEST_MAX_SMMUS];
	unsigned int num;
	struct arm_smmu_domain smmu_domain;
	struct arm_smmu_invs *invs;
};

static struct queue_test *queue_test_create(struct kunit *test, unsigned int num,
					    unsigned int usecs)
{
	struct queue_test *qt = arm_smmu_fake_zalloc(test, sizeof(*qt));
	unsigned int i;

	qt->test = test;
	qt->num = num;
	qt->invs = arm_smmu_fake_zalloc(test, struct_size(qt->invs, inv, TEST_MAX_INVS));
	rcu_assign_pointer(qt->smmu_domain.invs, qt->invs);
	for (i = 0; i < num; i++) {
		qt->fakes[i] = arm_smmu_fake_create(test, TEST_SHIFT);
		arm_smmu_fake_set_time(qt->fakes[i], usecs);
	}
	return qt;
}

static void queue_test_add(struct queue_test *qt, unsigned int i, enum arm_smmu_inv_type type)
{
	static const u8 opcodes[] = {
		[INV_TYPE_S1_ASID] = CMDQ_OP_TLBI_NH_VA,
		[INV_TYPE_S2_VMID] = CMDQ_OP_TLBI_S2_IPA,
		[INV_TYPE_S2_VMID_VSMMU] = CMDQ_OP_TLBI_S2_IPA,
		[INV_TYPE_S2_VMID_S1_CLEAR] = CMDQ_OP_TLBI_NH_ALL,
		[INV_TYPE_ATS] = CMDQ_OP_ATC_INV,
		[INV_TYPE_ATS_FULL] = CMDQ_OP_ATC_INV,
	};

	qt->invs->inv[qt->invs->num_invs++] = (struct arm_smmu_inv){
		.smmu = &qt->fakes[i]->smmu,
		.type = type,
		.size_opcode = opcodes[type],
		.nsize_opcode = CMDQ_OP_TLBI_S12_VMALL,
		.id = 1,
		.pgsize = ilog2(SZ_4K),
		.users = 1,
	};
}

static void queue_test_add_all(struct queue_test *qt, enum arm_smmu_inv_type type)
{
	unsigned int i;

	for (i = 0; i < qt->num; i++)
		queue_test_add(qt, i, type);
}

/* Invalidate pages. Return: the virtual time that it takes */
static u64 queue_test_inv(struct queue_test *qt, unsigned int num_pages)
{
	u64 start = arm_smmu_fake_now();

	arm_smmu_domain_inv_range(&qt->smmu_domain, TEST_IOVA, num_pages * SZ_4K, SZ_4K, true);
	return arm_smmu_fake_now() - start;
}

/* All commands were consumed, and no queue is locked */
static void queue_test_expect_idle(struct queue_test *qt, unsigned int num_timeouts)
{
	struct arm_smmu_fake_queue *fq;
	unsigned int i;

	KUNIT_EXPECT_EQ(qt->test, arm_smmu_fake_num_timeouts(), num_timeouts);
	for (i = 0; i < qt->num; i++) {
		list_for_each_entry(fq, &qt->fakes[i]->queues, list) {
			KUNIT_EXPECT_EQ(qt->test, 0, atomic_read(&fq->cmdq->lock));
			KUNIT_EXPECT_EQ(qt->test, 0, arm_smmu_fake_queue_pending(fq));
		}
	}
}

/* Check how many commands an SMMU consumed since the last call */
static void queue_test_expect(struct arm_smmu_fake *fake, int tlbis, int atcs, int syncs)
{
	struct kunit *test = fake->test;
	struct arm_smmu_cmd cmd;
	u8 op;

	while (arm_smmu_fake_next_cmd(fake, &cmd)) {
		op = FIELD_GET(CMDQ_0_OP, cmd.data[0]);
		tlbis -= op >= CMDQ_OP_TLBI_NH_ALL && op < CMDQ_OP_ATC_INV;
		atcs -= op == CMDQ_OP_ATC_INV;
		syncs -= op == CMDQ_OP_CMD_SYNC;
	}
	KUNIT_EXPECT_EQ(test, tlbis, 0);
	KUNIT_EXPECT_EQ(test, atcs, 0);
	KUNIT_EXPECT_EQ(test, syncs, 0);
}

static void queue_test_issue(struct arm_smmu_fake *fake, unsigned int num)
{
	struct arm_smmu_cmd cmd = { { CMDQ_OP_TLBI_NH_ASID } };

	while (num--)
		arm_smmu_cmdq_issue_cmd_p(&fake->smmu, &cmd, false);
}

static int queue_test_inv_task(void *data)
{
	queue_test_inv(data, TEST_PAGES);
	return 0;
}

/* Wait until an SMMU has consumed @consumed commands and at least @pending are pending */
static void queue_test_wait(struct arm_smmu_fake *fake, u64 consumed, unsigned int pending)
{
	u64 num;
	int ret = read_poll_timeout(arm_smmu_fake_queue_pending, num,
				    num >= pending && READ_ONCE(fake->log_head) >= consumed,
				    100, TEST_PATIENCE, false, &fake->queue);

	KUNIT_EXPECT_EQ(fake->test, 0, ret);
}

/*
 * An invalidation has three phases. In each phase all SMMUs execute their commands at
 * the same time. The first SMMU writes its MSI late: the driver waits for the MSI, not
 * for CONS. Several dead SMMUs cost one timeout, and still get all commands.
 */
static void queue_test_overlap(struct kunit *test)
{
	static const struct {
		unsigned int num;
		u32 dead;
		/* Duration in CMD_SYNCs, or in timeouts if an SMMU is dead */
		unsigned int waits;
	} rows[] = {
		{ 1, 0, 3 },
		{ 2, 0, 3 },
		/* More SMMUs than a pass has room for */
		{ TEST_MAX_SMMUS, 0, 3 * DIV_ROUND_UP(TEST_MAX_SMMUS, CMDQ_PASS_SYNCS) },
		{ 8, BIT(2) | BIT(7), 1 },
		/* One more dead SMMU than a pass remembers for the next phase */
		{ 8, GENMASK(CMDQ_PASS_DEAD + 1, 1), 3 },
		{ TEST_MAX_SMMUS, BIT(CMDQ_PASS_SYNCS - 1) | BIT(TEST_MAX_SMMUS - 1), 2 },
		{ 2, BIT(0), 1 },
	};
	struct queue_test *qt = queue_test_create(test, TEST_MAX_SMMUS, TEST_USECS);
	unsigned int row, i, timeouts = 0;
	u64 nsecs, unit;

	qt->fakes[0]->smmu.options |= ARM_SMMU_OPT_MSIPOLL;
	qt->fakes[0]->queue.usecs = 0;
	qt->fakes[0]->queue.msi_usecs = TEST_USECS;
	qt->fakes[1]->queue.usecs = 0;
	for (row = 0; row < ARRAY_SIZE(rows); row++) {
		qt->num = rows[row].num;
		qt->invs->num_invs = 0;
		/* Three phases, with two TLBIs and an ATC_INV */
		queue_test_add_all(qt, INV_TYPE_S2_VMID_VSMMU);
		queue_test_add_all(qt, INV_TYPE_S2_VMID_S1_CLEAR);
		queue_test_add_all(qt, INV_TYPE_ATS_FULL);
		for (i = 0; i < qt->num; i++)
			if (rows[row].dead & BIT(i))
				arm_smmu_fake_stop(qt->fakes[i], 0);
		unit = rows[row].dead ? TEST_TIMEOUT : TEST_NSECS;
		timeouts += rows[row].dead ? rows[row].waits : 0;
		nsecs = queue_test_inv(qt, 1);
		KUNIT_EXPECT_GE(test, nsecs, rows[row].waits * unit);
		KUNIT_EXPECT_LT(test, nsecs, (rows[row].waits + 1) * unit);
		for (i = 0; i < qt->num; i++) {
			KUNIT_EXPECT_EQ(test, arm_smmu_fake_queue_pending(&qt->fakes[i]->queue),
					rows[row].dead & BIT(i) ? 6 : 0);
			arm_smmu_fake_start(qt->fakes[i]);
		}
		/* The next invalidation does not remember dead SMMUs */
		queue_test_inv(qt, 1);
		queue_test_expect_idle(qt, timeouts);
		for (i = 0; i < qt->num; i++)
			queue_test_expect(qt->fakes[i], 4, 2, 6);
	}
}

/*
 * While a task waits for a slow SMMU or for space in a full queue, other tasks can
 * use the other SMMUs. The task continues when the SMMU consumes commands again.
 */
static void queue_test_blocked(struct kunit *test)
{
	struct queue_test *qt = queue_test_create(test, 3, 0);
	struct arm_smmu_fake *fake = qt->fakes[0], *slow = qt->fakes[1];
	struct task_struct *task;
	unsigned int full;
	u64 num;

	if (num_online_cpus() < 2)
		kunit_skip(test, "needs two CPUs");
	queue_test_add_all(qt, INV_TYPE_S1_ASID);
	for (full = 0; full < 2; full++) {
		arm_smmu_fake_stop(slow, 0);
		if (full)
			queue_test_issue(slow, TEST_QUEUE);
		arm_smmu_fake_freeze(true);
		num = fake->log_head;
		task = arm_smmu_fake_run_task(test, queue_test_inv_task, qt);
		queue_test_wait(fake, num + TEST_PAGES, 0);
		queue_test_wait(slow, 0, TEST_PAGES + 1);

		/* If the waiting task held the queue lock, no other task could free this space */
		queue_test_issue(fake, 2 * TEST_QUEUE);
		queue_test_issue(qt->fakes[2], 2 * TEST_QUEUE);
		KUNIT_EXPECT_EQ(test, arm_smmu_fake_queue_pending(&slow->queue),
				full ? TEST_QUEUE : TEST_PAGES + 1);
		arm_smmu_fake_start(slow);
		arm_smmu_fake_freeze(false);
		arm_smmu_fake_join_task(test, task);
		queue_test_expect_idle(qt, 0);
		queue_test_expect(slow, TEST_PAGES + full * TEST_QUEUE, 0, 1);
		queue_test_expect(qt->fakes[2], TEST_PAGES + 2 * TEST_QUEUE, 0, 1);
	}
}

static bool queue_test_is_nh_va(struct arm_smmu_cmd *cmd)
{
	return FIELD_GET(CMDQ_0_OP, cmd->data[0]) == CMDQ_OP_TLBI_NH_VA;
}

static struct arm_smmu_fake_queue *queue_test_add_vcmdq(struct arm_smmu_fake *fake)
{
	fake->smmu.options |= ARM_SMMU_OPT_TEGRA241_CMDQV;
	return arm_smmu_fake_add_queue(fake, TEST_SHIFT, queue_test_is_nh_va);
}

/* Different SMMUs in one pass. Each gets the commands that it would get alone. */
static void queue_test_mixed(struct kunit *test)
{
	/*
	 * Numbers of TLBIs, ATC_INVs and CMD_SYNCs, without errata and with the
	 * erratum that requires to repeat CFGI and TLBI.
	 */
	static const struct {
		u32 features;
		u32 options;
		unsigned int num_ats;
		u16 want[2][3];
	} rows[] = {
		/* Two queues with a TLBI for each */
		{ 0, ARM_SMMU_OPT_TEGRA241_CMDQV, 1, { { 132, 1, 3 }, { 264, 1, 9 } } },
		{ 0, 0, 0, { { 66, 0, 1 }, { 132, 0, 4 } } },
		{ 0, 0, 66, { { 66, 66, 2 }, { 132, 66, 5 } } },
		{ 0, ARM_SMMU_OPT_CMDQ_FORCE_SYNC, 66, { { 66, 66, 4 }, { 132, 66, 6 } } },
		{ ARM_SMMU_FEAT_SEV, 0, 1, { { 66, 1, 2 }, { 132, 1, 5 } } },
	};
	struct queue_test *qt = queue_test_create(test, ARRAY_SIZE(rows), TEST_USECS);
	struct arm_smmu_fake_queue *fq;
	unsigned int i, j, repeat;

	queue_test_add_vcmdq(qt->fakes[0])->usecs = TEST_USECS;
	for (i = 0; i < qt->num; i++) {
		qt->fakes[i]->smmu.features |= rows[i].features;
		qt->fakes[i]->smmu.options |= rows[i].options;
		queue_test_add(qt, i, INV_TYPE_S1_ASID);
		if (!i)
			queue_test_add(qt, i, INV_TYPE_S2_VMID);
	}
	for (i = 0; i < qt->num; i++)
		for (j = 0; j < rows[i].num_ats; j++)
			queue_test_add(qt, i, INV_TYPE_ATS_FULL);

	for (repeat = 0; repeat < 2; repeat++) {
		arm_smmu_fake_clock.repeat = repeat;
		queue_test_inv(qt, TEST_PAGES);
		queue_test_expect_idle(qt, 0);
		for (i = 0; i < qt->num; i++) {
			const u16 *want = rows[i].want[repeat];

			queue_test_expect(qt->fakes[i], want[0], want[1], want[2]);
			list_for_each_entry(fq, &qt->fakes[i]->queues, list)
				KUNIT_EXPECT_EQ(test, fq->num_early, 0);
		}
	}
}

/*
 * The last SMMU of a phase may have no commands in it: without range commands it
 * invalidates the whole VMID, and needs no further TLBI of stage 1.
 */
static void queue_test_nothing(struct kunit *test)
{
	struct queue_test *qt = queue_test_create(test, 2, TEST_USECS);
	bool irqs_off;

	qt->fakes[0]->smmu.features |= ARM_SMMU_FEAT_RANGE_INV;
	queue_test_add_all(qt, INV_TYPE_S2_VMID_VSMMU);
	queue_test_add_all(qt, INV_TYPE_S2_VMID_S1_CLEAR);
	queue_test_inv(qt, SZ_2M / SZ_4K);
	irqs_off = irqs_disabled();
	local_irq_enable();
	KUNIT_EXPECT_FALSE(test, irqs_off);
	queue_test_expect_idle(qt, 0);
	queue_test_expect(qt->fakes[0], 2, 0, 2);
	queue_test_expect(qt->fakes[1], 1, 0, 1);
}

/* Reading a dirty bitmap again does not invalidate */
static void queue_test_dirty(struct kunit *test)
{
	struct arm_smmu_fake *fake = arm_smmu_fake_create(test, TEST_SHIFT);
	struct iommu_iotlb_gather gather;
	struct iommu_dirty_bitmap dirty;
	struct arm_smmu_fake_master *fm;
	struct iommu_domain *domain;
	struct arm_smmu_cmd cmd;
	unsigned int i;

	fake->smmu.features |= ARM_SMMU_FEAT_HA | ARM_SMMU_FEAT_HD;
	fm = arm_smmu_fake_add_master(fake, TEST_SID, 0);
	domain = arm_smmu_fake_alloc_domain(fm, IOMMU_HWPT_ALLOC_DIRTY_TRACKING);
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(fm, domain));
	KUNIT_ASSERT_EQ(test, 0, iommu_map(domain, TEST_IOVA, TEST_IOVA, SZ_4K,
					   IOMMU_READ | IOMMU_WRITE, GFP_KERNEL));
	/* A new mapping is dirty */
	for (i = 0; i < 2; i++) {
		arm_smmu_fake_drop_cmds(fake);
		iommu_dirty_bitmap_init(&dirty, NULL, &gather);
		KUNIT_ASSERT_EQ(test, 0,
				domain->dirty_ops->read_and_clear_dirty(domain, TEST_IOVA, SZ_4K,
									0, &dirty));
		iommu_iotlb_sync(domain, &gather);
		KUNIT_EXPECT_EQ(test, !i, arm_smmu_fake_next_cmd(fake, &cmd));
	}
}

/*
 * An MSI is written half a second after its CMD_SYNC timed out. By then its slot has
 * a CMD_SYNC that is not complete, or another command that is not consumed.
 */
static void queue_test_late_msi(struct kunit *test)
{
	struct arm_smmu_fake *clock = arm_smmu_fake_create(test, TEST_SHIFT);
	struct arm_smmu_fake *fake;
	struct queue_test *qt;
	unsigned int other;

	for (other = 0; other < 2; other++) {
		qt = queue_test_create(test, 1, 0);
		queue_test_add_all(qt, INV_TYPE_S1_ASID);
		fake = qt->fakes[0];
		fake->smmu.options |= ARM_SMMU_OPT_MSIPOLL;
		fake->queue.msi_usecs = 1500000;
		/* The virtual time advances to the next event. Add one after the timeout. */
		arm_smmu_fake_queue_stall(&clock->queue, 0, 1100000);
		queue_test_inv(qt, 1);
		queue_test_expect_idle(qt, other + 1);
		fake->queue.msi_usecs = 0;

		/* The CMD_SYNC was in slot 1. Fill the queue up to this slot. */
		queue_test_issue(fake, TEST_QUEUE - 2 + other);
		queue_test_expect(fake, TEST_QUEUE - 1 + other, 0, 1);
		arm_smmu_fake_queue_stall(&fake->queue, 0, 900000);
		queue_test_inv(qt, 1);
		queue_test_expect_idle(qt, other + 1);
		queue_test_expect(fake, 1, 0, 1);
	}
}

#define TEST_ROUNDS	6
#define TEST_NUM	63

static int queue_test_inv_rounds(void *data)
{
	unsigned int i;

	for (i = 0; i < TEST_ROUNDS; i++)
		queue_test_inv(data, TEST_NUM);
	return 0;
}

/*
 * An SMMU stops for several timeouts. Its queue has too few free slots for the first
 * invalidation, or with MSIs for the second one. No command is lost or overwritten.
 */
static void queue_test_timeout(struct kunit *test)
{
	unsigned int i, msi, others, timeouts;
	struct arm_smmu_fake *fake;
	struct task_struct *task;
	struct arm_smmu_cmd cmd;
	struct queue_test *qt;
	u64 sum;

	for (msi = 0; msi < 2; msi++) {
		qt = queue_test_create(test, 1, 0);
		queue_test_add_all(qt, INV_TYPE_S1_ASID);
		fake = qt->fakes[0];
		fake->smmu.options |= msi ? ARM_SMMU_OPT_MSIPOLL : 0;
		others = TEST_QUEUE - TEST_NUM - msi;
		arm_smmu_fake_stop(fake, 0);
		queue_test_issue(fake, others);
		timeouts = arm_smmu_fake_num_timeouts() + 4;
		task = arm_smmu_fake_run_task(test, queue_test_inv_rounds, qt);
		/* Limited, in case the driver does not time out */
		for (i = 0; i < 5000 && arm_smmu_fake_num_timeouts() < timeouts; i++)
			usleep_range(900, 1100);
		KUNIT_EXPECT_GE(test, arm_smmu_fake_num_timeouts(), timeouts);
		arm_smmu_fake_start(fake);
		arm_smmu_fake_join_task(test, task);

		sum = 0;
		for (i = 0; arm_smmu_fake_next_cmd(fake, &cmd);) {
			if (FIELD_GET(CMDQ_0_OP, cmd.data[0]) == CMDQ_OP_CMD_SYNC)
				continue;
			sum += cmd.data[1];
			i++;
		}
		KUNIT_EXPECT_EQ(test, i, TEST_ROUNDS * TEST_NUM + others);
		KUNIT_EXPECT_EQ(test, sum,
				TEST_ROUNDS * (TEST_NUM * (TEST_IOVA | CMDQ_TLBI_1_LEAF) +
					       TEST_NUM * (TEST_NUM - 1) / 2 * SZ_4K));
	}
}

/* An error of an SMMU, alone or in a pass with another one, causes no timeout */
static void queue_test_error(struct kunit *test)
{
	static const struct {
		unsigned int err;
		u32 options;
		unsigned int tlbis;
		unsigned int syncs;
	} rows[] = {
		/* The driver replaces an illegal command by a CMD_SYNC */
		{ CMDQ_ERR_CERROR_ILL_IDX, 0, 1, 2 },
		{ CMDQ_ERR_CERROR_ABT_IDX, 0, 2, 1 },
		{ CMDQ_ERR_CERROR_ATC_INV_IDX, 0, 2, 1 },
		{ CMDQ_ERR_CERROR_ILL_IDX, ARM_SMMU_OPT_MSIPOLL, 1, 2 },
	};
	struct queue_test *qt = queue_test_create(test, 2, 0);
	struct arm_smmu_fake *fake = qt->fakes[0];
	unsigned int i, row;

	for (i = 0; i < 2; i++) {
		queue_test_add(qt, i, INV_TYPE_S1_ASID);
		for (row = 0; row < ARRAY_SIZE(rows); row++) {
			fake->smmu.options |= rows[row].options;
			fake->queue.err = rows[row].err;
			queue_test_inv(qt, 2);
			KUNIT_EXPECT_EQ(test, fake->queue.err, 0);
			queue_test_expect(fake, rows[row].tlbis, 0, rows[row].syncs);
			queue_test_expect(qt->fakes[1], 2 * i, 0, i);
		}
	}
	queue_test_expect_idle(qt, 0);
}

static unsigned int queue_test_num_lookups;

/* Return another queue each time, as if the task moved to another CPU */
static struct arm_smmu_cmdq *queue_test_get_cmdq(struct arm_smmu_device *smmu,
						 struct arm_smmu_cmd *cmd)
{
	struct arm_smmu_fake *fake = container_of(smmu, struct arm_smmu_fake, smmu);

	return queue_test_num_lookups++ % 2 ?
	       list_last_entry(&fake->queues, struct arm_smmu_fake_queue, list)->cmdq : NULL;
}

/* All batches of an invalidation go to the queue of its CMD_SYNC */
static void queue_test_one_queue(struct kunit *test)
{
	const unsigned int num_pages = 3 * CMDQ_BATCH_ENTRIES - 1;
	struct queue_test *qt = queue_test_create(test, 1, 0);
	struct arm_smmu_fake_queue *second = queue_test_add_vcmdq(qt->fakes[0]);

	second->cmdq->supports_cmd = NULL;
	queue_test_num_lookups = 0;
	qt->fakes[0]->impl_ops.get_secondary_cmdq = queue_test_get_cmdq;
	queue_test_add_all(qt, INV_TYPE_S1_ASID);
	queue_test_inv(qt, num_pages);
	KUNIT_EXPECT_NE(test, queue_test_num_lookups, 0);
	queue_test_expect(qt->fakes[0], num_pages, 0, 1);
	/* One of the queues was not used */
	KUNIT_EXPECT_NE(test, !qt->fakes[0]->queue.next, !second->next);
}

static struct arm_smmu_fake *queue_test_slow;
static struct task_struct *queue_test_detaching;

static void queue_test_go(void)
{
	arm_smmu_fake_start(queue_test_slow);
	arm_smmu_fake_freeze(false);
}

/*
 * Go when the detach sleeps: it waits for the invalidation, or has ended. If it slept for
 * another reason before, the test would pass without the race.
 */
static void queue_test_go_later(struct work_struct *work)
{
	arm_smmu_fake_await_sleep(queue_test_detaching);
	queue_test_go();
}

static DECLARE_WORK(queue_test_go_work, queue_test_go_later);

static int queue_test_unmap(void *data)
{
	iommu_unmap(data, TEST_IOVA, SZ_4K);
	return 0;
}

/* Attach or detach a device with ATS while an invalidation waits for another SMMU */
static void queue_test_ats(struct kunit *test, bool attach)
{
	struct queue_test *qt = queue_test_create(test, 2, 0);
	struct arm_smmu_fake *slow = qt->fakes[0], *fake = qt->fakes[1];
	struct arm_smmu_fake_master *fm, *old_fm, *slow_fm;
	struct iommu_domain *domain;
	struct task_struct *task;
	struct arm_smmu_cmd cmd;
	bool atc_inv = false;
	bool polled;
	int ret;
	u8 op;

	if (num_online_cpus() < 2)
		kunit_skip(test, "needs two CPUs");
	/* The array is sorted by SMMU, and the first one has to be slow */
	if (slow > fake)
		swap(slow, fake);
	slow_fm = arm_smmu_fake_add_master(slow, TEST_SID, 0);
	old_fm = arm_smmu_fake_add_master(fake, TEST_SID, 0);
	fm = arm_smmu_fake_add_pci_master(fake, (u32[]){ TEST_SID + 1 }, 1, 0);
	domain = arm_smmu_fake_alloc_domain(fm, 0);
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(slow_fm, domain));
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_fake_attach(attach ? old_fm : fm, domain));
	KUNIT_ASSERT_EQ(test, 0, iommu_map(domain, TEST_IOVA, SZ_1G, SZ_4K, IOMMU_READ,
					   GFP_KERNEL));
	queue_test_slow = slow;
	arm_smmu_fake_drop_cmds(slow);
	arm_smmu_fake_stop(slow, 0);
	if (attach)
		queue_test_issue(slow, TEST_QUEUE);
	arm_smmu_fake_freeze(true);
	task = arm_smmu_fake_run_task(test, queue_test_unmap, domain);
	if (attach) {
		/* The task has loaded the array when it waits for space */
		ret = read_poll_timeout(READ_ONCE, polled, polled, 100, TEST_PATIENCE, false,
					arm_smmu_fake_clock.polled);
		KUNIT_EXPECT_EQ(test, 0, ret);
	} else {
		queue_test_wait(slow, 0, 2);
		queue_test_detaching = current;
		schedule_work(&queue_test_go_work);
	}
	KUNIT_EXPECT_EQ(test, 0, attach ? arm_smmu_fake_attach(fm, domain) :
				 arm_smmu_fake_block(fm));
	KUNIT_EXPECT_EQ(test, fm->master->ats_enabled, attach);
	if (attach) {
		queue_test_go();
	} else {
		arm_smmu_fake_drop_cmds(fake);
		flush_work(&queue_test_go_work);
	}
	arm_smmu_fake_join_task(test, task);

	while (arm_smmu_fake_next_cmd(fake, &cmd)) {
		op = FIELD_GET(CMDQ_0_OP, cmd.data[0]);
		if (op == CMDQ_OP_TLBI_NH_VA)
			atc_inv = false;
		atc_inv |= op == CMDQ_OP_ATC_INV &&
			   FIELD_GET(CMDQ_ATC_0_SID, cmd.data[0]) == TEST_SID + 1;
	}
	KUNIT_EXPECT_EQ(test, atc_inv, attach);
	queue_test_expect_idle(qt, 0);
}

/* The invalidation loaded an array with the device: no ATC_INV after the detach */
static void queue_test_detach_ats(struct kunit *test)
{
	queue_test_ats(test, false);
}

/* The array has no ATS device yet. An ATC can be filled until the TLBI: an ATC_INV follows. */
static void queue_test_attach_ats(struct kunit *test)
{
	queue_test_ats(test, true);
}

/*
 * A few commands invalidate the whole range, and at most twice its size. A range that
 * is too large or takes too many commands is invalidated by one command for everything.
 */
static void queue_test_range(struct queue_test *qt, u64 iova, u64 size, unsigned int tg,
			     unsigned int shift, bool leaf)
{
	bool ranges = qt->fakes[0]->smmu.features & ARM_SMMU_FEAT_RANGE_INV;
	bool ats = qt->invs->inv[0].type == INV_TYPE_ATS;
	/* A smaller range must not be invalidated by one command for everything */
	u64 limit = ats ? BIT_ULL(51) : ranges ? BIT_ULL(52) + 1 : BIT_ULL(min(2 * shift - 3, 63));
	u64 next = iova, sum = 0, start, span, bits;
	struct kunit *test = qt->test;
	struct arm_smmu_cmd cmd;
	unsigned int num = 0;
	bool all = false;
	u8 op;

	arm_smmu_domain_inv_range(&qt->smmu_domain, iova, size, 1ULL << shift, leaf);
	while (arm_smmu_fake_next_cmd(qt->fakes[0], &cmd)) {
		op = FIELD_GET(CMDQ_0_OP, cmd.data[0]);
		start = cmd.data[1] & GENMASK_ULL(63, 12);
		span = 1ULL << shift;
		if (op == CMDQ_OP_CMD_SYNC)
			continue;
		all |= op == CMDQ_OP_TLBI_S12_VMALL;
		if (op == CMDQ_OP_ATC_INV) {
			bits = FIELD_GET(CMDQ_ATC_1_SIZE, cmd.data[1]);
			span = (u64)SZ_4K << bits;
			all |= bits == ATC_INV_SIZE_ALL;
			KUNIT_EXPECT_EQ(test, start & (span - 1), 0);
		} else if (FIELD_GET(CMDQ_TLBI_1_TG, cmd.data[1])) {
			bits = FIELD_GET(CMDQ_TLBI_0_SCALE, cmd.data[0]);
			span = (FIELD_GET(CMDQ_TLBI_0_NUM, cmd.data[0]) + 1) << (bits + tg);
			/* Without DS, SCALE has 5 bits */
			KUNIT_EXPECT_LE(test, bits, 31);
		}
		if (start <= next)
			next = max(next, start + span);
		sum += span;
		num++;
	}
	if (all) {
		KUNIT_EXPECT_EQ(test, num, 1);
		KUNIT_EXPECT_GE(test, size, limit);
		return;
	}
	if (!ats)
		KUNIT_EXPECT_LT(test, size, limit);
	KUNIT_ASSERT_TRUE_MSG(test, next >= iova + size && sum <= 2 * size,
			      "iova %#llx, size %#llx, granule 2^%u", iova, size, shift);
	if (ats || ranges)
		KUNIT_EXPECT_LE(test, num, ats ? 2 : 24);
}

static const struct queue_test_entry {
	const char *name;
	enum arm_smmu_inv_type type;
	u32 features;
} queue_test_entries[] = {
	{ "stage 1", INV_TYPE_S1_ASID, 0 },
	{ "stage 1, ranges", INV_TYPE_S1_ASID, ARM_SMMU_FEAT_RANGE_INV },
	{ "stage 2", INV_TYPE_S2_VMID, 0 },
	{ "stage 2, ranges", INV_TYPE_S2_VMID, ARM_SMMU_FEAT_RANGE_INV },
	{ "ATC", INV_TYPE_ATS, 0 },
};

KUNIT_ARRAY_PARAM_DESC(queue_test_entry, queue_test_entries, name);

/* Ranges from one page to the whole address space */
static void queue_test_ranges(struct kunit *test)
{
	const struct queue_test_entry *entry = test->param_value;
	struct queue_test *qt = queue_test_create(test, 1, 0);
	unsigned int tg, i, shift, bit;
	struct rnd_state rnd;
	u64 size, rnds[2];

	qt->fakes[0]->smmu.features |= entry->features;
	queue_test_add(qt, 0, entry->type);
	prandom_seed_state(&rnd, 14);
	for (tg = 12; tg <= 16; tg += 2) {
		/* pgsize is in a union with ssid */
		qt->invs->inv[0].pgsize = entry->type == INV_TYPE_ATS ? 0 : tg;
		for (i = 0; i < TEST_RANGES; i++) {
			/* Pages, and blocks of level 2 and 1 */
			shift = tg + i % 3 * (tg - 3);
			bit = shift + i / 3 % (53 - shift);
			/* No blocks of 64 GiB with 16 KiB pages */
			if (tg == 14 && i % 3 == 2)
				continue;
			/* The log of the fake SMMU has 4096 commands */
			if (!entry->features && bit > shift + 9 && (i % 3 || bit < 2 * tg - 3))
				continue;
			prandom_bytes_state(&rnd, rnds, sizeof(rnds));
			size = 1ULL << bit;
			if (bit < 52 && i % 4)
				size |= i % 4 == 1 ? 1ULL << shift :
						     rnds[0] & GENMASK_ULL(bit, shift);
			rnds[1] &= GENMASK_ULL(51, shift);
			queue_test_range(qt, rnds[1] + size > BIT_ULL(52) ? 0 : rnds[1], size,
					 tg, shift, i % 3 || i & 1);
		}
	}
}

static struct kunit_case queue_test_cases[] = {
	KUNIT_CASE(queue_test_overlap),
	KUNIT_CASE(queue_test_blocked),
	KUNIT_CASE(queue_test_mixed),
	KUNIT_CASE(queue_test_nothing),
	KUNIT_CASE(queue_test_dirty),
	KUNIT_CASE(queue_test_late_msi),
	KUNIT_CASE(queue_test_timeout),
	KUNIT_CASE(queue_test_error),
	KUNIT_CASE(queue_test_one_queue),
	KUNIT_CASE(queue_test_detach_ats),
	KUNIT_CASE(queue_test_attach_ats),
	KUNIT_CASE_PARAM(queue_test_ranges, queue_test_entry_gen_params),
	{}
};

static struct kunit_suite queue_test_suite = {
	.name = "arm-smmu-v3-queue",
	.suite_exit = arm_smmu_fake_suite_exit,
	.test_cases = queue_test_cases,
};

kunit_test_suite(queue_test_suite);
