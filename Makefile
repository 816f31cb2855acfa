# make          installs what the build needs and makes .build/release/precast
# make demo     the same, and shows the main job on a real program: compile, look, load, run
# make test     the same with what the tests need, then every test (FILTER=Name: those whose name holds that), and those of the
#               runtime once more with code for AArch64
# make differential  random modules natively, on emulated AArch64 and in a peer: COUNT from SEED on, of each of two generators
# make lint     the formatter's rules, none broken
# make bench    the figures of Docs/, beside a peer's where one is installed
# make asan     the tests under address sanitizer
# make golden   writes the golden files of the tests, and the bytes in Docs/Format.md, anew, for a look at the difference
# make fuzz     reads broken artifacts for SECONDS (60), from SEED (1) on
# make demo-wasm  builds the demo's wasm and its expected output anew
# make test-wasm  builds the small modules of TestData/Command and TestData/Load anew
# make debug-wasm  builds the guests of TestData/Debug, which have DWARF, anew
# make kernels-wasm  builds the kernels of TestData/Kernels and their expected outputs anew
# make suite    the kernels and two large programs, beside a peer and a native build
#
# Everything that is made, fetched or installed goes into .build/ (and TestData/Corpus/), but for Debian's packages.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build
.PHONY: build demo test differential lint bench asan golden fuzz demo-wasm test-wasm debug-wasm kernels-wasm suite corpus setup-build setup-test

WITH := .ci/with-tools
# Libraries that .ci/setup had to unpack beside the system's are found at run time as well. (Looked up when a recipe starts,
# after the set-up.)
LOCAL = $(shell [ ! -d .build/tools/root ] || echo $(CURDIR)/.build/tools/root/usr/lib/$$(uname -m)-linux-gnu)
RPATH = $(if $(LOCAL),-Xlinker -rpath -Xlinker $(LOCAL))

# The command carries the Swift runtime in it: it starts in half the time, and needs no toolchain where it runs.
RELEASE = swift build -c release --static-swift-stdlib -Xlinker --strip-debug $(RPATH)
# The tests are optimised too: the specification's suite and whole compilers run in them. Their build is apart, so that
# neither build undoes the other's work.
TESTS = -c release --scratch-path .build/tests --disable-xctest $(RPATH)

build: setup-build
	@$(WITH) $(RELEASE) --product precast

demo: build
	@.ci/setup demo
	@$(WITH) .ci/demo

test: setup-test corpus
	@$(WITH) swift test $(TESTS) $(if $(FILTER),--filter $(FILTER))
	@[ -n "$(FILTER)" ] || PRECAST_TEST_MACHINE=aarch64 $(WITH) swift test $(TESTS) --filter RuntimeTests

differential: setup-test
	@PRECAST_DIFFERENTIAL_COUNT=$(or $(COUNT),5000) PRECAST_DIFFERENTIAL_SEED=$(or $(SEED),1000) \
	  $(WITH) swift test $(TESTS) --filter DifferentialTests

lint:
	@swift format lint --strict --parallel --recursive Package.swift Sources Tests
	@echo "lint: clean"

bench: setup-test corpus
	@$(WITH) $(RELEASE) --product precast
	@$(WITH) $(RELEASE) --product precast-bench
	@$(WITH) .build/release/precast-bench

suite: setup-test corpus
	@$(WITH) $(RELEASE) --product precast
	@$(WITH) $(RELEASE) --product precast-bench
	@$(WITH) .build/release/precast-bench suite

# Compiled wasm has its own signal handlers, and jumps over nothing of the sanitizer's; what it does to memory is not watched.
asan: setup-test
	@ASAN_OPTIONS=handle_segv=0:handle_sigbus=0:handle_sigill=0:handle_sigfpe=0:allow_user_segv_handler=1:use_sigaltstack=0:detect_leaks=0 \
	  $(WITH) swift test --sanitize=address --scratch-path .build/asan --disable-xctest

