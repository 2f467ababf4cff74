#!/bin/sh
# A run whose disk fills up, as a user sees it: it ends with one line and exit code 2, what it saved before is whole, and
# with room again it goes on. The disk is a small file system in memory; skipped where none can be mounted. Relative paths
# are given from another folder than the project's.
#
#   sh tests/end_to_end/full_disk.sh
set -eu
denow=$(cd "$(dirname "$0")/../.." && pwd)/denow
work=$(mktemp -d) log=$(mktemp)
if ! mount -t tmpfs -o size=1m tmpfs "$work" 2>/dev/null; then
  echo 'full_disk: skipped, since a small file system needs root to be mounted'
  rm -rf "$work" "$log"
  echo 'ok | 0 passed | 0 failed | 1 ignored'
  exit 0
fi
trap 'cd / && umount "$work" && rm -rf "$work" "$log"*' EXIT
mkdir "$work/elsewhere"
cd "$work/elsewhere"

fail() {
  echo "full_disk: $*"
  cat "$log"
  echo "FAILED | 0 passed | 1 failed"
  exit 1
}

settings='model_id=assets/nano do_lora=True r=8 n_train=16 n_val=2 n_test=2 batch_size=4 epoch_scaling=0.5 max_new_tokens=2 save_top_k=0'

# shellcheck disable=SC2086 # settings are several words
"$denow" task train --model=cot --workspace_path=.. $settings max_steps=2 >"$log" 2>&1 || fail 'the first run failed'
last=$(echo ../logs/cot/arith/*/checkpoints/last)
sum=$(cat "$last"/* | cksum)

cat /dev/zero >"$work/fill" 2>/dev/null || :
truncate -s -64K "$work/fill" # logs fit, a checkpoint does not
code=0
"$denow" task train --resume_ckpt_path="$last" max_steps=4 >"$log" 2>"$log.errors" || code=$?
rm "$work/fill"
[ "$code" = 2 ] || fail "exit code $code where the disk was full"
line=$(grep -v '^Task ' "$log.errors" | sed 's/\x1b\[[0-9;]*m//g' | grep -v '^Task ')
[ "$(echo "$line" | wc -l)" = 1 ] || fail "more than a line: $line"
echo "$line" | grep -q '^cannot .*(os error [0-9]*); what was .* is whole; free disk space' || fail "it said: $line"
[ "$(cat "$last"/* | cksum)" = "$sum" ] || fail 'the earlier checkpoint changed'

"$denow" task train --resume_ckpt_path="$last" max_steps=4 >"$log" 2>&1 || fail 'it did not go on'
"$denow" task test --ckpt="$last" --print_config >"$log" 2>&1 || fail 'the last checkpoint cannot be read'
echo "full_disk: $line"
echo "ok | 1 passed | 0 failed"
