// SPDX-License-Identifier: GPL-2.0
/*
 * A fake SMMUv3 for KUnit: the driver's own code on an SMMU whose registers and
 * command queues are ordinary memory.
 *
 * Time is virtual. A static stub replaces the polling of a queue: each poll of
 * a waiting task is a step, in which all fake SMMUs consume commands and the
 * virtual clock advances. When there is nothing to consume, the clock jumps to
 * the next event. Without any event a wait times out after a few polls. No
 * result depends on the time of the host.
 *
 * An SMMU translates nothing by itself. A model can do so, see struct
 * arm_smmu_fake_ops.
 */
#include <kunit/device.h>
#include <kunit/fwnode.h>
#include <kunit/platform_device.h>
#include <kunit/static_stub.h>
#include <linux/completion.h>
#include <linux/dma-mapping.h>
#include <linux/kprobes.h>
#include <linux/kthread.h>
#include <linux/platform_device.h>
#include <linux/vmalloc.h>

#include "../../../iommu-priv.h"

#include "fake.h"

#define FAKE_SID_BITS	4
#define FAKE_EVTQ_SHIFT	7

/* The devices of the test that runs */
static LIST_HEAD(arm_smmu_fake_masters);

/* Time that a poll takes if it has something to wait for */
#define FAKE_POLL_NS	(1 * NSEC_PER_USEC)
/* Time that a poll takes if nothing is going to happen */
#define FAKE_IDLE_NS	(20 * NSEC_PER_MSEC)
/* Number of polls for which a task waits for another CPU */
#define FAKE_MAX_POLLS	200000
/* Number of polls, with the clock frozen, that mean a deadlock */
#define FAKE_MAX_FROZEN_POLLS	3000000
/* Pauses between two polls */
#define FAKE_RELAXES	32
/* Time from an error to its interrupt */
#define FAKE_IRQ_NS	(10 * NSEC_PER_USEC)
/* Number of timeouts, with no command consumed, that mean a deadlock */
#define FAKE_MAX_TIMEOUTS	1000

/* Protects all fake SMMUs, their models and the clock */
DEFINE_RAW_SPINLOCK(arm_smmu_fake_lock);

const struct iommu_ops *arm_smmu_fake_iommu_ops;

static struct {
	struct list_head fakes;
	u64 now;
	u64 stamp;
	bool frozen;
	unsigned int num_timeouts;
	unsigned int idle_timeouts;
	u64 longest_wait;
} arm_smmu_fake_clock = {
	.fakes = LIST_HEAD_INIT(arm_smmu_fake_clock.fakes),
};

KUNIT_DEFINE_ACTION_WRAPPER(vfree_wrapper, vfree, const void *);
KUNIT_DEFINE_ACTION_WRAPPER(domain_free_wrapper, iommu_domain_free,
			    struct iommu_domain *);
KUNIT_DEFINE_ACTION_WRAPPER(iopf_queue_free_wrapper, iopf_queue_free,
			    struct iopf_queue *);
KUNIT_DEFINE_ACTION_WRAPPER(device_unregister_wrapper, device_unregister,
			    struct device *);
KUNIT_DEFINE_ACTION_WRAPPER(kthread_stop_put_wrapper, kthread_stop_put,
			    struct task_struct *);

struct arm_smmu_fake_task {
	struct kunit *test;
	int (*run)(void *data);
	void *data;
	struct completion done;
};

static int arm_smmu_fake_task_run(void *data)
{
	struct arm_smmu_fake_task *task = data;
	int ret;

	/* Makes the static stubs of the test work in this task */
	current->kunit_test = task->test;
	ret = task->run(task->data);
	current->kunit_test = NULL;
	complete_all(&task->done);
	return ret;
}

/* Ends the current task unless it is the test itself */
static void arm_smmu_fake_exit_task(void)
{
	struct arm_smmu_fake_task *ft;

	if (!(current->flags & PF_KTHREAD) ||
	    kthread_func(current) != arm_smmu_fake_task_run)
		return;
	ft = kthread_data(current);
	current->kunit_test = NULL;
	kthread_complete_and_exit(&ft->done, 0);
}

static u32 arm_smmu_fake_index(struct arm_smmu_fake_queue *fq, u32 index)
{
	struct arm_smmu_ll_queue *llq = &fq->cmdq->q.llq;

	return Q_WRP(llq, index) | Q_IDX(llq, index);
}

/* The index behind the last command that the driver has published */
static u32 arm_smmu_fake_prod(struct arm_smmu_fake_queue *fq)
{
	return arm_smmu_fake_index(fq, readl(fq->cmdq->q.prod_reg));
}

static void arm_smmu_fake_step_model(struct arm_smmu_fake *fake)
{
	if (fake->ops && fake->ops->step)
		fake->ops->step(fake);
}

static void arm_smmu_fake_add_log(struct arm_smmu_fake_queue *fq,
				  const struct arm_smmu_cmd *cmd)
{
	struct arm_smmu_fake *fake = fq->fake;

	fake->log[fake->log_head++ % ARM_SMMU_FAKE_LOG] =
		(struct arm_smmu_fake_cmd){
			.cmd = *cmd,
			.queue = fq,
			.stamp = ++arm_smmu_fake_clock.stamp,
			.issued = fq->issued[Q_IDX(&fq->cmdq->q.llq, fq->next)],
			.time = arm_smmu_fake_clock.now,
		};
}

static void arm_smmu_fake_add_msi(struct arm_smmu_fake_queue *fq, u64 addr)
{
	struct arm_smmu_fake_msi *msi;

	if (WARN_ON(fq->msi_head - fq->msi_tail == ARM_SMMU_FAKE_MSIS))
		return;
	msi = &fq->msis[fq->msi_head++ % ARM_SMMU_FAKE_MSIS];
	msi->slot = phys_to_virt(addr);
	msi->time = arm_smmu_fake_clock.now +
		    (u64)fq->msi_usecs * NSEC_PER_USEC;
}

static bool arm_smmu_fake_write_msis(struct arm_smmu_fake_queue *fq)
{
	bool moved = false;

	while (fq->msi_tail != fq->msi_head) {
		struct arm_smmu_fake_msi *msi =
			&fq->msis[fq->msi_tail % ARM_SMMU_FAKE_MSIS];

		if (msi->time > arm_smmu_fake_clock.now)
			break;
		/*
		 * Pairs with the control dependency of the driver's wait: all
		 * effects of the CMD_SYNC are visible first.
		 */
		smp_store_release(msi->slot, 0);
		fq->msi_tail++;
		moved = true;
	}
	return moved;
}

/* Return: whether the command at @fq->next has to wait because of an error */
static bool arm_smmu_fake_has_error(struct arm_smmu_fake_queue *fq, bool sync)
{
	u32 __iomem *cons_reg = fq->cmdq->q.cons_reg;

	if (!fq->err)
		return false;
	if (!fq->err_end) {
		if (fq->err_left) {
			fq->err_left--;
			return false;
		}
		/* CONS stays at the CMD_SYNC after the ATC_INV */
		if (fq->err == CMDQ_ERR_CERROR_ATC_INV_IDX && !sync)
			return false;
		writel(fq->next | FIELD_PREP(CMDQ_CONS_ERR, fq->err), cons_reg);
		fq->err_end = arm_smmu_fake_clock.now + FAKE_IRQ_NS;
	}
	if (arm_smmu_fake_clock.now < fq->err_end)
		return true;

	/* The interrupt handler, which may turn the command into a CMD_SYNC */
	__arm_smmu_cmdq_skip_err(&fq->fake->smmu, fq->cmdq);
	writel(fq->next, cons_reg);
	fq->err = 0;
	fq->err_end = 0;
	return false;
}

