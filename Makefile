# The front door: `make` lists what there is.

CARGO ?= cargo
.DEFAULT_GOAL := help
.PHONY: help demo setup tools test lint soak

help: ## this list
	@awk -F ': .*## ' '/^[a-z]+: .*## / { printf "make %-6s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## watch three mails get through: no root, no network, no configuration
	@$(CARGO) build --locked --example demo
	@$(CARGO) run --locked --quiet --example demo

# What the tests need besides Rust. Root is for the packages only.
PACKAGES := build-essential iproute2
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo)

setup: ## install what the tests need: packages (as root), cargo-deny, rustfmt, clippy
	@echo "Installing $(PACKAGES), and cargo-deny, rustfmt and clippy where they are missing."
	dpkg -s $(PACKAGES) >/dev/null 2>&1 || { $(AS_ROOT) apt-get update && $(AS_ROOT) apt-get install -y $(PACKAGES); }
	$(CARGO) fmt --version && $(CARGO) clippy --version || rustup component add rustfmt clippy
	$(CARGO) deny --version || $(CARGO) install cargo-deny --locked

test: tools lint ## check and test everything; installs nothing
	$(CARGO) test --locked --all-features
	$(IN_NAMESPACE) $(CARGO) test --locked -p mailport-lab

# The lab makes network namespaces: as root, or as root of a user namespace.
IN_NAMESPACE := $(if $(filter 0,$(shell id -u)),,unshare -Urnm)

# Each line: what is needed, and how it shows that it is there.
tools:
	@missing=; \
	need() { name=$$1; shift; "$$@" >/dev/null 2>&1 || missing="$$missing\n  $$name"; }; \
	need 'rustfmt: rustup component add rustfmt' $(CARGO) fmt --version; \
	need 'clippy: rustup component add clippy' $(CARGO) clippy --version; \
	need 'cargo-deny: cargo install cargo-deny --locked' $(CARGO) deny --version; \
	need 'a C linker: apt-get install build-essential' cc --version; \
	need 'the command ip: apt-get install iproute2' ip -V; \
	need 'network namespaces: run as root, or allow user namespaces' $(IN_NAMESPACE) unshare -n true; \
	need 'the device /dev/net/tun, readable and writable: modprobe tun' test -r /dev/net/tun -a -w /dev/net/tun; \
	test -z "$$missing" || { printf "make test needs:$$missing\nmake setup installs what can be installed.\n"; exit 1; }

# Clippy keeps the clock, sockets and threads out of the pure rooms (clippy.toml); these it cannot tell.
IMPURE := std::(fs|io|thread|process|env|os)\b|crate::(driver|blocking|join)|libc::|socket2|mio::

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets --all-features -- -D warnings
	$(CARGO) clippy --locked --lib --no-default-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --all-features
	$(CARGO) deny --locked --offline check licenses bans sources
	@! grep -rnE '$(IMPURE)' src/machine | grep -vE '^[^:]*:[0-9]+: *//' || { echo 'src/machine must stay pure'; exit 1; }

soak: ## the tests at length: ten thousand dials, many more random worlds
	MAILPORT_SOAK_DIALS=10000 PROPTEST_CASES=20000 $(CARGO) test --locked --release --all-features
