# `make` lists the targets.

CARGO ?= cargo
.DEFAULT_GOAL := help
PYTHON := env CARGO=$(CARGO) /usr/bin/python3 bindings/python/make.py
.PHONY: help demo emacs lib install uninstall header python setup tools readers test test-peers test-readers readers-table \
	lint soak freeze bench bench-c bench-relay bench-run bench-setup

help: ## this list
	@awk -F ': .*## ' '/^[a-z-]+: .*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## watch three mails get through: no root, no network, no configuration
	@$(CARGO) build --locked -p mailport-demo
	@$(CARGO) run --locked --quiet -p mailport-demo

# Where cargo builds, and the C library there.
TARGET := $(or $(CARGO_TARGET_DIR),target)
C_LIBRARY := $(TARGET)/c
COMMAND := $(TARGET)/$(if $(CARGO_BUILD_TARGET),$(CARGO_BUILD_TARGET)/)release/mailport
PREFIX ?= /usr/local
export CARGO PREFIX DESTDIR BINDIR LIBDIR INCLUDEDIR DATADIR MANDIR

lib: ## the C library, in target/c
	ffi/link.sh $(C_LIBRARY)

install: lib ## the C library and the command: PREFIX=/usr/local DESTDIR= LIBDIR= ...
	$(CARGO) build --locked --release -p mailport-cli
	ffi/install.sh install $(C_LIBRARY) $(COMMAND)

uninstall: ## remove what make install, with the same PREFIX, has installed
	ffi/install.sh uninstall $(C_LIBRARY) $(COMMAND)

header: ## write include/mailport.h anew, after a change of the C library
	MAILPORT_REWRITE=1 $(CARGO) test --locked --quiet -p mailport-ffi the_header_is_what_the_source_says

python: ## build the Python wheel, into target/python/wheels, and install it for the tests
	@$(PYTHON) install

EMACS ?= emacs
BATCH = $(EMACS) --batch -Q -L bindings/emacs --eval "(setq load-prefer-newer t backtrace-on-error-noninteractive nil)"
ELISP := $(sort $(wildcard bindings/emacs/mailport*.el))
ERT := $(sort $(wildcard bindings/emacs/test/mailport-*.el))
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
PACKAGE := mailport-$(VERSION)

emacs: emacs-module emacs-package ## build mailport-mode and its package, in bindings/emacs

.PHONY: emacs-module emacs-package
emacs-module:
	$(CARGO) build --locked --release -p mailport-emacs
	cp $(TARGET)/release/libmailport_module.so bindings/emacs/mailport-module.so.new
	mv bindings/emacs/mailport-module.so.new bindings/emacs/mailport-module.so

emacs-package:
	$(BATCH) --eval "(setq byte-compile-error-on-warn t)" -f batch-byte-compile $(ELISP)
	rm -rf $(TARGET)/$(PACKAGE) && mkdir -p $(TARGET)/$(PACKAGE)
	cp $(ELISP) bindings/emacs/mailport-module.so bindings/emacs/README.md LICENSE-* $(TARGET)/$(PACKAGE)
	echo ';; Generated package description  -*- no-byte-compile: t; lexical-binding: t -*-' > $(TARGET)/$(PACKAGE)/mailport-pkg.el
	printf '(define-package "mailport" "%s" "Connect to mail servers without freezing" %s :keywords %s :url "%s")\n' \
	  $(VERSION) "'((emacs \"28.1\"))" "'(\"mail\" \"comm\")" \
	  "$$(sed -n 's/^;; URL: //p' bindings/emacs/mailport.el)" >> $(TARGET)/$(PACKAGE)/mailport-pkg.el
	tar -C $(TARGET) --sort=name --owner=0 --group=0 --numeric-owner $(if $(SOURCE_DATE_EPOCH),--mtime=@$(SOURCE_DATE_EPOCH)) \
	  -cf bindings/emacs/$(PACKAGE).tar $(PACKAGE)

