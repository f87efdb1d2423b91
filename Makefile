# `make demo` and `make test` need git, make and Python 3.11 or newer; they set up the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
REPEAT ?= 3
# Processes that run tests: as many as there are cores, and one. Where the disk is slow, more are faster.
WORKERS ?= auto
STAMP := $(VENV)/.installed
# Bytecode is left to what is imported: that of all files takes half as long again as the rest.
INSTALL := pip install --quiet --disable-pip-version-check --no-compile

# The newest Python there is, also of those that pyenv has installed.
NEWEST ?= $(shell for python in $$(ls -d ~/.pyenv/versions/3.*/bin/python3) python3.14 python3.13 python3.12 $(PYTHON); do \
	$$python -c 'import sys; print(*sys.version_info[:3], sys.executable)'; \
	done 2>/dev/null | sort -k1,1n -k2,2n -k3,3n | tail -1 | cut -d " " -f 4-)

# The tests whose subject the native core touches: `make test` runs them with it and without.
BOTH_WAYS := $(patsubst %,tests/test_%.py,bad_arrays bad_input bulk_writes costs damage damaged_pointers joined \
	catalog catalog_damage cut_short delete folding format_doc golden long_journals model names names_in_order native ragged reader reader_costs singles \
	syscalls ways_to_write write writer)

# The tests that `make test` leaves out, as their packages, or disks, are too heavy for it.
EXTRAS := $(wildcard tests/test_torch_*.py tests/test_extras_*.py)

# Tests that run with each backend, of which `make test-extras` runs those of a server of S3.
ON_SERVERS := $(shell grep -lE 'usefixtures\("backend"\)|all_modes' tests/test_*.py) tests/test_remote_page.py

# A copy of the sources, whose core is built to stop at the first stray read.
SANITIZED := .sanitized
SANITIZERS := -fsanitize=address,undefined -fno-sanitize-recover=undefined

# Tests read stores from a web server. Where this may be installed, it is; elsewhere they are skipped.
NGINX := $(shell PATH="$$PATH:/usr/sbin:/usr/local/sbin" command -v nginx)

# The page of the viewer is tested in a real browser, in the same way.
CHROMIUM := $(shell command -v chromium || command -v chromium-browser)

# Tests start hundreds of processes, each of which would compile all modules anew if bytecode were not kept.
export PYTHONDONTWRITEBYTECODE =

.PHONY: help demo test test-slow nginx chromium check sanitize check-oldest check-newest test-extras docs bench release format clean

help:
	@echo "make demo    fill and read a store with Python's own standard library"
	@echo "make test    run the tests, with the examples in docstrings and README"
	@echo "make test-slow  all that 'make test' has samples of, for hours"
	@echo "make check   formatting, lint, types, then the tests"
	@echo "make sanitize  tests of the native core, built so that a stray read fails them; needs gcc"
	@echo "make test-extras  the tests of torch and other heavy packages, which 'make test' skips"
	@echo "make check-oldest  the tests with the oldest releases of all packages; check-newest: the newest"
	@echo "make docs    build the site of the documents in site/, and refuse broken links"
	@echo "make bench   measure beside others (an hour), write its pages in benchmarks"
	@echo "make release  build both wheels and the sdist of a commit, look into them and try them out (an hour);"
	@echo "             OPTIONS=\"--quick --undated\": with few tests, for a version without a date"
	@echo "make format  reformat the sources"
	@echo "make clean   remove the virtual environment and the caches"

