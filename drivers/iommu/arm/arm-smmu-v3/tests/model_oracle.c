// SPDX-License-Identifier: GPL-2.0
/*
 * What tests see of the model: devices that do DMA, and the oracle, which says
 * what must hold.
 */
#include <linux/gfp.h>
#include <linux/kthread.h>

#include "model_int.h"

static const char * const smmu_model_fault_names[] = {
	[SMMU_MODEL_ILLEGAL] = "illegal",
	[SMMU_MODEL_REACH] = "reaches retired memory",
	[SMMU_MODEL_STALE] = "differs from memory",
	[SMMU_MODEL_TAG] = "wrong ID",
	[SMMU_MODEL_ATC] = "ATC",
	[SMMU_MODEL_ATC_INV] = "ATC_INV",
};

static const char * const smmu_model_kind_names[] = {
	[MODEL_L1STD] = "L1STD",
	[MODEL_STE] = "STE",
	[MODEL_L1CD] = "L1CD",
	[MODEL_CD] = "CD",
	[MODEL_TABLE] = "walk cache",
	[MODEL_S1] = "stage 1 TLB",
	[MODEL_S2] = "stage 2 TLB",
	[MODEL_S12] = "nested TLB",
	[MODEL_ATC] = "ATC",
	[MODEL_DMA] = "DMA",
};

static __printf(2, 3) void smmu_model_say(struct smmu_model *model,
					  const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	model->text_len += vscnprintf(model->text + model->text_len,
				      MODEL_TEXT_SIZE - model->text_len, fmt,
				      args);
	va_end(args);
}

/* The commands that were consumed since the log had @log */
static void smmu_model_say_cmds(struct smmu_model_smmu *ms, u64 log)
{
	struct arm_smmu_fake *fake = ms->fake;

	if (fake->log_head - log > MODEL_NUM_SHOWN)
		log = fake->log_head - MODEL_NUM_SHOWN;
	smmu_model_say(ms->model, "  commands after:");
	for (; log != fake->log_head; log++) {
		struct arm_smmu_cmd *cmd =
			&fake->log[log % ARM_SMMU_FAKE_LOG].cmd;

		smmu_model_say(ms->model, " %llx:%llx", cmd->data[0],
			       cmd->data[1]);
	}
	smmu_model_say(ms->model, " (%u pending)\n", ms->num_pending);
}

/**
 * smmu_model_fault() - Note a fault of the driver, or of the test
 * @ms: the SMMU
 * @fault: its kind
 * @e: the entry that shows it, or NULL
 * @fmt: what is wrong
 *
 * The lock is held, so the test is told later, by smmu_model_report().
 */
void smmu_model_fault(struct smmu_model_smmu *ms, enum smmu_model_fault fault,
		      const struct smmu_model_entry *e, const char *fmt, ...)
{
	struct smmu_model *model = ms->model;
	struct va_format vaf = { .fmt = fmt };
	va_list args;

	model->faults[fault]++;
	if (model->expected[fault] || model->num_texts >= 3)
		return;
	model->num_texts++;
	va_start(args, fmt);
	vaf.va = &args;
	smmu_model_say(model, "%s: %s, step %llu: %pV\n",
		       smmu_model_fault_names[fault],
		       dev_name(ms->fake->smmu.dev), model->stats.steps, &vaf);
	va_end(args);
	if (!e)
		return smmu_model_say_cmds(ms, ms->fake->log_head -
					   min(ms->fake->log_head,
					       (u64)MODEL_NUM_SHOWN));
	smmu_model_say(model,
		       "  %s%s, world %u VMID %u ASID %u%s, level %u, %#llx+%#llx -> %#llx perm %u%s\n",
		       smmu_model_kind_names[e->kind],
		       e->kind != MODEL_TABLE ? "" : e->s2 ? " stage 2" :
						     " stage 1",
		       e->world, e->vmid, e->asid, e->global ? " global" : "",
		       e->level, e->ia, e->size, e->oa, e->perm,
		       e->clean ? " clean" : "");
	smmu_model_say(model,
		       "  made at step %llu for SID %#x SSID %#x from STE %#llx CD %#llx TTB0 %#llx S2TTB %#llx, descriptor %#llx at %#llx\n",
		       e->step, e->sid, e->ssid, e->ste0, e->cd0, e->ttb1,
		       e->ttb2, e->desc, e->desc_pa);
	smmu_model_say_cmds(ms, e->log);
}

/**
 * smmu_model_report() - Fail the test if there was a fault
 * @model: the model
 *
 * Context: the lock is not held.
 */
