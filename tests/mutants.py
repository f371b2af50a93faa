# SPDX-License-Identifier: GPL-2.0
"""Deliberate breaks of the driver, for 'make mutants'.

Each is (what breaks, file, text that occurs once in it, text in its place). A
test must notice every one of them, or the driver can break that way unseen.
"""

DIR = "drivers/iommu/arm/arm-smmu-v3/"
SMMU, INVS, TAG, IOMMUFD, SVA, TRACE, DEBUGFS = (
    DIR + f"arm-smmu-v3{x}.c" for x in ("", "-invs", "-tag", "-iommufd", "-sva", "-trace", "-debugfs"))
INVS_H, SMMU_H = DIR + "arm-smmu-v3-invs.h", DIR + "arm-smmu-v3.h"

KUNIT = [
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
     "		arm_smmu_tag_free(smmu, &tag);\n", ""),
    ("the VMID of a vSMMU is never freed", IOMMUFD,
     "	arm_smmu_tag_release(vsmmu->smmu, vsmmu->s2_parent, &tag);\n", "	arm_smmu_tag_flush(vsmmu->smmu, &tag);\n"),
    ("detaching frees the VMID of a vSMMU", TAG,
     "	if (domain->type == IOMMU_DOMAIN_NESTED) {\n		struct arm_vsmmu *vsmmu",
     "	if (0) {\n		struct arm_vsmmu *vsmmu"),
    ("a vSMMU forgets that its flush timed out", TAG,
     "	if (vsmmu->vmid_dirty && arm_smmu_tag_flush(smmu, tag))\n", "	if (0)\n"),
    ("a failed attach keeps the tag", SMMU,
     "	arm_smmu_invs_free(invst->new_invs);\n	arm_smmu_tag_unget(state->master->smmu, &invst->tag);\n",
     "	arm_smmu_invs_free(invst->new_invs);\n"),
    ("the merge fails and keeps the tag", SMMU,
     "err_unget:\n	arm_smmu_tag_unget(state->master->smmu, &invst->tag);\n", "err_unget:\n"),
    ("a bind of SVA that fails keeps the process", SVA,
     "	mmput(domain->mm);\n	return ret;", "	if (!ret)\n		mmput(domain->mm);\n	return ret;"),
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
    ("an exiting process brings a cleared CD back", SVA,
     "		if (!(cdptr->data[0] & cpu_to_le64(CTXDESC_CD_0_V)))\n			continue;\n", ""),
    ("a CD is cleared beside an exiting process", SMMU,
     "	spin_lock_irqsave(&smmu_domain->devices_lock, flags);\n	arm_smmu_clear_cd(master, pasid);\n"
     "	spin_unlock_irqrestore(&smmu_domain->devices_lock, flags);\n",
     "	(void)flags;\n	arm_smmu_clear_cd(master, pasid);\n"),
    ("an exiting process leaves its ASID in the TLB", SVA,
     "	spin_unlock_irqrestore(&smmu_domain->devices_lock, flags);\n\n	arm_smmu_domain_inv(smmu_domain);\n",
     "	spin_unlock_irqrestore(&smmu_domain->devices_lock, flags);\n"),
    ("a process has a domain for each device", SVA,
     "	/* Prevent arm_smmu_mm_release from being called while we are attaching */\n",
     "	if (!list_empty(&smmu_domain->devices))\n		return -EINVAL;\n"),
    ("SVA on an SMMU that does not support it", SMMU,
     "		return smmu->features & ARM_SMMU_FEAT_SVA;\n", "		return true;\n"),
    ("the device of a page table is held for ever", SMMU,
     "	free_io_pgtable_ops(smmu_domain->pgtbl_ops);\n	put_device(iommu_dev);\n",
     "	(void)iommu_dev;\n	free_io_pgtable_ops(smmu_domain->pgtbl_ops);\n"),
    ("the VMID of a vSMMU is freed without a flush", IOMMUFD,
     "	arm_smmu_tag_release(vsmmu->smmu, vsmmu->s2_parent, &tag);\n", "	arm_smmu_tag_free(vsmmu->smmu, &tag);\n"),
    ("CANWBS does not do without S2FWB", IOMMUFD,
     "	if (!arm_smmu_master_canwbs(master) &&\n	    !(s2_cfg->quirks", "	if (!(s2_cfg->quirks"),
    ("VMID 0 and ASID 0 are handed out", TAG,
     "arm_smmu_tag_ida(smmu, tag), 1,", "arm_smmu_tag_ida(smmu, tag), 0,"),
    ("what another device has is taken from a domain", SMMU,
     "	if (!attached)\n		return;\n", ""),
    ("a device on a domain that its SMMU cannot walk", SMMU,
     "	if (!arm_smmu_domain_can_share(smmu_domain, master->smmu))\n		return -EINVAL;\n\n	if (smmu_domain->stage == ARM_SMMU_DOMAIN_S1) {",
     "	if (smmu_domain->stage == ARM_SMMU_DOMAIN_S1) {"),
    ("a device on a vSMMU of another SMMU", IOMMUFD,
     "	if (nested_domain->vsmmu->smmu != master->smmu)\n		return -EINVAL;\n", ""),
    ("an SMMU that does not snoop walks a cached table", SMMU,
     "	if (cfg->coherent_walk != !!(smmu->features & ARM_SMMU_FEAT_COHERENCY))\n", "	if (0)\n"),
    ("the dirty state is lost", SMMU,
     "		return !(cfg->quirks & IO_PGTABLE_QUIRK_ARM_HD) ||\n", "		return true ||\n"),
    ("a batch changes the queue half way", SMMU,
     "		cmds->num = 0;\n	}\n", "		arm_smmu_cmdq_batch_restart(smmu, cmds, cmd);\n	}\n"),
    ("who waits for space looks at CONS once", SMMU,
     "		if (!arm_smmu_cmdq_try_update_cons(cmdq, llq))\n",
     "		if (qp.delay != 1 || qp.spin_cnt || !arm_smmu_cmdq_try_update_cons(cmdq, llq))\n"),
    ("SMMUs are waited for one after the other", SMMU,
     "	if (wait || pass->num == ARRAY_SIZE(pass->syncs) || pass->room < 0)\n", ""),
    ("more SMMUs than a pass has room for", SMMU,
     "	if (wait || pass->num == ARRAY_SIZE(pass->syncs) || pass->room < 0)\n", "	if (wait)\n"),
    ("a pass waits for space with a queue locked", SMMU,
     "		if (pass->num)\n			arm_smmu_cmdq_pass_wait(pass);\n		arm_smmu_cmdq_issue_cmdlist(",
     "		arm_smmu_cmdq_issue_cmdlist("),
    ("a pass lets go of the queues in the order of posting", SMMU,
     "		if (arm_smmu_cmdq_sync_is_complete(sync, &llq)) {\n",
     "		if (arm_smmu_cmdq_sync_is_complete(sync, &llq) && !left) {\n"),
    ("a CMD_SYNC is not protected while it is waited for", SMMU,
     "		arm_smmu_cmdq_shared_lock(cmdq);\n	}\n", "		if (0)\n			arm_smmu_cmdq_shared_lock(cmdq);\n	}\n"),
    ("a pass leaves a queue locked when a CMD_SYNC times out", SMMU,
     "				llq.cons = llq.prod;\n			arm_smmu_cmdq_end_sync(cmdq, llq.cons);\n",
     "				llq.cons = llq.prod;\n			if (0)\n				arm_smmu_cmdq_end_sync(cmdq, llq.cons);\n"),
    ("a dead queue is waited for in each phase", SMMU,
     "		if (pass->dead[i] == cmdq)\n", "		if (0)\n"),
    ("a phase does not wait for the one before", SMMU,
     "arm_smmu_cmdq_pass_issue(smmu, &cmds, true, last);", "arm_smmu_cmdq_pass_issue(smmu, &cmds, true, next == end);"),
    ("a phase is not waited for if its last SMMU has nothing to do", SMMU,
     "			else if (last && pass.num)\n				arm_smmu_cmdq_pass_wait(&pass);\n", ""),
    ("a pass does not repeat what an erratum says", SMMU,
     "	    arm_smmu_erratum_cmd_needs_repeating(&cmds->cmds[0]))\n		serial = true;\n",
     "	    arm_smmu_erratum_cmd_needs_repeating(&cmds->cmds[0]))\n		;\n"),
    ("a pass does not wait for a forced CMD_SYNC", SMMU,
     "arm_smmu_cmdq_pass_issue(smmu, cmds, sync, sync);", "arm_smmu_cmdq_pass_issue(smmu, cmds, sync, false);"),
    ("a pass does not wait for MSIs", SMMU,
     "	if (arm_smmu_cmdq_uses_msi_polling(sync->smmu, sync->cmdq)) {\n", "	if (0) {\n"),
    ("the trace of a get has the users of before", SMMU,
     "arm_smmu_invs_users(invst->new_invs, smmu,", "arm_smmu_invs_users(invst->old_invs, smmu,"),
    ("only the last put of a tag is traced", TAG,
     "	} else if (users) {\n		trace_arm_smmu_tag_put(smmu, to_smmu_domain(domain), tag, users,\n"
     "				       false);\n", "	} else if (users) {\n"),
    ("a lost tag is traced as free", TAG,
     "		trace_arm_smmu_tag_put(smmu, domain, tag, 0, false);\n",
     "		trace_arm_smmu_tag_put(smmu, domain, tag, 0, true);\n"),
    ("the VMID of a vSMMU is traced only with a device", IOMMUFD,
     "	trace_arm_smmu_tag_get(smmu, s2_parent, &tag, 0);\n", ""),
    ("the trace does not count CMD_SYNCs", SMMU,
     "	unsigned int num_cmds = cmds->num + sync;\n", "	unsigned int num_cmds = cmds->num;\n"),
    ("the trace counts the last batch of a pass alone", SMMU,
     "	cmds->pass->num_cmds += num_cmds;\n", "	cmds->pass->num_cmds = num_cmds;\n"),
    ("the trace counts trash", TRACE,
     "		if (!READ_ONCE(inv->users))\n			continue;\n", ""),
    ("the trace counts an SMMU in each phase", TRACE,
     "		if (arm_smmu_inv_phase(inv) == INV_PHASE_TLBI &&\n		    (!last", "		if ((!last"),
    ("the trace takes the time of a pass from its end", SMMU,
     "size, num_cmds, start);\n", "size, num_cmds, ktime_get());\n"),
    ("debugfs lists a domain once for each device", DEBUGFS,
     "		if (arm_smmu_debugfs_domain(before) == smmu_domain)\n			return NULL;\n",
     "		;\n"),
    ("debugfs lists the tags of other SMMUs", DEBUGFS,
     "		if (!inv->users || inv->smmu != smmu)\n", "		if (!inv->users)\n"),
    ("debugfs takes trash for a tag", DEBUGFS,
     "		if (!inv->users || inv->smmu != smmu)\n", "		if (inv->smmu != smmu)\n"),
    ("debugfs looks at the SMMU of trash", DEBUGFS,
     "inv->users || inv->smmu == smmu ?", "inv->users || inv->smmu ?"),
    ("debugfs does not list lost tags", DEBUGFS,
     "		if (!test_bit(id, held))\n", "		if (0)\n"),
    ("debugfs takes the VMID of a vSMMU for lost", DEBUGFS,
     "		__set_bit(vsmmu->vmid, vmids);\n", ""),
    ("debugfs reads while a vSMMU goes", IOMMUFD,
     "	guard(mutex)(&arm_smmu_asid_lock);\n	arm_smmu_debugfs_del_vsmmu(vsmmu);\n	arm_smmu_tag_release",
     "	scoped_guard(mutex, &arm_smmu_asid_lock)\n		arm_smmu_debugfs_del_vsmmu(vsmmu);\n	arm_smmu_tag_release"),
    ("the array may be loaded before the IOPTE is stored", SMMU_H,
     "	smp_mb();\n	return rcu_dereference(", "	return rcu_dereference("),
    ("the array is without a device that has its STE", SMMU,
     "arm_smmu_install_old_domain_invs(struct arm_smmu_attach_state *state)\n{\n",
     "arm_smmu_install_old_domain_invs(struct arm_smmu_attach_state *state)\n{\n"
     "#define arm_smmu_install_new_domain_invs(s) ({ if ((s)->ssid) (arm_smmu_install_new_domain_invs)(s); })\n"
     "	if (!state->ssid)\n		(arm_smmu_install_new_domain_invs)(state);\n"),
    ("the array is without a PASID that still has its CD", SMMU,
     "	arm_smmu_prepare_old_domain_invs(&state);\n	/* arm_smmu_mm_release()",
     "	arm_smmu_prepare_old_domain_invs(&state);\n	arm_smmu_install_old_domain_invs(&state);\n"
     "	state.old_domain_invst.invs_ptr = NULL;\n	/* arm_smmu_mm_release()"),
]

