# What each target does is in README.md; the work is in scripts/.
SHELL := /bin/bash
.PHONY: serve test check bench install lock clean

serve:
	@scripts/install
	@scripts/serve

test:
	@scripts/install dev
	@scripts/test

check:
	@scripts/install dev
	@scripts/check

bench: bench-decision bench-startup bench-calibration bench-simulator bench-fit bench-overhead

bench-%:
	@scripts/install dev
	@scripts/bench $*

lock:
	@scripts/lock

clean:
	rm -rf .venv .venv-peers build *.egg-info