/* Note the time at which the driver has published its commands */
static void arm_smmu_fake_look(struct arm_smmu_fake_queue *fq)
{
	u32 prod = arm_smmu_fake_prod(fq);

	while (fq->looked != prod) {
		fq->issued[Q_IDX(&fq->cmdq->q.llq, fq->looked)] =
			arm_smmu_fake_clock.now;
		fq->looked = arm_smmu_fake_index(fq, fq->looked + 1);
	}
}

/* Return: whether one command was consumed */
static bool arm_smmu_fake_consume_one(struct arm_smmu_fake_queue *fq)
{
	struct arm_smmu_queue *q = &fq->cmdq->q;
	struct arm_smmu_fake *fake = fq->fake;
	struct arm_smmu_cmd cmd;
	bool sync;
	int i;

	if (fq->stopped && fq->start &&
	    arm_smmu_fake_clock.now >= fq->start) {
		fq->stopped = false;
		fq->start = 0;
	}
	if (fq->next == fq->looked || (fq->stopped && !fq->left))
		return false;

	sync = FIELD_GET(CMDQ_0_OP, le64_to_cpu(Q_ENT(q, fq->next)[0])) ==
	       CMDQ_OP_CMD_SYNC;
	if (!fq->in_sync && arm_smmu_fake_has_error(fq, sync))
		return false;
	for (i = 0; i < CMDQ_ENT_DWORDS; i++)
		cmd.data[i] = le64_to_cpu(Q_ENT(q, fq->next)[i]);
	sync = FIELD_GET(CMDQ_0_OP, cmd.data[0]) == CMDQ_OP_CMD_SYNC;

	if (sync && !fq->in_sync) {
		fq->in_sync = true;
		fq->sync_end = arm_smmu_fake_clock.now +
			       (u64)fq->usecs * NSEC_PER_USEC;
	}
	if (fq->in_sync && arm_smmu_fake_clock.now < fq->sync_end)
		return false;
	fq->in_sync = false;

	arm_smmu_fake_step_model(fake);
	if (sync) {
		if (fake->ops && fake->ops->sync)
			fake->ops->sync(fake);
	} else {
		fake->num_cmds++;
		fake->sum_cmds += cmd.data[1];
		if (fake->ops && fake->ops->command)
			fake->ops->command(fake, &cmd);
	}
	arm_smmu_fake_step_model(fake);
	arm_smmu_fake_add_log(fq, &cmd);

	if (fq->stopped)
		fq->left--;
	fq->next = arm_smmu_fake_index(fq, fq->next + 1);
	writel(fq->next, q->cons_reg);
	if (sync && FIELD_GET(CMDQ_SYNC_0_CS, cmd.data[0]) ==
			    CMDQ_SYNC_0_CS_IRQ)
		arm_smmu_fake_add_msi(fq, cmd.data[1] &
					  CMDQ_SYNC_1_MSIADDR_MASK);
	return true;
}

/* Consume what can be consumed now. Return: whether there was anything */
static bool arm_smmu_fake_consume(struct arm_smmu_fake *fake)
{
	struct arm_smmu_fake_queue *fq;
	bool moved = false;

	lockdep_assert_held(&arm_smmu_fake_lock);
	list_for_each_entry(fq, &fake->queues, list) {
		arm_smmu_fake_look(fq);
		moved |= arm_smmu_fake_write_msis(fq);
		while (arm_smmu_fake_consume_one(fq))
			moved = true;
		moved |= arm_smmu_fake_write_msis(fq);
	}
	return moved;
}

static bool arm_smmu_fake_consume_all(void)
{
	struct arm_smmu_fake *fake;
	bool moved = false;

	list_for_each_entry(fake, &arm_smmu_fake_clock.fakes, list) {
		arm_smmu_fake_step_model(fake);
		moved |= arm_smmu_fake_consume(fake);
	}
	return moved;
}

/*
 * Whether a CPU is on its way to publish commands, or to release a queue whose
 * CMD_SYNCs are complete. It may take long on an emulated CPU, which must not
 * make another task time out.
 */
static bool arm_smmu_fake_is_driver_busy(struct arm_smmu_fake_queue *fq)
{
	u32 prod = arm_smmu_fake_prod(fq);

	/* Lockless against the driver: a poll that guesses wrong is repeated */
	if (arm_smmu_fake_index(fq, READ_ONCE(fq->cmdq->q.llq.prod)) != prod)
		return true;
	return atomic_read(&fq->cmdq->lock) && fq->next == prod &&
	       fq->msi_head == fq->msi_tail;
}

static u64 arm_smmu_fake_next_event(struct arm_smmu_fake_queue *fq)
{
	u64 event = U64_MAX;

	if (fq->msi_head != fq->msi_tail)
		event = fq->msis[fq->msi_tail % ARM_SMMU_FAKE_MSIS].time;
	if (fq->stopped && fq->start)
		event = min(event, fq->start);
	if (fq->stopped && !fq->left)
		return event;
	if (fq->err_end)
		event = min(event, fq->err_end);
	else if (fq->in_sync)
		event = min(event, fq->sync_end);
	return event;
}

/* One step. Return: the time that it takes */
static u64 arm_smmu_fake_step(unsigned int num_polls)
{
	struct arm_smmu_fake_queue *fq;
	struct arm_smmu_fake *fake;
	u64 event = U64_MAX, start = arm_smmu_fake_clock.now;
	bool busy = false;

	if (arm_smmu_fake_consume_all()) {
		arm_smmu_fake_clock.idle_timeouts = 0;
		if (!arm_smmu_fake_clock.frozen)
			arm_smmu_fake_clock.now += FAKE_POLL_NS;
		return arm_smmu_fake_clock.now - start;
	}
	if (arm_smmu_fake_clock.frozen)
		return 0;

	list_for_each_entry(fake, &arm_smmu_fake_clock.fakes, list) {
		list_for_each_entry(fq, &fake->queues, list) {
			event = min(event, arm_smmu_fake_next_event(fq));
			busy |= arm_smmu_fake_is_driver_busy(fq);
		}
	}

	if (busy && num_polls < FAKE_MAX_POLLS)
		arm_smmu_fake_clock.now += FAKE_POLL_NS;
	else if (event != U64_MAX)
		arm_smmu_fake_clock.now = max(event, start + 1);
	else
		arm_smmu_fake_clock.now += FAKE_IDLE_NS;
	if (arm_smmu_fake_clock.now >= event)
		arm_smmu_fake_consume_all();
	return arm_smmu_fake_clock.now - start;
}

static void arm_smmu_fake_poll_init(struct arm_smmu_device *smmu,
				    struct arm_smmu_queue_poll *qp)
{
	memset(qp, 0, sizeof(*qp));
	qp->delay = 1;
	qp->timeout = ARM_SMMU_POLL_TIMEOUT_US * NSEC_PER_USEC;
}

/* End a task that would wait for ever. What it holds is lost. */
static void arm_smmu_fake_give_up(void)
{
	struct kunit *test = current->kunit_test;

	pr_err("fake SMMU: the driver waits for ever\n");
	kunit_set_failure(test);
	local_irq_enable();
	arm_smmu_fake_exit_task();
	kunit_try_catch_throw(&test->try_catch);
}

