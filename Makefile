# clinfer: one Makefile, nothing recursive below it. `make help` lists the targets.
#
# Sources are found by wildcard: a new .c or .cl file is in the build as soon as it exists. What is built lies in
# build/<config>/; configs are release (default), asan, fuzz and aarch64. A file of runtime/cpu named
# <op>_<type>_<isa>.c takes its compiler flags from its suffix. `make V=1` shows the commands.
#
# Targets that may have to install something first (run, check, lint, ...) call make again after that: what the
# compiler and pkg-config say is read once, when make starts.

CONFIG ?= release
BUILD  := build/$(CONFIG)
ifeq ($(origin CC),default)
CC := gcc
endif
CLANG      ?= clang
AARCH64_CC ?= aarch64-linux-gnu-gcc
PREFIX     ?= /usr/local
VERSION    := $(shell sed -n 's/^.define CLINFER_VERSION "\(.*\)"/\1/p' include/clinfer.h)
SOVERSION  := 0

# All processors, unless -j says otherwise; a make started by this one shares its job slots.
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j$(shell nproc)
endif
MAKE_AGAIN = $(MAKE) --no-print-directory
ifdef V
Q :=
else
Q := @
endif
say = @printf '  %-8s %s\n' $1 $2

LIBRARIES  := OpenCL clblast jansson libcurl libpcre2-8
PKG_CFLAGS := $(shell pkg-config --cflags $(LIBRARIES) 2>/dev/null)
PKG_LIBS   := $(or $(shell pkg-config --libs $(LIBRARIES) 2>/dev/null),-lOpenCL -ljansson -lpcre2-8) -lpthread -lm

WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla
CPPFLAGS += -Iinclude -Iruntime -I$(BUILD) -DCL_TARGET_OPENCL_VERSION=120
SANITIZE := -fsanitize=address,undefined
CFLAGS_release := -O2 -g -fno-omit-frame-pointer
CFLAGS_asan    := -O1 -g -fno-omit-frame-pointer $(SANITIZE) -fno-sanitize-recover=undefined
CFLAGS_fuzz    := $(CFLAGS_asan) -fsanitize=fuzzer-no-link
CFLAGS_aarch64 := -O2 -g
LDFLAGS_asan   := $(SANITIZE)
LDFLAGS_fuzz   := $(SANITIZE) -fsanitize=fuzzer
# Reproducible sums: the scalar references and the SIMD kernels say themselves where a multiply-add is fused.
CFLAGS  = -std=c11 -fPIC -fvisibility=hidden -ffp-contract=off -fno-math-errno $(WARNINGS) $(CFLAGS_$(CONFIG)) $(PKG_CFLAGS) $(EXTRA_CFLAGS)
# A library that nothing calls yet costs no time at start.
LDFLAGS += -Wl,--as-needed $(LDFLAGS_$(CONFIG)) $(EXTRA_LDFLAGS)

MACHINE := $(shell $(CC) -dumpmachine 2>/dev/null)

# One flag set per instruction set; files of another architecture are left out.
ISA_FLAGS_avx2       := -mavx2 -mfma -mf16c
ISA_FLAGS_avx512vnni := -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mavx2 -mfma -mf16c -mprefer-vector-width=512
ISA_FLAGS_avx512bf16 := $(ISA_FLAGS_avx512vnni) -mavx512bf16
ISA_FLAGS_neon       := -march=armv8.2-a
ISA_FLAGS_neondot    := -march=armv8.2-a+dotprod
FOREIGN := $(if $(findstring x86_64,$(MACHINE)),%_neon.c %_neondot.c,%_avx2.c %_avx512vnni.c %_avx512bf16.c)
isa_of   = $(lastword $(subst _, ,$(basename $(notdir $1))))
isa_flags = $(ISA_FLAGS_$(call isa_of,$1))

LIBRARY_SOURCES := $(filter-out runtime/cli/%,$(wildcard runtime/*/*.c))
LIBRARY_SOURCES := $(filter-out $(FOREIGN),$(LIBRARY_SOURCES))
CLI_SOURCES     := $(wildcard runtime/cli/*.c)
KERNELS         := $(sort $(wildcard clkernels/*.cl clkernels/*/*.clh))
TEST_SOURCES    := $(wildcard tests/unit/test_*.c tests/ops/test_*.c tests/model/test_*.c tests/e2e/test_*.c tests/fault/test_*.c)
TEST_SUPPORT    := $(wildcard tests/support/*.c)
FUZZ_SOURCES    := $(wildcard tests/fuzz/fuzz_*.c)

object   = $(patsubst %.c,$(BUILD)/%.o,$1)
LIBRARY_OBJECTS := $(call object,$(LIBRARY_SOURCES)) $(BUILD)/kernels.o
CLI_OBJECTS     := $(call object,$(CLI_SOURCES))
TEST_BINARIES   := $(patsubst %.c,$(BUILD)/%,$(TEST_SOURCES))
SHARED          := libclinfer.so.$(SOVERSION)

.DEFAULT_GOAL := all
.PHONY: all help clean test-binaries FORCE
.SECONDARY:
.DELETE_ON_ERROR:

all: clinfer $(BUILD)/libclinfer.so ## build ./clinfer and the libraries

clinfer: build/release/clinfer
	@ln -sfn $< $@

$(BUILD)/clinfer: $(CLI_OBJECTS) $(BUILD)/libclinfer.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(PKG_LIBS)

$(BUILD)/libclinfer.a: $(LIBRARY_OBJECTS)
	$(call say,AR,$@)
	@rm -f $@
	$(Q)$(AR) rcs $@ $^

$(BUILD)/$(SHARED): $(LIBRARY_OBJECTS)
	$(call say,LINK,$@)
	$(Q)$(CC) -shared -Wl,-soname,$(SHARED) $(LDFLAGS) -o $@ $^ $(PKG_LIBS)

$(BUILD)/libclinfer.so: $(BUILD)/$(SHARED)
	@ln -sfn $(SHARED) $@

# What is compiled depends on the compiler and its flags: when they change, everything is compiled again.
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@flags="$$($(CC) --version | head -n 1) $(subst ",\",$(CPPFLAGS) $(CFLAGS))"; \
	    [ "$$flags" = "$$(cat $@ 2>/dev/null)" ] || printf '%s\n' "$$flags" >$@

$(BUILD)/kernels.c: scripts/embed_kernels.py $(KERNELS)
	$(call say,EMBED,$@)
	@mkdir -p $(@D)
	$(Q)python3 scripts/embed_kernels.py $(KERNELS) >$@

$(BUILD)/kernels.o: $(BUILD)/kernels.c $(BUILD)/flags
	$(call say,CC,$<)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/%.o: %.c $(BUILD)/flags
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(call isa_flags,$<) -MMD -MP -c -o $@ $<

test-binaries: $(TEST_BINARIES)

$(BUILD)/tests/%: $(BUILD)/tests/%.o $(call object,$(TEST_SUPPORT)) $(BUILD)/libclinfer.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(PKG_LIBS) -lcmocka

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 26

clean: ## remove build/ and ./clinfer
	rm -rf build clinfer

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
