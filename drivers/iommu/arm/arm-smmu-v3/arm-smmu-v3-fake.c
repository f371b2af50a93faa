// SPDX-License-Identifier: GPL-2.0
/*
 * A fake SMMUv3 for KUnit: the driver's own code on an SMMU whose registers and
 * command queue are ordinary memory. Nothing is translated. A test reads back,
 * in order, every command that the driver has issued.
 */
#include <kunit/device.h>
#include <kunit/fwnode.h>
#include <kunit/platform_device.h>
#include <linux/dma-mapping.h>
#include <linux/kprobes.h>
#include <linux/platform_device.h>
#include <linux/vmalloc.h>

#include "../../iommu-priv.h"

#include "arm-smmu-v3-fake.h"

#define FAKE_SID_BITS	4

KUNIT_DEFINE_ACTION_WRAPPER(vfree_wrapper, vfree, const void *);
KUNIT_DEFINE_ACTION_WRAPPER(ida_destroy_wrapper, ida_destroy, struct ida *);
KUNIT_DEFINE_ACTION_WRAPPER(domain_free_wrapper, iommu_domain_free,
			    struct iommu_domain *);
KUNIT_DEFINE_ACTION_WRAPPER(iommu_sysfs_remove_wrapper,
			    iommu_device_sysfs_remove, struct iommu_device *);
KUNIT_DEFINE_ACTION_WRAPPER(iommu_unregister_wrapper, iommu_device_unregister,
			    struct iommu_device *);

/**
 * arm_smmu_fake_create() - Make an SMMU with an empty command queue
 * @test: the test that owns it
 * @shift: log2 of the number of entries in the command queue; the test has to
 *         read the commands before the driver overwrites them
 *
 * Return: the fake SMMU, freed with @test. Never NULL or an error, the test is
 * aborted instead.
 *
 * CMDQ_CONS is the same word as CMDQ_PROD: a command is consumed the moment it
 * is published. The driver waits for a CMD_SYNC with interrupts off, so that
 * anything else would need a second CPU.
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

	smmu = &fake->smmu;
	/* The driver finds the SMMU of a device on the platform bus */
	info.fwnode = kunit_fwnode_create_software_node(test, NULL, NULL);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, info.fwnode);
	pdev = kunit_platform_device_register_full(test, &info);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, pdev);
	platform_set_drvdata(pdev, smmu);

	smmu->dev = &pdev->dev;
	smmu->features = ARM_SMMU_FEAT_COHERENCY | ARM_SMMU_FEAT_TRANS_S1 |
			 ARM_SMMU_FEAT_TRANS_S2 | ARM_SMMU_FEAT_NESTING;
	smmu->oas = 44;
	smmu->pgsize_bitmap = SZ_4K | SZ_2M | SZ_1G;
	smmu->asid_bits = 16;
	smmu->vmid_bits = 16;
	smmu->ssid_bits = 10;
	smmu->sid_bits = FAKE_SID_BITS;
	smmu->streams = RB_ROOT;
	mutex_init(&smmu->streams_mutex);
	ida_init(&smmu->vmid_map);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, ida_destroy_wrapper,
						  &smmu->vmid_map));

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

/**
 * arm_smmu_fake_stop() - Let the SMMU consume some more commands and then hang
 * @fake: the fake SMMU
 * @num: how many commands it still consumes, the CMD_SYNCs counted
 *
 * There is nobody to count while the driver waits, so CMDQ_CONS says from now
 * on where it will stop. The driver compares it with the place of its own
 * CMD_SYNC only, and takes as done what lies before it.
 */
void arm_smmu_fake_stop(struct arm_smmu_fake *fake, unsigned int num)
{
	struct arm_smmu_queue *q = &fake->smmu.cmdq.q;

	q->cons_reg = (u32 __force __iomem *)&fake->cons;
	writel(arm_smmu_fake_index(fake, q->llq.prod + num), q->cons_reg);
}