golden: setup-test
	@PRECAST_UPDATE_GOLDEN=1 $(WITH) swift test $(TESTS) --filter Golden || true
	@PRECAST_UPDATE_GOLDEN=1 $(WITH) swift test $(TESTS) --filter 'FormatDocumentTests|UnwindTableTests' || true
	@git status --short TestData Docs

fuzz: setup-test
	@PRECAST_FUZZ_SECONDS=$(or $(SECONDS),60) PRECAST_FUZZ_SEED=$(or $(SEED),1) $(WITH) swift test $(TESTS) --filter ArtifactFuzzTests

# The program that the demo runs. Needs clang 19 and wasi-libc; the expected output comes from a peer.
demo-wasm: setup-test
	clang-19 --target=wasm32-wasi -O2 -Wall -Wextra -Wl,--strip-debug -o TestData/demo/tracer.wasm TestData/demo/tracer.c
	chmod 644 TestData/demo/tracer.wasm
	mkdir -p .build/demo
	$(WITH) wasmtime run --dir TestData/demo::/scene --dir .build/demo::/out TestData/demo/tracer.wasm \
	  /scene/scene.txt -o /out/expected.png > TestData/demo/expected.txt
	mv .build/demo/expected.png TestData/demo/expected.png

# The modules that the tests of the command use, and what loading is measured with.
test-wasm: setup-test
	clang-19 --target=wasm32-wasi -Os -Wall -Wextra -Wl,--strip-debug -o TestData/Command/guest.wasm TestData/Command/guest.c
	chmod 644 TestData/Command/guest.wasm
	clang-19 --target=wasm32-wasi -O2 -Wall -Wextra -Wl,--strip-debug -o TestData/Load/hello.wasm TestData/Load/hello.c
	chmod 644 TestData/Load/hello.wasm
	for text in TestData/Command/*.wat TestData/Load/*.wat TestData/Unwind/*.wat; do $(WITH) wasm-tools parse $$text -o $${text%.wat}.wasm; done

# Guests with DWARF, for backtraces and debuggers. Their sources are found under a name that is the same everywhere.
DEBUG_FLAGS := --target=wasm32 -g -nostdlib -fdebug-compilation-dir=/guest -mbulk-memory -mnontrapping-fptoint -Wall -Wextra \
  -Wno-infinite-recursion -Wno-int-to-pointer-cast -Wl,--no-entry -Wl,-z,stack-size=4194304
debug-wasm: setup-test
	cd TestData/Debug; for level in 0 2; do clang-19 $(DEBUG_FLAGS) -O$$level -o traps-O$$level.wasm traps.c; \
	  clang-19 $(DEBUG_FLAGS) -mreference-types -O$$level -o tables-O$$level.wasm tables.c; done
	cd TestData/Debug; clang-19 $(DEBUG_FLAGS) -O1 -o shop.wasm shop.cpp
	chmod 644 TestData/Debug/*.wasm

# The kernels of the benchmark suite. Neither side may fuse a multiplication with an addition, or the results would differ by
# architecture. Needs clang 19 and wasi-libc; the expected outputs come from the native build.
KERNEL_FLAGS := -O2 -ffp-contract=off -fno-math-errno -Wall -Wextra
kernels-wasm: setup-test
	mkdir -p .build/kernels
	for source in TestData/Kernels/*.c; do \
	  name=$$(basename $$source .c); \
	  clang-19 --target=wasm32-wasi $(KERNEL_FLAGS) -Wl,--strip-debug -o TestData/Kernels/$$name.wasm $$source; \
	  chmod 644 TestData/Kernels/$$name.wasm; \
	  clang-19 $(KERNEL_FLAGS) -o .build/kernels/$$name $$source; \
	  .build/kernels/$$name small; .build/kernels/$$name; \
	done > TestData/Kernels/expected.txt

setup-build:
	@.ci/setup build

setup-test:
	@.ci/setup test

corpus: setup-test
	@if [ -x Tests/Tools/fetch-corpus ]; then $(WITH) Tests/Tools/fetch-corpus; fi
