// SPDX-License-Identifier: GPL-2.0
/*
 * A file in debugfs for each SMMU: who has its ASIDs and VMIDs, and the
 * invalidation arrays of the domains that it walks. What a line means is in
 * Documentation/arch/arm64/arm-smmu-v3-debug.rst.
 *
 * Everything here is used under arm_smmu_asid_lock. A device that is attached to
 * a domain keeps it from being freed, so a domain that is reached through an
 * attachment of the list is there, and its array does not change. Likewise a
 * vSMMU is on its list from the moment that it has a VMID until it has none, and
 * its parent outlives it.
 */
#include <linux/bitmap.h>
#include <linux/debugfs.h>
#include <linux/idr.h>
#include <linux/iommu.h>
#include <linux/seq_file.h>
#include <kunit/visibility.h>

#include "arm-smmu-v3.h"

static struct dentry *arm_smmu_debugfs_dir;

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

static struct arm_smmu_invs *
arm_smmu_debugfs_invs(const struct arm_smmu_domain *smmu_domain)
{
	return rcu_dereference_protected(smmu_domain->invs,
					 lockdep_is_held(&arm_smmu_asid_lock));
}

static struct arm_smmu_domain *
arm_smmu_debugfs_domain(const struct arm_smmu_master_domain *master_domain)
{
	struct iommu_domain *domain = master_domain->domain;

	if (domain->type == IOMMU_DOMAIN_NESTED)
		return to_smmu_nested_domain(domain)->vsmmu->s2_parent;
	return to_smmu_domain(domain);
}

/* Each domain once, however many devices are attached to it */
static struct arm_smmu_domain *
arm_smmu_debugfs_new_domain(const struct arm_smmu_device *smmu,
			    const struct arm_smmu_master_domain *master_domain)
{
	struct arm_smmu_domain *smmu_domain =
		arm_smmu_debugfs_domain(master_domain);
	const struct arm_smmu_master_domain *before = master_domain;

	list_for_each_entry_continue_reverse(before, &smmu->master_domains,
					     smmu_elm)
		if (arm_smmu_debugfs_domain(before) == smmu_domain)
			return NULL;
	return smmu_domain;
}

static void arm_smmu_debugfs_show_tags(struct seq_file *m,
				       const struct arm_smmu_device *smmu,
				       const struct arm_smmu_domain *smmu_domain,
				       unsigned long *asids,
				       unsigned long *vmids)
{
	const struct arm_smmu_invs *invs = arm_smmu_debugfs_invs(smmu_domain);
	size_t i;

	for (i = 0; i != invs->num_invs; i++) {
		const struct arm_smmu_inv *inv = &invs->inv[i];

		if (!inv->users || inv->smmu != smmu)
			continue;
		if (inv->type == INV_TYPE_S1_ASID)
			__set_bit(inv->id, asids);
		else if (inv->type == INV_TYPE_S2_VMID)
			__set_bit(inv->id, vmids);
		else
			continue;
		seq_printf(m, "%s %u domain %p users %d\n",
			   inv->type == INV_TYPE_S1_ASID ? "asid" : "vmid",
			   inv->id, smmu_domain, inv->users);
	}
}

static void arm_smmu_debugfs_show_lost(struct seq_file *m, const char *name,
				       struct ida *ida,
				       const unsigned long *held)
{
	unsigned int next = 0;
	int id;

	while (next <= U16_MAX) {
		id = ida_find_first_range(ida, next, U16_MAX);
		/* It gives up at the end of a bitmap that has some before @next */
		if (id < 0) {
			next = round_up(next + 1, IDA_BITMAP_BITS);
			continue;
		}
		if (!test_bit(id, held))
			seq_printf(m, "%s %d lost\n", name, id);
		next = id + 1;
	}
}

static void arm_smmu_debugfs_show_inv(struct seq_file *m,
				      const struct arm_smmu_device *smmu,
				      const struct arm_smmu_inv *inv)
{
	/* An SMMU that nobody uses the entry of may be gone */
	const char *name = inv->users || inv->smmu == smmu ?
				   dev_name(inv->smmu->dev) : "-";

	seq_printf(m, "\tentry phase %s smmu %s type %s",
		   arm_smmu_debugfs_phases[arm_smmu_inv_phase(inv)], name,
		   arm_smmu_debugfs_types[inv->type]);
	if (arm_smmu_inv_is_ats(inv))
		seq_printf(m, " sid 0x%x ssid %u", inv->id, inv->ssid);
	else
		seq_printf(m, " id %u", inv->id);
	seq_printf(m, " users %d%s\n", inv->users, inv->users ? "" : " trash");
}