# What the tests need in addition to Rust. Root is for the packages only.
# The tests of Debian's CPython, whose package has its version in the name.
PYTHON_TESTS := libpython$(or $(shell /usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null),3.11)-testsuite
PACKAGES := build-essential pkg-config mandoc iproute2 uidmap openssl swaks libnet-ssleay-perl \
  libio-socket-inet6-perl netcat-openbsd msmtp mutt nftables curl \
  node-nodemailer node-socks libphp-phpmailer php-cli s-nail golang-go python3-aiosmtplib libio-socket-ssl-perl \
  git git-email python3-venv $(PYTHON_TESTS) emacs-nox mew elpa-package-lint tmux debootstrap gnutls-bin \
  mu4e notmuch elpa-notmuch elpa-async \
  autoconf automake meson libssl-dev libgnutls28-dev esmtp \
  libglib2.0-dev libevent-dev libuv1-dev libsystemd-dev valgrind abigail-tools strace proxychains4
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo)
APT := $(AS_ROOT) env DEBIAN_FRONTEND=noninteractive apt-get

# Debian's mail servers conflict with one another and with the one that this machine may have. So
# these packages are unpacked, not installed; only what they depend on is. For those of
# LIBRARIES_ONLY that means only libraries: what else they depend on would start a service here.
SERVERS := postfix opensmtpd exim4-daemon-light dovecot-core dovecot-submissiond
TUNNELS := openssh-server openssh-client microsocks stunnel4
PROXIES := haproxy nginx libnginx-mod-stream rinetd simpleproxy socat
LIBRARIES_ONLY := $(TUNNELS) $(PROXIES) exim4-daemon-light dovecot-core dovecot-submissiond
LIBRARIES := | tr , '\n' | grep -E '^ *(lib|zlib)' | paste -sd,

target/servers/%:
	mkdir -p target/servers && rm -rf $@.new target/servers/$*_*.deb
	$(APT) update
	cd target/servers && apt-get download $* && dpkg -x $*_*.deb $*.new
	$(APT) satisfy -y --no-install-recommends \
		"$$(dpkg-deb -f target/servers/$*_*.deb Depends $(if $(filter $*,$(LIBRARIES_ONLY)),$(LIBRARIES)))"
	rm target/servers/$*_*.deb && mv $@.new $@

setup: ## install what the tests need: packages (as root), PyPI's, cargo-deny, cargo-hack, rustfmt, clippy
	@echo "Installing $(PACKAGES), and cargo-deny, cargo-hack, rustfmt and clippy where they are missing."
	@echo "Unpacking $(SERVERS) $(TUNNELS) in target/servers, and installing the libraries that they need."
	@echo "Installing bindings/python/requirements.txt in target/python, for each CPython from 3.10 on."
	@echo "Downloading the sources of mail programs from Debian into target/readers."
	dpkg -s $(PACKAGES) >/dev/null 2>&1 || { $(APT) update && $(APT) install -y --no-install-recommends $(PACKAGES); }
	$(MAKE) --no-print-directory $(patsubst %,target/servers/%,$(SERVERS) $(TUNNELS))
	examples/patches/fetch.sh target/readers
	$(CARGO) fetch --locked && $(CARGO) fetch --locked --manifest-path fuzz/Cargo.toml
	$(CARGO) fetch --locked --manifest-path examples/async/Cargo.toml
	$(CARGO) fmt --version && $(CARGO) clippy --version || rustup component add rustfmt clippy
	$(CARGO) deny --version || $(CARGO) install cargo-deny --locked
	$(CARGO) hack --version || $(CARGO) install cargo-hack --locked
	$(PYTHON) setup

# The mail programs of examples/patches, without and with their patches; downloads nothing.
readers: lib
	examples/patches/build.sh target/readers $(C_LIBRARY)

test: tools lint readers ## check and test everything; installs nothing
	$(CARGO) test --locked --all-features
	$(CARGO) test --locked -p mailport-ffi
	$(CARGO) test --locked -p mailport-demo
	$(CARGO) test --locked --manifest-path examples/async/Cargo.toml --target-dir target/async
	tests/packages/man.sh $(C_LIBRARY) $(TARGET)/debug/mailport
	$(MAKE) --no-print-directory emacs
	$(CARGO) test --locked -p mailport-emacs
	$(BATCH) -l bindings/emacs/test/lint.el bindings/emacs/mailport.el $(filter-out %/mailport.el,$(ELISP))
	XDG_CACHE_HOME=$(abspath $(TARGET))/emacs $(BATCH) --module-assertions -L bindings/emacs/test $(ERT:%=-l %) -f ert-run-tests-batch-and-exit
	$(PYTHON) test
	$(IN_NAMESPACE) $(CARGO) test --locked -p mailport-lab

