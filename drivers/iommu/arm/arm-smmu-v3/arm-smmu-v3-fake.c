// SPDX-License-Identifier: GPL-2.0
/*
 * A fake SMMUv3 for KUnit: the driver's own code on an SMMU whose registers and
 * command queue are ordinary memory. Nothing is translated. A test reads back,
 * in order, every command that the driver has issued.
 */
#include <kunit/device.h>
#include <kunit/fwnode.h>
#include <kunit/platform_device.h>
#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/kprobes.h>
#include <linux/kthread.h>
#include <linux/platform_device.h>
#include <linux/vmalloc.h>

#include "../../iommu-priv.h"

#include "arm-smmu-v3-fake.h"

#define FAKE_SID_BITS	4

/* The devices of the test that runs */
static LIST_HEAD(arm_smmu_fake_masters);

/*
 * Who consumes the commands of all SMMUs that take time: a task on every CPU,
 * since the driver occupies the one on which it waits.
 */
static struct {
	raw_spinlock_t lock;
	struct list_head fakes;
	u64 stamp;
} arm_smmu_fake_consumer = {
	.lock = __RAW_SPIN_LOCK_UNLOCKED(arm_smmu_fake_consumer.lock),
	.fakes = LIST_HEAD_INIT(arm_smmu_fake_consumer.fakes),
};

KUNIT_DEFINE_ACTION_WRAPPER(vfree_wrapper, vfree, const void *);
KUNIT_DEFINE_ACTION_WRAPPER(domain_free_wrapper, iommu_domain_free,
			    struct iommu_domain *);
KUNIT_DEFINE_ACTION_WRAPPER(iommu_sysfs_remove_wrapper,
			    iommu_device_sysfs_remove, struct iommu_device *);
KUNIT_DEFINE_ACTION_WRAPPER(iommu_unregister_wrapper, iommu_device_unregister,
			    struct iommu_device *);
KUNIT_DEFINE_ACTION_WRAPPER(device_unregister_wrapper, device_unregister,
			    struct device *);
KUNIT_DEFINE_ACTION_WRAPPER(kthread_stop_put_wrapper, kthread_stop_put,
			    struct task_struct *);

/* Runs when all devices, domains and vSMMUs of the test are gone */
static void arm_smmu_fake_check_ids(void *data)
{
	struct arm_smmu_fake *fake = data;

	KUNIT_EXPECT_TRUE(fake->test, ida_is_empty(&fake->smmu.asid_map));
	KUNIT_EXPECT_TRUE(fake->test, ida_is_empty(&fake->smmu.vmid_map));
	ida_destroy(&fake->smmu.asid_map);
	ida_destroy(&fake->smmu.vmid_map);
}

/**
 * arm_smmu_fake_create() - Make an SMMU with an empty command queue
 * @test: the test that owns it
 * @shift: log2 of the number of entries in the command queue; the test has to
 *         read the commands before the driver overwrites them
 *
 * Return: the fake SMMU, freed with @test. Never NULL or an error, the test is
 * aborted instead.
 *
 * It has stage 1, stage 2 and ATS. Until its first device is added the test may
 * write features, oas, pgsize_bitmap, asid_bits and vmid_bits of its @smmu. A
 * granule of more than PAGE_SIZE must wait until the last device is added, as
 * the core makes a DMA domain for each, which cannot have such a granule.
 *
 * CMDQ_CONS is the same word as CMDQ_PROD: a command is consumed the moment it
 * is published. The driver waits for a CMD_SYNC with interrupts off, so that
 * anything else needs a second CPU, see arm_smmu_fake_set_time().
 *
 * The other registers are memory too. The ID registers are 0, and CR0 says that
 * the SMMU is on. CR0ACK is 0, as it is nobody's task to follow CR0 and what the
 * driver does with a running SMMU is to turn it off.
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
	struct arm_smmu_queue *q;
	int i;

	fake = kunit_kzalloc(test, sizeof(*fake), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, fake);
	fake->test = test;
	INIT_LIST_HEAD(&fake->timed);

	smmu = &fake->smmu;
	/* The driver finds the SMMU of a device on the platform bus */
	info.fwnode = kunit_fwnode_create_software_node(test, NULL, NULL);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, info.fwnode);
	pdev = kunit_platform_device_register_full(test, &info);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, pdev);
	platform_set_drvdata(pdev, smmu);

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
	arm_smmu_debugfs_init_lists(smmu);
	ida_init(&smmu->asid_map);
	ida_init(&smmu->vmid_map);
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

	q = &smmu->cmdq.q;
	q->llq.max_n_shift = shift;
	q->ent_dwords = CMDQ_ENT_DWORDS;
	q->base = vzalloc((CMDQ_ENT_DWORDS * sizeof(u64)) << shift);
	KUNIT_ASSERT_NOT_NULL(test, q->base);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, vfree_wrapper,
						  q->base));
	q->prod_reg = (u32 __force __iomem *)&fake->prod;
	q->cons_reg = q->prod_reg;
	/* Of MSIs only, the SMMU reads its queue at q->base */
	q->base_dma = SZ_4G;
	KUNIT_ASSERT_EQ(test, 0, arm_smmu_cmdq_init(smmu, &smmu->cmdq));

	smmu->iommu.max_pasids = 1UL << smmu->ssid_bits;
	KUNIT_ASSERT_EQ(test, 0,
			iommu_device_sysfs_add(&smmu->iommu, smmu->dev, NULL,
					       "%s", dev_name(smmu->dev)));
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, iommu_sysfs_remove_wrapper,
						  &smmu->iommu));
	KUNIT_ASSERT_EQ(test, 0,
			iommu_device_register(&smmu->iommu, &arm_smmu_ops,
					      smmu->dev));
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, iommu_unregister_wrapper,
						  &smmu->iommu));

	return fake;
}