void smmu_model_report(struct smmu_model *model)
{
	char *text, *rest, *line;

	scoped_guard(raw_spinlock_irqsave, &arm_smmu_fake_lock) {
		if (!model->text_len)
			return;
	}
	text = kzalloc(MODEL_TEXT_SIZE, GFP_KERNEL);
	scoped_guard(raw_spinlock_irqsave, &arm_smmu_fake_lock) {
		if (text)
			memcpy(text, model->text, model->text_len);
		model->text_len = 0;
	}
	/* A line of the kernel log is too short for all of it */
	for (rest = text; (line = strsep(&rest, "\n"));)
		if (*line)
			kunit_err(model->test, "%s\n", line);
	KUNIT_FAIL(model->test, "the model found faults, seed %llu", model->seed);
	kfree(text);
}

static bool smmu_model_is_leaf(const struct smmu_model_entry *e)
{
	return e->kind == MODEL_S2 || e->kind == MODEL_S12 ||
	       e->kind == MODEL_DMA ||
	       e->kind == MODEL_ATC || (e->kind == MODEL_S1 && !e->nested);
}

static bool smmu_model_reaches(const struct smmu_model_entry *e, u64 pa,
			       u64 size)
{
	return smmu_model_is_leaf(e) && e->oa < pa + size &&
	       pa < e->oa + e->size;
}

/**
 * smmu_model_judge() - Judge an entry that was made or used just now
 * @ms: the SMMU
 * @e: the entry
 */
void smmu_model_judge(struct smmu_model_smmu *ms,
		      const struct smmu_model_entry *e)
{
	struct smmu_model *model = ms->model;
	unsigned int i, num = min(model->num_retired, MODEL_NUM_RETIRED);

	for (i = 0; i < num; i++)
		if (smmu_model_reaches(e, model->retired[i].pa,
				       model->retired[i].size))
			smmu_model_fault(ms, SMMU_MODEL_REACH, e,
					 "after %#llx+%#llx was retired",
					 model->retired[i].pa,
					 model->retired[i].size);
}

static void smmu_model_exit(void *data)
{
	struct smmu_model *model = data;
	struct smmu_model_page *page, *next;

	smmu_model_report(model);
	kunit_info(model->test,
		   "model: seed %llu steps %llu fills %llu hits %llu cmds %llu removed %llu dmas %llu events %llu stalls %llu torn %llu httu %llu\n",
		   model->seed, model->stats.steps, model->stats.fills,
		   model->stats.hits, model->stats.cmds, model->stats.removed,
		   model->stats.dmas, model->stats.events, model->stats.stalls,
		   model->stats.torn, model->stats.httu);
	list_for_each_entry_safe(page, next, &model->pages, list) {
		free_pages(page->addr, page->order);
		kfree(page);
	}
}

/**
 * smmu_model_create() - Make the model of a test
 * @test: the test that owns it
 * @seed: what all choices come from
 *
 * Call it before the first arm_smmu_fake_create(), so that it outlives them.
 *
 * Return: the model. Never NULL or an error, the test is aborted instead.
 */
struct smmu_model *smmu_model_create(struct kunit *test, u64 seed)
{
	struct smmu_model *model;

	model = kunit_kzalloc(test, sizeof(*model), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, model);
	model->test = test;
	model->seed = seed;
	model->rnd = (lower_32_bits(seed) * 0x9e3779b1 ^ upper_32_bits(seed)) ?:
		     1;
	INIT_LIST_HEAD(&model->smmus);
	INIT_LIST_HEAD(&model->devs);
	INIT_LIST_HEAD(&model->pages);
	model->expected[SMMU_MODEL_ATC_INV] = true;
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, smmu_model_exit,
							   model));
	return model;
}

static void smmu_model_remove_smmu(void *data)
{
	struct smmu_model_smmu *ms = data;

	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	ms->fake->ops = NULL;
	list_del(&ms->list);
}

/**
 * smmu_model_add_smmu() - Let a fake SMMU translate and cache
 * @model: the model
 * @fake: the fake SMMU, whose features are set
 */
void smmu_model_add_smmu(struct smmu_model *model, struct arm_smmu_fake *fake)
{
	struct kunit *test = model->test;
	struct smmu_model_smmu *ms;
	u64 pa;
	int i;

	ms = kunit_kzalloc(test, sizeof(*ms), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, ms);
	ms->model = model;
	ms->fake = fake;
	for (i = 0; i < MODEL_NUM_ENTRIES; i++)
		ms->tlb[i].kind = -1;
	/* Output addresses that are not RAM: the upper half of what there is */
	pa = BIT_ULL(fake->smmu.oas - 1);
	if (!model->next_pa || pa < model->next_pa)
		model->next_pa = pa;

	scoped_guard(raw_spinlock_irqsave, &arm_smmu_fake_lock) {
		list_add_tail(&ms->list, &model->smmus);
		fake->model = ms;
		fake->ops = &smmu_model_ops;
	}
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, smmu_model_remove_smmu,
						  ms));
}

static void smmu_model_remove_dev(void *data)
{
	struct smmu_model_dev *dev = data;

	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	dev->dead = true;
	list_del(&dev->list);
}