/* @qp->timeout is the time that is left to this wait */
static int arm_smmu_fake_poll(struct arm_smmu_queue_poll *qp)
{
	bool irqs_off = irqs_disabled(), give_up, timeout;
	u64 used;
	int i;

	scoped_guard(raw_spinlock_irqsave, &arm_smmu_fake_lock) {
		qp->timeout -= arm_smmu_fake_step(qp->spin_cnt++);
		used = ARM_SMMU_POLL_TIMEOUT_US * NSEC_PER_USEC - qp->timeout;
		if (irqs_off)
			arm_smmu_fake_clock.longest_wait =
				max(arm_smmu_fake_clock.longest_wait, used);
		give_up = qp->spin_cnt > FAKE_MAX_FROZEN_POLLS;
		timeout = qp->timeout < 0;
		if (timeout) {
			arm_smmu_fake_clock.num_timeouts++;
			arm_smmu_fake_clock.idle_timeouts++;
		}
		if (arm_smmu_fake_clock.idle_timeouts > FAKE_MAX_TIMEOUTS)
			give_up = true;
	}
	if (give_up)
		arm_smmu_fake_give_up();
	/* Leave the lock to other CPUs for a while */
	for (i = 0; i < FAKE_RELAXES; i++)
		cpu_relax();
	return timeout ? -ETIMEDOUT : 0;
}

/* Runs when all devices, domains and vSMMUs of the test are gone */
static void arm_smmu_fake_check_ids(void *data)
{
	struct arm_smmu_fake *fake = data;

	struct arm_smmu_device *smmu = &fake->smmu;
	unsigned int id;

	/* What is dirty has no owner, but was not flushed again yet */
	for_each_set_bit(id, smmu->asid_dirty, 1 << smmu->asid_bits)
		ida_free(&smmu->asid_map, id);
	for_each_set_bit(id, smmu->vmid_dirty, 1 << smmu->vmid_bits)
		ida_free(&smmu->vmid_map, id);
	KUNIT_EXPECT_TRUE(fake->test, ida_is_empty(&smmu->asid_map));
	KUNIT_EXPECT_TRUE(fake->test, ida_is_empty(&smmu->vmid_map));
}

static void *arm_smmu_fake_vzalloc(struct kunit *test, size_t size)
{
	void *p = vzalloc(size);

	KUNIT_ASSERT_NOT_NULL(test, p);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, vfree_wrapper, p));
	return p;
}

static void arm_smmu_fake_clock_init(struct kunit *test)
{
	scoped_guard(raw_spinlock_irqsave, &arm_smmu_fake_lock) {
		arm_smmu_fake_clock.now = 0;
		arm_smmu_fake_clock.stamp = 0;
		arm_smmu_fake_clock.frozen = false;
		arm_smmu_fake_clock.num_timeouts = 0;
		arm_smmu_fake_clock.idle_timeouts = 0;
		arm_smmu_fake_clock.longest_wait = 0;
	}
	kunit_activate_static_stub(test, arm_smmu_queue_poll_init,
				   arm_smmu_fake_poll_init);
	kunit_activate_static_stub(test, arm_smmu_queue_poll,
				   arm_smmu_fake_poll);
	/* The machine may have the erratum */
	arm_smmu_fake_set_repeat(test, false);
}

static void arm_smmu_fake_unlist(void *data)
{
	struct arm_smmu_fake *fake = data;

	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	list_del_init(&fake->list);
}

static void arm_smmu_fake_list(struct arm_smmu_fake *fake)
{
	scoped_guard(raw_spinlock_irqsave, &arm_smmu_fake_lock)
		list_add_tail(&fake->list, &arm_smmu_fake_clock.fakes);
	KUNIT_ASSERT_EQ(fake->test, 0,
			kunit_add_action_or_reset(fake->test,
						  arm_smmu_fake_unlist, fake));
}

static void arm_smmu_fake_init_queue(struct arm_smmu_fake *fake,
				     struct arm_smmu_fake_queue *fq,
				     struct arm_smmu_cmdq *cmdq,
				     unsigned int shift)
{
	struct arm_smmu_queue *q = &cmdq->q;

	fq->fake = fake;
	fq->cmdq = cmdq;
	q->llq.max_n_shift = shift;
	q->ent_dwords = CMDQ_ENT_DWORDS;
	q->base = kunit_kcalloc(fake->test, 1 << shift,
				CMDQ_ENT_DWORDS * sizeof(u64), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(fake->test, q->base);
	q->base_dma = virt_to_phys(q->base);
	q->prod_reg = (u32 __force __iomem *)&fq->prod;
	q->cons_reg = (u32 __force __iomem *)&fq->cons;
	fq->issued = kunit_kcalloc(fake->test, 1 << shift, sizeof(*fq->issued),
				   GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(fake->test, fq->issued);
	/* A test may switch to MSIs at any time */
	fake->smmu.options |= ARM_SMMU_OPT_MSIPOLL;
	KUNIT_ASSERT_EQ(fake->test, 0, arm_smmu_cmdq_init(&fake->smmu, cmdq));
	fake->smmu.options &= ~ARM_SMMU_OPT_MSIPOLL;

	scoped_guard(raw_spinlock_irqsave, &arm_smmu_fake_lock)
		list_add_tail(&fq->list, &fake->queues);
}

static void arm_smmu_fake_init_evtq(struct arm_smmu_fake *fake)
{
	struct arm_smmu_device *smmu = &fake->smmu;
	struct arm_smmu_queue *q = &smmu->evtq.q;
	struct kunit *test = fake->test;

	q->llq.max_n_shift = FAKE_EVTQ_SHIFT;
	q->ent_dwords = EVTQ_ENT_DWORDS;
	q->base = arm_smmu_fake_vzalloc(test, (EVTQ_ENT_DWORDS * sizeof(u64)) <<
					      FAKE_EVTQ_SHIFT);
	q->prod_reg = (u32 __force __iomem *)&fake->evtq_prod;
	q->cons_reg = (u32 __force __iomem *)&fake->evtq_cons;

	if (!IS_ENABLED(CONFIG_ARM_SMMU_V3_SVA))
		return;
	smmu->evtq.iopf = iopf_queue_alloc(dev_name(smmu->dev));
	KUNIT_ASSERT_NOT_NULL(test, smmu->evtq.iopf);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, iopf_queue_free_wrapper,
						  smmu->evtq.iopf));
}

static void arm_smmu_fake_unregister(void *data)
{
	struct arm_smmu_device *smmu = data;

	iommu_device_unregister(&smmu->iommu);
	iommu_device_sysfs_remove(&smmu->iommu);
}

/**
 * arm_smmu_fake_create() - Make an SMMU with an empty command queue
 * @test: the test that owns it
 * @shift: log2 of the number of entries in the command queue
 *
 * Return: the fake SMMU, freed with @test. Never NULL or an error, the test is
 * aborted instead.
 *
 * It has stage 1, stage 2 and ATS. Until its first device is added the test may
 * write features, oas, pgsize_bitmap, asid_bits and vmid_bits of its @smmu. A
 * granule of more than PAGE_SIZE must wait until the last device is added, as
 * the core makes a DMA domain for each, which cannot have such a granule.
 *
 * Commands are consumed when the driver polls a queue, and when the test reads
 * the log of commands. The test has to read 4096 commands before they are
 * overwritten, or not read any.
 *
 * The SMMU is cache coherent and not behind another IOMMU, so that a DMA address
 * is a physical address.
 *
 * The other registers are memory too. The ID registers are 0, and CR0 says that
 * the SMMU is on. CR0ACK is 0: nothing follows CR0, and all that the driver
 * does with a running SMMU is to turn it off.
 *
 * The test fails if an ASID or VMID is left in the end. One that is lost for a
 * reason is the test's to free.
 */
