PYTHON ?= python3
BIN := .venv/bin
RUN := outputs/demo/$(shell date +%Y-%m-%d_%H-%M-%S)

# Where Python may not keep its bytecode, each program compiles PyTorch and Lightning anew, for nine seconds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-slow bench audit lint format

demo: .venv/ready
	$(BIN)/python train.py experiment=demo hydra.run.dir=$(RUN)
	$(BIN)/python evaluate.py run=$(RUN)
	@echo
	@echo "Look at $(RUN)/figures, and at the curves by: $(BIN)/tensorboard --logdir outputs"
	@echo "Explore what the capsules know, in the browser: $(BIN)/python -m capsnet.explore $(RUN)"

test: .venv/ready
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile

test-slow: .venv/ready
	$(BIN)/python -m pytest -m slow --numprocesses 3 --dist loadgroup

bench: .venv/ready
	$(BIN)/python benchmarks/throughput.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/end_to_end.py

audit: .venv/ready
	$(BIN)/pip install --quiet --disable-pip-version-check pip-audit
	$(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: .venv/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/ready: pyproject.toml constraints.txt
	@echo "Installing PyTorch and what else is needed into .venv: some minutes, and on Linux 6 GB of disk"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@