FUZZ = [
    ("a PASID is compared by 16 bits", INVS,
     "cmp_int(a->ssid, b->ssid)", "cmp_int((u16)a->ssid, (u16)b->ssid)"),
    ("a shared entry gets the granule of the newcomer", INVS,
     "			*new = invs->inv[i++];\n",
     "			*new = invs->inv[i++];\n			if (!cmp)\n				new->pgsize = to_merge->inv[j].pgsize;\n"),
    ("a merge takes memory for trash", INVS,
     "	new_invs = arm_smmu_invs_alloc(invs->num_invs - invs->num_trashes +\n				       to_merge->num_invs);\n",
     "	new_invs = arm_smmu_invs_alloc(invs->num_invs + to_merge->num_invs);\n"),
    ("a purge takes memory for trash", INVS,
     "	new_invs = arm_smmu_invs_alloc(invs->num_invs - invs->num_trashes);\n	if (!new_invs)\n		return NULL;\n",
     "	new_invs = arm_smmu_invs_alloc(invs->num_invs);\n	if (!new_invs)\n		return NULL;\n	new_invs->num_invs -= invs->num_trashes;\n"),
]

VMM_TWO = [
    ("nested abort is bypass", IOMMUFD,
     "	default:\n		arm_smmu_make_abort_ste(target);\n",
     "	default:\n		arm_smmu_make_s2_domain_ste(target, master,\n"
     "					    nested_domain->vsmmu->s2_parent,\n					    vmid, ats_enabled);\n"),
    ("nested bypass is abort", IOMMUFD,
     "	case STRTAB_STE_0_CFG_BYPASS:\n		arm_smmu_make_s2_domain_ste(target, master,\n"
     "					    nested_domain->vsmmu->s2_parent,\n					    vmid, ats_enabled);\n		break;\n", ""),
]