struct arm_smmu_fake *arm_smmu_fake_create(struct kunit *test,
					   unsigned int shift)
{
	struct arm_smmu_device *smmu;
	struct arm_smmu_fake *fake;
	struct platform_device_info info = {
		.name = "fake-smmu",
		.id = PLATFORM_DEVID_AUTO,
		.dma_mask = DMA_BIT_MASK(48),
	};
	struct platform_device *pdev;
	int i;

	if (list_empty(&arm_smmu_fake_clock.fakes))
		arm_smmu_fake_clock_init(test);

	fake = kunit_kzalloc(test, sizeof(*fake), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, fake);
	fake->test = test;
	INIT_LIST_HEAD(&fake->list);
	INIT_LIST_HEAD(&fake->queues);
	fake->log = arm_smmu_fake_vzalloc(test, array_size(ARM_SMMU_FAKE_LOG,
							   sizeof(*fake->log)));

	smmu = &fake->smmu;
	/* The driver finds the SMMU of a device on the platform bus */
	info.fwnode = kunit_fwnode_create_software_node(test, NULL, NULL);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, info.fwnode);
	pdev = kunit_platform_device_register_full(test, &info);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, pdev);
	platform_set_drvdata(pdev, smmu);

	dev_set_dma_coherent(&pdev->dev);
	smmu->dev = &pdev->dev;
	smmu->features = ARM_SMMU_FEAT_COHERENCY | ARM_SMMU_FEAT_TRANS_S1 |
			 ARM_SMMU_FEAT_TRANS_S2 | ARM_SMMU_FEAT_NESTING |
			 ARM_SMMU_FEAT_ATS;
	smmu->oas = 44;
	smmu->pgsize_bitmap = SZ_4K | SZ_2M | SZ_1G;
	smmu->asid_bits = 16;
	smmu->vmid_bits = 16;
	smmu->ssid_bits = 10;
	smmu->sid_bits = FAKE_SID_BITS;
	smmu->streams = RB_ROOT;
	mutex_init(&smmu->streams_mutex);
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_tag_init(smmu));
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, arm_smmu_fake_check_ids,
						  fake));

	smmu->base = (void __force __iomem *)
		kunit_kzalloc(test, ARM_SMMU_REG_SZ, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, (void __force *)smmu->base);
	writel(CR0_SMMUEN | CR0_CMDQEN, smmu->base + ARM_SMMU_CR0);

	smmu->strtab_cfg.linear.num_ents = 1 << FAKE_SID_BITS;
	smmu->strtab_cfg.linear.table =
		kunit_kcalloc(test, 1 << FAKE_SID_BITS,
			      sizeof(struct arm_smmu_ste), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, smmu->strtab_cfg.linear.table);
	for (i = 0; i < 1 << FAKE_SID_BITS; i++)
		arm_smmu_make_abort_ste(&smmu->strtab_cfg.linear.table[i]);

	arm_smmu_fake_init_queue(fake, &fake->queue, &smmu->cmdq, shift);
	arm_smmu_fake_init_evtq(fake);
	arm_smmu_fake_list(fake);

	smmu->iommu.max_pasids = 1UL << smmu->ssid_bits;
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_device_register(smmu, pdev->id));
	arm_smmu_fake_iommu_ops = smmu->iommu.ops;
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, arm_smmu_fake_unregister,
						  smmu));
	return fake;
}

static struct arm_smmu_cmdq *
arm_smmu_fake_get_secondary(struct arm_smmu_device *smmu,
			    struct arm_smmu_cmd *cmd)
{
	struct arm_smmu_fake *fake =
		container_of(smmu, struct arm_smmu_fake, smmu);
	struct arm_smmu_fake_queue *fq;

	/* The list does not change while the test runs */
	list_for_each_entry(fq, &fake->queues, list)
		if (fq != &fake->queue && arm_smmu_cmdq_supports_cmd(fq->cmdq, cmd))
			return fq->cmdq;
	return NULL;
}

/**
 * arm_smmu_fake_add_queue() - Give an SMMU a secondary command queue
 * @fake: the fake SMMU, which has no device yet
 * @shift: log2 of the number of entries in the queue
 * @supports_cmd: whether the driver may issue a command to this queue
 *
 * A queue that does not support MSIs and SEV needs ARM_SMMU_OPT_TEGRA241_CMDQV.
 *
 * Return: the queue. Never NULL or an error, the test is aborted instead.
 */
