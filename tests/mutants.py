# SPDX-License-Identifier: GPL-2.0
"""Deliberate breaks of the driver, for 'make mutants'.

Each is (what breaks, file, text that occurs once in it, text in its place). A
test must notice every one of them, or the driver can break that way unseen.
"""

DIR = "drivers/iommu/arm/arm-smmu-v3/"
SMMU, INVS, TAG, IOMMUFD, SVA = (DIR + f"arm-smmu-v3{x}.c" for x in ("", "-invs", "-tag", "-iommufd", "-sva"))
INVS_H = DIR + "arm-smmu-v3-invs.h"

MUTANTS = [
    ("only the first SMMU of a domain is invalidated", SMMU,
     "			if (READ_ONCE(next->users))\n",
     "			if (READ_ONCE(next->users) && next->smmu == invs->inv[0].smmu)\n"),
    ("stage 1 of a guest survives a change of its stage 2", SMMU,
     "			if (arm_smmu_inv_size_too_big(cur->smmu, size, granule))\n				break;\n",
     "			break;\n"),
    ("the stage 2 of a vSMMU is not invalidated", SMMU,
     "		case INV_TYPE_S2_VMID_VSMMU:\n			cmd = ",
     "			cmd = "),
    ("a device without a guest's stage 1 gets stage 1 TLBIs", SMMU,
     "nesting = tag->type == INV_TYPE_S2_VMID_VSMMU;", "nesting = tag->type != INV_TYPE_S1_ASID;"),
    ("the ATC of a nested device is invalidated by range", SMMU,
     "nesting ? INV_TYPE_ATS_FULL : INV_TYPE_ATS", "INV_TYPE_ATS"),
    ("a tag is freed without a flush", TAG,
     "	if (arm_smmu_tag_flush(smmu, tag)) {", "	if (0) {"),
    ("a tag is freed although its flush timed out", TAG,
     "	if (arm_smmu_tag_flush(smmu, tag)) {", "	if (arm_smmu_tag_flush(smmu, tag) && 0) {"),
    ("two vSMMUs have one VMID", IOMMUFD,
     "	vsmmu->vmid = tag.id;", "	vsmmu->vmid = 1;"),
    ("the VMID of a vSMMU that is not made is lost", IOMMUFD,
     "	if (ret)\n		arm_smmu_tag_free(smmu, &tag);\n", ""),
    ("the VMID of a vSMMU is never freed", IOMMUFD,
     "	arm_smmu_tag_release(vsmmu->smmu, &tag);\n", "	arm_smmu_tag_flush(vsmmu->smmu, &tag);\n"),
    ("detaching frees the VMID of a vSMMU", TAG,
     "	if (domain->type == IOMMU_DOMAIN_NESTED)\n		to_smmu", "	if (0)\n		to_smmu"),
    ("a vSMMU forgets that its flush timed out", TAG,
     "	if (vsmmu->vmid_dirty && arm_smmu_tag_flush(smmu, tag))\n", "	if (0)\n"),
    ("a failed attach keeps the tag", SMMU,
     "	arm_smmu_invs_free(invst->new_invs);\n	arm_smmu_tag_unget(state->master->smmu, &invst->tag);\n",
     "	arm_smmu_invs_free(invst->new_invs);\n"),
    ("the merge fails and keeps the tag", SMMU,
     "err_unget:\n	arm_smmu_tag_unget(state->master->smmu, &invst->tag);\n", "err_unget:\n"),
    ("every attach takes a new tag", TAG,
     "	tag->is_new = !arm_smmu_tag_find(smmu, domain, tag);\n",
     "	arm_smmu_tag_find(smmu, domain, tag);\n	tag->is_new = tag->type != INV_TYPE_S2_VMID_VSMMU;\n"),
    ("the look-up of a tag finds trash", INVS,
     "		if (!inv->users)\n			continue;\n		if (WARN_ON_ONCE(found))", "		if (WARN_ON_ONCE(found))"),
    ("a new entry has a user too many", INVS,
     "			new->users = 0;\n", "			new->users = 1;\n"),
    ("trash is not counted", INVS,
     "			invs->num_trashes++;\n", "			;\n"),
    ("the array is sorted by SMMU first", INVS,
     "	return cmp_int(arm_smmu_inv_phase(a), arm_smmu_inv_phase(b)) ?:\n"
     "	       cmp_int((uintptr_t)a->smmu, (uintptr_t)b->smmu) ?:\n",
     "	return cmp_int((uintptr_t)a->smmu, (uintptr_t)b->smmu) ?:\n"
     "	       cmp_int(arm_smmu_inv_phase(a), arm_smmu_inv_phase(b)) ?:\n"),
    ("no CMD_SYNC between the TLB and the ATC", INVS_H,
     "		return INV_PHASE_ATC;\n", "		return INV_PHASE_S1_CLEAR;\n"),
    ("readers of a replaced array are not waited for", INVS,
     "	kvfree_rcu(invs, rcu);\n", "	kvfree(invs);\n"),
    ("CD[0] is cleared after its ASID was flushed", SMMU,
     "	arm_smmu_install_ste_for_dev(master, ste);\n	arm_smmu_clear_cd(master, IOMMU_NO_PASID);\n"
     "	arm_smmu_attach_commit(&state);\n",
     "	arm_smmu_install_ste_for_dev(master, ste);\n	arm_smmu_attach_commit(&state);\n"
     "	arm_smmu_clear_cd(master, IOMMU_NO_PASID);\n"),
    ("ATC_INV to a device that was detached", SMMU,
     "		synchronize_rcu_expedited();\n", "		;\n"),
    ("the command queue goes under a reader", SMMU,
     "	synchronize_rcu();\n\n	if (smmu->impl_ops && smmu->impl_ops->device_disable)",
     "	if (smmu->impl_ops && smmu->impl_ops->device_disable)"),
    ("an SMMU without S2FWB gets a table with it", SMMU,
     "		return !(cfg->quirks & IO_PGTABLE_QUIRK_ARM_S2FWB) ||\n", "		return true ||\n"),
    ("a guest bypasses the cache without S2FWB", IOMMUFD,
     "	if (!arm_smmu_master_canwbs(master) &&\n	    !(s2_cfg", "	if (0 &&\n	    !(s2_cfg"),
    ("the granule is not compared", SMMU,
     "	if (!(smmu->pgsize_bitmap & BIT(__ffs(cfg->pgsize_bitmap))))\n", "	if (0)\n"),
    ("a vSMMU on a parent that its SMMU cannot walk", IOMMUFD,
     "	if (!arm_smmu_domain_can_share(s2_parent, smmu))\n", "	if (0)\n"),
    ("a PASID on a domain that its SMMU cannot walk", SMMU,
     "	if (!arm_smmu_domain_can_share(smmu_domain, master->smmu))\n		return -EINVAL;\n\n	if (!master->cd_table.in_ste",
     "	if (!master->cd_table.in_ste"),
    ("the device of a page table is not held", SMMU,
     "	get_device(smmu->dev);\n", ""),
    ("an exiting process leaves all but one CD in place", SVA,
     "		arm_smmu_write_cd_entry(master, master_domain->ssid, cdptr,\n					&target);\n",
     "		arm_smmu_write_cd_entry(master, master_domain->ssid, cdptr,\n					&target);\n		break;\n"),
]