/**
 * smmu_model_add_dev() - Let a device do DMA
 * @model: the model
 * @fm: the device, behind an SMMU of smmu_model_add_smmu()
 *
 * The adversary translates for all its streams, at first without PASID.
 *
 * Return: the device. Never NULL or an error, the test is aborted instead.
 */
struct smmu_model_dev *smmu_model_add_dev(struct smmu_model *model,
					  struct arm_smmu_fake_master *fm)
{
	struct kunit *test = model->test;
	struct smmu_model_dev *dev;
	int i;

	KUNIT_ASSERT_PTR_EQ(test, fm->fake->ops, &smmu_model_ops);
	dev = kunit_kzalloc(test, sizeof(*dev), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, dev);
	dev->model = model;
	dev->ms = fm->fake->model;
	dev->fm = fm;
	dev->ssids[0] = SMMU_MODEL_NO_SSID;
	dev->num_ssids = 1;
	for (i = 0; i < MODEL_NUM_ATC; i++)
		dev->atc[i].kind = -1;
	scoped_guard(raw_spinlock_irqsave, &arm_smmu_fake_lock)
		list_add_tail(&dev->list, &model->devs);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, smmu_model_remove_dev,
						  dev));
	return dev;
}

static int smmu_model_find_tracked(struct smmu_model *model, u64 addr)
{
	int i;

	for (i = 0; i < model->num_tracked; i++)
		if (model->tracked[i] == addr)
			return i;
	return -1;
}

/**
 * smmu_model_track() - Let the adversary translate an address
 * @model: the model
 * @addr: the input address. With 64 of them, one is dropped at random.
 */
void smmu_model_track(struct smmu_model *model, u64 addr)
{
	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	if (smmu_model_find_tracked(model, addr) >= 0)
		return;
	if (model->num_tracked == MODEL_NUM_TRACKED)
		model->tracked[smmu_model_rnd(model) % MODEL_NUM_TRACKED] = addr;
	else
		model->tracked[model->num_tracked++] = addr;
}

/**
 * smmu_model_untrack() - Undo smmu_model_track()
 * @model: the model
 * @addr: the input address
 */
void smmu_model_untrack(struct smmu_model *model, u64 addr)
{
	int i;

	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	i = smmu_model_find_tracked(model, addr);
	if (i >= 0)
		model->tracked[i] = model->tracked[--model->num_tracked];
}

/**
 * smmu_model_track_ssid() - Let the adversary translate for a PASID
 * @dev: the device
 * @ssid: the PASID. Of more than 7 the oldest are dropped.
 */
void smmu_model_track_ssid(struct smmu_model_dev *dev, u32 ssid)
{
	int i;

	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	for (i = 0; i < dev->num_ssids; i++)
		if (dev->ssids[i] == ssid)
			return;
	if (dev->num_ssids == MODEL_NUM_SSIDS)
		memmove(&dev->ssids[1], &dev->ssids[2],
			(--dev->num_ssids - 1) * sizeof(ssid));
	dev->ssids[dev->num_ssids++] = ssid;
}

static int smmu_model_add_stall(struct smmu_model_dev *dev, u32 sid)
{
	struct smmu_model *model = dev->model;
	int i;

	for (i = 0; i < MODEL_NUM_STALLS; i++) {
		struct smmu_model_stall *stall = &model->stalls[i];

		if (stall->dev && stall->result == -EINPROGRESS)
			continue;
		stall->dev = dev;
		stall->sid = sid;
		stall->stag = ++model->next_stag;
		stall->result = -EINPROGRESS;
		model->stats.stalls++;
		return stall->stag;
	}
	return -1;
}

/* Report a fault as an event record (7.3), or stall */
static int smmu_model_event(struct smmu_model_walk *w, u64 addr, u64 *pa)
{
	struct smmu_model_ctx *ctx = w->ctx;
	bool stall = w->event >= EVT_ID_TRANSLATION_FAULT &&
		     w->event <= EVT_ID_PERMISSION_FAULT &&
		     (w->s2 ? ctx->s2.stall : ctx->has_s1 && ctx->s1.stall);
	u64 evt[EVTQ_ENT_DWORDS] = {};
	int stag = -1;

	/* CD.R and STE.S2R: a fault that does not stall may go unreported */
	if (!stall && w->event >= EVT_ID_TRANSLATION_FAULT &&
	    w->event <= EVT_ID_PERMISSION_FAULT &&
	    !(w->s2 ? ctx->ste[2] & STRTAB_STE_2_S2R :
		      !ctx->has_s1 || ctx->cd[0] & CTXDESC_CD_0_R))
		return -EFAULT;

	if (stall)
		stag = smmu_model_add_stall(ctx->dev, ctx->sid);
	evt[0] = FIELD_PREP(EVTQ_0_ID, w->event) |
		 FIELD_PREP(EVTQ_0_SID, ctx->sid);
	if (ctx->ssid != SMMU_MODEL_NO_SSID)
		evt[0] |= EVTQ_0_SSV | FIELD_PREP(EVTQ_0_SSID, ctx->ssid);
	if (w->event >= EVT_ID_TRANSLATION_FAULT) {
		evt[1] = FIELD_PREP(EVTQ_1_CLASS, w->class);
		if (stag >= 0)
			evt[1] |= EVTQ_1_STALL | FIELD_PREP(EVTQ_1_STAG, stag);
		if (!(w->flags & SMMU_MODEL_WRITE))
			evt[1] |= EVTQ_1_RnW;
		if (w->s2)
			evt[1] |= EVTQ_1_S2;
		evt[2] = addr;
		evt[3] = w->ipa & EVTQ_3_IPA;
	}
	if (w->event) {
		ctx->dev->model->stats.events++;
		arm_smmu_fake_event(w->ms->fake, evt);
	}
	if (stag < 0)
		return -EFAULT;
	*pa = stag;
	return -EINPROGRESS;
}

