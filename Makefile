# Thin: each target says in one line what it does and calls the tool that does it.
# Everything a target needs beyond a Rust toolchain is installed by tests/install-deps.sh, which says so.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help demo demo-local test soak bench bench-gateway bench-arm agent packages reproducible gateway-deb qemu-build qemu-test qemu-targets fmt lint deny clean

CARGO := $(shell command -v cargo 2>/dev/null || echo $(HOME)/.cargo/bin/cargo)
INSTALL := tests/install-deps.sh

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name text; do printf '%-13s %s\n' "$$name" "$$text"; done

demo: ## an emulated ARM camera scanned, closed, scanned again, and watched through a gateway here; a report (KEEP=1; VARIANT=vendor, modern or bare)
	@$(INSTALL) demo qemu
	@qemu/build.sh demo
	@KEEP=$(KEEP) /usr/bin/python3 qemu/demo.py $(VARIANT)

demo-local: ## the same without emulation: GStreamer's RTSP server, agent and gateway here, first packets compared (KEEP=1)
	@$(INSTALL) demo
	$(CARGO) build --locked --workspace
	@KEEP=$(KEEP) tests/demo.sh

test: ## everything that must pass before a change is merged (some 15 minutes on 2 cores, 9 once built)
	@tests/run-all.sh

soak: ## the viewers and the flow accounts again, 60 seconds each
	@$(INSTALL) test
	$(CARGO) build --locked --workspace --all-targets
	LENSCAP_PLAY_SECONDS=60 RUST_TEST_THREADS=4 $(CARGO) test --locked --workspace --test e2e -- play:: flows::

bench: ## Lenscap beside stunnel, OpenSSH, Dropbear and OpenVPN; a table and out/bench/bench.json (root)
	@$(INSTALL) bench
	@tests/bench.sh

bench-gateway: ## 10,000 idle uplinks, 100 watched cameras, how soon all are back; tables, a plot and out/bench/gateway.json (root)
	@$(INSTALL) bench-gateway
	@tests/bench-gateway.sh

bench-arm: ## instructions per byte on ARMv7, beside stunnel, Dropbear and OpenVPN, in an emulated camera; out/bench/arm.json
	@$(INSTALL) qemu
	@qemu/bench.sh

agent: ## the agent for a camera's CPU, into dist/ (TARGET=rust-target, all for every one)
	@$(INSTALL) packages
	@packaging/toolchain/build.sh $(TARGET)

packages: ## .ipk, .apk, tarballs, feed indexes, SBOMs and the gateway's .deb, into dist/ (TARGETS="rust-target ...", all for every one; FULL=1: lenscap-full too)
	@$(INSTALL) packages
	@$(if $(FULL),LENSCAP_FULL=$(FULL)) packaging/packages.sh $(TARGETS)
	@$(MAKE) --no-print-directory gateway-deb

reproducible: ## builds the agent in two folders and compares the programs (TARGETS="rust-target ..."; minutes)
	@$(INSTALL) packages
	@packaging/reproducible.sh $(TARGETS)

gateway-deb: ## the gateway as a Debian package for this machine's kind, into dist/
	@$(INSTALL) packages
	$(CARGO) build --locked --profile server -p lenscap-gateway
	@packaging/gateway/deb.sh target/server/lenscap-gateway

qemu-build: ## what qemu-test boots: packages, the cameras' RTSP server, the gateway
	@$(INSTALL) demo qemu
	@qemu/build.sh

qemu-test: ## emulated ARM cameras: install, boot, upgrade, trouble (VARIANT=name, IMAGE=path for an image of your own)
	@$(INSTALL) demo qemu
	@qemu/run-all.sh "$(IMAGE)" $(VARIANT)

qemu-targets: ## every target: built, run in user-mode emulation against a gateway here, packed, and the packages opened
	@$(INSTALL) demo packages qemu
	$(CARGO) build --locked --workspace --all-targets
	@qemu/targets.sh

fmt: ## formats all Rust code
	$(CARGO) fmt --all

lint: ## format, clippy, shellcheck and Python syntax; every warning is an error
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	git ls-files -z -- '*.sh' '.ci/run' | xargs -0 shellcheck
	git grep -lz '^#!/bin/sh' -- packaging/toolchain qemu/guest openwrt-feed buildroot-ext ':!*.sh' ':!*Makefile' | xargs -0 shellcheck -s dash -e SC1091
	git ls-files -z -- '*.py' | xargs -0 -n1 python3 -c 'import ast, sys; ast.parse(open(sys.argv[1], "rb").read(), sys.argv[1])'

deny: ## licences, bans and sources of all dependencies (installs cargo-deny when it is missing)
	@$(CARGO) deny --version >/dev/null 2>&1 || { echo "installing cargo-deny with cargo, some minutes"; $(CARGO) install --locked cargo-deny; }
	$(CARGO) deny check licenses bans sources

clean: ## removes what was built and measured; keeps .venv
	$(CARGO) clean
	rm -rf out dist