# This builds the native core, too, where there is a C compiler.
$(STAMP): pyproject.toml setup.py ptrarray/_native.c
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("ptrarray needs Python 3.11 or newer, $(PYTHON) is " + sys.version.split()[0] + "; try make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m $(INSTALL) --editable '.[dev]'
	@touch $@

demo: $(STAMP)
	$(BIN)/ptrarray demo

test: $(STAMP) nginx
	$(BIN)/python -m pytest -n $(WORKERS) $(EXTRAS:%=--ignore=%)
	@if $(BIN)/python -c 'import sys; from ptrarray import native; sys.exit(native.core is None)'; then \
		echo "And without the native core:"; \
		PTRARRAY_REQUIRE_NATIVE= PTRARRAY_PURE=1 $(BIN)/python -m pytest -n $(WORKERS) -m "not slow and not once" $(BOTH_WAYS); \
	fi

# What `make test` has a sample of, whole, and many more examples: hours.
test-slow: $(STAMP) nginx
	$(BIN)/python -m pytest -n auto -m "" --hypothesis-profile thorough --timeout 3600

# In run level 1, so that no server is started by its package.
nginx:
ifeq ($(NGINX),)
	@export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1; \
	[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
		apt-get install -qq --no-install-recommends nginx >/dev/null || \
		echo "There is no nginx: tests that read from a web server are skipped. As root, apt-get install nginx"
endif

chromium:
ifeq ($(CHROMIUM),)
	@export DEBIAN_FRONTEND=noninteractive; \
	[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
		apt-get install -qq --no-install-recommends chromium >/dev/null || \
		echo "There is no Chromium: tests of the viewer's page are skipped. As root, apt-get install chromium"
endif

# Where there is a C compiler, nothing passes without the native core.
check: export PTRARRAY_REQUIRE_NATIVE ?= $(if $(shell command -v $(firstword $(CC)) 2>/dev/null),1)
check: $(STAMP)
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(MAKE) --no-print-directory test

# A report is a file, or printed, and ends the process. PYTHONMALLOC: no blocks within blocks. Leaks are
# not looked for: Python itself does not free all that it has at the end.
sanitize: $(STAMP)
	rm -rf $(SANITIZED)
	mkdir $(SANITIZED)
	cp -R ptrarray tests docs conftest.py pyproject.toml setup.py README.md LICENSE $(SANITIZED)
	rm -f $(SANITIZED)/ptrarray/*.so
	cd $(SANITIZED) && PTRARRAY_REQUIRE_NATIVE=1 CC=gcc LDSHARED="gcc -shared" LDFLAGS="$(SANITIZERS)" \
		CFLAGS="-g -fno-omit-frame-pointer -Werror $(SANITIZERS)" ../$(BIN)/python setup.py --quiet build_ext --inplace
	cd $(SANITIZED) && PTRARRAY_REQUIRE_NATIVE=1 PTRARRAY_SANITIZED=1 PYTHONPATH="$(CURDIR)/$(SANITIZED)" \
		LD_PRELOAD="$$(gcc -print-file-name=libasan.so)" PYTHONMALLOC=malloc \
		ASAN_OPTIONS="detect_leaks=0:log_path=$(CURDIR)/$(SANITIZED)/report" \
		UBSAN_OPTIONS=print_stacktrace=1 ../$(BIN)/python -m pytest --capture=sys --timeout 900 -n auto $(or $(TESTS),$(BOTH_WAYS) $(wildcard tests/test_native_*.py)); \
	code=$$?; ! cat report.* 2>/dev/null && exit $$code

# In virtual environments of their own, made anew, as what is installed is what is tried. A warning
# that packages of some release give is no failure there.
check-oldest:
	$(PYTHON) -m venv --clear .venv-oldest
	$(PYTHON) tests/support/oldest.py > .venv-oldest/oldest.txt
	.venv-oldest/bin/python -m $(INSTALL) --editable '.[test]' --requirement .venv-oldest/oldest.txt
	.venv-oldest/bin/python -m pytest -n auto

check-newest:
	$(NEWEST) -m venv --clear .venv-newest
	.venv-newest/bin/python -m $(INSTALL) --upgrade --upgrade-strategy eager --editable '.[test]'
	.venv-newest/bin/python -m pip list --disable-pip-version-check
	.venv-newest/bin/python -m pytest -n auto

# What needs packages of hundreds of megabytes, in a virtual environment of its own.
.venv-extras/.installed: pyproject.toml setup.py ptrarray/_native.c
	$(PYTHON) -m venv .venv-extras
	.venv-extras/bin/python -m $(INSTALL) --editable '.[extras]'
	@touch $@

# By files: each of those about clusters starts one.
test-extras: .venv-extras/.installed chromium
	.venv-extras/bin/python -m pytest -n auto --dist loadfile $(EXTRAS)
	PTRARRAY_BACKENDS=s3 .venv-extras/bin/python -m pytest -n auto --dist loadfile -k s3 $(ON_SERVERS)

# Written first, so that what is built is what the parser says; a test fails when the file is stale.
docs: $(STAMP)
	$(BIN)/python -m $(INSTALL) --editable '.[docs]'
	$(BIN)/python docs/tools/cli_page.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(STAMP)
	$(BIN)/python -m $(INSTALL) --editable '.[bench]'
	$(BIN)/python -m benchmarks run --workload tokens --repeat $(REPEAT) --out benchmarks/results
	$(BIN)/python -m benchmarks run --workload speech --repeat $(REPEAT) --out benchmarks/results
	$(BIN)/python -m benchmarks run --workload tiny --repeat $(REPEAT) --out benchmarks/results
	$(BIN)/python -m benchmarks run --workload names --repeat $(REPEAT) --out benchmarks/results
	$(BIN)/python -m benchmarks bounds --folder benchmarks/results --out benchmarks/results
	$(BIN)/python -m benchmarks limits --folder benchmarks/results --out benchmarks/results
	$(BIN)/python -m benchmarks checksums --folder benchmarks/results --out benchmarks/results
	$(BIN)/python -m benchmarks cold --folder benchmarks/results --repeat 3 --out benchmarks/results
	$(BIN)/python -m benchmarks report benchmarks/results --markdown benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks.users --repeat $(REPEAT) --folder benchmarks/results --out benchmarks/results --markdown benchmarks/USERS.md --pages docs/coming-from
	$(BIN)/python -m benchmarks.bridges --repeat $(REPEAT) --folder benchmarks/results --out benchmarks/results --markdown benchmarks/BRIDGES.md
	$(BIN)/python -m benchmarks.cluster --repeat $(REPEAT) --folder benchmarks/results --out benchmarks/results --markdown benchmarks/CLUSTER.md
	$(BIN)/python -m benchmarks.remote --repeat $(REPEAT) --keep benchmarks/results --folder benchmarks/results --out benchmarks/results --markdown benchmarks/REMOTE.md
	$(BIN)/python -m benchmarks.doors --repeat $(REPEAT) --folder benchmarks/results --out benchmarks/results --markdown benchmarks/DOORS.md
	$(BIN)/python -m benchmarks.viewer --repeat $(REPEAT) --folder benchmarks/results --out benchmarks/results --markdown benchmarks/LOOKING.md

# Of a commit with nothing beside it, in temporary folders. What comes of it is in dist/.
release: $(STAMP)
	$(BIN)/python -m release $(OPTIONS)

format: $(STAMP)
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

clean:
	rm -rf $(VENV) $(SANITIZED) build .venv-extras .venv-oldest .venv-newest site .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
