# Thin on purpose: each target prepares the machine (a no-op when it is ready), then runs one
# command. The same without make:  sh tools/bootstrap.sh && .venv/bin/nox
.POSIX:
.PHONY: help demo up test bench clean

# Starting containers needs root.
AS_ROOT = if [ "$$(id -u)" -eq 0 ]; then run=; else \
	echo "  note: starting containers needs root, so this runs through sudo"; run=sudo; fi; $$run

help:
	@echo "make demo    prepare this machine, then show batchyard at work"
	@echo "make up      prepare this machine, then start batchyard"
	@echo "make test    prepare this machine, then run every check and test"
	@echo "make bench   prepare this machine, then run the experiments in bench/"
	@echo "make clean   remove what the tools made (keeps .venv and batchyard's data)"

demo:
	@sh tools/bootstrap.sh runtime
	@$(AS_ROOT) .venv/bin/batchyard demo

up:
	@sh tools/bootstrap.sh runtime
	@$(AS_ROOT) .venv/bin/batchyard up

test:
	@sh tools/bootstrap.sh test
	@.venv/bin/nox

bench:
	@sh tools/bootstrap.sh test
	@$(AS_ROOT) .venv/bin/nox -s bench

clean:
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .nox dist
	find src tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
