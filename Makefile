# `make` alone says what there is. Everything is bootstrapped on first use into .venv and .tools.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo check test chaos clocks full lowest dashboards grafana screenshots docs bench bench-anomaly bench-forecast bench-ledger bench-first-start bench-live-write bench-scale bench-cost-pages bench-start bench-scrape bench-export clean

VENV := .venv
BIN := $(VENV)/bin
LOWEST := .venv-lowest
# What is on the PATH wins; .tools holds what had to be unpacked.
export PATH := $(PATH):$(CURDIR)/.tools/usr/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# The tests start some hundred Pythons, and each of them would compile the project.
unexport PYTHONDONTWRITEBYTECODE
PYTEST := $(BIN)/python -m pytest
# Processes that share the tests; those that start servers wait more than they compute.
WORKERS ?= 4
PARALLEL := -n $(WORKERS) # tests/conftest.py says which tests stay together

help: ## print this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | awk -F '\t' '{printf "make %-18s %s\n", $$1, $$2}'

setup: $(VENV)/.installed servers ## create .venv and find or fetch Prometheus and Alertmanager

demo: setup ## start the whole chain on a simulated AWS organisation; Ctrl-C ends it
	@exec $(BIN)/aws-spend-exporter demo

check: setup lint ## lint, types and unit tests, under a minute
	$(PYTEST) -q $(PARALLEL) -m "not stack and not long" tests/unit

test: setup lint browser ## everything that CI runs: check and the tests that start real servers
	$(PYTEST) $(PARALLEL) -m "not long and not alone" --faults 350
	$(PYTEST) -m "alone and not long"
	$(BIN)/python tests/moments.py --short --workers $(WORKERS) tests/unit

chaos: setup ## break what stands between the parts, in every way that a test knows, and print what held
	$(PYTEST) $(PARALLEL) -m "fault and not alone" --faults 350

clocks: setup ## the suites of one process at other hours and dates than now
	$(BIN)/python tests/moments.py --workers $(WORKERS)

full: setup lint browser ## everything, with the long suites
	$(PYTEST) $(PARALLEL) -m "not alone" --faults 350
	$(PYTEST) -m "alone"
	$(MAKE) clocks
	$(MAKE) lowest

lowest: setup ## run the quick tests on the lowest versions that pyproject.toml allows
	$(BIN)/python -m venv --clear $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet uv
	$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST)/bin/python --resolution lowest-direct --editable . --editable ./demo --group dev
	$(LOWEST)/bin/python -m pytest $(PARALLEL) -m "not long and not alone" \
		tests/unit tests/relay tests/e2e/test_commands.py tests/deploy/test_web_config_served.py

dashboards: setup ## write the Grafana dashboards from their source
	$(BIN)/python -m grafana.build

grafana: setup ## open every dashboard in the Grafana on the PATH, at 1280 x 800, now and in the past; skipped without one
	@if command -v grafana >/dev/null || command -v grafana-server >/dev/null; then \
		$(MAKE) --no-print-directory browser && $(PYTEST) -m grafana tests/grafana_server; \
	else echo "Skipped: grafana is not on the PATH"; fi

screenshots: setup browser ## draw every dashboard on the demo's data, into build/screenshots
	PYTHONPATH=. $(BIN)/python tests/browser/screenshots.py

docs: setup dashboards ## write all that is generated: metrics reference, schema, IAM policies, rules, dashboards
	$(BIN)/python -m exporter.generated.reference

bench: setup ## measure, and print the figures
	$(BIN)/aws-spend-exporter demo --check --repeat 10

bench-anomaly: setup ## judge anomaly findings on classes of labelled series that they were not tuned on
	$(BIN)/python -m pip install --quiet --editable ".[bench]"
	$(BIN)/python -m bench.anomaly

bench-forecast: setup ## measure month-end forecasts against simulated bills, and by shape of the series against Holt-Winters
	$(BIN)/python -m pip install --quiet --editable ".[bench]"
	$(BIN)/python -m bench.forecast
	$(BIN)/python -m bench.projection

bench-ledger: setup ## measure a ledger of 1,000 accounts: its size, and the times to fill and refresh it
	$(BIN)/python -m bench.ledger

bench-cost-pages: setup ## measure how many rows of Cost Explorer's answers a CPU second reads
	$(BIN)/python -m bench.cost_pages

bench-start: setup ## measure the seconds from the start to cost on /metrics, with 8 million rows in the ledger
	$(BIN)/python -m bench.start

bench-live-write: setup ## measure the CPU of one push of the current samples
	$(BIN)/python -m bench.live_write

bench-scrape: setup ## measure the CPU and the time of a scrape, against prometheus_client and, with go on the PATH, a Go exporter
	$(BIN)/python -m bench.scrape

bench-export: setup ## measure folding 10 million lines of an AWS Data Export, against polars and pyarrow, and questions over thirteen months
	$(BIN)/python -m pip install --quiet --editable ".[bench]"
	$(BIN)/python -m bench.export fold
	$(BIN)/python -m bench.cube_questions

bench-first-start: setup ## measure the seconds from a first start to thirteen months in Prometheus
	$(BIN)/python -m bench.first_start

bench-scale: setup ## measure collection at 10, 100 and 1,000 accounts, the first fill at 1,000, and every query of the dashboards (needs Go and Prometheus, hours)
	$(BIN)/python -m bench.scale

clean: ## remove everything that make has fetched or built
	rm -rf $(BROWSER)/node_modules $(BROWSER)/dist
	rm -rf $(VENV) $(LOWEST) .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: lint
lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

$(VENV)/.installed: pyproject.toml demo/pyproject.toml scripts/create-venv.sh
	@echo "Installing into $(VENV) (about a minute the first time)"
	@scripts/create-venv.sh $(VENV)
	@touch $@

.PHONY: servers
servers:
	@scripts/install-servers.sh .tools

# Chromium, and Grafana's own libraries in a page that draws the dashboards.
BROWSER := tests/browser
.PHONY: browser
browser: $(BROWSER)/dist/.built

$(BROWSER)/node_modules/.installed: $(BROWSER)/package-lock.json scripts/install-browser.sh | setup
	@scripts/install-browser.sh .tools $(VENV)
	@echo "Installing Grafana's libraries into $(BROWSER)/node_modules (a minute or two the first time)"
	@cd $(BROWSER) && npm ci --silent
	@touch $@

$(BROWSER)/dist/.built: $(BROWSER)/node_modules/.installed $(BROWSER)/build.mjs $(wildcard $(BROWSER)/app/*)
	@cd $(BROWSER) && node build.mjs
	@touch $@
