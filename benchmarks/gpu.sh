#!/usr/bin/env bash
# What is to be run on a machine with a GPU, in parts of less than ten minutes each:
#
#   bash benchmarks/gpu.sh [part ...]      all parts by default
#
# Parts: machine tests training-s16 training-b16 training-b8 training-l16 training-l8 store embedding-16 embedding-8
#        loading demo scaling
#
# Results go to $OUT (results/benchmarks by default): a log a part and, of the benchmarks, their rows as CSV.
# $PYTHON is used as it is; by default .venv/bin/python. Where neither exists, python3 if it has torch, else a virtual
# environment is installed as `make` does it, which needs the internet.
# The status is 1 when a part failed; a part that lacks packages is skipped, and says which.

set -u -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

PARTS=(machine tests training-s16 training-b16 training-b8 training-l16 training-l8 store embedding-16 embedding-8
    loading demo scaling)
LIMIT=590 # seconds a part
OUT=${OUT:-results/benchmarks}
PACKAGES=(torch triton timm transformers numpy pandas pyarrow zarr xarray tifffile imagecodecs lazy_loader yaml
    safetensors anndata scanpy sklearn matplotlib snakemake pytest pytest_timeout tensorstore)

find_python() {
    if [[ -n ${PYTHON:-} ]]; then
        return
    elif [[ -x .venv/bin/python ]]; then
        PYTHON=.venv/bin/python
    elif python3 -c 'import torch' 2>/dev/null; then
        PYTHON=python3
    else
        make .venv/.installed-dev || echo "installing failed; going on with what there is"
        PYTHON=$([[ -x .venv/bin/python ]] && echo .venv/bin/python || echo python3)
    fi
}

# Print those of some packages that cannot be imported.
missing() {
    "$PYTHON" - "$@" <<'PYTHON'
import importlib.util
import sys

print(*(name for name in sys.argv[1:] if importlib.util.find_spec(name) is None))
PYTHON
}

# Packages without which a part says nothing.
needs() {
    case $1 in
    machine) echo torch ;;
    tests) echo torch timm transformers pytest pytest_timeout tifffile zarr ;;
    training-*) echo torch timm transformers pandas lazy_loader ;;
    store) echo torch timm transformers pandas lazy_loader zarr tifffile imagecodecs pyarrow ;;
    embedding-*) echo torch timm pandas lazy_loader anndata zarr ;;
    loading) echo torch zarr tifffile imagecodecs pyarrow lazy_loader ;;
    demo | scaling) echo torch timm snakemake anndata scanpy zarr tifffile imagecodecs sklearn matplotlib ;;
    esac
}

run_machine() {
    nvidia-smi || echo "missing: nvidia-smi"
    "$PYTHON" --version
    "$PYTHON" -c 'import torch; print("torch", torch.__version__, "sees", torch.cuda.device_count(), "GPU(s)")'
    echo "missing packages: $(missing "${PACKAGES[@]}")"
    git describe --always --dirty --exclude='*' 2>/dev/null || echo "no git checkout: results will not name a commit"
}

run_tests() {
    if grep -q '"gpu:' pyproject.toml; then
        "$PYTHON" -m pytest -q -m gpu
    else
        echo "no tests are marked 'gpu': running those of parity and pretraining"
        "$PYTHON" -m pytest -q tests/parity tests/pretraining
    fi
}

run_training() {
    "$PYTHON" benchmarks/training_speed.py --models "$1" --csv "$OUT/$2.csv"
}

run_store() {
    "$PYTHON" benchmarks/training_speed.py --models S/16 --contestants "cellmae, compiled" --data store --fields 256 \
        --csv "$OUT/store.csv"
}

run_embedding() {
    "$PYTHON" benchmarks/embedding_speed.py --models "${@:2}" --rounds 3 --seconds 2 --csv "$OUT/$1.csv"
}

run_demo() {
    "$PYTHON" -m snakemake --cores all || return 1
    mkdir -p "$OUT/demo"
    cp results/demo/report/index.html "$OUT/demo/"
    for history in results/demo/models/*/history.csv; do
        cp "$history" "$OUT/demo/$(basename "$(dirname "$history")").history.csv"
    done
}

# As much of the study as fits, and the report of what is mapped; the next run goes on, a training at its last checkpoint.
run_scaling() {
    trap 'kill -TERM "$study" 2>/dev/null' TERM
    timeout --signal=INT $((LIMIT - 180)) "$PYTHON" -m snakemake --cores all --keep-going \
        --configfile configs/scaling.yaml &
    study=$!
    if ! wait "$study"; then
        echo "the study is not finished; run this part again. What is mapped is compared:"
        "$PYTHON" -m snakemake report --cores all --configfile configs/scaling.yaml --config partial=True
    fi
    mkdir -p "$OUT/scaling"
    for file in results/scaling/maps/*.csv results/scaling/report/figures/compute-* results/scaling/models/*/history.csv; do
        [[ ! -e $file ]] || cp "$file" "$OUT/scaling/$(tr / - <<<"${file#results/scaling/}")"
    done
}

run() {
    case $1 in
    machine) run_machine ;;
    tests) run_tests ;;
    training-s16) run_training S/16 "$1" ;;
    training-b16) run_training B/16 "$1" ;;
    training-b8) run_training B/8 "$1" ;;
    training-l16) run_training L/16 "$1" ;;
    training-l8) run_training L/8 "$1" ;;
    store) run_store ;;
    embedding-16) run_embedding "$1" S/16 B/16 L/16 ;;
    embedding-8) run_embedding "$1" B/8 L/8 ;;
    loading) "$PYTHON" benchmarks/loading_speed.py --workers 4 --csv "$OUT/loading.csv" ;;
    demo) run_demo ;;
    scaling) run_scaling ;;
    esac
}

# A part runs in a process of its own, which the limit can end.
if [[ ${1:-} == --run ]]; then
    run "$2"
    exit
fi

for part in "$@"; do
    if [[ ! " ${PARTS[*]} " == *" $part "* ]]; then
        echo "unknown part '$part'; there are: ${PARTS[*]}" >&2
        exit 2
    fi
done
mkdir -p "$OUT"
OUT=$(cd "$OUT" && pwd)
find_python
export OUT PYTHON
export PYTHONPATH=$PWD/src${PYTHONPATH:+:$PYTHONPATH} # where the package is not installed
export PYTHONUNBUFFERED=1
export PYTORCH_CUDA_ALLOC_CONF=${PYTORCH_CUDA_ALLOC_CONF:-expandable_segments:True}

declare -a SUMMARY
STATUS=0
for part in "${@:-"${PARTS[@]}"}"; do
    echo "=== $part"
    # shellcheck disable=SC2046
    lacking=$(missing $(needs "$part"))
    if [[ -n $lacking ]]; then
        echo "skipped: $PYTHON lacks $lacking" | tee "$OUT/$part.log"
        SUMMARY+=("$part: skipped, lacks $lacking")
        continue
    fi
    start=$SECONDS
    timeout --kill-after=10 "$LIMIT" bash benchmarks/gpu.sh --run "$part" 2>&1 | tee "$OUT/$part.log"
    status=${PIPESTATUS[0]}
    verdict="done"
    [[ $status == 0 ]] || { verdict="FAILED with status $status" && STATUS=1; }
    [[ $status == 124 ]] && verdict="ended after $LIMIT seconds"
    SUMMARY+=("$part: $verdict, $((SECONDS - start)) s")
done
echo "=== summary"
printf '%s\n' "${SUMMARY[@]}" | tee "$OUT/summary.txt"
exit "$STATUS"
