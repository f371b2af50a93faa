// SPDX-License-Identifier: GPL-2.0
/*
 * A file in debugfs for each SMMU, with the owners of its ASIDs and VMIDs, and
 * the invalidation arrays of its domains. The format is in
 * Documentation/driver-api/arm-smmu-v3-testing.rst.
 *
 * arm_smmu_debugfs_lock protects the lists of domains and vSMMUs, which are not
 * freed while they are listed. The RCU read lock protects the arrays. Attach and
 * detach continue, so two lines may be from different moments.
 */
#include <linux/bitmap.h>
#include <linux/debugfs.h>
#include <linux/iommu.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/seq_file.h>
#include <linux/spinlock.h>
#include <kunit/visibility.h>

#include "arm-smmu-v3.h"

static struct dentry *arm_smmu_debugfs_dir;

/* Taken to create and free domains and vSMMUs, and by debugfs */
static DEFINE_MUTEX(arm_smmu_debugfs_lock);
static LIST_HEAD(arm_smmu_debugfs_domains);
static LIST_HEAD(arm_smmu_debugfs_vsmmus);

static const char *const arm_smmu_debugfs_stages[] = {
	[ARM_SMMU_DOMAIN_S1] = "S1",
	[ARM_SMMU_DOMAIN_S2] = "S2",
	[ARM_SMMU_DOMAIN_SVA] = "SVA",
};

static const char *const arm_smmu_debugfs_types[] = {
	[INV_TYPE_S1_ASID] = "S1_ASID",
	[INV_TYPE_S2_VMID] = "S2_VMID",
	[INV_TYPE_S2_VMID_VSMMU] = "S2_VMID_VSMMU",
	[INV_TYPE_S2_VMID_S1_CLEAR] = "S2_VMID_S1_CLEAR",
	[INV_TYPE_ATS] = "ATS",
	[INV_TYPE_ATS_FULL] = "ATS_FULL",
};

static const char *const arm_smmu_debugfs_phases[] = {
	[INV_PHASE_TLBI] = "TLBI",
	[INV_PHASE_S1_CLEAR] = "S1_CLEAR",
	[INV_PHASE_ATC] = "ATC",
};

/* Before the arrays are read, or a tag that is allocated meanwhile seems unowned */
static void arm_smmu_debugfs_get_ids(struct arm_smmu_pool *pool,
				     unsigned long *ids)
{
	guard(spinlock)(&pool->lock);
	bitmap_copy(ids, pool->used, pool->size);
	__clear_bit(0, ids);
}

/*
 * No array and no vSMMU has the ASIDs or VMIDs in @ids. If one is still used and not
 * dirty, an attach or detach is in progress, or it is leaked, which is a bug.
 */
static void arm_smmu_debugfs_show_unowned(struct seq_file *m, const char *name,
					  struct arm_smmu_pool *pool,
					  const unsigned long *ids)
{
	unsigned int id;

	guard(spinlock)(&pool->lock);
	for_each_and_bit(id, ids, pool->used, pool->size)
		seq_printf(m, "%s %u %s\n", name, id,
			   test_bit(id, pool->dirty) ? "dirty" : "unowned");
}

static void arm_smmu_debugfs_show_tags(struct seq_file *m,
				       const struct arm_smmu_device *smmu,
				       const struct arm_smmu_domain *smmu_domain,
				       unsigned long *asids,
				       unsigned long *vmids)
{
	const struct arm_smmu_invs *invs;
	size_t i, num_invs;

	guard(rcu)();
	/* Pairs with the rcu_assign_pointer() of attach and detach */
	invs = rcu_dereference(smmu_domain->invs);
	/* Pairs with the WRITE_ONCE() in arm_smmu_invs_unref() */
	num_invs = READ_ONCE(invs->num_invs);
	for (i = 0; i != num_invs; i++) {
		const struct arm_smmu_inv *inv = &invs->inv[i];
		/* Pairs with the WRITE_ONCE() in arm_smmu_invs_unref() */
		int users = READ_ONCE(inv->users);

		if (!users || inv->smmu != smmu)
			continue;
		if (inv->type == INV_TYPE_S1_ASID)
			__clear_bit(inv->id, asids);
		else if (inv->type == INV_TYPE_S2_VMID)
			__clear_bit(inv->id, vmids);
		else
			continue;
		seq_printf(m, "%s %u domain %p users %d\n",
			   inv->type == INV_TYPE_S1_ASID ? "asid" : "vmid",
			   inv->id, smmu_domain, users);
	}
}

