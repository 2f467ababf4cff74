#!/bin/sh
# Kills a training run at moments that it does not choose (SIGKILL, then SIGINT), resumes it each time, and compares its
# losses and weights with those of a run that nobody disturbed. Needs a model: assets/nano, or MODEL_ID.
#
#   sh tests/end_to_end/kill_resume.sh [cot|colar]
set -eu
cd "$(dirname "$0")/../.."
model=${1:-colar}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

start=''
[ "$model" = cot ] || start='start=none max_n_latent_forward=3 lp_intermediate_size=16'
settings="model_id=${MODEL_ID:-assets/nano} n_train=64 n_val=2 n_test=2 batch_size=2 max_steps=32 epoch_scaling=0.125 max_new_tokens=2 $start"

train() { # workspace, then options; runs in the shell's own process, so that a signal reaches Deno itself
  workspace=$1
  shift
  exec ./denow run --allow-read --allow-write --allow-env=COLAR_CACHE,VK_DRIVER_FILES,VK_ICD_FILENAMES,LOG_STREAM,LOG_TOKENS \
    ./main.ts train "--workspace_path=$workspace" "$@" >>"$workspace.log" 2>&1
}

lines() { cat "$1"/logs/"$model"/arith/*/train.json 2>/dev/null | wc -l; }

# shellcheck disable=SC2086 # settings are several words
(train "$work/whole" "--model=$model" $settings)

: >"$work/killed.log"
kills=0
options="--model=$model $settings"
for signal in KILL INT KILL KILL INT; do
  before=$(lines "$work/killed")
  # shellcheck disable=SC2086 # options are several words
  (train "$work/killed" $options) &
  process=$!
  # Until it has written some steps more, at another number of them each time.
  until [ "$(lines "$work/killed")" -ge $((before + 5 + 2 * kills)) ] || ! kill -0 "$process" 2>/dev/null; do
    sleep 0.05
  done
  if kill -s "$signal" "$process" 2>/dev/null; then kills=$((kills + 1)); fi
  wait "$process" || :
  last=$(echo "$work"/killed/logs/"$model"/arith/*/checkpoints/last)
  if [ -d "$last" ]; then options="--resume_ckpt_path=$last"
  else rm -rf "$work/killed/logs"; fi # nothing was saved yet: the run begins anew
done
# shellcheck disable=SC2086 # options are several words
(train "$work/killed" $options)

whole=$(echo "$work"/whole/logs/"$model"/arith/*)
killed=$(echo "$work"/killed/logs/"$model"/arith/*)
for file in train.json checkpoints/last/model.safetensors checkpoints/last/optimizer.safetensors; do
  if ! cmp "$whole/$file" "$killed/$file"; then
    tail -n 5 "$work"/*.log
    echo "kill_resume $model: $file differs from the undisturbed run's"
    echo "FAILED | 0 passed | 1 failed"
    exit 1
  fi
done
echo "kill_resume $model: equal to the undisturbed run bit for bit after $kills signals"
echo "ok | 1 passed | 0 failed"
