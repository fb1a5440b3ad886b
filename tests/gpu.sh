#!/usr/bin/env bash
# What has to be checked and measured where there is a GPU, in fifteen minutes: correctness first, then speed.
#
#   tests/gpu.sh                    parts 1, 2 and 3
#   tests/gpu.sh 2 3                these parts; 3 repeats what failed, as $OUT/failed.txt of 1 and 2 names it
#   tests/gpu.sh --rehearse         the same steps without a GPU, on tests/fake_cupy at toy sizes; kernels in the emulator
#   OUT=folder tests/gpu.sh         where results go (default: gpu-results)
#
# Each step has a time limit, and so has each part. A step that fails leaves the others. $OUT gets the full output of
# every step (NAME.txt) and the benchmark's numbers (*.json); what is printed, also in $OUT/report.txt, is what is
# committed. The exit status is 1 if a step failed. Tables are made afterwards, anywhere, as the last lines say.
# It needs CuPy, NumPy and pytest; pytest-xdist, PyTorch, transformers, compute-sanitizer and ncu where they are there.
set -u
cd "$(dirname "$0")/.."
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}

rehearse=false parts=()
for argument; do
  case $argument in
    --rehearse) rehearse=true ;;
    1 | 2 | 3) parts+=("$argument") ;;
    *) sed -n '2,14s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
done
[ ${#parts[@]} -gt 0 ] || parts=(1 2 3)
OUT=${OUT:-gpu-results}
mkdir -p "$OUT" || exit 2
report=$OUT/report.txt failed=$OUT/failed.txt
touch "$failed"

backend=cuda rounds=7 where="cuda" graphs="cuda" limit=330
if $rehearse; then
  rounds=1 where="softmax and (forward or cuda)" graphs="cuda and five_steps"
  export PYTHONPATH=$PWD/tests/stand_in:$PYTHONPATH
fi

say() { printf '%s\n' "$*" | tee -a "$report"; }

# step NAME SECONDS LINES COMMAND...: run it for at most SECONDS, and no longer than the part has left; show LINES.
step() {
  local name=$1 most=$2 lines=$3 left=$((part_end - SECONDS)) began=$SECONDS status
  shift 3
  [ "$left" -lt "$most" ] && most=$left
  if [ "$most" -lt 2 ]; then
    say "-- $name: left out, the part's time is over"
    mark "$name"
    return
  fi
  timeout -k 5 "$most" "$@" >"$OUT/$name.txt" 2>&1
  status=$?
  case $status in
    0) say "-- $name: done in $((SECONDS - began)) s" ;;
    124 | 137) say "-- $name: STOPPED after its $most s" ;;
    *) say "-- $name: FAILED with status $status after $((SECONDS - began)) s" ;;
  esac
  tail -n "$lines" "$OUT/$name.txt" | cut -c1-300 | sed 's/^/   /' | tee -a "$report"
  if [ $status -eq 0 ]; then sed -i "/^$name\$/d" "$failed"; else mark "$name"; fi
}

mark() { grep -qx "$1" "$failed" || echo "$1" >>"$failed"; }
begin() { part_end=$((SECONDS + $2)); say "== part $1, at most $2 s"; }

# tool COMMAND... -- JOB...: the job under a tool of NVIDIA's; in a rehearsal the job alone
tool() {
  local words=("$1") word
  if $rehearse; then
    while [ "$1" != -- ]; do shift; done
    shift
    "$@"
    return
  fi
  if ! command -v "$1" >/dev/null; then
    echo "$1 is not installed"
    return 1
  fi
  shift
  for word; do [ "$word" = -- ] || words+=("$word"); done
  "${words[@]}"
}

suite() {  # of the kernels, on eight processes where pytest-xdist is there
  local many=()
  $rehearse || { python -c 'import xdist' 2>/dev/null && many=(-n 8); }
  python -m pytest "${many[@]+"${many[@]}"}" -p no:cacheprovider "$@"
}