/**
 * arm_smmu_fake_start() - Let a stopped SMMU consume everything again
 * @fake: the fake SMMU
 */
void arm_smmu_fake_start(struct arm_smmu_fake *fake)
{
	fake->smmu.cmdq.q.cons_reg = fake->smmu.cmdq.q.prod_reg;
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
	u32 prod = arm_smmu_fake_index(fake, q->llq.prod);
	u32 left = arm_smmu_fake_index(fake, prod - fake->seen);
	int i;

	if (!left)
		return false;
	KUNIT_ASSERT_LE_MSG(fake->test, left, 1U << q->llq.max_n_shift,
			    "commands were overwritten before they were read");

	for (i = 0; i < CMDQ_ENT_DWORDS; i++)
		cmd->data[i] = le64_to_cpu(Q_ENT(q, fake->seen)[i]);
	fake->seen = arm_smmu_fake_index(fake, fake->seen + 1);
	return true;
}

/**
 * arm_smmu_fake_drop_cmds() - Forget what the driver has issued so far
 * @fake: the fake SMMU
 */
void arm_smmu_fake_drop_cmds(struct arm_smmu_fake *fake)
{
	fake->seen = arm_smmu_fake_index(fake, fake->smmu.cmdq.q.llq.prod);
}

static void arm_smmu_fake_disown(void *data)
{
	struct arm_smmu_fake_master *fm = data;

	iommu_detach_group_handle(arm_smmu_ops.blocked_domain, fm->group);
	iommu_device_release_dma_owner(fm->dev);
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
	struct arm_smmu_fake_master *fm;
	struct platform_device *pdev;
	struct iommu_fwspec *fwspec;
	struct fwnode_handle *node;

	fm = kunit_kzalloc(test, sizeof(*fm), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, fm);
	fm->fake = fake;

	node = kunit_fwnode_create_software_node(test, properties, NULL);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, node);
	pdev = kunit_platform_device_alloc(test, "fake-master",
					   PLATFORM_DEVID_AUTO);
	KUNIT_ASSERT_NOT_NULL(test, pdev);
	fm->dev = &pdev->dev;
	device_set_node(fm->dev, fwnode_handle_get(node));

	/* The core frees these two with the device */
	fm->dev->iommu = kzalloc_obj(*fm->dev->iommu);
	KUNIT_ASSERT_NOT_NULL(test, fm->dev->iommu);
	mutex_init(&fm->dev->iommu->lock);
	fwspec = kzalloc_flex(*fwspec, ids, 1);
	KUNIT_ASSERT_NOT_NULL(test, fwspec);
	fwspec->iommu_fwnode = fwnode_handle_get(dev_fwnode(fake->smmu.dev));
	fwspec->flags = IOMMU_FWSPEC_PCI_RC_CANWBS;
	fwspec->num_ids = 1;
	fwspec->ids[0] = sid;
	dev_iommu_fwspec_set(fm->dev, fwspec);

	/* The core probes the device as it appears on its bus */
	KUNIT_ASSERT_EQ(test, 0, kunit_platform_device_add(test, pdev));
	fm->group = fm->dev->iommu_group;
	KUNIT_ASSERT_NOT_NULL(test, fm->group);
	fm->master = dev_iommu_priv_get(fm->dev);

	KUNIT_ASSERT_EQ(test, 0, iommu_device_claim_dma_owner(fm->dev, fm));
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, arm_smmu_fake_disown,
						  fm));
	arm_smmu_fake_drop_cmds(fake);
	return fm;
}

static void arm_smmu_fake_park(void *data)
{
	WARN_ON(arm_smmu_fake_attach(data, arm_smmu_ops.blocked_domain));
}

/**
 * arm_smmu_fake_own_domain() - Free a domain with the test
 * @fm: the device that may be attached to the domain when the test ends
 * @domain: the domain
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
						  fm));
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
