# SPDX-License-Identifier: GPL-2.0
# All targets except 'help' run in the toolbox, see scripts/toolbox --help.
T := scripts/toolbox

help:	## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /  make \1	/p' Makefile | expand -t 20
	@echo
	@echo "Variables: LINUX=DIR (v7.3 tree in place of Debian's), CACHE=DIR, TOOLBOX=host, MIRROR=URI,"
	@echo "JOBS=N, SMMUS=N (run, shell), ONLY='NAME...' (check, mutants), MINUTES=N (stress, fuzz), SEED=N (stress), BENCH='OPTION...' (bench),"
	@echo "SCENARIO='NAME...' (vmm), CONFIG=FILE (deb)."
	@echo "What they mean: --help of scripts/toolbox, scripts/check, scripts/series and scripts/bench.py."

# Arguments are checked before anything is built.
SHELL_ARGS = --kernel $(or $(KERNEL),check) $(if $(SMMUS),--smmus $(SMMUS)) $(if $(NVME),--nvme $(NVME)) \
	$(if $(GDB),--gdb) $(if $(RUN),--run '$(subst ','\'',$(RUN))')

shell:	## a console on the emulated machine: KERNEL=FLAVOUR SMMUS=N NVME=N GDB=1 RUN='command'
	@$(T) scripts/shell.py --dry $(SHELL_ARGS)
	@$(MAKE) -s apply </dev/null >&2
	@$(T) scripts/kernel $(or $(KERNEL),check) </dev/null >&2
	@$(T) scripts/check --selftests </dev/null >&2
	@$(T) scripts/shell.py $(SHELL_ARGS)

run:	## build and boot the patched kernel, show the vSMMU demonstration
	@$(T) scripts/demo.py --dry --smmus $(or $(SMMUS),2)
	@$(MAKE) -s apply
	@$(T) scripts/kernel bench
	@$(T) scripts/demo.py --smmus $(or $(SMMUS),2)

run-base: ## the same demonstration on the unmodified kernel
	@$(T) scripts/demo.py --dry --smmus $(or $(SMMUS),2)
	@$(MAKE) -s apply
	@$(T) scripts/kernel base-bench
	@$(T) scripts/demo.py --smmus $(or $(SMMUS),2) --kernel base-bench

vmm:	## other scenarios of a VMM: reset, hot-plug, disabled vSMMUs, killing it
	@$(T) scripts/vmm.py --dry $(SCENARIO)
	@$(MAKE) -s apply
	@$(T) scripts/kernel bench
	@$(T) scripts/kernel check
	@$(T) scripts/vmm.py $(SCENARIO)

check:	apply	## run every test
	@$(T) scripts/check $(ONLY)

bisect:	apply	## boot every patch of the series and run KUnit on it
	@$(T) scripts/check --bisect

mutants: apply	## insert bugs into the driver, which the tests must detect
	@$(T) scripts/check --mutants $(ONLY)

stress:	apply	## stress the driver: MINUTES with KASAN, then MINUTES with KCSAN
	@$(T) scripts/check --stress $(or $(MINUTES),30) $(if $(SEED),--seed $(SEED))

model:	## search all states of the model of the command queues
	@$(T) tests/model/run.py

fuzz:	apply	## fuzz the invalidation array in user space, MINUTES=N
	@mkdir -p build/fuzz
	@$(T) make -s -C build/linux/tools/testing/arm-smmu-v3-invs O=$(CURDIR)/build/fuzz \
		fuzz coverage MINUTES=$(or $(MINUTES),10)

bench:	apply	## measure the base and the patched kernel: build/bench.tsv and .svg
	@$(T) scripts/kernel base-bench
	@$(T) scripts/kernel fake-bench
	@$(T) scripts/kernel bench
	@$(T) scripts/bench.py $(BENCH)

deb:	## Debian packages of the patched kernel, in build/deb: CONFIG=/boot/config-...
	@scripts/deb --dry '$(CONFIG)'
	@$(MAKE) -s apply
	@scripts/deb '$(CONFIG)'

toolbox:	## create the Debian 13 root for all other targets
	@$(T)

apply:	## patches/ -> the branch 'series' in build/linux
	@$(T) scripts/series apply

save:	## the branch -> patches/ and the files added by the series
	@$(T) scripts/series save

series:	apply	## the mails to send with their cover letters, numbered, in build/series/
	@$(T) scripts/series mails

rebase:	## rebase the branch to Debian's newest v7.3.y, or to LINUX=DIR
	@$(T) scripts/series rebase

kernels: apply	## build/check and build/bench
	@$(T) scripts/kernel check
	@$(T) scripts/kernel bench

base-kernels: apply	## build/base-check and build/base-bench, for comparison
	@$(T) scripts/kernel base-check
	@$(T) scripts/kernel base-bench

kasan:	apply	## build/kasan: check with KASAN, slower
	@$(T) scripts/kernel kasan

kcsan:	apply	## run the driver's KUnit suites with KCSAN, slower
	@$(T) scripts/check kcsan

clean:	## remove build/ except build/linux; the cache is kept
	@[ ! -d build ] || find build -mindepth 1 -maxdepth 1 ! -name linux -exec rm -rf {} +

.PHONY: help shell run run-base vmm check bisect mutants stress fuzz model bench deb toolbox apply save series rebase kernels base-kernels kasan kcsan clean
