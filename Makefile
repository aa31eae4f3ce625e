# make demo: install what is needed by apt, build, and show a container. make test: everything that CI does.
# make help has the others. The interpreter is the distribution's, whatever comes first on PATH.

PREFIX = /usr/local
DESTDIR =
PYTHON = /usr/bin/python3
CC = cc
VENV = .venv
BENCH_ARGS =
SOAK_ARGS =
CONFORMANCE_ARGS =
BATS_ARGS =
SANITIZE_ARGS =
ARM64_ARGS =
# Folders of tests/ that `make test` leaves out, with the packages that only they need.
WITHOUT =
# What is quick comes first, the virtual machine last.
FIRST = tests/unit tests/lifecycle tests/security
ALL = $(FIRST) $(filter-out $(FIRST) tests/vm,$(patsubst %/,%,$(sort $(dir $(wildcard tests/*/test_*.py))))) $(wildcard tests/vm)
TESTS = $(filter-out $(addprefix tests/,$(WITHOUT)),$(ALL))
# A part of them again, of the program that starts from no image.
ORDINARY = $(if $(filter file,$(origin TESTS)),$(addprefix tests/lifecycle/,launcher/test_launcher.py commands/test_run.py commands/test_exec.py))
PYTEST_ARGS =
RUNC = $(HOME)/go/bin/runc
# Of the virtual machine: bookworm or trixie.
RELEASE = bookworm

# Versions of the development tools.
MYPY = 2.4.1
RUFF = 0.17.6
IMPORT_LINTER = 2.17
CLANG_FORMAT = 19.1.7
HYPOTHESIS = 6.170.17
PYTEST = 9.2.0

# What the tests and benches find the runtime by: what was built here, not what is installed.
export PYRUNC ?= $(CURDIR)/build/pyrunc
export RUNC
export PYTHONDONTWRITEBYTECODE =

.PHONY: all help build deb demo install uninstall check told test test-hosts test-vm test-arm64 lint fmt types unit sanitize conformance conformance-vm manual errors bench soak clean packages venv peers
.NOTPARALLEL:

# A line a step; make V=1 shows the commands.
Q = $(if $(V),,@)
NATIVE = $(MAKE) $(if $(V),,-s --no-print-directory) -C native PYTHON=$(PYTHON) CC="$(CC)"

all: build

help: # this list
	@echo "make [TARGET] [PREFIX=/usr/local] [DESTDIR=] [PYTHON=/usr/bin/python3] [CC=cc] [V=1]"; echo; \
	sed -n 's/^\([a-z0-9-]*\):.* # \(.*\)/  \1|\2/p' Makefile | awk -F'|' '{printf "%-16s %s\n", $$1, $$2}'; echo; \
	echo "TESTS=tests/lifecycle and PYTEST_ARGS=\"-k mounts -x\" choose for make test, WITHOUT=\"engines vm\" leaves out; make alone builds."

# ---- building and installing ----

# build/pyrunc runs what is in this folder. The pair that is installed has its places built in, so it is another one.
build: packages pyrunc/config/_check.py # the default: build/pyrunc, which runs what is in this folder
	@$(PYTHON) tools/preflight.py "$(CC)" build/host || { [ $$? = 3 ] && $(NATIVE) clean; }
	@$(NATIVE)

# All in one call of apt. Who is not root is told what is missing, and goes on without: pytest says which tests it skips.
PACKAGES = build run
demo: PACKAGES = build run demo
bench: PACKAGES = build run demo peers tools
conformance: PACKAGES = build run demo peers tools bats
soak: PACKAGES = build run demo tools vm arm64
test: PACKAGES = build run demo peers tools bats watch compilers $(filter-out $(WITHOUT),browser engines hosts vm)
test-vm: PACKAGES = build run demo tools vm
test-hosts: PACKAGES = build run demo tools hosts
test-arm64: PACKAGES = build run demo tools arm64
# Where apt is not to be called, what is missing is told.
check: APT = --tell
packages:
	@tools/packages.sh $(APT) $(PACKAGES) || [ $$? = 3 ]

pyrunc/config/_check.py: tools/gencheck.py $(wildcard spec/*.json)
	$(if $(V),,@echo "  $@")
	$(Q)$(PYTHON) tools/gencheck.py spec $@

install: build # install to PREFIX, below DESTDIR
	@$(NATIVE) PREFIX=$(PREFIX) \
		PACKAGE_DIR=`$(PYTHON) tools/install.py package-dir --prefix $(PREFIX)` \
		installed
	$(Q)$(PYTHON) tools/install.py install --prefix $(PREFIX) --destdir "$(DESTDIR)"
	$(if $(V),,@echo "installed: $(DESTDIR)$(PREFIX)/bin/pyrunc")

# The places of a Debian package, whatever PREFIX is.
deb: PACKAGES = build run deb
deb: # build/deb/pyrunc_VERSION_ARCHITECTURE.deb
	@rm -rf build/deb
	@$(MAKE) -s --no-print-directory install PREFIX=/usr DESTDIR=$(CURDIR)/build/deb/staged PACKAGES="$(PACKAGES)"
	$(Q)$(PYTHON) tools/deb.py build/deb/staged build/deb
	@rm -rf build/deb/staged

uninstall: # take away exactly that
	$(Q)$(PYTHON) tools/install.py uninstall --prefix $(PREFIX) --destdir "$(DESTDIR)"

demo: build # install what is missing by apt, build, run `ps` in a container; root
	@tools/demo.sh $(CURDIR)/build/pyrunc $(CURDIR)/build/demo

# ---- testing ----

check: lint types unit # linters, types, unit tests: no root, nothing installed on the machine, a minute

test: told venv lint types build peers # all that CI does; says first what it installs; root
	$(Q)$(VENV)/bin/python -m pytest $(TESTS) $(PYTEST_ARGS)
	$(if $(ORDINARY),$(Q)PYRUNC_IMAGE=off $(VENV)/bin/python -m pytest $(ORDINARY) $(PYTEST_ARGS))

told:
	@tools/needs.sh "$(VENV)" "$(tools_wanted)" "$(RUNC)" $(PACKAGES)

lint: venv # ruff, the direction of imports
	$(if $(V),,@echo "  lint")
	$(Q)$(VENV)/bin/ruff check -q .
	$(Q)$(VENV)/bin/ruff format -q --check .
	$(Q)$(VENV)/bin/lint-imports >build/lint.txt || { cat build/lint.txt; false; }

# Python, and of the C the lines that differ from the last commit.
fmt: venv # format the Python, and the lines of C that differ from the last commit
	$(Q)$(VENV)/bin/ruff format -q .
	@[ -x $(VENV)/bin/git-clang-format ] || $(VENV)/bin/pip install -q clang-format==$(CLANG_FORMAT)
	@PATH=$(CURDIR)/$(VENV)/bin:$$PATH git clang-format --quiet HEAD -- native || true

types: venv build # mypy --strict, and how much it sees
	$(if $(V),,@echo "  types")
	$(Q)$(VENV)/bin/mypy --no-error-summary --any-exprs-report build/types
	$(Q)$(PYTHON) tools/typed.py build/types/any-exprs.txt

unit: venv build # tests/unit: no root
	$(if $(V),,@echo "  unit tests")
	$(Q)$(VENV)/bin/python -m pytest -q tests/unit $(PYTEST_ARGS)

# The C under the address and the undefined-behaviour sanitizer: unit tests, then a million calls at random; 5 minutes.
# SANITIZE_ARGS="--calls N" makes so many calls alone.
sanitize: venv build # the C under the address and undefined behaviour sanitizers
	$(Q)$(VENV)/bin/python -m tests.sanitize $(SANITIZE_ARGS)

test-vm: venv build # tests/vm: cgroup v2 and systemd, in a virtual machine by emulation; RELEASE=trixie: Debian 13's; root
	$(Q)PYRUNC_RELEASE=$(RELEASE) $(VENV)/bin/python -m pytest tests/vm $(PYTEST_ARGS)

# The first time ten minutes more, for the machine's disk. ARM64_ARGS="--rooms arm64,security" names less of it.
test-arm64: venv # Debian of arm64 in a virtual machine by emulation: build, install, unit, lifecycle, security; hours; root
	$(Q)$(VENV)/bin/python -m tests.arm64 $(ARM64_ARGS)

# runc 1.5.2 and Debian's crun, for comparisons.
peers: packages venv
	@tools/peers.sh $(VENV)

# Debian 12, 13 and testing, each a tree by debootstrap in namespaces of its own.
test-hosts: venv build # tests/hosts in full: the build, the tests and the package on other releases of Debian; root
	$(Q)PYRUNC_HOSTS=all $(VENV)/bin/python -m pytest tests/hosts $(PYTEST_ARGS)

# What runc's suite says of runc is recorded; BATS_ARGS="--peers live" asks anew.
conformance: build peers # runtime-tools' suite against pyrunc, runc and crun, runc's own against pyrunc; 40 minutes; root
	$(Q)$(VENV)/bin/python -m tests.conformance $(CONFORMANCE_ARGS); first=$$?; \
		$(VENV)/bin/python -m tests.conformance.bats $(BATS_ARGS) && exit $$first

errors: # docs/errors.md, from the catalogue and from what was said of the faults
	$(Q)$(PYTHON) -m tools.errors docs/errors.md

# An hour or two a boot; CONFORMANCE_ARGS="--manager systemd --file exec.bats" names less, "--peers live" runs runc too.
conformance-vm: PACKAGES = build run demo peers tools bats vm
conformance-vm: build peers # runc's own suite in the virtual machine, with systemd and with cgroupfs; hours; root
	$(Q)$(VENV)/bin/python -m tests.conformance.bats_vm $(CONFORMANCE_ARGS)

manual: # docs/pyrunc.1.md, from the command table
	$(Q)$(PYTHON) tools/manual.py docs/pyrunc.1.md

bench: build peers # pyrunc, runc and crun by turns; root
	$(Q)$(PYTHON) -m bench --json build/bench.json $(BENCH_ARGS)

# Containers by the thousand; then each pair of operations at once, a thousand times; then 200 containers in scopes of
# systemd, in the virtual machine, of which no scope, cgroup or device program may be left; then arm64.
soak: venv build # containers by the thousand, half an hour; then test-arm64, hours; root
	$(PYTHON) -m bench.soak $(SOAK_ARGS)
	PYRUNC_ROUNDS=1000 $(VENV)/bin/python -m pytest tests/lifecycle/commands/test_concurrency.py -k "not killed"
	PYRUNC_ROUNDS=1000 $(VENV)/bin/python -m pytest tests/lifecycle/commands/test_streams.py \
		tests/lifecycle/commands/test_relayed_terminal.py -k every_byte
	PYRUNC_MANY=200 $(VENV)/bin/python -m pytest tests/vm -q -k "systemd and many_leave_nothing or after_all"
	@cat build/vm/many.txt
	$(VENV)/bin/python -m tests.arm64 $(ARM64_ARGS)

# Made anew when another version is asked for.
tools_wanted = mypy==$(MYPY) ruff==$(RUFF) import-linter==$(IMPORT_LINTER) hypothesis==$(HYPOTHESIS) pytest==$(PYTEST)
venv:
	@tools/packages.sh $(APT) tools || [ $$? = 3 ]
	@mkdir -p build
	@[ "`cat $(VENV)/tools 2>/dev/null`" = "$(tools_wanted)" ] || { \
		echo "  $(VENV): $(tools_wanted)" && \
		$(PYTHON) -m venv --system-site-packages --clear $(VENV) && \
		$(VENV)/bin/pip install -q $(tools_wanted) && \
		echo "$(tools_wanted)" >$(VENV)/tools; }

clean: # remove what was built
	$(Q)rm -rf build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	$(Q)find pyrunc tests tools bench bundles native -name __pycache__ -prune -exec rm -rf {} +
	$(Q)rm -f pyrunc/_*.so pyrunc/config/_check.py pyrunc/config/_schema.py
	$(Q)rm -rf bundles/*/rootfs
