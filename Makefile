# clinfer: one Makefile, nothing recursive. `make help` lists the targets.
#
# Sources are found by wildcard: a new .c or .cl file is in the build as soon as it exists. What is built lies in
# build/<config>/. A file of runtime/cpu named <op>_<type>_<isa>.c takes its compiler flags from its suffix.

CONFIG ?= release
BUILD  := build/$(CONFIG)
CC     ?= gcc
PREFIX ?= /usr/local
VERSION := $(shell sed -n 's/^.define CLINFER_VERSION "\(.*\)"/\1/p' include/clinfer.h)

LIBRARIES := OpenCL jansson libpcre2-8
PKG_CFLAGS = $(shell pkg-config --cflags $(LIBRARIES))
PKG_LIBS   = $(shell pkg-config --libs $(LIBRARIES)) -lpthread -lm

WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla
CPPFLAGS += -Iinclude -Iruntime -I$(BUILD) -DCL_TARGET_OPENCL_VERSION=120
CFLAGS_release := -O2 -g -fno-omit-frame-pointer
CFLAGS_asan    := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
LDFLAGS_asan   := -fsanitize=address,undefined
# Reproducible sums: the scalar references and the SIMD kernels say themselves where a multiply-add is fused.
CFLAGS  = -std=c11 -fPIC -fvisibility=hidden -ffp-contract=off -fno-math-errno $(WARNINGS) $(CFLAGS_$(CONFIG)) $(PKG_CFLAGS) $(EXTRA_CFLAGS)
LDFLAGS += $(LDFLAGS_$(CONFIG)) $(EXTRA_LDFLAGS)

MACHINE := $(shell $(CC) -dumpmachine)

# One flag set per instruction set; files of another architecture are left out.
ISA_FLAGS_avx2       := -mavx2 -mfma -mf16c
ISA_FLAGS_avx512vnni := -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mavx2 -mfma -mf16c -mprefer-vector-width=512
ISA_FLAGS_avx512bf16 := $(ISA_FLAGS_avx512vnni) -mavx512bf16
ISA_FLAGS_neon       := -march=armv8.2-a
ISA_FLAGS_neondot    := -march=armv8.2-a+dotprod
FOREIGN := $(if $(findstring x86_64,$(MACHINE)),%_neon.c %_neondot.c,%_avx2.c %_avx512vnni.c %_avx512bf16.c)
isa_of   = $(lastword $(subst _, ,$(basename $(notdir $1))))

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

.DEFAULT_GOAL := all
.PHONY: all help clean test-binaries
.SECONDARY:

all: clinfer ## build ./clinfer and the libraries

clinfer: $(BUILD)/clinfer
	@ln -sfn $< $@

$(BUILD)/clinfer: $(CLI_OBJECTS) $(BUILD)/libclinfer.a
	$(CC) $(LDFLAGS) -o $@ $^ $(PKG_LIBS)

$(BUILD)/libclinfer.a: $(LIBRARY_OBJECTS)
	@rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/kernels.c: scripts/embed_kernels.py $(KERNELS)
	@mkdir -p $(@D)
	python3 scripts/embed_kernels.py $(KERNELS) >$@

$(BUILD)/kernels.o: $(BUILD)/kernels.c
	$(CC) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<

$(BUILD)/tests/%.o: CPPFLAGS += -Itests

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(ISA_FLAGS_$(call isa_of,$<)) -MMD -MP -c -o $@ $<

test-binaries: $(TEST_BINARIES)

$(BUILD)/tests/%: $(BUILD)/tests/%.o $(call object,$(TEST_SUPPORT)) $(BUILD)/libclinfer.a
	$(CC) $(LDFLAGS) -o $@ $^ $(PKG_LIBS) -lcmocka

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 26

clean: ## remove build/ and ./clinfer
	rm -rf build clinfer

-include $(shell find build -name '*.d' 2>/dev/null)