static int smmu_model_dma_locked(struct smmu_model_dev *dev, u32 ssid, u64 addr,
				 unsigned int flags, u64 *pa)
{
	struct smmu_model *model = dev->model;
	unsigned int num = dev->fm->master->num_streams;
	u32 sid = dev->fm->master->streams[smmu_model_rnd(model) % num].id;
	struct smmu_model_ctx ctx;
	struct smmu_model_walk w = {
		.ms = dev->ms,
		.ctx = &ctx,
		.flags = flags,
	};
	struct smmu_model_entry e = { .kind = MODEL_DMA };
	struct smmu_model_leaf leaf = {};
	bool ats = flags & SMMU_MODEL_ATS && smmu_model_ats_on(dev);

	if (!smmu_model_get_ctx(&w, dev, sid, ssid))
		goto fault;
	if (ats) {
		/*
		 * CR0.ATSCHK: the STE is looked at for a translated access too.
		 * A Translation Request that fails is answered as such, and is
		 * not reported (3.9.1.2).
		 */
		if (ctx.eats != STRTAB_STE_1_EATS_TRANS)
			return -EFAULT;
		if (!(flags & SMMU_MODEL_FRESH) &&
		    ((flags & SMMU_MODEL_CACHED) || smmu_model_rnd(model) & 8) &&
		    smmu_model_atc_lookup(dev, sid, ssid, addr, flags, &leaf)) {
			model->stats.hits++;
			goto done;
		}
		flags |= SMMU_MODEL_QUIET;
	}
	if (!smmu_model_xlat(&w, addr, &leaf))
		goto fault;
	if (!(leaf.perm & SMMU_MODEL_READ) &&
	    (ats || !(flags & SMMU_MODEL_WRITE))) {
		w.event = EVT_ID_PERMISSION_FAULT;
		w.class = 2;
		goto fault;
	}
	if (ats && smmu_model_may_cache(&w))
		smmu_model_atc_insert(&w, &leaf);
done:
	*pa = leaf.oa + (addr - leaf.ia);
	e.sid = sid;
	e.ssid = ssid;
	e.vmid = ctx.vmid;
	e.asid = ctx.asid;
	e.world = ctx.world;
	e.level = leaf.level;
	e.perm = leaf.perm;
	e.ia = addr;
	e.oa = *pa;
	e.size = 1;
	e.ste0 = ctx.ste[0];
	e.cd0 = ctx.cd[0];
	e.desc = leaf.desc;
	e.desc_pa = leaf.desc_pa;
	e.step = model->stats.steps;
	e.log = dev->ms->fake->log_head;
	smmu_model_judge(dev->ms, &e);
	if (flags & SMMU_MODEL_WRITE) {
		if (model->write_head - model->write_tail == MODEL_NUM_WRITES)
			model->write_tail++;
		model->writes[model->write_head++ % MODEL_NUM_WRITES] =
			(struct smmu_model_write){ dev, ssid, addr, *pa };
	}
	return 0;
fault:
	if (flags & SMMU_MODEL_QUIET)
		return -EFAULT;
	return smmu_model_event(&w, addr, pa);
}

/**
 * smmu_model_dma() - Let a device read or write
 * @dev: the device
 * @ssid: its PASID or SMMU_MODEL_NO_SSID
 * @addr: the address
 * @flags: SMMU_MODEL_READ, WRITE, ATS, CACHED, FRESH and QUIET
 * @pa: set to the output address, or to the STAG of a transaction that stalls
 *
 * With ATS off a device makes untranslated accesses only, whatever @flags say.
 *
 * Return: 0; -EFAULT if there is no translation, with an event record;
 * -EINPROGRESS if the transaction stalls, with an event record as well.
 */
int smmu_model_dma(struct smmu_model_dev *dev, u32 ssid, u64 addr,
		   unsigned int flags, u64 *pa)
{
	int ret;

	scoped_guard(raw_spinlock_irqsave, &arm_smmu_fake_lock) {
		dev->model->stats.dmas++;
		ret = smmu_model_dma_locked(dev, ssid, addr, flags, pa);
	}
	smmu_model_report(dev->model);
	return ret;
}

