# Everything runs from an environment of its own in .venv; another one: make test VENV=/path/to/environment
VENV ?= .venv
PYTHON := $(VENV)/bin/python
DATA ?= data
# A tenth of the download where there is no GPU: make venv TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
STAMP := $(VENV)/.diffir-video-installed

.PHONY: venv demo demo-tape test test-live test-all check format bench eval check-held-out eval-reuse eval-precision eval-motion eval-noise calibrate-reuse compare-held-prior compare-windows train-denoise-nano train-denoise-live train-tape-nano train-deblock-nano train-upscale-x2-nano train-upscale-x2-small clean

venv: $(STAMP)

$(STAMP): pyproject.toml requirements/constraints.txt
	test -x $(PYTHON) || python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet $(addprefix --extra-index-url ,$(TORCH_INDEX)) \
		--constraint requirements/constraints.txt --editable ".[train,dev]"
	touch $@

demo: $(STAMP)
	$(PYTHON) -m training.demo --out demo --data $(DATA)

demo-tape: $(STAMP)
	$(PYTHON) -m training.demo --out demo/tape --data $(DATA) --tape 60 --sigma 0 --crf 18 --model tape-nano

docs/images/tape.jpg: demo-tape
	mkdir -p $(@D)
	$(PYTHON) -c "from PIL import Image; Image.open('demo/tape/before-after.png').convert('RGB').save('$@', quality=85)"

docs/images/before-after.jpg: demo
	mkdir -p $(@D)
	$(PYTHON) -c "from PIL import Image; Image.open('demo/before-after.png').convert('RGB').save('$@', quality=85)"

docs/images/reuse.png: demo
	mkdir -p $(@D)
	$(VENV)/bin/diffir-video restore demo/input.mkv demo/reused.mkv --overwrite --reuse prior --plot-reuse $@

# Processes that share the quick tests. Of one thread each: more would wait for each other's.
TEST_PROCESSES ?= 2

test: $(STAMP)
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest --benchmark-skip --numprocesses $(TEST_PROCESSES)

# Every protocol through a real server, and the page in a browser.
test-live: $(STAMP)
	$(PYTHON) -m pytest --benchmark-skip -m slow tests/streams/test_protocols.py tests/streams/test_page.py

test-all: $(STAMP)
	$(PYTHON) -m pytest --benchmark-skip -m "slow or not slow"

check: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright --pythonpath $(PYTHON)
	$(VENV)/bin/lint-imports

format: $(STAMP)
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

bench: $(STAMP)
	$(PYTHON) -m pytest tests/benchmarks --benchmark-only