static u32 arm_smmu_fake_index(struct arm_smmu_fake *fake, u32 index)
{
	struct arm_smmu_ll_queue *llq = &fake->smmu.cmdq.q.llq;

	return Q_WRP(llq, index) | Q_IDX(llq, index);
}

/* The index behind the last command that the driver has published */
static u32 arm_smmu_fake_prod(struct arm_smmu_fake *fake)
{
	return arm_smmu_fake_index(fake, readl(fake->smmu.cmdq.q.prod_reg));
}

/**
 * arm_smmu_fake_stop() - Let the SMMU consume some more commands and then hang
 * @fake: the fake SMMU
 * @num: how many commands it still consumes of those to come, the CMD_SYNCs
 *       counted
 *
 * If the SMMU takes no time, there is nobody to count while the driver waits.
 * CMDQ_CONS then says from now on where it will stop: the driver compares it
 * with the place of its own CMD_SYNC only, and takes as done what lies before
 * it.
 */
void arm_smmu_fake_stop(struct arm_smmu_fake *fake, unsigned int num)
{
	struct arm_smmu_queue *q = &fake->smmu.cmdq.q;

	guard(raw_spinlock_irqsave)(&arm_smmu_fake_consumer.lock);
	fake->end = arm_smmu_fake_index(fake, arm_smmu_fake_prod(fake) + num);
	fake->stopped = true;
	if (!list_empty(&fake->timed))
		return;
	q->cons_reg = (u32 __force __iomem *)&fake->cons;
	writel(fake->end, q->cons_reg);
}

/**
 * arm_smmu_fake_start() - Let a stopped SMMU consume everything again
 * @fake: the fake SMMU
 *
 * One that takes time goes on with what it has not consumed.
 */
void arm_smmu_fake_start(struct arm_smmu_fake *fake)
{
	struct arm_smmu_queue *q = &fake->smmu.cmdq.q;

	guard(raw_spinlock_irqsave)(&arm_smmu_fake_consumer.lock);
	fake->stopped = false;
	if (list_empty(&fake->timed))
		q->cons_reg = q->prod_reg;
}

/* What an MSI does to the CMD_SYNC that asks for it */
static void arm_smmu_fake_write_msi(struct arm_smmu_queue *q, const __le64 *ent)
{
	u64 offset = (le64_to_cpu(ent[1]) & CMDQ_SYNC_1_MSIADDR_MASK) -
		     q->base_dma;

	WRITE_ONCE(*(u32 *)((void *)q->base + offset), 0);
}