/**
 * smmu_model_stall_result() - Ask what became of a stalled transaction
 * @dev: the device
 * @stag: the STAG
 *
 * Return: -EINPROGRESS if it still waits; -EAGAIN if CMD_RESUME says that it is
 * to be retried, which the test does with smmu_model_dma(); -EFAULT if it was
 * aborted or terminated; -ENOENT if it was asked for before.
 */
int smmu_model_stall_result(struct smmu_model_dev *dev, u16 stag)
{
	int i;

	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	for (i = 0; i < MODEL_NUM_STALLS; i++) {
		struct smmu_model_stall *stall = &dev->model->stalls[i];

		if (stall->dev != dev || stall->stag != stag)
			continue;
		if (stall->result != -EINPROGRESS)
			stall->dev = NULL;
		return stall->result;
	}
	return -ENOENT;
}

/**
 * smmu_model_next_write() - Read what devices have written
 * @model: the model
 * @write: set to the next write that smmu_model_dma() made
 *
 * Of more than 1024 the oldest are lost.
 *
 * Return: false if there are no more.
 */
bool smmu_model_next_write(struct smmu_model *model,
			   struct smmu_model_write *write)
{
	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	if (model->write_tail == model->write_head)
		return false;
	*write = model->writes[model->write_tail++ % MODEL_NUM_WRITES];
	return true;
}

/**
 * smmu_model_fill() - Fill all caches with everything that is reachable now
 * @model: the model
 */
void smmu_model_fill(struct smmu_model *model)
{
	struct smmu_model_smmu *ms;
	unsigned long flags;

	list_for_each_entry(ms, &model->smmus, list) {
		raw_spin_lock_irqsave(&arm_smmu_fake_lock, flags);
		smmu_model_fill_smmu(ms, true);
		raw_spin_unlock_irqrestore(&arm_smmu_fake_lock, flags);
	}
	smmu_model_report(model);
}

static int smmu_model_adversary(void *data)
{
	struct smmu_model *model = data;
	struct smmu_model_smmu *ms;

	while (!kthread_should_stop()) {
		scoped_guard(raw_spinlock_irqsave, &arm_smmu_fake_lock) {
			list_for_each_entry(ms, &model->smmus, list)
				smmu_model_fill_smmu(ms, false);
		}
		cond_resched();
		cpu_relax();
	}
	return 0;
}

/**
 * smmu_model_adversary_start() - Fill the caches from another CPU all the time
 * @model: the model
 * @cpu: the CPU
 *
 * Ends with the test.
 */
void smmu_model_adversary_start(struct smmu_model *model, unsigned int cpu)
{
	wake_up_process(arm_smmu_fake_create_task(model->test,
						  smmu_model_adversary, model,
						  cpu));
}

/**
 * smmu_model_pa() - Hand out output addresses
 * @model: the model, with all its SMMUs
 * @size: how many, a power of two
 *
 * Return: the first of @size addresses, aligned to it, which are not RAM and were
 * never handed out before.
 */
u64 smmu_model_pa(struct smmu_model *model, u64 size)
{
	u64 pa;

	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	pa = ALIGN(model->next_pa, size);
	model->next_pa = pa + size;
	return pa;
}

/**
 * smmu_model_page() - Hand out memory
 * @model: the model
 * @order: log2 of the number of pages
 *
 * For page tables and CD tables of a guest, which SMMUs read.
 *
 * Return: the address of zeroed pages, which are freed with the model.
 */
u64 smmu_model_page(struct smmu_model *model, unsigned int order)
{
	struct smmu_model_page *page;

	/* Memory of the test would go before the model does */
	page = kzalloc_obj(*page);
	KUNIT_ASSERT_NOT_NULL(model->test, page);
	page->addr = __get_free_pages(GFP_KERNEL | __GFP_ZERO, order);
	page->order = order;
	scoped_guard(raw_spinlock_irqsave, &arm_smmu_fake_lock)
		list_add(&page->list, &model->pages);
	KUNIT_ASSERT_NE(model->test, page->addr, 0UL);
	return virt_to_phys((void *)page->addr);
}

/**
 * smmu_model_retire() - From now on nothing may reach these addresses
 * @model: the model
 * @pa: the first output address
 * @size: how many
 *
 * To be called when an unmap, a detach or the like has returned, after which no
 * device is to reach them. All caches are looked at now, and every translation
 * from now on. Of more than 64 calls the latest count.
 */
