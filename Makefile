# clinfer: one Makefile, nothing recursive below it. `make help` lists the targets.
#
# Sources are found by wildcard: a new .c or .cl file is in the build as soon as it exists. What is built lies in
# build/<config>/; configs are release (default), asan, tsan, fuzz and aarch64. A file of runtime/cpu named
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
# Relative to PREFIX: where libraries go; and where the prober is looked for that does not lie beside the tool.
LIBDIR     ?= lib
LIBEXEC    ?= $(PREFIX)/libexec/clinfer
VERSION    := $(shell sed -n 's/^.define CLINFER_VERSION "\(.*\)"/\1/p' include/clinfer/base.h)
SOVERSION  := 0

# All processors, unless -j says otherwise; a make started by this one shares its job slots.
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j$(shell nproc)
endif
AGAIN := --no-print-directory
ifdef V
Q :=
else
Q := @
endif
# make -s says nothing.
say = @$(if $(findstring s,$(firstword -$(MAKEFLAGS))),:,printf '  %-8s %s\n' $1 $2)

LIBRARIES  := OpenCL clblast jansson libcurl libpcre2-8 libutf8proc
# Of libedit, libcrypto and libmicrohttpd the headers alone are needed: they are loaded when they are.
# The cross build has libc alone.
PKG_CFLAGS := $(if $(filter-out aarch64,$(CONFIG)),$(shell pkg-config --cflags $(LIBRARIES) libedit libcrypto libmicrohttpd 2>/dev/null))
PKG_LIBS   := $(or $(shell pkg-config --libs $(LIBRARIES) 2>/dev/null),-lOpenCL -ljansson -lpcre2-8 -lutf8proc) -lpthread -lm

WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla
# _GNU_SOURCE= (empty) so that files may say it again.
CPPFLAGS += -Iinclude -Iruntime -I. -I$(BUILD) -D_GNU_SOURCE= -DCL_TARGET_OPENCL_VERSION=120
SANITIZE := -fsanitize=address,undefined
# -g1: names and lines for perf and for backtraces; whole debug information would make the tool three times as large.
CFLAGS_release := -O2 -g1 -fno-omit-frame-pointer
CFLAGS_asan    := -O1 -g -fno-omit-frame-pointer $(SANITIZE) -fno-sanitize-recover=undefined
CFLAGS_tsan    := -O1 -g -fno-omit-frame-pointer -fsanitize=thread
CFLAGS_fuzz    := $(CFLAGS_asan) -fsanitize=fuzzer-no-link
CFLAGS_aarch64 := -O2 -g -Itests/cross
LDFLAGS_asan   := $(SANITIZE)
LDFLAGS_tsan   := -fsanitize=thread
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
ISA_FLAGS_neon       := -march=armv8-a
ISA_FLAGS_neondot    := -march=armv8.2-a+dotprod
FOREIGN := $(if $(findstring x86_64,$(MACHINE)),%_neon.c %_neondot.c,%_avx2.c %_avx512vnni.c %_avx512bf16.c)
isa_of   = $(lastword $(subst _, ,$(basename $(notdir $1))))
own_flags = $(ISA_FLAGS_$(call isa_of,$1)) $(if $(filter tests/%,$1),-Itests) \
    $(if $(filter runtime/device/probe.c,$1),-DCLINFER_LIBEXEC='"$(LIBEXEC)"')