static void arm_smmu_debugfs_show_vsmmu(struct seq_file *m,
					const struct arm_smmu_device *smmu,
					const struct arm_vsmmu *vsmmu)
{
	const struct arm_smmu_invs *invs;
	size_t i, num_invs;
	int users = 0;

	guard(rcu)();
	/* These three pair as in arm_smmu_debugfs_show_tags() */
	invs = rcu_dereference(vsmmu->s2_parent->invs);
	num_invs = READ_ONCE(invs->num_invs);
	for (i = 0; i != num_invs; i++)
		if (invs->inv[i].smmu == smmu &&
		    invs->inv[i].type == INV_TYPE_S2_VMID_VSMMU &&
		    invs->inv[i].id == vsmmu->vmid)
			users = READ_ONCE(invs->inv[i].users);
	seq_printf(m, "vmid %u vsmmu %p domain %p users %d\n", vsmmu->vmid,
		   vsmmu, vsmmu->s2_parent, users);
}

static void arm_smmu_debugfs_show_inv(struct seq_file *m,
				      const struct arm_smmu_device *smmu,
				      const struct arm_smmu_inv *inv)
{
	/* Pairs with the WRITE_ONCE() in arm_smmu_invs_unref() */
	int users = READ_ONCE(inv->users);
	/*
	 * The SMMU of a trash entry may have been freed. Any other SMMU is freed after
	 * arm_smmu_disable_action(), which waits for the end of this RCU read section.
	 */
	const char *name = users || inv->smmu == smmu ?
				   dev_name(inv->smmu->dev) : "-";

	seq_printf(m, "\tentry phase %s smmu %s type %s",
		   arm_smmu_debugfs_phases[arm_smmu_inv_phase(inv)], name,
		   arm_smmu_debugfs_types[inv->type]);
	if (arm_smmu_inv_is_ats(inv))
		seq_printf(m, " sid 0x%x ssid %u", inv->id, inv->ssid);
	else
		seq_printf(m, " id %u", inv->id);
	seq_printf(m, " users %d%s\n", users, users ? "" : " trash");
}

static void arm_smmu_debugfs_show_domain(struct seq_file *m,
					 const struct arm_smmu_device *smmu,
					 const struct arm_smmu_domain *smmu_domain)
{
	const struct arm_smmu_invs *invs;
	size_t i, num_invs;

	guard(rcu)();
	/* These two pair as in arm_smmu_debugfs_show_tags() */
	invs = rcu_dereference(smmu_domain->invs);
	num_invs = READ_ONCE(invs->num_invs);

	/* Pairs with the WRITE_ONCE() in arm_smmu_invs_unref() */
	for (i = 0; i != num_invs; i++)
		if (invs->inv[i].smmu == smmu && READ_ONCE(invs->inv[i].users))
			break;
	if (i == num_invs)
		return;

	seq_printf(m, "domain %p stage %s\n", smmu_domain,
		   arm_smmu_debugfs_stages[smmu_domain->stage]);
	for (i = 0; i != num_invs; i++)
		arm_smmu_debugfs_show_inv(m, smmu, &invs->inv[i]);
}

static void arm_smmu_debugfs_show_smmu(struct seq_file *m,
				       struct arm_smmu_device *smmu,
				       unsigned long *asids,
				       unsigned long *vmids)
{
	struct arm_smmu_domain *smmu_domain;
	struct arm_vsmmu *vsmmu;

	seq_printf(m, "smmu %s\n", dev_name(smmu->dev));
	arm_smmu_debugfs_get_ids(&smmu->asids, asids);
	arm_smmu_debugfs_get_ids(&smmu->vmids, vmids);

	list_for_each_entry(smmu_domain, &arm_smmu_debugfs_domains, debugfs_elm)
		arm_smmu_debugfs_show_tags(m, smmu, smmu_domain, asids, vmids);
	list_for_each_entry(vsmmu, &arm_smmu_debugfs_vsmmus, debugfs_elm) {
		if (vsmmu->smmu != smmu)
			continue;
		__clear_bit(vsmmu->vmid, vmids);
		arm_smmu_debugfs_show_vsmmu(m, smmu, vsmmu);
	}
	arm_smmu_debugfs_show_unowned(m, "asid", &smmu->asids, asids);
	arm_smmu_debugfs_show_unowned(m, "vmid", &smmu->vmids, vmids);

	list_for_each_entry(smmu_domain, &arm_smmu_debugfs_domains, debugfs_elm)
		arm_smmu_debugfs_show_domain(m, smmu, smmu_domain);
}