void smmu_model_retire(struct smmu_model *model, u64 pa, u64 size)
{
	struct smmu_model_smmu *ms;
	struct smmu_model_dev *dev;
	unsigned int i;

	scoped_guard(raw_spinlock_irqsave, &arm_smmu_fake_lock) {
		model->retired[model->num_retired++ % MODEL_NUM_RETIRED] =
			(struct smmu_model_range){ pa, size };
		if (model->num_retired == 2 * MODEL_NUM_RETIRED)
			model->num_retired = MODEL_NUM_RETIRED;
		list_for_each_entry(ms, &model->smmus, list)
			for (i = 0; i < ms->num_tlb; i++)
				if (ms->tlb[i].kind >= 0)
					smmu_model_judge(ms, &ms->tlb[i]);
		list_for_each_entry(dev, &model->devs, list)
			for (i = 0; i < MODEL_NUM_ATC; i++)
				if (dev->atc[i].kind >= 0)
					smmu_model_judge(dev->ms, &dev->atc[i]);
	}
	smmu_model_report(model);
}

static bool smmu_model_peek(struct smmu_model_walk *w,
			    struct smmu_model_smmu *ms,
			    struct smmu_model_ctx *ctx,
			    struct smmu_model_dev *dev, u32 sid, u32 ssid)
{
	*w = (struct smmu_model_walk){
		.ms = ms,
		.ctx = ctx,
		.flags = MODEL_PEEK,
	};
	return smmu_model_get_ctx(w, dev, sid, ssid);
}

/* Whether @e was made from the tables that @ctx leads to, under its tag */
static bool smmu_model_same_source(const struct smmu_model_ctx *ctx,
				   const struct smmu_model_entry *e)
{
	if (e->world != ctx->world || e->vmid != ctx->vmid ||
	    e->nested != ctx->has_s2)
		return false;
	if (ctx->has_s2 && e->ttb2 != ctx->s2.ttb)
		return false;
	if (e->s2)
		return true;
	return ctx->has_s1 ? !ctx->s1.off && e->ttb1 == ctx->s1.ttb &&
			     e->asid == ctx->asid : !e->ttb1;
}

static void smmu_model_check_atc(struct smmu_model_dev *dev, u32 ssid)
{
	struct smmu_model_ctx ctx;
	struct smmu_model_walk w;
	int i;

	for (i = 0; i < MODEL_NUM_ATC; i++) {
		struct smmu_model_entry *e = &dev->atc[i];

		if (e->kind < 0 || e->ssid != ssid)
			continue;
		if (!smmu_model_ats_on(dev))
			smmu_model_fault(dev->ms, SMMU_MODEL_ATC, e,
					 "ATS is off");
		else if (!smmu_model_peek(&w, dev->ms, &ctx, dev, e->sid, ssid))
			smmu_model_fault(dev->ms, SMMU_MODEL_ATC, e,
					 "the device has no translation");
		else if (!smmu_model_same_source(&ctx, e))
			smmu_model_fault(dev->ms, SMMU_MODEL_ATC, e,
					 "the device has left the domain, TTB0 is %#llx, S2TTB %#llx",
					 ctx.s1.ttb, ctx.s2.ttb);
	}
}

/* Compare what is cached of one structure with memory */
static void smmu_model_check_cfg(struct smmu_model_smmu *ms,
				 struct smmu_model_cfg *cfg)
{
	struct smmu_model_ctx ctx;
	struct smmu_model_walk w;
	struct smmu_model_entry e = {
		.kind = cfg->kind,
		.sid = cfg->sid,
		.ssid = cfg->ssid,
		.step = cfg->step,
		.log = cfg->log,
	};
	u64 img[STRTAB_STE_DWORDS] = {};
	unsigned int i, j;

	/* Finds the STE for the sake of the CD, whatever is thought of it */
	if (cfg->kind == MODEL_L1CD || cfg->kind == MODEL_CD)
		smmu_model_peek(&w, ms, &ctx, NULL, cfg->sid, SMMU_MODEL_NO_SSID);
	else
		smmu_model_peek(&w, ms, &ctx, NULL, 0, SMMU_MODEL_NO_SSID);
	/* A CD that the STE leads to no more is not of interest */
	if ((cfg->kind == MODEL_L1CD || cfg->kind == MODEL_CD) &&
	    !(FIELD_GET(STRTAB_STE_0_CFG, ctx.ste[0]) & 1)) {
		smmu_model_fault(ms, SMMU_MODEL_STALE, &e,
				 "the STE has no stage 1, word 0 is %#llx",
				 ctx.ste[0]);
		return;
	}
	if (!smmu_model_fetch(&w, cfg->kind, cfg->sid, cfg->ssid, img))
		return;
	for (i = 0; i < cfg->num; i++) {
		for (j = 0; j < STRTAB_STE_DWORDS; j++) {
			if (cfg->img[i][j] == img[j])
				continue;
			e.desc = cfg->img[i][j];
			smmu_model_fault(ms, SMMU_MODEL_STALE, &e,
					 "word %u is %#llx in memory", j, img[j]);
			return;
		}
	}
}

/**
 * smmu_model_left() - A device has left a domain
 * @dev: the device
 * @ssid: the PASID that was detached or replaced, or SMMU_MODEL_NO_SSID
 *
 * No ATC entry may be left from a domain to which it is not attached, and what is
 * cached of its STE and CD must be what is in memory. Nothing else is attached to
 * or detached from this device at the same time, but anything from others.
 */