LIBRARY_SOURCES := $(filter-out runtime/cli/%,$(wildcard runtime/*/*.c)) $(wildcard tuner/*.c)
LIBRARY_SOURCES := $(filter-out $(FOREIGN),$(LIBRARY_SOURCES))
CLI_SOURCES     := $(wildcard runtime/cli/*.c)
KERNELS         := $(sort $(wildcard clkernels/*.cl clkernels/*/*.clh))
PROFILES        := $(sort $(wildcard profiles/*.json))
TEST_SOURCES    := $(wildcard tests/unit/test_*.c tests/ops/test_*.c tests/model/test_*.c tests/e2e/test_*.c tests/hub/test_*.c tests/fault/test_*.c tests/server/test_*.c)
TEST_SUPPORT    := $(wildcard tests/support/*.c)
FUZZ_SOURCES    := $(wildcard tests/fuzz/fuzz_*.c)

object   = $(patsubst %.c,$(BUILD)/%.o,$1)
LIBRARY_OBJECTS := $(call object,$(LIBRARY_SOURCES)) $(BUILD)/kernels.o $(BUILD)/page.o
CLI_OBJECTS     := $(call object,$(CLI_SOURCES))
TEST_BINARIES   := $(patsubst %.c,$(BUILD)/%,$(TEST_SOURCES))
SHARED          := libclinfer.so.$(SOVERSION)

.DEFAULT_GOAL := all
.PHONY: all run install deb check check-all check-faults check-drivers check-tokenizers check-remote check-hub check-page check-suite check-server check-soak check-balancers check-families check-models check-templates bench-guard asan tsan aarch64 aarch64-binaries fuzz lint lint-sources help clean test-binaries FORCE
.SECONDARY:
.DELETE_ON_ERROR:

all: clinfer $(BUILD)/clinfer-probe $(BUILD)/libclinfer.so ## build ./clinfer and the libraries

clinfer: build/release/clinfer build/release/clinfer-probe
	@ln -sfn $< $@

KEEP_LOADED := $(if $(filter asan,$(CONFIG)),$(call object,tests/support/keep_loaded.c))

# runtime/cli/serve_pages.c and driver_threads.c say what for.
DRIVER_EXPORTS := $(addprefix --export-dynamic-symbol=pthread_cond_,wait broadcast signal)
DRIVER_EXPORTS := $(addprefix -Xlinker ,$(DRIVER_EXPORTS))
TOOL_EXPORTS := -Wl,--export-dynamic-symbol=MHD_create_response_from_buffer -Wl,--export-dynamic-symbol=MHD_queue_response \
    $(DRIVER_EXPORTS)

$(BUILD)/clinfer: $(CLI_OBJECTS) $(KEEP_LOADED) $(BUILD)/libclinfer.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) $(TOOL_EXPORTS) -o $@ $^ $(PKG_LIBS)

# What tries OpenCL drivers aside; runtime/device/probe.c looks for it beside the executable and in libexec.
$(BUILD)/clinfer-probe: $(BUILD)/runtime/device/probe/main.o
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(PKG_LIBS)

$(BUILD)/runtime/device/probe.o: private CPPFLAGS += -DCLINFER_LIBEXEC='"$(PREFIX)/libexec/clinfer"'

# `clinfer bench` says which commit it measured, and its number, where this is a clone.
$(BUILD)/commit.h: FORCE
	@mkdir -p $(@D)
	@commit=$$(git rev-parse --short HEAD 2>/dev/null) && number=$$(git rev-list --count HEAD) && \
	    text="$$(printf '#define CI_BENCH_COMMIT "%s"\n#define CI_BENCH_NUMBER %s' "$$commit" "$$number")"; \
	    [ -e $@ ] && [ "$$text" = "$$(cat $@)" ] || printf '%s\n' "$$text" >$@

$(BUILD)/runtime/cli/bench_output.o: $(BUILD)/commit.h

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

# What results on the CPU depend on: proofs are remembered by the hash of it; choices that were measured by that of the
# kernels alone.
CPU_SOURCES := $(sort $(filter-out runtime/ops/clblast.%,$(wildcard $(foreach folder,types cpu ops,runtime/$(folder)/*.[ch] runtime/$(folder)/*.inc) runtime/tensor/*.h) \
    $(wildcard clkernels/types/*_grid.clh clkernels/types/*_values.clh)))

$(BUILD)/kernels.c: Makefile scripts/embed_kernels.py $(KERNELS) $(CPU_SOURCES) $(PROFILES)
	$(call say,EMBED,$@)
	@mkdir -p $(@D)
	$(Q)python3 scripts/embed_kernels.py $(KERNELS) --hashed $(CPU_SOURCES) --profiles $(PROFILES) >$@

PAGE := $(wildcard runtime/server/page/*)
$(BUILD)/page.c: scripts/embed_page.py $(PAGE)
	$(call say,EMBED,$@)
	@mkdir -p $(@D)
	$(Q)python3 scripts/embed_page.py $(PAGE) >$@

$(BUILD)/kernels.o $(BUILD)/page.o: $(BUILD)/%.o: $(BUILD)/%.c $(BUILD)/flags
	$(call say,CC,$<)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/%.o: %.c $(BUILD)/flags
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(call own_flags,$<) -MMD -MP -c -o $@ $<

# ---- using it ----

ifeq ($(origin PROMPT),undefined)
PROMPT := Why is the sky blue?
endif
# As typed: neither make nor the shell is to find anything in it.
override PROMPT := $(value PROMPT)
run: export PROMPT := $(PROMPT)
run: ## PROMPT="...": install what is missing, build, fetch the default model, answer
	@scripts/setup.sh run
	@$(MAKE) $(AGAIN) clinfer >&2
	@scripts/fetch_model.sh
	@exec ./clinfer run --temp 0 -p "$$PROMPT"

prefix_of = $(DESTDIR)$(PREFIX)
# Commands that have a man page of their own.
MANUALS := run serve pull list show rm devices tune ops bench verify profile config doctor remote inspect tokenize embed logits
# Where zsh looks: for what a package of Debian brings elsewhere than for what is installed by hand.
ZSH_FOLDER ?= share/zsh/$(if $(filter /usr,$(PREFIX)),vendor-completions,site-functions)
install: $(BUILD)/clinfer $(BUILD)/clinfer-probe $(BUILD)/libclinfer.a $(BUILD)/libclinfer.so ## PREFIX=/usr/local DESTDIR=: the tool, the libraries, the header, man pages, completion for shells
	install -d "$(prefix_of)/bin" "$(prefix_of)/$(LIBDIR)/pkgconfig" "$(prefix_of)/include/clinfer" "$(prefix_of)/share/man/man1" \
	    "$(prefix_of)/share/doc/clinfer" "$(prefix_of)/libexec/clinfer" \
	    "$(prefix_of)/share/bash-completion/completions" "$(prefix_of)/$(ZSH_FOLDER)" "$(prefix_of)/share/fish/vendor_completions.d"
	$(BUILD)/clinfer completion bash >"$(prefix_of)/share/bash-completion/completions/clinfer"
	$(BUILD)/clinfer completion zsh >"$(prefix_of)/$(ZSH_FOLDER)/_clinfer"
	$(BUILD)/clinfer completion fish >"$(prefix_of)/share/fish/vendor_completions.d/clinfer.fish"
	install -m 755 $(BUILD)/clinfer "$(prefix_of)/bin/clinfer"
	install -m 755 $(BUILD)/clinfer-probe "$(prefix_of)/libexec/clinfer/clinfer-probe"
	install -m 644 $(BUILD)/libclinfer.a "$(prefix_of)/$(LIBDIR)/libclinfer.a"
	install -m 755 $(BUILD)/$(SHARED) "$(prefix_of)/$(LIBDIR)/$(SHARED)"
	ln -sfn $(SHARED) "$(prefix_of)/$(LIBDIR)/libclinfer.so"
	install -m 644 include/clinfer.h "$(prefix_of)/include/clinfer.h"
	install -m 644 include/clinfer/*.h "$(prefix_of)/include/clinfer"
	install -m 644 docs/clinfer.1 "$(prefix_of)/share/man/man1/clinfer.1"
	python3 scripts/make_manuals.py --tool $(BUILD)/clinfer --manual docs/clinfer.1 --folder "$(prefix_of)/share/man/man1" $(MANUALS)
	chmod 644 "$(prefix_of)"/share/man/man1/clinfer*.1
	install -m 644 LICENSE "$(prefix_of)/share/doc/clinfer/LICENSE"
	printf '%s\n' 'prefix=$(PREFIX)' 'Name: clinfer' 'Description: run language models on any OpenCL device' \
	    'Version: $(VERSION)' 'Cflags: -I$${prefix}/include' 'Libs: -L$${prefix}/$(LIBDIR) -lclinfer' \
	    'Libs.private: $(PKG_LIBS)' >"$(prefix_of)/$(LIBDIR)/pkgconfig/clinfer.pc"

# Packages for Debian into build/deb, of what is committed; lintian says nothing of them that is wrong.
deb: ## packages for Debian in build/deb, checked by lintian (needs build-essential, debhelper and lintian)
	@command -v dh lintian >/dev/null || { echo "make deb: please install build-essential, debhelper and lintian" >&2; exit 1; }
	@rm -rf build/deb && mkdir -p build/deb/clinfer-$(VERSION)
	@git archive HEAD | tar -x -C build/deb/clinfer-$(VERSION)
	cd build/deb/clinfer-$(VERSION) && dpkg-buildpackage -b -us -uc
	@rm -r build/deb/clinfer-$(VERSION)
	lintian --fail-on error,warning build/deb/*.changes
	@ls build/deb/*.deb

# ---- tests ----

FUZZ_NAMES      := $(patsubst tests/fuzz/fuzz_%.c,%,$(FUZZ_SOURCES))
REPLAY_BINARIES := $(patsubst %,$(BUILD)/tests/fuzz/replay_%,$(FUZZ_NAMES))
TEST_SCRIPTS    := $(wildcard tests/*/test_*.sh tests/*/test_*.py)
TEST_TIMEOUT_release := 1800
TEST_TIMEOUT_asan    := 3600
TEST_TIMEOUT    ?= $(TEST_TIMEOUT_$(CONFIG))
TEST_ONLY       ?=

FAULT_DRIVERS   := $(patsubst %.c,$(BUILD)/%.so,$(wildcard tests/fault/fake_*.c))

test-binaries: $(TEST_BINARIES) $(REPLAY_BINARIES) $(FAULT_DRIVERS) $(BUILD)/clinfer-probe

ifneq ($(CONFIG),aarch64)
# The library last: what a test adds to its objects needs it too.
$(BUILD)/tests/%: $(BUILD)/tests/%.o $(call object,$(TEST_SUPPORT)) $(BUILD)/libclinfer.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $(filter-out %.a,$^) $(filter %.a,$^) $(PKG_LIBS) -lcmocka
endif

$(BUILD)/tests/fault/%.so: tests/fault/%.c
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -fPIC $(WARNINGS) -shared -o $@ $(filter %.c,$^)

$(BUILD)/tests/fault/fake_layer.so: tests/fault/layer_faults.c tests/fault/layer_faults.h

# Allocations of our own objects go through tests/support/failing_malloc.c: to be counted, or to fail.
WRAPPED := malloc calloc realloc aligned_alloc free strdup strndup asprintf vasprintf realpath scandir getline __getdelim \
    open_memstream mmap pthread_create
FAILING_TOOL := $(BUILD)/tests/fault/failing_clinfer
$(BUILD)/tests/model/test_steady_state $(BUILD)/tests/fault/test_allocations $(BUILD)/tests/fault/test_tuner_allocations $(BUILD)/tests/fault/test_folder_allocations $(BUILD)/tests/fault/test_hub_allocations $(FAILING_TOOL): \
    private EXTRA_LDFLAGS += $(WRAPPED:%=-Wl,--wrap=%)

$(FAILING_TOOL): $(CLI_OBJECTS) $(call object,tests/support/failing_malloc.c) $(KEEP_LOADED) $(BUILD)/libclinfer.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) $(TOOL_EXPORTS) -o $@ $^ $(PKG_LIBS)

# The tool's own code is in no library.
$(BUILD)/tests/unit/test_output: $(call object,runtime/cli/output.c)
$(BUILD)/tests/unit/test_tune_report: $(call object,$(addprefix runtime/cli/,output.c tune_report.c))
$(foreach test,unit/test_remotes fuzz/replay_config fuzz/fuzz_config,$(BUILD)/tests/$(test)): \
    $(call object,$(addprefix runtime/cli/,config.c config_secrets.c options.c output.c remotes.c))
$(foreach test,replay_folder fuzz_folder,$(BUILD)/tests/fuzz/$(test)): $(call object,tests/support/folder.c)
$(BUILD)/tests/e2e/test_cut_file: $(call object,$(addprefix runtime/cli/,bus_error.c output.c))

$(BUILD)/tests/fault/test_driver_threads: $(call object,runtime/cli/driver_threads.c) | $(BUILD)/tests/fault/fake_pool.so
$(BUILD)/tests/fault/test_driver_threads: private EXTRA_LDFLAGS += $(DRIVER_EXPORTS)

$(BUILD)/tests/fault/test_worker: | $(BUILD)/clinfer $(BUILD)/tests/fault/fake_layer.so
$(BUILD)/tests/fault/test_allocations: | $(BUILD)/clinfer-probe $(BUILD)/tests/fault/fake_layer.so
$(BUILD)/tests/fault/test_tool_allocations: | $(BUILD)/clinfer-probe $(FAILING_TOOL)
$(BUILD)/tests/fault/test_probe: | $(BUILD)/clinfer $(BUILD)/clinfer-probe $(BUILD)/tests/fault/fake_icd.so
$(BUILD)/tests/fault/test_compiler: | $(BUILD)/clinfer $(BUILD)/clinfer-probe $(BUILD)/tests/fault/fake_layer.so

# Archives last: a target may have more objects than its pattern names.
$(BUILD)/tests/fuzz/replay_%: $(BUILD)/tests/fuzz/fuzz_%.o $(BUILD)/tests/fuzz/replay.o $(BUILD)/libclinfer.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(PKG_LIBS)

check: ## TEST_ONLY=word SEED=number: build and run all tests, on OpenCL and on the CPU; of large matrices what SEED draws
	@scripts/setup.sh check
	@scripts/fetch_model.sh || true
	@$(MAKE) $(AGAIN) CONFIG=$(CONFIG) $(BUILD)/clinfer $(BUILD)/libclinfer.so test-binaries \
	    $(if $(filter release,$(CONFIG)),aarch64-binaries)
	@python3 scripts/run_tests.py --build $(BUILD) --timeout $(TEST_TIMEOUT) --only "$(TEST_ONLY)" --warm --seed "$(SEED)" \
	    $(TEST_BINARIES) $(if $(filter release,$(CONFIG)),$(CROSS_BINARIES)) $(REPLAY_BINARIES) $(TEST_SCRIPTS)

ALL_TIMEOUT    ?= 14400
check-all: ## the same with all matrices whole; slow
	@CLINFER_TEST_ALL=1 $(MAKE) $(AGAIN) CONFIG=$(CONFIG) TEST_TIMEOUT=$(ALL_TIMEOUT) check

FAULT_BINARIES := $(filter $(BUILD)/tests/fault/%,$(TEST_BINARIES))
FAULT_TIMEOUT  ?= 14400
check-faults: ## CONFIG=asan: all faults of tests/fault, each call and allocation in turn; how many were survived; slow
	@scripts/setup.sh check
	@scripts/fetch_model.sh
	@$(MAKE) $(AGAIN) CONFIG=$(CONFIG) $(BUILD)/clinfer test-binaries
	@CLINFER_TEST_FULL=1 python3 scripts/run_tests.py --build $(BUILD) --timeout $(FAULT_TIMEOUT) --only "$(TEST_ONLY)" \
	    --figures "[0-9]+ of [0-9]+ survived" $(FAULT_BINARIES)

bench-guard: ## BASE=COMMIT ROUNDS=8 STORE=1: counts of a token against the stored ones; speed against the commit before
	@scripts/setup.sh check
	@scripts/fetch_model.sh
	@$(MAKE) $(AGAIN) $(BUILD)/clinfer $(BUILD)/tests/model/test_steady_state
	@$(if $(STORE),CLINFER_STORE_COUNTS=1 )$(BUILD)/tests/model/test_steady_state
	@python3 scripts/bench_guard.py --base "$(BASE)" --rounds $(or $(ROUNDS),8) $(BUILD)/clinfer \
	    "$${XDG_DATA_HOME:-$$HOME/.local/share}/clinfer/models/smollm2-135m-instruct-q4_1.gguf"

asan: ## make check under AddressSanitizer and UBSan
	@$(MAKE) $(AGAIN) CONFIG=asan check

# ThreadSanitizer of GCC 12 needs the kernel to lay memory out as it expects. What a server of the tests has to report
# stands in files, since who asks it does not see its standard error.
TSAN_TESTS  := $(patsubst %,build/tsan/tests/%,unit/test_base unit/test_threads unit/test_watch model/test_threads \
    model/test_router_threads model/test_router_kinds model/test_router_grammars fault/test_arguments)
TSAN_SERVER := $(patsubst %,tests/server/test_%.py,slots models models_fetched embeddings openai http life remotes)
TSAN_REPORT := build/tsan/report
tsan: ## the library's threads and the server's under ThreadSanitizer, on the CPU backend
	@scripts/setup.sh check
	@$(MAKE) $(AGAIN) CONFIG=tsan build/tsan/clinfer $(TSAN_TESTS)
	@rm -f $(TSAN_REPORT).*
	@TSAN_OPTIONS="die_after_fork=0:report_thread_leaks=0:log_path=$(CURDIR)/$(TSAN_REPORT)" python3 scripts/run_tests.py --build build/tsan \
	    --timeout 1800 --wrap "setarch -R" $(TSAN_TESTS) $(TSAN_SERVER)
	@if ls $(TSAN_REPORT).* 2>/dev/null; then cat $(TSAN_REPORT).*; exit 1; fi

# ---- the SIMD kernels of ARM on an x86 machine: what needs only libc is cross-built and run under qemu-user ----

CROSS_FOLDERS  := runtime/base/% runtime/tensor/% runtime/types/% runtime/cpu/% runtime/ops/% runtime/proof/%
CROSS_TESTS    := $(wildcard tests/ops/test_cpu_*.c)
CROSS_BINARIES := $(if $(findstring x86_64,$(MACHINE)),$(patsubst %.c,build/aarch64/%,$(CROSS_TESTS)))

check-tokenizers: ## PEER=DIR PYTHON=python3: whole vocabularies beside llama.cpp (DIR/bin, DIR/src/models) and Hugging Face's tokenizers
	@$(MAKE) $(AGAIN) $(BUILD)/tests/unit/test_tokenizer
	@$(or $(PYTHON),python3) scripts/compare_tokenizers.py $(BUILD)/tests/unit/test_tokenizer \
	    $(PEER)/bin $(PEER)/src/models/ggml-vocab-*.gguf $(wildcard $(MODELS))
	@$(or $(PYTHON),python3) scripts/compare_tokenizer_json.py $(BUILD)/tests/unit/test_tokenizer \
	    $(PEER)/src/models

check-drivers: ## DRIVERS="intel rusticl oclgrind": op tests and the whole model on them; slow
	@scripts/setup.sh check
	@scripts/setup.sh drivers
	@scripts/fetch_model.sh
	@$(MAKE) $(AGAIN) test-binaries
	@scripts/check_drivers.sh $(BUILD) $(DRIVERS)

check-remote: ## PEER=build/peer: both dialects of a real server, llama.cpp's; builds it first (half an hour)
	@scripts/fetch_model.sh
	@$(MAKE) $(AGAIN) all
	@scripts/check_remote.sh

check-clients: ## CLIENTS="name...": official clients of OpenAI, Anthropic and Ollama, LangChain, LiteLLM and instructor against the server, and the clients' own suites; installs them into build/clients
	@scripts/fetch_model.sh
	@$(MAKE) $(AGAIN) $(BUILD)/clinfer
	@python3 scripts/check_clients.py --suites $(CLIENTS)

check-hub: ## HUB_FOLDER=build ONLY=kill|power|rate|speed|clients PEER=build/peer/bin PYTHON=python3: pulls killed at 200 moments, beside curl and openssl; caches shared with huggingface_hub and llama-server; ten minutes, 7 GB of disk
	@$(MAKE) $(AGAIN) $(BUILD)/clinfer $(BUILD)/clinfer-probe
ifneq ($(ONLY),clients)
	@python3 scripts/check_hub.py --tool $(BUILD)/clinfer --folder "$(or $(HUB_FOLDER),build)" $(if $(ONLY),--only $(ONLY))
endif
ifeq ($(filter kill power rate speed,$(ONLY)),)
	@scripts/fetch_model.sh
	@python3 scripts/check_hub_clients.py --tool $(BUILD)/clinfer --peer "$(or $(PEER),build/peer/bin)" $(if $(PYTHON),--python $(PYTHON))
endif

check-page: ## the server's web page, typed into and clicked in Debian's chromium (with chromium-driver and Python's selenium)
	@$(MAKE) $(AGAIN) clinfer
	@scripts/fetch_model.sh
	@python3 scripts/check_page.py ./clinfer serve --device cpu

check-suite: ## PEER=build/peer HUB=PEER/hub PYTHON=PEER/venv/bin/python FILES="chat_completion ..." DEVICE= FLOOR=: llama-server's own tests against clinfer serve; minutes
	@$(MAKE) $(AGAIN) $(BUILD)/clinfer $(BUILD)/clinfer-probe
	@python3 scripts/check_suite.py --peer "$(or $(PEER),build/peer)" --tool $(BUILD)/clinfer --floor $(or $(FLOOR),0) \
	    $(if $(HUB),--hub "$(HUB)") $(if $(PYTHON),--python "$(PYTHON)") $(if $(DEVICE),--device "$(DEVICE)") $(FILES)

check-families: ## PEER=build/peer-exact/bin DEVICES="cpu 0" PYTHON=python3: all families beside llama.cpp; builds it first (half an hour)
	@[ -x $(or $(PEER),build/peer-exact/bin)/test-llama-archs ] || scripts/peer.sh --exact build/peer-exact test-llama-archs
	@$(MAKE) $(AGAIN) $(BUILD)/clinfer $(BUILD)/clinfer-probe
	@$(or $(PYTHON),python3) scripts/compare_families.py --peer $(or $(PEER),build/peer-exact/bin) --tool $(BUILD)/clinfer \
	    $(patsubst %,--device %,$(or $(DEVICES),cpu 0))

GEMMA_MODEL = $(or $(GEMMA),$(HOME)/.local/share/clinfer/models/gemma3.gguf)

check-server: ## thousands of requests of mixed kinds, hundreds of idle connections: what is left of them; devices that hang
	@scripts/setup.sh check
	@$(MAKE) $(AGAIN) CONFIG=$(CONFIG) $(BUILD)/clinfer
	@CLINFER_TEST_BINARY=$(abspath $(BUILD)/clinfer) python3 tests/server/long_serve.py
	@$(MAKE) $(AGAIN) CONFIG=$(CONFIG) $(BUILD)/clinfer-probe $(BUILD)/tests/fault/fake_layer.so
	@CLINFER_TEST_BINARY=$(abspath $(BUILD)/clinfer) python3 tests/server/long_hang.py
	@CLINFER_TEST_BINARY=$(abspath $(BUILD)/clinfer) python3 tests/server/long_aside.py

check-balancers: ## two servers behind HAProxy and nginx (apt install haproxy nginx), killed in the middle; what became of each request
	@scripts/setup.sh check
	@$(MAKE) $(AGAIN) CONFIG=$(CONFIG) $(BUILD)/clinfer
	@CLINFER_TEST_BINARY=$(abspath $(BUILD)/clinfer) python3 scripts/check_balancers.py

check-soak: ## SECONDS=120 REQUESTS=N MODEL=FILE KEEP=FOLDER: clinfer serve on a device that fails one call in 5,000, mixed requests
	@scripts/setup.sh check
	@$(MAKE) $(AGAIN) CONFIG=$(CONFIG) $(BUILD)/clinfer $(BUILD)/clinfer-probe $(BUILD)/tests/fault/fake_layer.so
	@CLINFER_TEST_BINARY=$(abspath $(BUILD)/clinfer) python3 scripts/check_soak.py --seconds $(or $(SECONDS),120) \
	    $(if $(REQUESTS),--requests $(REQUESTS)) $(if $(MODEL),--model "$(MODEL)") $(if $(KEEP),--keep "$(KEEP)")

check-models: ## GEMMA=~/.local/share/clinfer/models/gemma3.gguf PYTHON=python3: real models that are there beside recorded truth
	@$(MAKE) $(AGAIN) $(BUILD)/clinfer $(BUILD)/clinfer-probe
	@if [ -f "$(GEMMA_MODEL)" ]; then \
	    $(or $(PYTHON),python3) scripts/check_models.py compare $(BUILD)/clinfer tests/data/models/gemma3.json \
	        "$(GEMMA_MODEL)" --device cpu --device 0; \
	else echo "left out: $(GEMMA_MODEL) is not there; GEMMA=FILE names Gemma 3 270M Q4_K_M"; fi

check-templates: ## TEMPLATES=FOLDER PYTHON=python3: chat templates beside Jinja's own rendering; llama.cpp has 70 in models/templates
	@[ -n "$(TEMPLATES)" ] || { echo "check-templates: TEMPLATES=FOLDER names the folder of *.jinja"; exit 1; }
	@$(MAKE) $(AGAIN) $(BUILD)/tests/unit/test_template
	@$(or $(PYTHON),python3) scripts/reference_templates.py --compare $(BUILD)/tests/unit/test_template $(TEMPLATES)

aarch64: ## the kernels of ARM processors, cross-built and tested under qemu
	@scripts/setup.sh check
	@$(MAKE) $(AGAIN) aarch64-binaries
	@python3 scripts/run_tests.py --build build/aarch64 --only aarch64 $(CROSS_BINARIES)

aarch64-binaries:
	@:; $(if $(CROSS_BINARIES),$(MAKE) $(AGAIN) CONFIG=aarch64 CC=$(AARCH64_CC) $(CROSS_BINARIES))

# An archive, since what is not asked for (binding of OpenCL kernels) would ask for the rest of the library.
ifeq ($(CONFIG),aarch64)
$(BUILD)/libcross.a: $(call object,$(filter $(CROSS_FOLDERS),$(LIBRARY_SOURCES)))
	$(call say,AR,$@)
	@rm -f $@
	$(Q)$(AR) rcs $@ $^

$(BUILD)/tests/%: $(BUILD)/tests/%.o $(BUILD)/libcross.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ -lpthread -lm
endif

# ---- fuzz targets, with libFuzzer; what they find goes to build/fuzz ----

FUZZ_SECONDS ?= 600

fuzz: ## FUZZ_SECONDS=600: each fuzz target for that long
	@scripts/setup.sh check
	@$(MAKE) $(AGAIN) -k CONFIG=fuzz CC=$(CLANG) $(FUZZ_NAMES:%=fuzz-%)

fuzz-%: $(BUILD)/tests/fuzz/fuzz_%
	@scripts/fuzz.sh $< $* $(FUZZ_SECONDS)

$(BUILD)/tests/fuzz/fuzz_%: $(BUILD)/tests/fuzz/fuzz_%.o $(BUILD)/libclinfer.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(PKG_LIBS)

# ---- lint: each source once with each tool, again only when it or a header of it changed ----

LINT_SOURCES := $(LIBRARY_SOURCES) $(CLI_SOURCES) runtime/device/probe/main.c $(TEST_SOURCES) $(wildcard tests/fault/fake_*.c tests/fault/layer_*.c) $(TEST_SUPPORT) $(wildcard tests/fuzz/*.c docs/examples/*.c scripts/*.c)
LINT_FLAGS    = -Werror $(CPPFLAGS) $(filter-out $(CFLAGS_$(CONFIG)),$(CFLAGS))

lint: ## gcc and clang without a warning, clang-tidy, clang-format, no 64-bit number cut off, the order of the layers
	@scripts/setup.sh check
	@python3 scripts/check_layers.py docs/layers.txt .
	@$(MAKE) $(AGAIN) -k lint-sources

# Where numbers of files go about, only base/narrow.h makes smaller ones of them.
NARROW_SOURCES := $(filter $(addprefix runtime/,$(addsuffix /%,base tensor net format text profile device hub grammar model engine graph)),$(LINT_SOURCES))

FORMAT_SOURCES := $(shell find include runtime tuner tests docs scripts -name '*.[ch]')

lint-sources: $(foreach tool,gcc clang tidy,$(LINT_SOURCES:%.c=build/lint/%.$(tool))) $(NARROW_SOURCES:%.c=build/lint/%.narrow) build/lint/format

build/lint/%.gcc: %.c Makefile
	$(call say,GCC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(LINT_FLAGS) -O2 $(call own_flags,$<) -MMD -MP -MF $@.d -MT '$@ $(@:.gcc=.clang) $(@:.gcc=.tidy) $(@:.gcc=.narrow)' -c -o /dev/null $<
	@touch $@

build/lint/%.clang: %.c Makefile
	$(call say,CLANG,$<)
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(LINT_FLAGS) -Wshorten-64-to-32 $(call own_flags,$<) -fsyntax-only $<
	@touch $@

build/lint/%.narrow: %.c Makefile scripts/narrowing.query
	$(call say,NARROW,$<)
	@mkdir -p $(@D)
	$(Q)clang-query -f scripts/narrowing.query $< -- $(LINT_FLAGS) $(call own_flags,$<) >$@.log 2>&1; grep -q '^0 matches' $@.log || \
	    { cat $@.log >&2; echo '$<: a cast from 64 bits to fewer: base/narrow.h has what checks the number' >&2; exit 1; }
	@touch $@

build/lint/%.tidy: %.c Makefile .clang-tidy
	$(call say,TIDY,$<)
	@mkdir -p $(@D)
	$(Q)clang-tidy --quiet $(if $(filter tests/%,$<),--checks=-clang-analyzer-*) $< -- $(LINT_FLAGS) $(call own_flags,$<) 2>$@.log || { cat $@.log >&2; exit 1; }
	@touch $@

# clang-format takes longer to start than to read a file.
build/lint/format: $(FORMAT_SOURCES) .clang-format
	$(call say,FORMAT,"files: $(words $?)")
	@mkdir -p $(@D)
	$(Q)clang-format --dry-run -Werror $(filter %.c %.h,$(if $(filter .clang-format,$?),$^,$?))
	@touch $@

# ---- the rest ----

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 26

clean: ## remove build/ and ./clinfer
	rm -rf build clinfer

-include $(shell find $(BUILD) build/lint -name '*.d' 2>/dev/null)