static void arm_smmu_debugfs_show_domain(struct seq_file *m,
					 const struct arm_smmu_device *smmu,
					 const struct arm_smmu_domain *smmu_domain)
{
	const struct arm_smmu_invs *invs = arm_smmu_debugfs_invs(smmu_domain);
	size_t i;

	seq_printf(m, "domain %p stage %s\n", smmu_domain,
		   arm_smmu_debugfs_stages[smmu_domain->stage]);
	for (i = 0; i != invs->num_invs; i++)
		arm_smmu_debugfs_show_inv(m, smmu, &invs->inv[i]);
}

static void arm_smmu_debugfs_show_smmu(struct seq_file *m,
				       struct arm_smmu_device *smmu,
				       unsigned long *asids,
				       unsigned long *vmids)
{
	struct arm_smmu_master_domain *master_domain;
	struct arm_smmu_domain *smmu_domain;
	struct arm_vsmmu *vsmmu;

	seq_printf(m, "smmu %s\n", dev_name(smmu->dev));

	list_for_each_entry(master_domain, &smmu->master_domains, smmu_elm) {
		smmu_domain = arm_smmu_debugfs_new_domain(smmu, master_domain);
		if (smmu_domain)
			arm_smmu_debugfs_show_tags(m, smmu, smmu_domain, asids,
						   vmids);
	}
	list_for_each_entry(vsmmu, &smmu->vsmmus, smmu_elm) {
		__set_bit(vsmmu->vmid, vmids);
		smmu_domain = vsmmu->s2_parent;
		seq_printf(m, "vmid %u vsmmu %p domain %p users %u\n",
			   vsmmu->vmid, vsmmu, smmu_domain,
			   arm_smmu_invs_users(arm_smmu_debugfs_invs(smmu_domain),
					       smmu, INV_TYPE_S2_VMID_VSMMU,
					       vsmmu->vmid));
	}
	/* Taken, and nobody has them: see arm_smmu_tag_release() */
	arm_smmu_debugfs_show_lost(m, "asid", &smmu->asid_map, asids);
	arm_smmu_debugfs_show_lost(m, "vmid", &smmu->vmid_map, vmids);

	list_for_each_entry(master_domain, &smmu->master_domains, smmu_elm) {
		smmu_domain = arm_smmu_debugfs_new_domain(smmu, master_domain);
		if (smmu_domain)
			arm_smmu_debugfs_show_domain(m, smmu, smmu_domain);
	}
}

/**
 * arm_smmu_debugfs_show() - Write the file of an SMMU
 * @m: where to, @m->private is the SMMU
 * @unused: unused
 *
 * Context: may sleep, and takes arm_smmu_asid_lock, for which every attach has to
 * wait meanwhile.
 * Return: 0, -ENOMEM, or -EINTR if a signal came first.
 */
VISIBLE_IF_KUNIT
int arm_smmu_debugfs_show(struct seq_file *m, void *unused)
{
	unsigned long *asids = bitmap_zalloc(U16_MAX + 1, GFP_KERNEL);
	unsigned long *vmids = bitmap_zalloc(U16_MAX + 1, GFP_KERNEL);
	int ret = -ENOMEM;

	if (!asids || !vmids)
		goto out_free;

	ret = mutex_lock_interruptible(&arm_smmu_asid_lock);
	if (ret)
		goto out_free;
	arm_smmu_debugfs_show_smmu(m, m->private, asids, vmids);
	mutex_unlock(&arm_smmu_asid_lock);

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
 * @smmu: the SMMU, with everything that arm_smmu_debugfs_show() looks at
 *
 * Waits for who reads it. Who has it open gets -EIO from then on.
 *
 * Context: may sleep, and without arm_smmu_asid_lock.
 */
void arm_smmu_debugfs_remove_smmu(struct arm_smmu_device *smmu)
{
	debugfs_remove(smmu->debugfs);
}