void smmu_model_left(struct smmu_model_dev *dev, u32 ssid)
{
	struct smmu_model_smmu *ms = dev->ms;
	struct arm_smmu_master *master = dev->fm->master;
	int i, j;

	scoped_guard(raw_spinlock_irqsave, &arm_smmu_fake_lock) {
		smmu_model_check_atc(dev, ssid);
		for (i = 0; i < MODEL_NUM_CFGS; i++) {
			struct smmu_model_cfg *cfg = &ms->cfgs[i];

			if (!cfg->used || cfg->kind == MODEL_L1STD ||
			    cfg->kind == MODEL_L1CD)
				continue;
			if (cfg->kind == MODEL_CD &&
			    cfg->ssid != (ssid == SMMU_MODEL_NO_SSID ? 0 : ssid))
				continue;
			for (j = 0; j < master->num_streams; j++)
				if (cfg->sid == master->streams[j].id)
					smmu_model_check_cfg(ms, cfg);
		}
	}
	smmu_model_report(dev->model);
}

/* Compare an entry with a fresh walk through @ctx */
static void smmu_model_check_entry(struct smmu_model_smmu *ms,
				   struct smmu_model_ctx *ctx,
				   const struct smmu_model_entry *e)
{
	struct smmu_model_walk w = {
		.ms = ms,
		.ctx = ctx,
		.flags = MODEL_PEEK,
	};
	struct smmu_model_leaf leaf = {};
	u64 ia = e->ia, oa, pa;
	bool ok;
	int i;

	if (e->kind == MODEL_TABLE) {
		if (!smmu_model_walk_table(&w, e->s2, ia, e->level, &oa, &pa))
			smmu_model_fault(ms, SMMU_MODEL_STALE, e,
					 "there is no table any more");
		else if (oa != e->oa || (e->pa != U64_MAX && pa != e->pa))
			smmu_model_fault(ms, SMMU_MODEL_STALE, e,
					 "the table is at %#llx, PA %#llx", oa, pa);
		return;
	}

	/* The first and the last address */
	for (i = 0; i < 2; i++, ia = e->ia + e->size - 1) {
		if (e->kind == MODEL_S2)
			ok = smmu_model_walk_stage(&w, &ctx->s2, ia, &leaf);
		else if (e->kind == MODEL_S1)
			ok = smmu_model_walk_stage(&w, &ctx->s1, ia, &leaf);
		else
			ok = smmu_model_xlat(&w, ia, &leaf);
		oa = leaf.oa + (ia - leaf.ia);
		if (!ok)
			smmu_model_fault(ms, SMMU_MODEL_STALE, e,
					 "there is no translation of %#llx any more",
					 ia);
		else if (oa != e->oa + (ia - e->ia))
			smmu_model_fault(ms, SMMU_MODEL_STALE, e,
					 "%#llx translates to %#llx", ia, oa);
		else if (e->perm & ~leaf.perm)
			smmu_model_fault(ms, SMMU_MODEL_STALE, e,
					 "permissions are %u", leaf.perm);
		else if (e->perm & SMMU_MODEL_WRITE && !e->clean && leaf.clean)
			smmu_model_fault(ms, SMMU_MODEL_STALE, e,
					 "the dirty state is clean, writes will be lost");
		else
			continue;
		return;
	}
}

/* Decode what all streams and substreams are attached to */
static void smmu_model_get_ctxs(struct smmu_model_smmu *ms)
{
	struct smmu_model_ctx *ctx;
	struct smmu_model_dev *dev;
	struct smmu_model_walk w;
	unsigned int i, j;

	ms->num_ctxs = 0;
	list_for_each_entry(dev, &ms->model->devs, list) {
		struct arm_smmu_master *master = dev->fm->master;

		if (dev->ms != ms)
			continue;
		for (i = 0; i < master->num_streams; i++) {
			for (j = 0; j < dev->num_ssids; j++) {
				if (ms->num_ctxs == MODEL_NUM_CTXS) {
					smmu_model_fault(ms, SMMU_MODEL_ILLEGAL,
							 NULL,
							 "more streams than the model knows");
					return;
				}
				ctx = &ms->ctxs[ms->num_ctxs];
				ms->num_ctxs += smmu_model_peek(&w, ms, ctx, dev,
								master->streams[i].id,
								dev->ssids[j]);
			}
		}
	}
}

/* Find an STE and CD that lead to @e. Return: NULL if there is none */
static struct smmu_model_ctx *
smmu_model_find_source(struct smmu_model_smmu *ms,
		       const struct smmu_model_entry *e)
{
	unsigned int i;

	for (i = 0; i < ms->num_ctxs; i++)
		if (smmu_model_same_source(&ms->ctxs[i], e))
			return &ms->ctxs[i];
	return NULL;
}