/**
 * arm_smmu_debugfs_add_domain() - Let debugfs show a domain
 * @smmu_domain: the domain, with an array
 *
 * Context: may sleep.
 */
void arm_smmu_debugfs_add_domain(struct arm_smmu_domain *smmu_domain)
{
	guard(mutex)(&arm_smmu_debugfs_lock);
	list_add_tail(&smmu_domain->debugfs_elm, &arm_smmu_debugfs_domains);
}

/**
 * arm_smmu_debugfs_del_domain() - Undo arm_smmu_debugfs_add_domain()
 * @smmu_domain: the domain, which the caller may free afterwards
 *
 * Context: may sleep.
 */
void arm_smmu_debugfs_del_domain(struct arm_smmu_domain *smmu_domain)
{
	guard(mutex)(&arm_smmu_debugfs_lock);
	list_del(&smmu_domain->debugfs_elm);
}

/**
 * arm_smmu_debugfs_add_vsmmu() - Let debugfs show a vSMMU
 * @vsmmu: the vSMMU, with a VMID
 *
 * Context: may sleep.
 */
void arm_smmu_debugfs_add_vsmmu(struct arm_vsmmu *vsmmu)
{
	guard(mutex)(&arm_smmu_debugfs_lock);
	list_add_tail(&vsmmu->debugfs_elm, &arm_smmu_debugfs_vsmmus);
}

/**
 * arm_smmu_debugfs_del_vsmmu() - Undo arm_smmu_debugfs_add_vsmmu()
 * @vsmmu: the vSMMU, which the caller may free afterwards
 *
 * Context: may sleep.
 */
void arm_smmu_debugfs_del_vsmmu(struct arm_vsmmu *vsmmu)
{
	guard(mutex)(&arm_smmu_debugfs_lock);
	list_del(&vsmmu->debugfs_elm);
}

/**
 * arm_smmu_debugfs_show() - Write the file of an SMMU
 * @m: the output, @m->private is the SMMU
 * @unused: unused
 *
 * Context: may sleep. Creating and freeing of domains and vSMMUs wait for this.
 * Return: 0, -ENOMEM, or -EINTR after a signal.
 */
VISIBLE_IF_KUNIT
int arm_smmu_debugfs_show(struct seq_file *m, void *unused)
{
	unsigned long *asids = bitmap_zalloc(U16_MAX + 1, GFP_KERNEL);
	unsigned long *vmids = bitmap_zalloc(U16_MAX + 1, GFP_KERNEL);
	int ret = -ENOMEM;

	if (!asids || !vmids)
		goto out_free;

	ret = mutex_lock_interruptible(&arm_smmu_debugfs_lock);
	if (ret)
		goto out_free;
	arm_smmu_debugfs_show_smmu(m, m->private, asids, vmids);
	mutex_unlock(&arm_smmu_debugfs_lock);

out_free:
	bitmap_free(vmids);
	bitmap_free(asids);
	return ret;
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_debugfs_show);
DEFINE_SHOW_ATTRIBUTE(arm_smmu_debugfs);

/**
 * arm_smmu_debugfs_init() - Make the directory for the files of the SMMUs
 *
 * Context: may sleep. Before the first arm_smmu_debugfs_add_smmu().
 */
void arm_smmu_debugfs_init(void)
{
	arm_smmu_debugfs_dir = debugfs_create_dir("arm-smmu-v3",
						  iommu_debugfs_dir);
}

/**
 * arm_smmu_debugfs_exit() - Undo arm_smmu_debugfs_init()
 *
 * Context: may sleep. After the last arm_smmu_debugfs_remove_smmu().
 */
void arm_smmu_debugfs_exit(void)
{
	debugfs_remove(arm_smmu_debugfs_dir);
}

/**
 * arm_smmu_debugfs_add_smmu() - Make the file of an SMMU
 * @smmu: the SMMU, ready for devices
 *
 * Context: may sleep.
 */
void arm_smmu_debugfs_add_smmu(struct arm_smmu_device *smmu)
{
	smmu->debugfs = debugfs_create_file(dev_name(smmu->dev), 0400,
					    arm_smmu_debugfs_dir, smmu,
					    &arm_smmu_debugfs_fops);
}

/**
 * arm_smmu_debugfs_remove_smmu() - Remove the file of an SMMU
 * @smmu: the SMMU, with all that arm_smmu_debugfs_show() reads
 *
 * Waits for readers. If the file is open, later reads fail with -EIO.
 *
 * Context: may sleep.
 */
void arm_smmu_debugfs_remove_smmu(struct arm_smmu_device *smmu)
{
	debugfs_remove(smmu->debugfs);
}
