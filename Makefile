# `make demo` and `make test` are all that a fresh machine with Python 3.11+ and make needs.
.DEFAULT_GOAL := help
.PHONY: help setup compile setup-safety demo test test-compiled lint types fmt docs test-slow test-dashboards check-deploy dashboards screenshots traces-phoenix test-vllm test-clients demo-vllm bench soak load load-guidellm prove peers eval-safety lock clean
export PYTHON

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' Makefile

setup: ## make .venv with the sluicegate command in it (PYTHON=/path/to/python3.11 chooses the interpreter)
	@sh scripts/setup.sh

compile: setup ## compile the hot modules with mypyc: a third less CPU, until a source changes (GCC, Python's headers, 5 minutes)
	@.venv/bin/python -m scripts.compile

test-compiled: compile ## tests of whole gateways, with the hot modules compiled
	@.venv/bin/pytest -n 3 --dist loadfile tests/journeys tests/api tests/test_compiled.py tests/test_workers.py $(ARGS)

setup-safety: ## the same, with the detectors that are models (250 MB more)
	@sh scripts/setup.sh safety
	@.venv/bin/python -m app.safety.models.prepare

demo: setup ## start the gateway before a fake upstream, send a first request, stay up for yours
	@.venv/bin/sluicegate demo $(ARGS)

test: setup ## every test that needs neither minutes nor the network, style, types and docs included
	@.venv/bin/pytest -n 3 --dist loadfile $(ARGS)

lint: setup ## style and import contracts alone (they are part of `make test` too)
	@.venv/bin/ruff check
	@.venv/bin/ruff format --check
	@.venv/bin/lint-imports

types: setup ## types alone (they are part of `make test` too)
	@.venv/bin/mypy

fmt: setup ## format the code and fix what ruff can fix by itself
	@.venv/bin/ruff check --fix
	@.venv/bin/ruff format

docs: setup ## write the tables of docs/ anew from the declarations in the code
	@.venv/bin/python scripts/docs.py

test-slow: setup ## the tests that take minutes
	@.venv/bin/pytest -m slow

test-dashboards: setup ## boards, rules and alerts on a live gateway with a real Prometheus (Debian: prometheus, prometheus-alertmanager)
	@.venv/bin/pytest -m prometheus $(ARGS)

check-deploy: setup ## compose file, Dockerfile and Helm chart, statically, in an environment of their own (630 MB the first time)
	@sh scripts/venv.sh deploy
	@.deploy/bin/python scripts/deploy/check.py

dashboards: setup ## write grafana/dashboards/*.json anew from the code beside them
	@.venv/bin/python -m grafana.generate

screenshots: setup ## pictures of the dashboards from real data into docs/dashboards (node, npm, chromium, prometheus; 630 MB)
	@sh scripts/render/setup.sh
	@.venv/bin/python -m scripts.render.take $(ARGS)

traces-phoenix: setup ## traces read back from a real trace store, Phoenix, into .phoenix (620 MB; ARGS=--stay to look at them)
	@sh scripts/venv.sh phoenix
	@.venv/bin/python -m scripts.phoenix.show $(ARGS)

test-vllm: setup ## the tests against a real vLLM on this machine's CPU (2.5 GB the first time)
	@sh scripts/vllm/setup.sh
	@.venv/bin/pytest -m vllm

test-clients: setup ## LangChain, LlamaIndex, Semantic Kernel, guidance and Prompt flow through the gateway, into .clients (ARGS=langchain, ARGS=--vllm before a real vLLM)
	@.venv/bin/python -m scripts.clients.run $(ARGS)

demo-vllm: setup ## the gateway before a real vLLM on this machine's CPU (2.5 GB the first time)
	@sh scripts/vllm/setup.sh
	@sh scripts/vllm/demo.sh $(ARGS)

bench: setup ## CPU per request and per streamed chunk, beside the gateways that `make peers` installed (ARGS=--quick)
	@.venv/bin/python -m loadtests.bench $(ARGS)

soak: setup ## a million requests through one worker; memory, sockets and tasks afterwards (ARGS="--requests 100000")
	@.venv/bin/python -m loadtests.soak $(ARGS)

load: setup ## a load profile played by locust, judged by its goals (PROFILE=spike ARGS="--url URL --keys KEY")
	@sh scripts/load/setup.sh
	@.venv/bin/python -m loadtests.load $(or $(PROFILE),chat) $(ARGS)

load-guidellm: setup ## the same streams played by locust and by guidellm: do both see the same times? (1.5 GB, or 5.6 without a CPU build of PyTorch)
	@sh scripts/load/setup.sh
	@sh scripts/load/setup_guidellm.sh
	@.venv/bin/python -m loadtests.guidellm $(ARGS)

prove: setup ## what the docs claim, at full length (WHAT=interleavings|live|hosts|crashes|outages|cost|report|safety_fuzz|alike)
	@.venv/bin/python -m tests.proofs.$(or $(WHAT),interleavings) $(ARGS)

peers: setup ## install the gateways that `make bench` compares with, into .peers
	@scripts/peers/setup.sh

eval-safety: setup-safety ## how good the safety models are, on the frozen test split (SAFETY_DATA=/path/to/the/collections)
	@.venv/bin/python -m scripts.safety.evaluate $(ARGS)

lock: setup ## write requirements.lock anew from pyproject.toml (UPGRADE=1 takes the newest versions allowed)
	@.uv/bin/uv pip compile --quiet --universal --generate-hashes --no-header --group dev $(if $(UPGRADE),--upgrade) \
	    pyproject.toml -o requirements.lock
	@.uv/bin/uv pip compile --quiet --universal --generate-hashes --no-header --extra safety $(if $(UPGRADE),--upgrade) \
	    -c requirements.lock pyproject.toml -o requirements-safety.lock

clean: ## remove what setup, tests and benchmarks made
	rm -rf .venv .uv .vllm .peers .load .guidellm .deploy .clients .phoenix scripts/render/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache \
	    dist