test-peers: test-peers-emacs ## the test suites of smtplib, aiosmtplib and Emacs, with mailport in them
	@$(PYTHON) peers

test-readers: tools readers ## of the tests, only those of mail programs that connect by the C library
	$(IN_NAMESPACE) $(CARGO) test --locked -p mailport-lab --test readers

readers-table: tools readers ## what README's table of mail programs is made from, in five minutes
	$(IN_NAMESPACE) $(CARGO) test --locked -p mailport-lab --test readers -- --ignored --nocapture

.PHONY: test-desktop test-desktop-emacs test-desktop-relay test-peers-emacs
test-desktop: test-desktop-emacs test-desktop-relay ## programs with windows: Emacs 30, Thunderbird, Claws Mail, Evolution; after make setup, as root

test-desktop-emacs: emacs
	bindings/emacs/desktop/chroot.sh target/desktop/trixie
	bindings/emacs/desktop/run.sh target/desktop/trixie
	MAILPORT_EMACS="$(CURDIR)/bindings/emacs/desktop/emacs.sh $(CURDIR)/target/desktop/trixie" \
	  $(CARGO) test --locked -p mailport-emacs --test terminal

test-desktop-relay:
	tests/lab/tests/relay/desktop/chroot.sh target/desktop/mail
	$(CARGO) test --locked -p mailport-lab --features desktop --test relay --test run -- desktop:: --nocapture

test-peers-emacs: emacs
	EMACS=$(EMACS) bindings/emacs/test/peers.sh target/peers

# The lab makes network namespaces, and its mail servers run as several users: as root, or as root
# of a user namespace that has others.
IN_NAMESPACE := $(if $(filter 0,$(shell id -u)),,unshare -Urnm --map-auto)