struct arm_smmu_fake_queue *
arm_smmu_fake_add_queue(struct arm_smmu_fake *fake, unsigned int shift,
			bool (*supports_cmd)(struct arm_smmu_cmd *cmd))
{
	struct arm_smmu_fake_queue *fq;
	struct arm_smmu_cmdq *cmdq;

	fq = kunit_kzalloc(fake->test, sizeof(*fq), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(fake->test, fq);
	cmdq = kunit_kzalloc(fake->test, sizeof(*cmdq), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(fake->test, cmdq);
	cmdq->supports_cmd = supports_cmd;
	arm_smmu_fake_init_queue(fake, fq, cmdq, shift);
	fake->impl_ops.get_secondary_cmdq = arm_smmu_fake_get_secondary;
	fake->smmu.impl_ops = &fake->impl_ops;
	return fq;
}

static void __arm_smmu_fake_queue_stop(struct arm_smmu_fake_queue *fq,
				       unsigned int num)
{
	fq->left = num + arm_smmu_fake_index(fq, arm_smmu_fake_prod(fq) -
					     fq->next);
	fq->stopped = true;
	fq->start = 0;
}

/**
 * arm_smmu_fake_queue_stop() - Let a queue hang after some more commands
 * @fq: the queue
 * @num: number of commands, CMD_SYNCs included, that are still consumed after
 *	 those that the driver has published by now
 */
void arm_smmu_fake_queue_stop(struct arm_smmu_fake_queue *fq, unsigned int num)
{
	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	__arm_smmu_fake_queue_stop(fq, num);
}

/**
 * arm_smmu_fake_queue_start() - Let a queue that hangs go on
 * @fq: the queue
 */
void arm_smmu_fake_queue_start(struct arm_smmu_fake_queue *fq)
{
	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	fq->stopped = false;
	fq->start = 0;
}

/**
 * arm_smmu_fake_queue_start_after() - Let a queue that hangs go on later
 * @fq: the queue
 * @usecs: the virtual time until then
 */
void arm_smmu_fake_queue_start_after(struct arm_smmu_fake_queue *fq,
				     unsigned int usecs)
{
	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	fq->start = arm_smmu_fake_clock.now + (u64)usecs * NSEC_PER_USEC;
}

/**
 * arm_smmu_fake_queue_stall() - Let a queue hang for a time
 * @fq: the queue
 * @num: see arm_smmu_fake_queue_stop()
 * @usecs: the virtual time until the queue goes on
 */
void arm_smmu_fake_queue_stall(struct arm_smmu_fake_queue *fq, unsigned int num,
			       unsigned int usecs)
{
	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	__arm_smmu_fake_queue_stop(fq, num);
	fq->start = arm_smmu_fake_clock.now + (u64)usecs * NSEC_PER_USEC;
}

/**
 * arm_smmu_fake_queue_set_time() - Let a CMD_SYNC take some time
 * @fq: the queue
 * @usecs: virtual time from when all commands before the CMD_SYNC are consumed
 *	   to when CONS passes it
 * @msi_usecs: virtual time from then to the MSI, if the CMD_SYNC asks for one
 */
void arm_smmu_fake_queue_set_time(struct arm_smmu_fake_queue *fq,
				  unsigned int usecs, unsigned int msi_usecs)
{
	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	fq->usecs = usecs;
	fq->msi_usecs = msi_usecs;
}

/**
 * arm_smmu_fake_queue_set_error() - Let a command raise an error
 * @fq: the queue
 * @err: CMDQ_ERR_CERROR_*
 * @num: number of commands, CMD_SYNCs included, that are consumed before
 *
 * CMDQ_ERR_CERROR_ATC_INV_IDX is raised by the first CMD_SYNC from then on. The
 * driver handles the error some virtual time later, in which CMDQ_CONS has the
 * error code.
 */
void arm_smmu_fake_queue_set_error(struct arm_smmu_fake_queue *fq,
				   unsigned int err, unsigned int num)
{
	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	fq->err = err;
	fq->err_left = num;
	fq->err_end = 0;
}

/**
 * arm_smmu_fake_queue_pending() - Count the commands that are not consumed
 * @fq: the queue
 *
 * Return: number of commands that the driver has published but the SMMU has not
 * consumed.
 */
unsigned int arm_smmu_fake_queue_pending(struct arm_smmu_fake_queue *fq)
{
	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	arm_smmu_fake_consume(fq->fake);
	return arm_smmu_fake_index(fq, arm_smmu_fake_prod(fq) - fq->next);
}

/**
 * arm_smmu_fake_now() - Read the virtual clock
 *
 * Return: the virtual time in nanoseconds since the test has made its first SMMU.
 */
u64 arm_smmu_fake_now(void)
{
	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	return arm_smmu_fake_clock.now;
}

/**
 * arm_smmu_fake_freeze() - Stop the virtual clock
 *
 * Commands that take no time are still consumed. No wait times out, so that a
 * test can look at a driver that waits. The test fails if that takes millions of
 * polls.
 */
void arm_smmu_fake_freeze(void)
{
	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	arm_smmu_fake_clock.frozen = true;
}

/**
 * arm_smmu_fake_thaw() - Undo arm_smmu_fake_freeze()
 */
void arm_smmu_fake_thaw(void)
{
	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	arm_smmu_fake_clock.frozen = false;
}

/**
 * arm_smmu_fake_num_timeouts() - Count the timeouts
 *
 * Return: number of waits in this test that timed out.
 */
unsigned int arm_smmu_fake_num_timeouts(void)
{
	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	return arm_smmu_fake_clock.num_timeouts;
}

/**
 * arm_smmu_fake_longest_wait() - Tell the longest wait with interrupts off
 *
 * Return: the virtual time in nanoseconds of the longest wait in this test.
 */
u64 arm_smmu_fake_longest_wait(void)
{
	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	return arm_smmu_fake_clock.longest_wait;
}

static bool arm_smmu_fake_repeat(void)
{
	return true;
}

static bool arm_smmu_fake_no_repeat(void)
{
	return false;
}

/**
 * arm_smmu_fake_set_repeat() - Switch an erratum on or off
 * @test: the test that runs
 * @repeat: whether the driver has to issue CFGI and TLBI commands twice
 */
void arm_smmu_fake_set_repeat(struct kunit *test, bool repeat)
{
	if (repeat)
		kunit_activate_static_stub(test,
					   arm_smmu_erratum_repeat_tlbi_cfgi,
					   arm_smmu_fake_repeat);
	else
		kunit_activate_static_stub(test,
					   arm_smmu_erratum_repeat_tlbi_cfgi,
					   arm_smmu_fake_no_repeat);
}

/**
 * arm_smmu_fake_event() - Write an event record
 * @fake: the fake SMMU
 * @evt: the record
 *
 * Context: arm_smmu_fake_lock is held.
 * Return: false if the event queue is full. The event is lost then.
 */
bool arm_smmu_fake_event(struct arm_smmu_fake *fake,
			 const u64 evt[EVTQ_ENT_DWORDS])
{
	struct arm_smmu_queue *q = &fake->smmu.evtq.q;
	u32 cons = readl(q->cons_reg);
	u32 prod = readl(q->prod_reg);
	int i;

	lockdep_assert_held(&arm_smmu_fake_lock);
	if (Q_IDX(&q->llq, prod) == Q_IDX(&q->llq, cons) &&
	    Q_WRP(&q->llq, prod) != Q_WRP(&q->llq, cons)) {
		/* One overflow is reported until the driver has seen it */
		if (Q_OVF(prod) == Q_OVF(cons))
			writel(prod ^ Q_OVERFLOW_FLAG, q->prod_reg);
		return false;
	}
	for (i = 0; i < EVTQ_ENT_DWORDS; i++)
		Q_ENT(q, prod)[i] = cpu_to_le64(evt[i]);
	i = Q_WRP(&q->llq, prod) | Q_IDX(&q->llq, prod);
	i++;
	/* Orders the record before PROD, pairs with readl() in the driver */
	writel(Q_OVF(prod) | Q_WRP(&q->llq, i) | Q_IDX(&q->llq, i), q->prod_reg);
	return true;
}

/**
 * arm_smmu_fake_handle_events() - Let the driver read the event queue
 * @fake: the fake SMMU
 */
void arm_smmu_fake_handle_events(struct arm_smmu_fake *fake)
{
	arm_smmu_evtq_thread(0, &fake->smmu);
}

/**
 * arm_smmu_fake_create_task() - Make a task that is stopped with the test
 * @test: the test that runs
 * @run: what the task runs; it may return before it is told to stop
 * @data: the argument of @run
 * @cpu: the CPU to which the task is bound
 *
 * The driver runs on the fake SMMUs only in the test itself and in such tasks.
 * Elsewhere it would poll in the time of the host.
 *
 * A task cannot be made while another one waits with interrupts off for long.
 *
 * Return: the task, which the caller wakes up. Never NULL or an error, the test
 * is aborted instead.
 */
struct task_struct *arm_smmu_fake_create_task(struct kunit *test,
					      int (*run)(void *data),
					      void *data, unsigned int cpu)
{
	struct arm_smmu_fake_task *ft;
	struct task_struct *task;

	ft = kunit_kzalloc(test, sizeof(*ft), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, ft);
	ft->test = test;
	ft->run = run;
	ft->data = data;
	init_completion(&ft->done);
	task = kthread_create(arm_smmu_fake_task_run, ft, "%s/%u", test->name,
			      cpu);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, task);
	get_task_struct(task);
	kthread_bind(task, cpu);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test,
						  kthread_stop_put_wrapper,
						  task));
	return task;
}

/**
 * arm_smmu_fake_run_task() - Run a task on the last CPU and stay on the first
 * @test: the test that runs, in the current task
 * @run: see arm_smmu_fake_create_task()
 * @data: the argument of @run
 *
 * Left to itself the scheduler may put both on one CPU, where one of them waits
 * with interrupts off. With a single CPU they share it.
 *
 * Return: the task. Never NULL or an error, the test is aborted instead.
 */
struct task_struct *arm_smmu_fake_run_task(struct kunit *test,
					   int (*run)(void *data), void *data)
{
	unsigned int cpu = cpumask_first(cpu_online_mask);
	struct task_struct *task;

	KUNIT_ASSERT_EQ(test, 0, set_cpus_allowed_ptr(current, cpumask_of(cpu)));
	task = arm_smmu_fake_create_task(test, run, data,
					 cpumask_last(cpu_online_mask));
	wake_up_process(task);
	return task;
}