/* Consume what there is, up to a CMD_SYNC that is not yet to complete */
static void arm_smmu_fake_consume(struct arm_smmu_fake *fake)
{
	struct arm_smmu_queue *q = &fake->smmu.cmdq.q;
	u32 left = arm_smmu_fake_index(fake, arm_smmu_fake_prod(fake) -
					     fake->next);
	unsigned int usecs = READ_ONCE(fake->usecs);

	if (fake->stopped)
		left = min(left, arm_smmu_fake_index(fake,
						     fake->end - fake->next));

	for (; left; left--) {
		u32 next = arm_smmu_fake_index(fake, fake->next + 1);
		__le64 *ent = Q_ENT(q, fake->next);
		u64 cmd = le64_to_cpu(ent[0]);
		bool sync = FIELD_GET(CMDQ_0_OP, cmd) == CMDQ_OP_CMD_SYNC;
		bool msi = sync && FIELD_GET(CMDQ_SYNC_0_CS, cmd) ==
					   CMDQ_SYNC_0_CS_IRQ;
		ktime_t now = ktime_get();

		if (sync) {
			if (!fake->sync_end)
				fake->sync_end = ktime_add_us(now, usecs);
			/* As early as it may be */
			if (msi)
				writel(next, q->cons_reg);
			if (ktime_before(now, fake->sync_end))
				return;
			fake->sync_end = 0;
		} else {
			fake->num_cmds++;
			fake->sum_cmds += le64_to_cpu(ent[1]);
		}
		fake->stamps[Q_IDX(&q->llq, fake->next)] =
			++arm_smmu_fake_consumer.stamp;
		fake->next = next;
		if (msi)
			arm_smmu_fake_write_msi(q, ent);
		else
			writel(next, q->cons_reg);
		if (sync && FIELD_GET(CMDQ_SYNC_0_CS, cmd) ==
				    CMDQ_SYNC_0_CS_SEV)
			sev();
	}
}

static int arm_smmu_fake_consumer_run(void *unused)
{
	struct arm_smmu_fake *fake;

	while (!kthread_should_stop()) {
		scoped_guard(raw_spinlock_irqsave, &arm_smmu_fake_consumer.lock)
			list_for_each_entry(fake, &arm_smmu_fake_consumer.fakes,
					    timed)
				arm_smmu_fake_consume(fake);
		usleep_range(20, 50);
	}
	return 0;
}

/**
 * arm_smmu_fake_create_task() - Make a task that is stopped with the test
 * @test: the test that runs
 * @run: what the task runs; it may return before it is told to stop
 * @data: the argument of @run
 * @cpu: the CPU to which the task is bound
 *
 * Return: the task, which the caller wakes up. Never NULL or an error, the test
 * is aborted instead.
 */
struct task_struct *arm_smmu_fake_create_task(struct kunit *test,
					      int (*run)(void *data),
					      void *data, unsigned int cpu)
{
	struct task_struct *task = kthread_create(run, data, "%s/%u",
						  test->name, cpu);

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
 * Left to itself the scheduler may let one wait for the other, who may have
 * interrupts off. With a single CPU they share it.
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
 * arm_smmu_fake_stop_task() - Stop a task before the test ends
 * @test: the test that runs
 * @task: the task, of which nothing is left then
 */
void arm_smmu_fake_stop_task(struct kunit *test, struct task_struct *task)
{
	kunit_release_action(test, kthread_stop_put_wrapper, task);
}

static void arm_smmu_fake_consumer_start(struct kunit *test)
{
	unsigned int cpu;

	for_each_online_cpu(cpu)
		wake_up_process(arm_smmu_fake_create_task(test,
							  arm_smmu_fake_consumer_run,
							  NULL, cpu));
}

static void arm_smmu_fake_untime(void *data)
{
	struct arm_smmu_fake *fake = data;

	guard(raw_spinlock_irqsave)(&arm_smmu_fake_consumer.lock);
	list_del_init(&fake->timed);
	fake->smmu.cmdq.q.cons_reg = fake->smmu.cmdq.q.prod_reg;
	/* Nobody is left to write one */
	fake->smmu.options &= ~ARM_SMMU_OPT_MSIPOLL;
}

/**
 * arm_smmu_fake_set_time() - Let the SMMU take some time for a CMD_SYNC
 * @fake: the fake SMMU, which is not stopped and has nothing to do
 * @usecs: how long it takes, from when all before it is consumed
 *
 * From now on other tasks consume the commands of all such SMMUs, which take
 * their time at once. The driver waits with interrupts off, so at any time one
 * CPU must be free of waiting drivers: where a test has as many tasks that may
 * wait as there are CPUs, some have to share one, see kthread_bind(). What the
 * driver sees is longer than @usecs, by up to as much again: it doubles the time
 * from one look at CMDQ_CONS to the next.
 *
 * May be called again to change the time, from the next CMD_SYNC on.
 *
 * If the driver asks for MSIs (ARM_SMMU_OPT_MSIPOLL), CMDQ_CONS passes a CMD_SYNC
 * when its time begins and the MSI comes when it is over.
 *
 * Return: 0, or -ENODEV if there is only one CPU.
 */
int arm_smmu_fake_set_time(struct arm_smmu_fake *fake, unsigned int usecs)
{
	struct arm_smmu_queue *q = &fake->smmu.cmdq.q;
	struct kunit *test = fake->test;

	if (num_online_cpus() < 2)
		return -ENODEV;

	WRITE_ONCE(fake->usecs, usecs);
	if (!list_empty(&fake->timed))
		return 0;

	fake->stamps = vcalloc(1U << q->llq.max_n_shift, sizeof(*fake->stamps));
	KUNIT_ASSERT_NOT_NULL(test, fake->stamps);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, vfree_wrapper,
						  fake->stamps));

	if (list_empty(&arm_smmu_fake_consumer.fakes))
		arm_smmu_fake_consumer_start(test);
	scoped_guard(raw_spinlock_irqsave, &arm_smmu_fake_consumer.lock) {
		fake->cons = arm_smmu_fake_prod(fake);
		fake->next = fake->cons;
		q->cons_reg = (u32 __force __iomem *)&fake->cons;
		list_add_tail(&fake->timed, &arm_smmu_fake_consumer.fakes);
	}
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, arm_smmu_fake_untime,
						  fake));
	return 0;
}

