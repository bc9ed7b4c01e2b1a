#!/usr/bin/env bash
# The main job on real data: train on the bundled digits, sample from fresh noise, evaluate; then say where things are.
set -euo pipefail
BIN="${BIN:-.venv/bin}"
export EBM_RUN_STAMP="${EBM_RUN_STAMP:-demo-$$}"

"$BIN/ebm-train"
run=$(readlink -f outputs/runs/latest)
"$BIN/ebm-sample" run="$run"
"$BIN/ebm-eval" run="$run"

echo
echo "Pictures:"
find "$run" outputs/samples/*/"$EBM_RUN_STAMP" outputs/evals/*/"$EBM_RUN_STAMP" -maxdepth 1 \( -name '*.png' -o -name '*.gif' \) | sort
echo "Numbers:"
find outputs/evals/*/"$EBM_RUN_STAMP" -name metrics.json -o -name report.md | sort