/**
 * arm_smmu_fake_join_task() - Wait until the function of a task has returned
 * @test: the test that runs
 * @task: the task, which stays until it is stopped
 */
void arm_smmu_fake_join_task(struct kunit *test, struct task_struct *task)
{
	struct arm_smmu_fake_task *ft = kthread_data(task);

	wait_for_completion(&ft->done);
}

/**
 * arm_smmu_fake_stop_task() - Stop a task before the test ends
 * @test: the test that runs
 * @task: the task, of which nothing is left then
 */
void arm_smmu_fake_stop_task(struct kunit *test, struct task_struct *task)
{
	kunit_release_action(test, kthread_stop_put_wrapper, task);
}

/**
 * arm_smmu_fake_next_cmd() - Read the next command that the SMMU has consumed
 * @fake: the fake SMMU
 * @cmd: set to the command
 *
 * What was issued without a CMD_SYNC is consumed first.
 *
 * Return: false if there are no more.
 */
bool arm_smmu_fake_next_cmd(struct arm_smmu_fake *fake,
			    struct arm_smmu_cmd *cmd)
{
	bool lost = false;

	scoped_guard(raw_spinlock_irqsave, &arm_smmu_fake_lock) {
		arm_smmu_fake_consume(fake);
		if (fake->seen == fake->log_head)
			return false;
		lost = fake->log_head - fake->seen > ARM_SMMU_FAKE_LOG;
		*cmd = fake->log[fake->seen++ % ARM_SMMU_FAKE_LOG].cmd;
	}
	KUNIT_ASSERT_FALSE_MSG(fake->test, lost,
			       "commands were overwritten before they were read");
	return true;
}

static struct arm_smmu_fake_cmd *
arm_smmu_fake_last_cmd(struct arm_smmu_fake *fake)
{
	return &fake->log[(fake->seen - 1) % ARM_SMMU_FAKE_LOG];
}

/**
 * arm_smmu_fake_stamp() - When was a command consumed?
 * @fake: the fake SMMU
 *
 * Return: the number, counted over all SMMUs, of the command that
 * arm_smmu_fake_next_cmd() has read last.
 */
u64 arm_smmu_fake_stamp(struct arm_smmu_fake *fake)
{
	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	return arm_smmu_fake_last_cmd(fake)->stamp;
}

/**
 * arm_smmu_fake_time() - When was a command consumed?
 * @fake: the fake SMMU
 *
 * Return: the virtual time at which the command that arm_smmu_fake_next_cmd()
 * has read last was consumed.
 */
u64 arm_smmu_fake_time(struct arm_smmu_fake *fake)
{
	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	return arm_smmu_fake_last_cmd(fake)->time;
}

/**
 * arm_smmu_fake_issued() - When was a command issued?
 * @fake: the fake SMMU
 *
 * Return: the virtual time at which the driver had published the command that
 * arm_smmu_fake_next_cmd() has read last.
 */
u64 arm_smmu_fake_issued(struct arm_smmu_fake *fake)
{
	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	return arm_smmu_fake_last_cmd(fake)->issued;
}

/**
 * arm_smmu_fake_num_consumed() - How many commands has the SMMU consumed?
 * @fake: the fake SMMU
 * @sum: set to the sum of their second words
 *
 * For a test that issues more commands than the log holds.
 *
 * Return: the number of commands, without CMD_SYNCs.
 */
u64 arm_smmu_fake_num_consumed(struct arm_smmu_fake *fake, u64 *sum)
{
	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	arm_smmu_fake_consume(fake);
	*sum = fake->sum_cmds;
	return fake->num_cmds;
}

/**
 * arm_smmu_fake_id() - Look up an ASID or VMID in the array of a domain
 * @domain: the domain
 * @fake: the fake SMMU
 * @type: the type of the entry
 * @users: set to the number of users of the entry, or NULL
 *
 * Return: the id of the first live entry of this type, or 0 if there is none.
 */
u32 arm_smmu_fake_id(struct iommu_domain *domain, struct arm_smmu_fake *fake,
		     enum arm_smmu_inv_type type, int *users)
{
	struct arm_smmu_invs *invs = arm_smmu_fake_invs(domain);
	struct arm_smmu_inv *inv;

	for (inv = invs->inv; inv != invs->inv + invs->num_invs; inv++) {
		if (!inv->users || inv->smmu != &fake->smmu ||
		    inv->type != type)
			continue;
		if (users)
			*users = inv->users;
		return inv->id;
	}
	if (users)
		*users = 0;
	return 0;
}

/**
 * arm_smmu_fake_hw_id() - Read the id that the SMMU uses for a device
 * @fm: the device
 * @pasid: the PASID, or IOMMU_NO_PASID
 *
 * Return: the ASID of a valid CD, the VMID of a stage 2, or 0.
 */
u32 arm_smmu_fake_hw_id(struct arm_smmu_fake_master *fm, ioasid_t pasid)
{
	struct arm_smmu_ste *ste = arm_smmu_fake_ste(fm);
	u64 cfg = FIELD_GET(STRTAB_STE_0_CFG, le64_to_cpu(ste->data[0]));
	u64 cd;

	if (cfg == STRTAB_STE_0_CFG_S2_TRANS || cfg == STRTAB_STE_0_CFG_NESTED)
		return FIELD_GET(STRTAB_STE_2_S2VMID,
				 le64_to_cpu(ste->data[2]));
	if (cfg != STRTAB_STE_0_CFG_S1_TRANS)
		return 0;
	cd = le64_to_cpu(arm_smmu_fake_cd(fm, pasid)->data[0]);
	return cd & CTXDESC_CD_0_V ? FIELD_GET(CTXDESC_CD_0_ASID, cd) : 0;
}

/**
 * arm_smmu_fake_read_ops() - Read the kinds of all commands as a string
 * @fake: the fake SMMU
 * @buf: set to one letter for each command that the test has not read yet: s
 *	 CFGI_STE, c CFGI_CD, a TLBI of an ASID, v of an address, i of an IPA,
 *	 n of all stage 1 of a VMID, m of a VMID, t ATC_INV, '.' CMD_SYNC, '?'
 *	 anything else; nothing for a prefetch
 * @size: the size of @buf; what does not fit is left out
 */
void arm_smmu_fake_read_ops(struct arm_smmu_fake *fake, char *buf, size_t size)
{
	static const char letters[256] = {
		[CMDQ_OP_CFGI_STE] = 's', [CMDQ_OP_CFGI_CD] = 'c',
		[CMDQ_OP_TLBI_NH_ASID] = 'a', [CMDQ_OP_TLBI_NH_VA] = 'v',
		[CMDQ_OP_TLBI_S2_IPA] = 'i', [CMDQ_OP_TLBI_NH_ALL] = 'n',
		[CMDQ_OP_TLBI_S12_VMALL] = 'm', [CMDQ_OP_ATC_INV] = 't',
		[CMDQ_OP_CMD_SYNC] = '.',
	};
	struct arm_smmu_cmd cmd;
	size_t num = 0;
	u8 op;

	while (arm_smmu_fake_next_cmd(fake, &cmd)) {
		op = FIELD_GET(CMDQ_0_OP, cmd.data[0]);
		if (op != CMDQ_OP_PREFETCH_CFG && num + 1 < size)
			buf[num++] = letters[op] ?: '?';
	}
	buf[num] = 0;
}

