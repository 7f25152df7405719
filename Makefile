# What people type. Everything that `make test` and `make demo` need and the machine lacks is set up first;
# a second run does no set-up work. All targets work as root and as a normal user.

TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
DEV := $(TARGET)/debug/tradewind

RELEASE := $(TARGET)/release
# What cargo built of the registry's crates is kept outside the clone; a clean clone on this machine takes it from there.
DEPENDENCIES := scripts/dependency-cache

.PHONY: help setup build demo tour test test-quick bench fuzz chaos planted up bank engines fmt lint

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

setup: ## install what is missing (root), or name it
	@scripts/setup

build: setup ## build the release binary
	@$(DEPENDENCIES) restore
	cargo build --release --locked --package tradewind
	@$(DEPENDENCIES) save

demo: build ## orders to each kind of end, on a platform of its own
	scripts/demo

tour: build ## type every command of the README's tour, at full speed
	scripts/tour

test: setup ## unit, property, integration and end-to-end tests on private engines; TEST_THREADS=n
	scripts/test

test-quick: setup ## what needs no engines: for while you work
	scripts/test --quick

fuzz: setup ## send both doors what their OpenAPI documents allow and forbid; SEED=n
	cargo build --locked --package tradewind
	SEED=$(SEED) TRADEWIND_BIN=$(DEV) scripts/fuzz-api

SEED ?= 1
MINUTES ?= 10
chaos: setup ## break a platform under load and check that no promise breaks; SEED=n MINUTES=m
	cargo build --locked --package tradewind --package e2e --bins
	@mkdir -p .tradewind/kafka-home
	TRADEWIND_BIN=$(DEV) TRADEWIND_KAFKA_HOME=$(CURDIR)/.tradewind/kafka-home \
		$(TARGET)/debug/chaos --seed $(SEED) --minutes $(MINUTES) --out $(TARGET)/chaos

planted: setup ## plant each known bug, and print what found it and when
	cargo build --locked --package tradewind
	rm -f $(TARGET)/planted.tsv
	TRADEWIND_BIN=$(DEV) TRADEWIND_PLANTED_REPORT=$(TARGET)/planted.tsv $(DEV) engines run -- cargo test --workspace --test planted --locked
	@sort $(TARGET)/planted.tsv | awk -F '\t' '{ printf "| `%s` | %s | %.1f s |\n", $$1, $$2, $$3 / 1000 }'

bench: setup ## every figure beside its ceiling, on durable engines; PART="append relay" for some
	cargo build --release --locked --package bench --package tradewind
	TRADEWIND_BIN=$(RELEASE)/tradewind $(RELEASE)/tradewind engines run --durable -- $(RELEASE)/bench run $(PART) $(BENCH_OPTIONS)

up: build ## start everything; Ctrl-C stops it
	bin/tradewind up

bank: setup ## examples/bank, another domain on the same machinery, at http://127.0.0.1:8090; Ctrl-C ends it
	cargo build --locked --package tradewind --package bank
	$(DEV) engines run -- $(TARGET)/debug/bank

engines: setup ## private PostgreSQL and Kafka to test against; prints two exports; Ctrl-C ends them
	cargo build --locked --package tradewind
	$(DEV) engines run -- sh -c 'printf "export DATABASE_URL=%s\nexport KAFKA_BROKERS=%s\n" "$$DATABASE_URL" "$$KAFKA_BROKERS"; exec sleep infinity'

fmt: ## format the code
	cargo fmt --all

lint: setup ## what CI asks for besides the tests
	cargo fmt --all --check
	@$(DEPENDENCIES) restore
	cargo clippy --workspace --all-targets --locked -- --deny warnings
	@$(DEPENDENCIES) save
	scripts/check-arrows
	scripts/check-dependencies
	@if docker compose version >/dev/null 2>&1; then docker compose config --quiet; fi