# Nothing that is evaluated on was trained on, in any stage of any built-in recipe; by perceptual hash.
check-held-out: $(STAMP)
	$(VENV)/bin/diffir-train data check --against $(DATA)/eval --config $(wildcard \
		configs/train/denoise-nano/*.yaml configs/train/denoise-live/*.yaml \
		configs/train/tape-nano/*.yaml \
		configs/train/deblock-nano/*.yaml configs/train/upscale-x2-nano/*.yaml \
		configs/train/upscale-x2-small/*.yaml)

eval: $(STAMP)
	$(PYTHON) -m training.evaluate --data $(DATA) --models denoise-nano denoise-live \
		tape-nano deblock-nano upscale-x2-nano upscale-x2-small

eval-reuse: $(STAMP)
	$(PYTHON) -m training.evaluation.reuse --data $(DATA)

eval-noise: $(STAMP)
	$(PYTHON) -m training.evaluation.noises --data $(DATA)

eval-precision: $(STAMP)
	$(PYTHON) -m training.evaluation.precisions --data $(DATA)

eval-motion: $(STAMP)
	$(PYTHON) -m training.evaluation.motion --data $(DATA)

calibrate-reuse: $(STAMP)
	$(PYTHON) -m training.evaluation.calibrate_reuse --data $(DATA) --plot docs/images/reuse-calibration.png

# The same training twice, with a prior for each frame and with one for all frames of a clip; then what age costs.
compare-held-prior: $(STAMP)
	$(VENV)/bin/diffir-train stage1 --config configs/train/held-prior/stage1.yaml
	$(VENV)/bin/diffir-train stage2 --config configs/train/held-prior/stage2.yaml
	$(VENV)/bin/diffir-train stage1 --config configs/train/held-prior/stage1.yaml \
		--set shared_prior=true --set output=runs/held-prior/clips-stage1
	$(VENV)/bin/diffir-train stage2 --config configs/train/held-prior/stage2.yaml \
		--set shared_prior=true --set output=runs/held-prior/clips-stage2 \
		--set stage1=runs/held-prior/clips-stage1/checkpoints/last.safetensors
	$(PYTHON) -m training.evaluation.held_prior --data $(DATA) --plot docs/images/held-prior.png --model \
		$(foreach run,images-stage1 clips-stage1 images-stage2 clips-stage2, \
		runs/held-prior/$(run)/checkpoints/last.safetensors)

WINDOWS := $(VENV)/bin/diffir-train stage1 --config configs/train/windows/stage1.yaml --set output=runs/windows

compare-windows: $(STAMP)
	$(WINDOWS)/one --set model.past=0 --set model.future=0 --set model.blend=false --set model.ffn_expansion=1.875
	$(WINDOWS)/three-centred
	$(WINDOWS)/five-centred --set model.past=2 --set model.future=2 --set model.ffn_expansion=0.25
	$(WINDOWS)/four-causal --set model.past=3 --set model.future=0 --set model.ffn_expansion=0.5
	$(WINDOWS)/last-restored --set model.future=0 --set model.recurrent=true --set model.ffn_expansion=1.375
	$(PYTHON) -m training.evaluation.windows --data $(DATA) --model \
		$(foreach run,one three-centred five-centred four-causal last-restored, \
		runs/windows/$(run)/checkpoints/last.safetensors)

train-denoise-nano: $(STAMP)
	$(VENV)/bin/diffir-train data fetch --root $(DATA)
	$(VENV)/bin/diffir-train stage1 --config configs/train/denoise-nano/warmup.yaml --set model.cpen_zero_sum=false
	$(VENV)/bin/diffir-train stage1 --config configs/train/denoise-nano/stage1.yaml
	$(VENV)/bin/diffir-train stage2 --config configs/train/denoise-nano/stage2.yaml
	$(VENV)/bin/diffir-train stage2 --config configs/train/denoise-nano/stage2-large.yaml
	$(VENV)/bin/diffir-train stage2 --config configs/train/denoise-nano/refine.yaml
	$(VENV)/bin/diffir-train stage2 --config configs/train/denoise-nano/refine-large.yaml
	$(VENV)/bin/diffir-train stage2 --config configs/train/denoise-nano/refine-decoded.yaml
	$(VENV)/bin/diffir-train stage2 --config configs/train/denoise-nano/refine-weak.yaml
	$(VENV)/bin/diffir-train stage2 --config configs/train/denoise-nano/compensated.yaml
	$(VENV)/bin/diffir-train stage2 --config configs/train/denoise-nano/compensated-longer.yaml
	$(VENV)/bin/diffir-train stage2 --config configs/train/denoise-nano/interpolated.yaml

# Stage 1 goes on from the weights of denoise-nano that are built in.
train-tape-nano: $(STAMP)
	$(VENV)/bin/diffir-train data fetch --root $(DATA)
	$(VENV)/bin/diffir-train stage1 --config configs/train/tape-nano/stage1.yaml
	$(VENV)/bin/diffir-train stage2 --config configs/train/tape-nano/stage2.yaml

train-denoise-live: $(STAMP)
	$(VENV)/bin/diffir-train data fetch --root $(DATA)
	$(VENV)/bin/diffir-train stage1 --config configs/train/denoise-live/stage1.yaml
	$(VENV)/bin/diffir-train stage2 --config configs/train/denoise-live/stage2.yaml
	$(VENV)/bin/diffir-train stage2 --config configs/train/denoise-live/refine.yaml
	$(VENV)/bin/diffir-train stage2 --config configs/train/denoise-live/refine-photos.yaml
	$(VENV)/bin/diffir-train stage2 --config configs/train/denoise-live/refine-footage.yaml
	$(VENV)/bin/diffir-train stage2 --config configs/train/denoise-live/refine-longer.yaml
	$(VENV)/bin/diffir-train stage2 --config configs/train/denoise-live/compensated.yaml
	$(VENV)/bin/diffir-train stage2 --config configs/train/denoise-live/compensated-longer.yaml
	$(VENV)/bin/diffir-train stage2 --config configs/train/denoise-live/compensated-longest.yaml
	$(VENV)/bin/diffir-train stage2 --config configs/train/denoise-live/compensated-again.yaml
	$(VENV)/bin/diffir-train stage2 --config configs/train/denoise-live/compensated-strong.yaml
	$(VENV)/bin/diffir-train stage2 --config configs/train/denoise-live/interpolated.yaml
	$(VENV)/bin/diffir-train stage2 --config configs/train/denoise-live/interpolated-strong.yaml

train-deblock-nano: $(STAMP)
	$(VENV)/bin/diffir-train data fetch --root $(DATA)
	$(VENV)/bin/diffir-train stage1 --config configs/train/deblock-nano/stage1.yaml
	$(VENV)/bin/diffir-train stage2 --config configs/train/deblock-nano/stage2.yaml
	$(VENV)/bin/diffir-train stage2 --config configs/train/deblock-nano/refine.yaml
	$(VENV)/bin/diffir-train stage2 --config configs/train/deblock-nano/mild.yaml
	$(VENV)/bin/diffir-train widen --overwrite runs/deblock-nano/mild/checkpoints/last.safetensors \
		runs/deblock-nano/widened.safetensors
	$(VENV)/bin/diffir-train widen --overwrite runs/deblock-nano/stage1/checkpoints/last.safetensors \
		runs/deblock-nano/widened-s1.safetensors
	$(VENV)/bin/diffir-train stage2 --config configs/train/deblock-nano/wide.yaml
	$(VENV)/bin/diffir-train stage2 --config configs/train/deblock-nano/wide-longer.yaml
	$(VENV)/bin/diffir-train stage2 --config configs/train/deblock-nano/wide-x265.yaml
	$(VENV)/bin/diffir-train stage2 --config configs/train/deblock-nano/compensated.yaml

train-upscale-x2-nano: $(STAMP)
	$(VENV)/bin/diffir-train data fetch --root $(DATA)
	$(VENV)/bin/diffir-train stage1 --config configs/train/upscale-x2-nano/stage1.yaml
	$(VENV)/bin/diffir-train stage2 --config configs/train/upscale-x2-nano/stage2.yaml
	$(VENV)/bin/diffir-train stage2 --config configs/train/upscale-x2-nano/refine.yaml

# From the weights of upscale-x2-nano that are built in.
train-upscale-x2-small: $(STAMP)
	$(VENV)/bin/diffir-train data fetch --root $(DATA)
	mkdir -p runs/upscale-x2-small
	$(VENV)/bin/diffir-train widen --overwrite upscale-x2-nano runs/upscale-x2-small/widened.safetensors
	$(VENV)/bin/diffir-train widen --overwrite upscale-x2-nano-s1 runs/upscale-x2-small/widened-s1.safetensors
	$(VENV)/bin/diffir-train stage2 --config configs/train/upscale-x2-small/wide.yaml

clean:
	rm -rf demo build dist .pytest_cache .ruff_cache