# kmemleak tells, when no VM is left.
VMM_FOUR = [
    ("the vmaster of a nested device is lost", IOMMUFD,
     "	kfree(master->vmaster);\n	master->vmaster = state->vmaster;\n", "	master->vmaster = state->vmaster;\n"),
]

VMM_RMR = [
    ("a device without a driver is not blocked", SMMU, "	.release_domain		= &arm_smmu_blocked_domain,\n", ""),
    ("a StreamID with an RMR is blocked", SMMU, "	arm_smmu_rmr_install_bypass_ste(smmu);\n", ""),
]

# kmemleak tells: after KUnit, and after arm_smmu_v3
LEAKS = [
    ("an SVA domain without a notifier is lost", SVA,
     "	if (ret) {\n		arm_smmu_domain_free(smmu_domain);\n		return ERR_PTR(ret);",
     "	if (ret) {\n		return ERR_PTR(ret);"),
]

SELFTEST = [
    ("a nested domain is not freed", IOMMUFD, "	kfree(to_smmu_nested_domain(domain));\n", ""),
    ("a domain that is not finished is lost", SMMU,
     "err_free:\n	arm_smmu_domain_free(smmu_domain);\n", "err_free:\n"),
]

INPUT = [
    ("EATS of a vSTE may have any value but one", IOMMUFD,
     "	if (eats != STRTAB_STE_1_EATS_ABT && eats != STRTAB_STE_1_EATS_TRANS)",
     "	if (eats == STRTAB_STE_1_EATS_S1CHK)"),
    ("reserved ranges of a guest's TLBI are passed on", IOMMUFD,
     "	if (!range && !ttl)\n		return -EIO;\n", ""),
    ("a range without TG is passed on", IOMMUFD,
     "		return (range || ttl) ? -EIO : 0;", "		return 0;"),
    ("a SubstreamID is passed on where there are none", IOMMUFD,
     "		if (smmu->ssid_bits)\n			allowed[0] |= CMDQ_CFGI_0_SSID;",
     "		allowed[0] |= CMDQ_CFGI_0_SSID;"),
    ("a nested domain is made for PASIDs", IOMMUFD,
     "	if (flags)\n		return ERR_PTR(-EOPNOTSUPP);",
     "	if (flags & ~IOMMU_HWPT_ALLOC_PASID)\n		return ERR_PTR(-EOPNOTSUPP);"),
]

STRESS = [
    ("an ASID is flushed by its low three bits", TAG,
     "arm_smmu_make_cmd_tlbi(CMDQ_OP_TLBI_NH_ASID, tag->id, 0)",
     "arm_smmu_make_cmd_tlbi(CMDQ_OP_TLBI_NH_ASID, tag->id & 7, 0)"),
]

# By whoever is to notice: see WATCHERS in scripts/check. What KUnit notices is
# not tried with the slower ones.
MUTANTS = {
    "kunit": KUNIT,
    "fuzz": FUZZ,
    "leaks": LEAKS,
    "arm_smmu_v3": SELFTEST,
    "arm_smmu_v3_input": INPUT,
    "stress": STRESS,
    "vmm-two": VMM_TWO,
    "vmm-four": VMM_FOUR,
    "vmm-rmr": VMM_RMR,
}

# Those that may go unnoticed, and why.
UNNOTICED = {
    "the array may be loaded before the IOPTE is stored":
        "order_test_store_buffer needs a host that lets two CPUs run at the same time",
    "a CD is cleared beside an exiting process":
        "sva_test_unbind_in_exit has to hit the few instructions between two looks at the CD",
}