/**
 * arm_smmu_fake_expect_cmds() - Expect these commands to be issued, and no more
 * @fake: the fake SMMU
 * @cmds: the commands, in order. Of a CMD_SYNC only the opcode is compared.
 * @num: how many there are
 */
void arm_smmu_fake_expect_cmds(struct arm_smmu_fake *fake,
			       const struct arm_smmu_cmd *cmds,
			       unsigned int num)
{
	struct kunit *test = fake->test;
	struct arm_smmu_cmd cmd;
	unsigned int i;

	for (i = 0; i < num; i++) {
		KUNIT_ASSERT_TRUE_MSG(test, arm_smmu_fake_next_cmd(fake, &cmd),
				      "%u of %u commands issued", i, num);
		if (cmds[i].data[0] == CMDQ_OP_CMD_SYNC) {
			cmd.data[0] &= CMDQ_0_OP;
			cmd.data[1] = 0;
		}
		KUNIT_EXPECT_EQ_MSG(test, cmd.data[0], cmds[i].data[0],
				    "command %u", i);
		KUNIT_EXPECT_EQ_MSG(test, cmd.data[1], cmds[i].data[1],
				    "command %u", i);
	}
	while (arm_smmu_fake_next_cmd(fake, &cmd))
		KUNIT_FAIL(test, "and command %#llx %#llx", cmd.data[0],
			   cmd.data[1]);
}

/**
 * arm_smmu_fake_drop_cmds() - Forget what the driver has issued so far
 * @fake: the fake SMMU
 */
void arm_smmu_fake_drop_cmds(struct arm_smmu_fake *fake)
{
	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	arm_smmu_fake_consume(fake);
	fake->seen = fake->log_head;
}

static void arm_smmu_fake_disown(void *data)
{
	struct arm_smmu_fake_master *fm = data;

	list_del(&fm->list);
	iommu_detach_group_handle(arm_smmu_fake_blocked(fm), fm->group);
	iommu_device_release_dma_owner(fm->dev);
}

/* What firmware would say of a device */
static void arm_smmu_fake_describe(struct arm_smmu_fake *fake,
				   struct device *dev, u32 flags,
				   const u32 *sids, unsigned int num_sids)
{
	struct kunit *test = fake->test;
	struct iommu_fwspec *fwspec;

	/* The core frees these two with the device */
	dev->iommu = kzalloc_obj(*dev->iommu);
	KUNIT_ASSERT_NOT_NULL(test, dev->iommu);
	mutex_init(&dev->iommu->lock);
	fwspec = kzalloc_flex(*fwspec, ids, num_sids);
	KUNIT_ASSERT_NOT_NULL(test, fwspec);
	fwspec->iommu_fwnode = fwnode_handle_get(dev_fwnode(fake->smmu.dev));
	fwspec->flags = flags;
	fwspec->num_ids = num_sids;
	memcpy(fwspec->ids, sids, num_sids * sizeof(*sids));
	dev_iommu_fwspec_set(dev, fwspec);
}

static struct arm_smmu_fake_master *
arm_smmu_fake_own_master(struct arm_smmu_fake *fake, struct device *dev)
{
	struct kunit *test = fake->test;
	struct arm_smmu_fake_master *fm;

	fm = kunit_kzalloc(test, sizeof(*fm), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, fm);
	fm->fake = fake;
	fm->dev = dev;
	fm->group = dev->iommu_group;
	KUNIT_ASSERT_NOT_NULL(test, fm->group);
	fm->master = dev_iommu_priv_get(dev);

	KUNIT_ASSERT_EQ(test, 0, iommu_device_claim_dma_owner(dev, fm));
	list_add(&fm->list, &arm_smmu_fake_masters);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, arm_smmu_fake_disown,
						  fm));
	arm_smmu_fake_drop_cmds(fake);
	return fm;
}

/**
 * arm_smmu_fake_add_master() - Put a device behind a fake SMMU
 * @fake: the fake SMMU
 * @sid: the stream ID of the device, less than 16
 * @ssid_bits: how many bits of PASID it has
 *
 * The device is owned as if by a driver of user space, and attached to the
 * blocked domain. What firmware says of a device is made up; from there on the
 * code is that of the core and of the driver. iommu_mock_device_add() is of no
 * use here: it exists only with CONFIG_IOMMUFD_TEST and knows no stream IDs.
 *
 * Return: the device, removed with the test. Never NULL or an error, the test
 * is aborted instead.
 */
struct arm_smmu_fake_master *
arm_smmu_fake_add_master(struct arm_smmu_fake *fake, u32 sid,
			 unsigned int ssid_bits)
{
	const struct property_entry properties[] = {
		PROPERTY_ENTRY_U32("pasid-num-bits", ssid_bits),
		{}
	};
	struct kunit *test = fake->test;
	struct platform_device *pdev;
	struct fwnode_handle *node;

	node = kunit_fwnode_create_software_node(test, properties, NULL);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, node);
	pdev = kunit_platform_device_alloc(test, "fake-master",
					   PLATFORM_DEVID_AUTO);
	KUNIT_ASSERT_NOT_NULL(test, pdev);
	device_set_node(&pdev->dev, fwnode_handle_get(node));
	arm_smmu_fake_describe(fake, &pdev->dev, IOMMU_FWSPEC_PCI_RC_CANWBS,
			       &sid, 1);

	/* The core probes the device as it appears on its bus */
	KUNIT_ASSERT_EQ(test, 0, kunit_platform_device_add(test, pdev));
	return arm_smmu_fake_own_master(fake, &pdev->dev);
}

/**
 * arm_smmu_fake_add_pci_master() - Put a PCI device with ATS behind a fake SMMU
 * @fake: the fake SMMU
 * @sids: the stream IDs of the device, all less than 16; also one of them twice
 * @num_sids: how many stream IDs it has
 * @ssid_bits: how many bits of PASID it has; 0 if it has no PASID capability
 *
 * Like arm_smmu_fake_add_master(). Without CONFIG_PCI_PASID the test is
 * skipped. The driver leaves ATS alone if the test takes ARM_SMMU_FEAT_ATS from
 * the SMMU, or IOMMU_FWSPEC_PCI_RC_ATS from the device.
 *
 * Return: the device, removed with the test. Never NULL or an error, the test
 * is aborted instead.
 */
struct arm_smmu_fake_master *
arm_smmu_fake_add_pci_master(struct arm_smmu_fake *fake, const u32 *sids,
			     unsigned int num_sids, unsigned int ssid_bits)
{
	struct device *dev = arm_smmu_fake_pci_alloc(fake, sids[0], ssid_bits);
	struct kunit *test = fake->test;

	arm_smmu_fake_describe(fake, dev, IOMMU_FWSPEC_PCI_RC_ATS |
			       IOMMU_FWSPEC_PCI_RC_CANWBS, sids, num_sids);
	KUNIT_ASSERT_EQ(test, 0, device_add(dev));
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test,
						  device_unregister_wrapper,
						  dev));
	return arm_smmu_fake_own_master(fake, dev);
}

static void arm_smmu_fake_park(void *unused)
{
	struct arm_smmu_fake_master *fm;

	list_for_each_entry(fm, &arm_smmu_fake_masters, list)
		WARN_ON(arm_smmu_fake_attach(fm, arm_smmu_fake_blocked(fm)));
}

/**
 * arm_smmu_fake_own_domain() - Free a domain with the test
 * @fm: a device of the test
 * @domain: the domain
 *
 * Any device of the test may still be attached to it then, a PASID may not.
 */