/*
 * Whether @e may be there though no STE and no CD leads to it. An attachment with
 * a nested STE of abort or bypass keeps the VMID of its vSMMU in the array, and
 * the guest has ASIDs of its own under it. A VMID that is free is found by
 * smmu_model_check_ids().
 */
static bool smmu_model_is_guest_entry(const struct smmu_model_entry *e)
{
	return e->nested || e->vmid;
}

static void smmu_model_check_smmu(struct smmu_model_smmu *ms)
{
	struct smmu_model_ctx ctx, *source;
	struct smmu_model_dev *dev;
	unsigned int i;

	smmu_model_get_ctxs(ms);
	for (i = 0; i < MODEL_NUM_CFGS; i++)
		if (ms->cfgs[i].used)
			smmu_model_check_cfg(ms, &ms->cfgs[i]);
	for (i = 0; i < ms->num_tlb; i++) {
		struct smmu_model_entry *e = &ms->tlb[i];

		if (e->kind < 0)
			continue;
		source = smmu_model_find_source(ms, e);
		if (source)
			smmu_model_check_entry(ms, source, e);
		else if (!smmu_model_is_guest_entry(e))
			smmu_model_fault(ms, SMMU_MODEL_TAG, e,
					 "no STE and CD lead to it");
	}
	list_for_each_entry(dev, &ms->model->devs, list) {
		if (dev->ms != ms)
			continue;
		for (i = 0; i < dev->num_ssids; i++)
			smmu_model_check_atc(dev, dev->ssids[i]);
		for (i = 0; i < MODEL_NUM_ATC; i++) {
			struct smmu_model_entry *e = &dev->atc[i];
			struct smmu_model_walk w;

			if (e->kind >= 0 &&
			    smmu_model_peek(&w, ms, &ctx, dev, e->sid, e->ssid) &&
			    smmu_model_same_source(&ctx, e))
				smmu_model_check_entry(ms, &ctx, e);
		}
	}
}

/* The maps of IDs have a lock that is not to be taken with interrupts off */
static void smmu_model_check_ids(struct smmu_model_smmu *ms)
{
	struct arm_smmu_device *smmu = &ms->fake->smmu;
	struct smmu_model_entry e;
	unsigned long flags;
	unsigned int i;
	bool used;

	for (i = 0; i < MODEL_NUM_ENTRIES; i++) {
		raw_spin_lock_irqsave(&arm_smmu_fake_lock, flags);
		e = ms->tlb[i];
		raw_spin_unlock_irqrestore(&arm_smmu_fake_lock, flags);
		if (e.kind < 0)
			continue;
		if (e.world == MODEL_EL1 && e.vmid)
			used = ida_exists(&smmu->vmid_map, e.vmid);
		else
			used = e.asid && ida_exists(&smmu->asid_map, e.asid);
		if (used)
			continue;
		raw_spin_lock_irqsave(&arm_smmu_fake_lock, flags);
		smmu_model_fault(ms, SMMU_MODEL_TAG, &e, "its ID is free");
		raw_spin_unlock_irqrestore(&arm_smmu_fake_lock, flags);
	}
}

/**
 * smmu_model_check() - Compare all caches with memory
 * @model: the model
 *
 * To be called when nothing is under way: no attach, no map, no invalidation.
 * An adversary may run. Nothing may be cached that a walk of memory would not
 * find now, or under an ID that is free. Only PASIDs that the adversary uses are
 * looked at.
 */
void smmu_model_check(struct smmu_model *model)
{
	struct smmu_model_smmu *ms;
	unsigned long flags;

	list_for_each_entry(ms, &model->smmus, list) {
		raw_spin_lock_irqsave(&arm_smmu_fake_lock, flags);
		smmu_model_check_smmu(ms);
		raw_spin_unlock_irqrestore(&arm_smmu_fake_lock, flags);
		smmu_model_check_ids(ms);
	}
	smmu_model_report(model);
}

/**
 * smmu_model_expect() - Count a kind of fault without failing the test
 * @model: the model
 * @fault: the kind
 */
void smmu_model_expect(struct smmu_model *model, enum smmu_model_fault fault)
{
	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	model->expected[fault] = true;
}

/**
 * smmu_model_faults() - Count the faults of one kind
 * @model: the model
 * @fault: the kind
 *
 * Return: how many there were. SMMU_MODEL_ATC_INV is only counted: the driver
 * itself sends one right after it has turned ATS off.
 */
unsigned int smmu_model_faults(struct smmu_model *model,
			       enum smmu_model_fault fault)
{
	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	return model->faults[fault];
}

/**
 * smmu_model_get_stats() - Tell what the model did
 * @model: the model
 *
 * Return: a copy of the counters.
 */
struct smmu_model_stats smmu_model_get_stats(struct smmu_model *model)
{
	guard(raw_spinlock_irqsave)(&arm_smmu_fake_lock);
	return model->stats;
}