versions() {
  $rehearse || nvidia-smi --query-gpu=name,driver_version,memory.total,power.limit --format=csv,noheader
  git log -1 --format='commit %h' 2>/dev/null
  python - <<'PYTHON'
from importlib import metadata
import platform
print("python", platform.python_version())
for name in ("numpy", "cupy-cuda13x", "cupy-cuda12x", "torch", "transformers", "pytest", "pytest-xdist"):
    try:
        print(name, metadata.version(name))
    except metadata.PackageNotFoundError:
        print(name, "is not installed")
PYTHON
}

train() {  # prints the accuracy after one epoch, and the time of the first step
  if $rehearse; then
    python - "$@" --depth 1 <<'PYTHON'
import sys
from minast import train
from minast.datasets import builtin
builtin.COUNTS = {"train": 40, "test": 20}
sys.exit(train.main(sys.argv[1:]))
PYTHON
  else
    python -m minast.train "$@"
  fi
}

bench() { python -m minast.bench "$@" --backend "$backend" --rounds "$rounds"; }
export -f tool suite versions train bench
export rehearse backend rounds

# run NAME: a step by its name
run() {
  local files profile
  case $1 in
    versions) step versions 15 12 bash -c versions ;;
    kernels)
      files=(tests/gpu/test_kernels*.py tests/gpu/test_half*.py)
      step kernels 120 15 bash -c 'suite "$@"' - "${files[@]}" -k "$where"
      ;;
    graphs) step graphs 45 8 bash -c 'suite "$@"' - tests/gpu/test_graphs.py -k "$graphs" ;;
    train)
      step train 60 9 bash -c 'train "$@"' - builtin --backend "$backend" --dtype bfloat16 --epochs 1 --out "$OUT/run"
      ;;
    memcheck | racecheck)
      MINAST_PLAIN_MEMORY=1 step "$1" 45 12 bash -c 'tool "$@"' - compute-sanitizer --tool "$1" --error-exitcode 9 -- \
        python -m tests.gpu.each_kernel "$backend"
      ;;
    attention) step attention 75 60 bash -c 'bench "$@"' - attention --json "$OUT/attention.json" ;;
    whole) step whole 180 20 bash -c 'bench "$@"' - step latency memory --json "$OUT/whole.json" ;;
    small) step small 120 140 bash -c 'bench "$@"' - kernels --json "$OUT/small.json" ;;
    profile)
      profile='regex:attention_mma_lean|attention_mma_dkv|attention_mma_dq|gelu_backward_sums|residual_norm_backward'
      step profile 60 150 bash -c 'tool "$@"' - ncu --target-processes all -k "$profile" --launch-skip 10 \
        --launch-count 12 -- python -m tests.gpu.one_step "$backend"
      ;;
    throughput) step throughput 100 30 bash -c 'bench "$@"' - throughput --json "$OUT/throughput.json" ;;
    sweep) step sweep 150 40 python -m tests.gpu.sweep "$backend" "$OUT/sweep.json" ;;
    *) say "there is no step $1" ;;
  esac
}

run_part() {
  local name names
  case $1 in
    1) names=(versions kernels graphs train memcheck racecheck attention) ;;
    2) names=(whole small profile) ;;
    3)  # what failed, once more; if nothing did, clips a second and a sweep
      mapfile -t names <"$failed"
      [ ${#names[@]} -gt 0 ] || names=(throughput sweep)
      ;;
  esac
  begin "$1" $(($1 == 3 ? limit / 2 : limit))
  for name in "${names[@]}"; do run "$name"; done
}

for part in "${parts[@]}"; do run_part "$part"; done
if [ -s "$failed" ]; then say "failed: $(paste -sd' ' "$failed")"; else say "all steps done"; fi
measured=
for name in attention whole small throughput; do [ -f "$OUT/$name.json" ] && measured+=" $OUT/$name.json"; done
say "tables: python -m minast.bench --from$measured --readme kernels/README.md" \
  "--ladder kernels/ladder.png"
[ ! -s "$failed" ]