# Each line: what is needed, and how it shows that it is there.
tools:
	@missing=; \
	need() { name=$$1; shift; "$$@" >/dev/null 2>&1 || missing="$$missing\n  $$name"; }; \
	need 'rustfmt: rustup component add rustfmt' $(CARGO) fmt --version; \
	need 'clippy: rustup component add clippy' $(CARGO) clippy --version; \
	need 'cargo-deny: cargo install cargo-deny --locked' $(CARGO) deny --version; \
	need 'cargo-hack: cargo install cargo-hack --locked' $(CARGO) hack --version; \
	need 'a C linker: apt-get install build-essential' cc --version; \
	need 'a C++ compiler: apt-get install build-essential' c++ --version; \
	need 'pkg-config: apt-get install pkg-config' pkg-config --version; \
	for package in glib-2.0/libglib2.0-dev libevent_core/libevent-dev libuv/libuv1-dev libsystemd/libsystemd-dev openssl/libssl-dev; do \
		need "the library $${package%/*}: apt-get install $${package#*/}" pkg-config --exists "$${package%/*}"; \
	done; \
	need 'valgrind: apt-get install valgrind' valgrind --version; \
	need 'abidiff: apt-get install abigail-tools' abidiff --version; \
	need 'strace: apt-get install strace' strace --version; \
	need 'proxychains: apt-get install proxychains4' sh -c 'command -v proxychains4'; \
	need 'mandoc: apt-get install mandoc' sh -c 'mandoc /dev/null'; \
	need 'the command ip: apt-get install iproute2' ip -V; \
	need 'network namespaces: run as root, or allow user namespaces, install uidmap and have a line in /etc/subuid' $(IN_NAMESPACE) unshare -n true; \
	need 'the device /dev/net/tun, readable and writable: modprobe tun' test -r /dev/net/tun -a -w /dev/net/tun; \
	need 'the command openssl: apt-get install openssl' openssl version; \
	need 'swaks with TLS: apt-get install swaks libnet-ssleay-perl' sh -c 'swaks --version && perl -MNet::SSLeay -e 1'; \
	need 'swaks over IPv6: apt-get install libio-socket-inet6-perl' perl -MIO::Socket::INET6 -e 1; \
	need 'netcat with SOCKS: apt-get install netcat-openbsd' sh -c 'nc -h 2>&1 | grep -q proxy_protocol'; \
	need 'msmtp: apt-get install msmtp' msmtp --version; \
	need 'the command nft: apt-get install nftables' nft --version; \
	need 'the command curl: apt-get install curl' curl --version; \
	need 'Nodemailer: apt-get install node-nodemailer node-socks' test -d /usr/share/nodejs/nodemailer -a -d /usr/share/nodejs/socks; \
	need 'PHPMailer: apt-get install libphp-phpmailer php-cli' sh -c 'php --version && test -d /usr/share/php/libphp-phpmailer'; \
	need 's-nail: apt-get install s-nail' s-nail --version; \
	need 'mutt: apt-get install mutt' mutt -v; \
	need 'git send-email with TLS: apt-get install git git-email libio-socket-ssl-perl' sh -c 'test -x "$$(git --exec-path)/git-send-email" && perl -MIO::Socket::SSL -e 1'; \
	need 'Go: apt-get install golang-go' go version; \
	need 'aiosmtplib: apt-get install python3-aiosmtplib' /usr/bin/python3 -c 'import aiosmtplib'; \
	need 'Emacs 28 with modules and native compilation: apt-get install emacs-nox' $(EMACS) --batch -Q --eval '(or (and module-file-suffix (fboundp (quote native-comp-available-p)) (native-comp-available-p)) (kill-emacs 1))'; \
	need 'package-lint: apt-get install elpa-package-lint' sh -c 'ls /usr/share/emacs/site-lisp/elpa/package-lint-*/package-lint.el'; \
	need 'mu4e, notmuch and async: apt-get install mu4e notmuch elpa-notmuch elpa-async' sh -c 'mu --version && notmuch --version && ls /usr/share/emacs/site-lisp/elpa/async-*/async.el /usr/share/emacs/site-lisp/elpa/mu4e-*/mu4e.el /usr/share/emacs/site-lisp/elpa/notmuch-*/notmuch.el'; \
	need 'Mew: apt-get install mew' test -d /usr/share/emacs/site-lisp/mew; \
	need 'tmux: apt-get install tmux' tmux -V; \
	need 'autoreconf and automake: apt-get install autoconf automake' sh -c 'autoreconf --version && automake --version'; \
	need 'meson: apt-get install meson' sh -c 'meson --version && ninja --version'; \
	need 'the headers of OpenSSL and GnuTLS: apt-get install libssl-dev libgnutls28-dev' pkg-config --exists openssl gnutls; \
	need 'esmtp: apt-get install esmtp' test -x /usr/bin/esmtp; \
	need 'the sources of mail programs: make setup' examples/patches/fetch.sh --check target/readers; \
	need 'Postfix, unpacked with its libraries there: make setup' env LD_LIBRARY_PATH=target/servers/postfix/usr/lib/postfix target/servers/postfix/usr/sbin/postconf -d mail_version; \
	need 'OpenSMTPD, unpacked with its libraries there: make setup' sh -c 'target/servers/opensmtpd/usr/sbin/smtpd -h 2>&1 | grep -q ^version'; \
	need 'Exim, unpacked with its libraries there: make setup' sh -c 'target/servers/exim4-daemon-light/usr/sbin/exim4 -bV 2>&1 | grep -qi ^exim'; \
	need 'Dovecot, unpacked with its libraries there: make setup' sh -c 'LD_LIBRARY_PATH=target/servers/dovecot-core/usr/lib/dovecot target/servers/dovecot-core/usr/sbin/dovecot --version && test -x target/servers/dovecot-submissiond/usr/lib/dovecot/submission-login'; \
	need 'OpenSSH, unpacked with its libraries there: make setup' sh -c 'target/servers/openssh-client/usr/bin/ssh -V && target/servers/openssh-server/usr/sbin/sshd -V'; \
	need 'microsocks, unpacked: make setup' sh -c 'target/servers/microsocks/usr/bin/microsocks -h 2>&1 | grep -qi socks5'; \
	need 'stunnel, unpacked with its libraries there: make setup' target/servers/stunnel4/usr/bin/stunnel4 -version; \
	need 'the packages of PyPI, for each CPython from 3.10 on: make setup' $(PYTHON) check; \
	test -z "$$missing" || { printf "make test needs:$$missing\nmake setup installs what can be installed.\n"; exit 1; }


lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets --all-features -- -D warnings
	@# cargo-hack names no package; in the root that means every default member, whose features add up.
	commands=$$($(CARGO) hack clippy --locked -p mailport --lib --each-feature --print-command-list -- -D warnings) && \
	  test -n "$$commands" && echo "$$commands" | sed 's/ --lib / -p mailport --lib /' | sh -ex
	$(CARGO) clippy --locked --manifest-path examples/async/Cargo.toml --target-dir target/async --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --all-features
	$(CARGO) check --locked --quiet --manifest-path fuzz/Cargo.toml --target-dir target/fuzz
	$(CARGO) deny --workspace --locked --offline check licenses bans sources

RELEASED := $(shell sed -n 's/^version = "\([0-9]*\.[0-9]*\).*/\1/p' Cargo.toml | head -1)

soak: ## the tests at length: ten thousand dials, many more random worlds, each CPython
	MAILPORT_SOAK_DIALS=10000 MAILPORT_SOAK_SESSIONS=10000 MAILPORT_SOAK_PROCESSES=200 PROPTEST_CASES=20000 $(CARGO) test --locked --release --all-features
	MAILPORT_SOAK_DIALS=10000 $(CARGO) test --locked -p mailport-ffi calls_without_sense
	MAILPORT_EVERY_PYTHON=full $(PYTHON) test

.PHONY: vendor dist test-packages test-environments test-yama
vendor: ## put the crates that everything is built from in vendor/, for a build without a network
	$(CARGO) vendor --locked vendor >/dev/null

dist: ## every file of a release, in target/dist; on a clean clone, as root (for a chroot); downloads zig and more
	tests/packages/dist.sh

test-packages: ## build and test where it will be used: crates, make dist, i386, arm64; on a clean clone, as root
	tests/packages/crates.sh
	tests/packages/dist.sh
	tests/packages/sums.sh
	tests/packages/i386.sh
	tests/packages/arm64.sh

test-environments: ## cargo test without root, IPv6, /proc, a loopback, ...; as root
	tests/packages/environments.sh

test-yama: ## mailport run on a kernel with Yama, in an emulated machine; downloads, as root
	$(CARGO) build --locked -p mailport-cli
	tests/packages/yama.sh $(TARGET)/debug/mailport

freeze: ## at a release: keep today's C interface in tests/abi, which later ones are held to
	@mkdir tests/abi/$(RELEASED) || { echo "tests/abi/$(RELEASED) is frozen already" >&2; exit 1; }
	cp include/mailport.h ffi/symbols.txt $(wildcard tests/abi/0.1/program.c) tests/abi/$(RELEASED)

bench: ## mailport beside other clients, some minutes long: ARGS="--quick --json FILE"
	$(CARGO) build --locked --release -p mailport-cli
	$(PYTHON) install
	$(IN_NAMESPACE) $(CARGO) bench --locked -p mailport-lab --bench peers -- $(ARGS)

bench-relay: ## the relay beside haproxy, nginx and others, as root: CPU and system calls of a session, ...
	$(CARGO) bench --locked -p mailport-cli --bench relay

bench-run: ## mailport run: a connect to another port, other system calls, a session; half a minute
	$(CARGO) bench --locked -p mailport-cli --bench run

bench-c: lib ## the C library beside libcurl and GLib: a connect, cache, size, time to load
	benches/c/run.sh $(C_LIBRARY)

# The other clients. Those in Python run in the environment of the Python package's tests.
PEERS := build-essential iproute2 strace pkg-config libcurl4-openssl-dev libglib2.0-dev golang-go nodejs python3-venv

bench-setup: ## install what make bench needs: packages (as root), and what setup installs from PyPI
	@echo "Installing $(PEERS), and bindings/python/requirements.txt in target/python."
	@echo "Unpacking $(PROXIES) in target/servers, and installing the libraries that they need."
	dpkg -s $(PEERS) >/dev/null 2>&1 || { $(AS_ROOT) apt-get update && $(AS_ROOT) apt-get install -y $(PEERS); }
	$(MAKE) --no-print-directory $(patsubst %,target/servers/%,$(PROXIES))
	$(PYTHON) setup
