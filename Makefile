# make demo: install what is needed, build, install, and show a container. make test: everything that CI does.
# The interpreter is the distribution's, whatever comes first on PATH.

PREFIX = /usr/local
DESTDIR =
PYTHON = /usr/bin/python3
VENV = .venv
BENCH_ARGS =
SOAK_ARGS =
CONFORMANCE_ARGS =
SANITIZE_ARGS =
# What is quick comes first, the virtual machine last.
FIRST = tests/unit tests/lifecycle tests/security
TESTS = $(FIRST) $(filter-out $(FIRST) tests/vm,$(patsubst %/,%,$(sort $(dir $(wildcard tests/*/test_*.py))))) $(wildcard tests/vm)
PYTEST_ARGS =
RUNC = $(HOME)/go/bin/runc

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

.PHONY: all build demo install uninstall test test-vm lint fmt types unit sanitize conformance manual bench soak clean packages venv peers
.NOTPARALLEL:

all: build

# ---- building and installing ----

# build/pyrunc runs what is in this folder. The pair that is installed has its places built in, so it is another one.
build: packages pyrunc/config/_check.py
	$(MAKE) -C native PYTHON=$(PYTHON)

# All in one call of apt. Who is not root is told what is missing, and goes on without: pytest says which tests it skips.
PACKAGES = build run
demo: PACKAGES = build run demo
conformance bench: PACKAGES = build run demo peers tools
soak: PACKAGES = build run demo tools vm
test: PACKAGES = build run demo peers tools compilers engines vm
test-vm: PACKAGES = build run demo tools vm
packages:
	@tools/packages.sh $(PACKAGES) || [ $$? = 3 ]

pyrunc/config/_check.py: tools/gencheck.py $(wildcard spec/*.json)
	$(PYTHON) tools/gencheck.py spec $@

install: build
	$(MAKE) -C native PYTHON=$(PYTHON) PREFIX=$(PREFIX) \
		PACKAGE_DIR=`$(PYTHON) tools/install.py package-dir --prefix $(PREFIX)` \
		$(CURDIR)/build/installed/pyrunc $(CURDIR)/build/installed/stage2
	$(PYTHON) tools/install.py install --prefix $(PREFIX) --destdir "$(DESTDIR)"

uninstall:
	$(PYTHON) tools/install.py uninstall --prefix $(PREFIX) --destdir "$(DESTDIR)"

demo: install
	@tools/demo.sh "$(if $(DESTDIR),build,$(PREFIX)/bin)/pyrunc" build/demo

# ---- testing ----

test: venv lint types build peers
	$(VENV)/bin/python -m pytest $(TESTS) $(PYTEST_ARGS)

lint: venv
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports

# Python, and of the C the lines that differ from the last commit.
fmt: venv
	$(VENV)/bin/ruff format .
	@[ -x $(VENV)/bin/git-clang-format ] || $(VENV)/bin/pip install -q clang-format==$(CLANG_FORMAT)
	@PATH=$(CURDIR)/$(VENV)/bin:$$PATH git clang-format --quiet HEAD -- native || true

types: venv build
	$(VENV)/bin/mypy

unit: venv build
	$(VENV)/bin/python -m pytest tests/unit $(PYTEST_ARGS)

# The C under the address and the undefined-behaviour sanitizer: unit tests, then a million calls at random; 5 minutes.
# SANITIZE_ARGS="--calls N" makes so many calls alone.
sanitize: venv build
	$(VENV)/bin/python -m tests.sanitize $(SANITIZE_ARGS)

# What needs cgroup v2 and systemd, in a virtual machine by emulation.
test-vm: venv build
	$(VENV)/bin/python -m pytest tests/vm $(PYTEST_ARGS)

# runc 1.5.2 and Debian's crun, for comparisons.
peers: packages venv
	@tools/peers.sh $(VENV)

# runtime-tools' validation suite against pyrunc, runc and crun, as a table. Needs root; 7 minutes.
conformance: build peers
	$(VENV)/bin/python -m tests.conformance $(CONFORMANCE_ARGS)

# The manual page, from the command table.
manual:
	$(PYTHON) tools/manual.py docs/pyrunc.1.md

bench: build peers
	$(PYTHON) -m bench --json build/bench.json $(BENCH_ARGS)

# Containers by the thousand; then each pair of operations at once, a thousand times; then 200 containers in scopes of
# systemd, in the virtual machine, of which no scope, cgroup or device program may be left.
soak: venv build
	$(PYTHON) -m bench.soak $(SOAK_ARGS)
	PYRUNC_ROUNDS=1000 $(VENV)/bin/python -m pytest tests/lifecycle/test_concurrency.py -k "not killed"
	PYRUNC_MANY=200 $(VENV)/bin/python -m pytest tests/vm -q -k "systemd and many_leave_nothing or after_all"
	@cat build/vm/many.txt

# Made anew when another version is asked for.
tools_wanted = mypy==$(MYPY) ruff==$(RUFF) import-linter==$(IMPORT_LINTER) hypothesis==$(HYPOTHESIS) pytest==$(PYTEST)
venv:
	@tools/packages.sh tools || [ $$? = 3 ]
	@[ "`cat $(VENV)/tools 2>/dev/null`" = "$(tools_wanted)" ] || { \
		$(PYTHON) -m venv --system-site-packages --clear $(VENV) && \
		$(VENV)/bin/pip install -q $(tools_wanted) && \
		echo "$(tools_wanted)" >$(VENV)/tools; }

clean:
	rm -rf build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find pyrunc tests tools bench bundles native -name __pycache__ -prune -exec rm -rf {} +
	rm -f pyrunc/_*.so pyrunc/config/_check.py pyrunc/config/_schema.py
	rm -rf bundles/*/rootfs
