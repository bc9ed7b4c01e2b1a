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
ls -1 "$run"/*.png outputs/samples/*/"$EBM_RUN_STAMP"/*.{png,gif} outputs/evals/*/"$EBM_RUN_STAMP"/*.png 2>/dev/null
echo "Numbers:"
ls -1 outputs/evals/*/"$EBM_RUN_STAMP"/metrics.json
