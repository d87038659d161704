#!/usr/bin/env bash
# Measure a machine that reaches no package index: pack on one that does, copy the directory, run there.
#
#   bench/carry.sh pack DIR [MODEL]     here, in a checkout after `make install`: wheels and the model (default: smollm2-135m-instruct) into DIR
#   DIR/carry.sh run OPTIONS            there: installs into DIR/venv and runs `pennyweight bench suite` with the options
#
# Both machines need the same Python and system. PyTorch is not packed: the machine's own is used where it has one, and that is what
# rented GPU machines come with; PACK_TORCH=1 packs the build that the package index has for this machine (several GB for CUDA).
set -euo pipefail
cd "$(dirname "$0")"

pack() {
  local out=${1:?name a directory} model=${2:-smollm2-135m-instruct}
  out=$(mkdir -p "$out" && cd "$out" && pwd)
  cd ..
  echo "carry: building the wheel, with its CPU kernels"
  .venv/bin/python -m pip wheel --quiet --no-deps --wheel-dir "$out/wheels" .
  echo "carry: fetching the wheels of what it needs"
  grep -v '^torch==' constraints.txt > "$out/constraints.txt"
  local wanted
  wanted="$(ls "$out"/wheels/pennyweight-*.whl)[gpu,bench]"
  .venv/bin/python -m pip download --quiet --only-binary :all: -c constraints.txt --dest "$out/wheels" "$wanted"
  if [ -z "${PACK_TORCH:-}" ]; then
    # PyTorch and what only it needs: hundreds of megabytes here, several gigabytes for CUDA.
    rm -f "$out"/wheels/torch-*.whl "$out"/wheels/nvidia_c*.whl "$out"/wheels/nvidia_n[cv]*.whl "$out"/wheels/triton-*.whl
  fi
  echo "carry: copying the model"
  cp -rL "$([ -d "$model" ] && echo "$model" || .venv/bin/pennyweight pull "$model" | tail -n 1)" "$out/model"
  cp bench/carry.sh "$out/"
  du -sh "$out"
}

run() {
  if [ ! -e venv/installed ]; then
    echo "carry: installing into $PWD/venv"
    "${PYTHON:-python3}" -m venv --system-site-packages venv
    venv/bin/python -m pip install --quiet --no-index --find-links wheels -c constraints.txt "pennyweight[gpu,bench]"
    touch venv/installed
  fi
  venv/bin/python -c 'import torch; print("carry: PyTorch", torch.__version__, "sees", torch.cuda.device_count(), "cards")'
  venv/bin/pennyweight bench suite --model "$PWD/model" --out "$PWD/results" "$@"
}

case ${1:-} in
  pack | run) "$@" ;;
  *) sed -n '2,/^set/{/^set/!s/^# \{0,1\}//p;}' carry.sh >&2; exit 2 ;;
esac
