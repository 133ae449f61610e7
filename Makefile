# Short names for what one does with Quern. CMake does the work; see docs/building.md for its options.
BUILD = build/release
JOBS ?= $(shell nproc)
FUZZ_SECONDS ?= 600
PREFIX ?= /usr/local
CMAKE_FLAGS ?=
PEERS_FLAGS ?=
RUN_TESTS = ctest --output-on-failure --parallel $(JOBS)
MAKEFLAGS += --no-print-directory

.PHONY: all setup test demo bench bench-peers bench-plots parity asan tsan fuzz format install clean help

all: ## build the library and the command in build/release
	@scripts/setup.sh
	@mkdir -p $(BUILD)
	@cmake --preset release $(CMAKE_FLAGS) >$(BUILD)/configure.log 2>&1 || { cat $(BUILD)/configure.log; exit 1; }
	@cmake --build $(BUILD) --parallel $(JOBS)

setup: ## install the packages that are missing
	@scripts/setup.sh

test: all ## set up, build and run all tests
	@cd $(BUILD) && $(RUN_TESTS)

demo: all ## from raw text to a searchable encoder in six minutes
	@scripts/demo.sh

bench: all ## measure Quern, print the figures, check how time and memory grow
	@cmake --build $(BUILD) --target bench --parallel $(JOBS)
	@bench/run.sh $(BUILD)

bench-peers: all ## Quern beside its peers, in turns (installed into .venv; PEERS_FLAGS for bench/peers.py)
	@cmake --build $(BUILD) --target bench --parallel $(JOBS)
	@bench/peers.sh $(BUILD) $(PEERS_FLAGS)

bench-plots: all ## charts and table of docs/performance.md from the last bench-peers
	@cmake --build $(BUILD) --target bench_plots --parallel $(JOBS)
	@mkdir -p docs/performance && cp build/peers/peers.json docs/performance/figures.json
	@$(BUILD)/bench_plots docs/performance/figures.json docs/performance docs/performance.md

parity: all ## compare with PyTorch and transformers (installed into .venv)
	@test -x .venv/bin/python || python3 -m venv .venv
	@.venv/bin/pip install --quiet --requirement scripts/parity-requirements.txt
	@scripts/parity.sh

asan: setup ## the tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@cmake --preset asan $(CMAKE_FLAGS)
	@cmake --build --preset asan --parallel $(JOBS)
	@cd build/asan && $(RUN_TESTS)

tsan: setup ## the tests under ThreadSanitizer
	@scripts/setup.sh clang
	@cmake --preset tsan $(CMAKE_FLAGS)
	@cmake --build --preset tsan --parallel $(JOBS)
	@cd build/tsan && $(RUN_TESTS)

fuzz: ## each fuzz target for FUZZ_SECONDS (default 600)
	@scripts/setup.sh clang
	@cmake --preset fuzz $(CMAKE_FLAGS)
	@cmake --build --preset fuzz --parallel $(JOBS)
	@scripts/fuzz.sh build/fuzz $(FUZZ_SECONDS) $(JOBS)

format: ## clang-format every source file
	@git ls-files '*.c' '*.h' | xargs clang-format -i

install: all ## install under PREFIX (default /usr/local)
	@cmake --install $(BUILD) --prefix $(PREFIX)

clean: ## remove the build folders
	rm -rf build

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' Makefile