/**
 * arm_smmu_fake_next_cmd() - Read the next command that the driver has issued
 * @fake: the fake SMMU
 * @cmd: set to the command
 *
 * Return: false if the driver has issued no more.
 */
bool arm_smmu_fake_next_cmd(struct arm_smmu_fake *fake,
			    struct arm_smmu_cmd *cmd)
{
	struct arm_smmu_queue *q = &fake->smmu.cmdq.q;
	u32 left = arm_smmu_fake_index(fake, arm_smmu_fake_prod(fake) -
					     fake->seen);
	int i;

	if (!left)
		return false;
	KUNIT_ASSERT_LE_MSG(fake->test, left, 1U << q->llq.max_n_shift,
			    "commands were overwritten before they were read");

	for (i = 0; i < CMDQ_ENT_DWORDS; i++)
		cmd->data[i] = le64_to_cpu(READ_ONCE(Q_ENT(q, fake->seen)[i]));
	/* No command has the opcode 0, it is what an MSI has written */
	if (!lower_32_bits(cmd->data[0]))
		cmd->data[0] |= CMDQ_OP_CMD_SYNC;
	fake->seen = arm_smmu_fake_index(fake, fake->seen + 1);
	return true;
}

/**
 * arm_smmu_fake_stamp() - When was a command consumed?
 * @fake: the fake SMMU, which takes time: see arm_smmu_fake_set_time()
 *
 * The consumer numbers the commands of all SMMUs as they are done with, a
 * CMD_SYNC as it completes: a lower number is an earlier command, also of
 * another SMMU.
 *
 * Return: the number of the command that arm_smmu_fake_next_cmd() has read
 * last, or 0 if the SMMU has not consumed it yet.
 */
u64 arm_smmu_fake_stamp(struct arm_smmu_fake *fake)
{
	struct arm_smmu_queue *q = &fake->smmu.cmdq.q;
	u32 last = arm_smmu_fake_index(fake, fake->seen - 1);
	u32 behind;

	/* The driver may go on before the consumer is out of this */
	guard(raw_spinlock_irqsave)(&arm_smmu_fake_consumer.lock);
	behind = arm_smmu_fake_index(fake, fake->next - last);
	if (!behind || behind > 1U << q->llq.max_n_shift)
		return 0;
	return fake->stamps[Q_IDX(&q->llq, last)];
}

/**
 * arm_smmu_fake_num_consumed() - How many commands has the SMMU consumed?
 * @fake: the fake SMMU, which takes time: see arm_smmu_fake_set_time()
 * @sum: set to the sum of their second words
 *
 * For a test that issues more than the queue holds.
 *
 * Return: the number of commands since it takes time, but for the CMD_SYNCs.
 */
u64 arm_smmu_fake_num_consumed(struct arm_smmu_fake *fake, u64 *sum)
{
	guard(raw_spinlock_irqsave)(&arm_smmu_fake_consumer.lock);
	*sum = fake->sum_cmds;
	return fake->num_cmds;
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
	fake->seen = arm_smmu_fake_prod(fake);
}

static void arm_smmu_fake_disown(void *data)
{
	struct arm_smmu_fake_master *fm = data;

	list_del(&fm->list);
	iommu_detach_group_handle(arm_smmu_ops.blocked_domain, fm->group);
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
		WARN_ON(arm_smmu_fake_attach(fm, arm_smmu_ops.blocked_domain));
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
MODULE_DESCRIPTION("KUnit tests for arm-smmu-v3 driver on a fake SMMU");
MODULE_LICENSE("GPL");