void arm_smmu_fake_own_domain(struct arm_smmu_fake_master *fm,
			      struct iommu_domain *domain)
{
	struct kunit *test = fm->fake->test;

	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, domain_free_wrapper,
						  domain));
	/* Runs first */
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, arm_smmu_fake_park,
						  NULL));
}

/**
 * arm_smmu_fake_free_domain() - Free a domain before the test ends
 * @fm: the device that was given to arm_smmu_fake_own_domain()
 * @domain: the domain, to which nothing is attached any more
 */
void arm_smmu_fake_free_domain(struct arm_smmu_fake_master *fm,
			       struct iommu_domain *domain)
{
	kunit_release_action(fm->fake->test, domain_free_wrapper, domain);
}

/**
 * arm_smmu_fake_alloc_domain() - Make a paging domain
 * @fm: the device to make it for
 * @flags: IOMMU_HWPT_ALLOC_*
 *
 * Return: the domain, see arm_smmu_fake_own_domain(). Never NULL or an error,
 * the test is aborted instead.
 */
struct iommu_domain *
arm_smmu_fake_alloc_domain(struct arm_smmu_fake_master *fm, u32 flags)
{
	struct iommu_domain *domain;

	domain = iommu_paging_domain_alloc_flags(fm->dev, flags);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(fm->fake->test, domain);
	arm_smmu_fake_own_domain(fm, domain);
	return domain;
}

/**
 * arm_smmu_fake_attach() - Attach a device in place of what it is attached to
 * @fm: the device
 * @domain: the domain
 *
 * Return: what the driver returns.
 */
int arm_smmu_fake_attach(struct arm_smmu_fake_master *fm,
			 struct iommu_domain *domain)
{
	return iommu_replace_group_handle(fm->group, domain, &fm->handle);
}

struct arm_smmu_fake_pasid {
	struct iommu_domain *domain;
	struct iommu_domain *old;
	ioasid_t pasid;
};

static int arm_smmu_fake_set_pasid_locked(struct device *dev, void *data)
{
	struct arm_smmu_fake_pasid *fp = data;

	return fp->domain->ops->set_dev_pasid(fp->domain, dev, fp->pasid,
					      fp->old);
}

/**
 * arm_smmu_fake_set_pasid() - Attach a PASID of a device
 * @fm: the device
 * @domain: the domain, the blocked one to detach
 * @pasid: the PASID
 * @old: the domain that the PASID is attached to, or NULL
 *
 * The core allocates for its own book-keeping, which is in the way of a test
 * that counts allocations. So call the driver, under the group's mutex.
 *
 * Return: what the driver returns.
 */
int arm_smmu_fake_set_pasid(struct arm_smmu_fake_master *fm,
			    struct iommu_domain *domain, ioasid_t pasid,
			    struct iommu_domain *old)
{
	struct arm_smmu_fake_pasid fp = {
		.domain = domain,
		.old = old,
		.pasid = pasid,
	};

	return iommu_group_for_each_dev(fm->group, &fp,
					arm_smmu_fake_set_pasid_locked);
}

/*
 * Fail one allocation of the current task, and see whether it gives back what
 * it took. failslab alone cannot do this from here: it leaves GFP_KERNEL alone
 * until user space has told it otherwise in debugfs.
 */
static struct {
	struct task_struct *task;
	struct kprobe alloc;
	struct kprobe free;
	unsigned int allocs;
	unsigned int frees;
	unsigned int fail_nth;
	bool failed;
} arm_smmu_fake_slab;

static int arm_smmu_fake_alloc_hook(struct kprobe *p, struct pt_regs *regs)
{
	if (current != READ_ONCE(arm_smmu_fake_slab.task) || !in_task())
		return 0;
	/* Debug objects and kmemleak allocate for themselves, and cope */
	if (regs_get_kernel_argument(regs, 1) & (__force u64)__GFP_NOWARN)
		return 0;

	if (++arm_smmu_fake_slab.allocs != arm_smmu_fake_slab.fail_nth)
		return 0;

	arm_smmu_fake_slab.allocs--;
	arm_smmu_fake_slab.fail_nth = 0;
	arm_smmu_fake_slab.failed = true;

	/* Return from should_failslab() in place of running it */
	regs_set_return_value(regs, -ENOMEM);
	instruction_pointer_set(regs, procedure_link_pointer(regs));
	return 1;
}

static int arm_smmu_fake_free_hook(struct kprobe *p, struct pt_regs *regs)
{
	if (current == READ_ONCE(arm_smmu_fake_slab.task) && in_task() &&
	    !ZERO_OR_NULL_PTR((void *)regs_get_kernel_argument(regs, 0)))
		arm_smmu_fake_slab.frees++;
	return 0;
}

static void arm_smmu_fake_slab_unregister(void *unused)
{
	WRITE_ONCE(arm_smmu_fake_slab.task, NULL);
	unregister_kprobe(&arm_smmu_fake_slab.free);
	unregister_kprobe(&arm_smmu_fake_slab.alloc);
}

static int arm_smmu_fake_slab_register(void)
{
	int ret;

	memset(&arm_smmu_fake_slab, 0, sizeof(arm_smmu_fake_slab));
	arm_smmu_fake_slab.alloc.symbol_name = "should_failslab";
	arm_smmu_fake_slab.alloc.pre_handler = arm_smmu_fake_alloc_hook;
	arm_smmu_fake_slab.free.symbol_name = "kfree";
	arm_smmu_fake_slab.free.pre_handler = arm_smmu_fake_free_hook;

	ret = register_kprobe(&arm_smmu_fake_slab.alloc);
	if (ret)
		return ret;
	ret = register_kprobe(&arm_smmu_fake_slab.free);
	if (ret)
		unregister_kprobe(&arm_smmu_fake_slab.alloc);
	return ret;
}

/**
 * arm_smmu_fake_slab_start() - Watch the allocations of the current task
 * @test: the test that runs
 * @fail_nth: which allocation from now on fails, counted from 1
 *
 * Nothing between start and stop may allocate but the code under test.
 *
 * Return: 0, or an error if the kernel is built without CONFIG_KPROBES or
 * CONFIG_FAILSLAB.
 */
int arm_smmu_fake_slab_start(struct kunit *test, unsigned int fail_nth)
{
	int ret = arm_smmu_fake_slab_register();

	if (ret)
		return ret;
	/* In case the test is aborted before it comes to stop */
	ret = kunit_add_action_or_reset(test, arm_smmu_fake_slab_unregister,
					NULL);
	if (ret)
		return ret;

	arm_smmu_fake_slab.fail_nth = fail_nth;
	WRITE_ONCE(arm_smmu_fake_slab.task, current);
	return 0;
}

/**
 * arm_smmu_fake_slab_stop() - End what arm_smmu_fake_slab_start() began
 * @test: the test that runs
 * @balance: set to the number of allocations that were not freed
 *
 * Return: true if an allocation was made to fail.
 */
bool arm_smmu_fake_slab_stop(struct kunit *test, int *balance)
{
	WRITE_ONCE(arm_smmu_fake_slab.task, NULL);
	kunit_release_action(test, arm_smmu_fake_slab_unregister, NULL);
	*balance = arm_smmu_fake_slab.allocs - arm_smmu_fake_slab.frees;
	return arm_smmu_fake_slab.failed;
}

MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");
MODULE_IMPORT_NS("IOMMUFD_INTERNAL");
MODULE_DESCRIPTION("KUnit tests for the arm-smmu-v3 driver on a fake SMMU");
MODULE_LICENSE("GPL");
