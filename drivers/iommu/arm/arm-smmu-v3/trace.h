/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tracepoints of the arm-smmu-v3 driver
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM arm_smmu_v3

#if !defined(_ARM_SMMU_V3_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _ARM_SMMU_V3_TRACE_H

#include <linux/tracepoint.h>

#include "arm-smmu-v3.h"

/* User space does not know the values of the kernel's enums */
TRACE_DEFINE_ENUM(INV_TYPE_S1_ASID);
TRACE_DEFINE_ENUM(INV_TYPE_S2_VMID);
TRACE_DEFINE_ENUM(INV_TYPE_S2_VMID_VSMMU);

#define show_arm_smmu_tag_type(type)					\
	__print_symbolic(type,						\
			 { INV_TYPE_S1_ASID,		"S1_ASID" },	\
			 { INV_TYPE_S2_VMID,		"S2_VMID" },	\
			 { INV_TYPE_S2_VMID_VSMMU,	"S2_VMID_VSMMU" })

/* An attachment got its tag; is_new: the tag was allocated */
TRACE_EVENT(arm_smmu_tag_get,
	    TP_PROTO(const struct arm_smmu_domain *domain,
		     const struct arm_smmu_inv *tag, unsigned int users,
		     bool is_new),
	    TP_ARGS(domain, tag, users, is_new),
	    TP_STRUCT__entry(__string(smmu, dev_name(tag->smmu->dev))
			     __field(const void *, domain)
			     __field(u32, type)
			     __field(u32, id)
			     __field(u32, users)
			     __field(bool, is_new)
	    ),
	    TP_fast_assign(__assign_str(smmu);
			   __entry->domain = domain;
			   __entry->type = tag->type;
			   __entry->id = tag->id;
			   __entry->users = users;
			   __entry->is_new = is_new;
	    ),
	    TP_printk("smmu=%s domain=%p type=%s id=%u users=%u is_new=%d",
		      __get_str(smmu), __entry->domain,
		      show_arm_smmu_tag_type(__entry->type), __entry->id,
		      __entry->users, __entry->is_new)
);

/* A detach; freed: the tag was freed */
TRACE_EVENT(arm_smmu_tag_put,
	    TP_PROTO(const struct arm_smmu_domain *domain,
		     const struct arm_smmu_inv *tag, unsigned int users,
		     bool freed),
	    TP_ARGS(domain, tag, users, freed),
	    TP_STRUCT__entry(__string(smmu, dev_name(tag->smmu->dev))
			     __field(const void *, domain)
			     __field(u32, type)
			     __field(u32, id)
			     __field(u32, users)
			     __field(bool, freed)
	    ),
	    TP_fast_assign(__assign_str(smmu);
			   __entry->domain = domain;
			   __entry->type = tag->type;
			   __entry->id = tag->id;
			   __entry->users = users;
			   __entry->freed = freed;
	    ),
	    TP_printk("smmu=%s domain=%p type=%s id=%u users=%u freed=%d",
		      __get_str(smmu), __entry->domain,
		      show_arm_smmu_tag_type(__entry->type), __entry->id,
		      __entry->users, __entry->freed)
);

/* A change of the page table of a domain was invalidated on all SMMUs */
TRACE_EVENT(arm_smmu_inv,
	    TP_PROTO(const struct arm_smmu_domain *domain, unsigned long iova,
		     size_t size, unsigned int entries, unsigned int smmus,
		     unsigned int phases, unsigned int cmds, u64 nsecs),
	    TP_ARGS(domain, iova, size, entries, smmus, phases, cmds, nsecs),
	    TP_STRUCT__entry(__field(const void *, domain)
			     __field(u64, iova)
			     __field(u64, size)
			     __field(u64, nsecs)
			     __field(u32, entries)
			     __field(u32, smmus)
			     __field(u32, phases)
			     __field(u32, cmds)
	    ),
	    TP_fast_assign(__entry->domain = domain;
			   __entry->iova = iova;
			   __entry->size = size;
			   __entry->nsecs = nsecs;
			   __entry->entries = entries;
			   __entry->smmus = smmus;
			   __entry->phases = phases;
			   __entry->cmds = cmds;
	    ),
	    TP_printk("domain=%p iova=0x%llx size=0x%llx entries=%u smmus=%u phases=%u cmds=%u nsecs=%llu",
		      __entry->domain, __entry->iova, __entry->size,
		      __entry->entries, __entry->smmus, __entry->phases,
		      __entry->cmds, __entry->nsecs)
);

#endif /* _ARM_SMMU_V3_TRACE_H */

#undef TRACE_INCLUDE_PATH
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_PATH .
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
