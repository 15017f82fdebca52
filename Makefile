# What each target does is in README.md; the work is in scripts/.
SHELL := /bin/bash
.PHONY: serve observe test test-quick test-security busy soak clients check bench install lock clean

serve:
	@begun=$$(date +%s%N); scripts/install && \
	  POINTSMAN_INSTALL_MS=$$(( ($$(date +%s%N) - begun) / 1000000 )) scripts/serve

observe:
	@scripts/install
	@scripts/observe $(ARGS)

install:
	@scripts/install

test:
	@scripts/install dev
	@scripts/test

test-quick:
	@scripts/install dev
	@scripts/test quick

test-security:
	@scripts/install dev
	@scripts/test security

busy:
	@scripts/install dev
	@scripts/busy $(RUNS)

soak:
	@scripts/install dev
	@scripts/test soak

clients:
	@scripts/install dev
	@source .venv/bin/activate && python -m tests.clients $(CLIENTS)

check:
	@scripts/install dev
	@scripts/check

bench: bench-request_trace bench-request_cost bench-agents bench-loops bench-tool_sets bench-tracing bench-observability bench-scrape bench-advice bench-decision bench-routing bench-routing_selection bench-routing_control bench-contextual bench-cascade bench-off_policy bench-drift bench-experiments bench-guard_rails bench-traces bench-replay bench-startup bench-bodies bench-calibration bench-engine_truth bench-planning bench-fleet bench-full_at bench-autoscaling bench-forecast bench-swap bench-swap_real bench-scaling_real bench-pooling bench-simulator bench-affinity bench-affinity_real bench-fit bench-chaos bench-disconnects bench-turnover bench-direct_ways bench-token_path bench-pump bench-admission bench-isolation_fairness bench-isolation_overload bench-isolation_ceiling bench-isolation_kills bench-ingress_replicas bench-overhead

# Whether routing is right: docs/evals.md, docs/experiments.md, docs/classifier.md.
bench-evals: bench-routing bench-routing_selection bench-contextual bench-cascade bench-off_policy bench-drift bench-experiments bench-guard_rails bench-traces bench-replay

bench-%:
	@scripts/install dev
	@scripts/bench $*

lock:
	@scripts/lock

clean:
	rm -rf .venv .venv-peers .venv-bfcl build *.egg-info
