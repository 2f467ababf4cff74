#!/bin/sh
# A report in a real browser: it draws its charts, fills its tables, filters by text, and runs nothing that a question
# says. Skipped where there is no Chromium.
#
#   sh tests/end_to_end/report_page.sh
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
browser=
for name in chromium chromium-browser google-chrome; do
  if command -v "$name" >/dev/null 2>&1; then browser=$name && break; fi
done
if [ -z "$browser" ]; then
  echo 'report_page: skipped, since there is no chromium on PATH; apt-get install chromium'
  echo 'ok | 0 passed | 0 failed | 1 ignored'
  exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
  echo "report_page: $*"
  grep -v '^ERROR' "$work/errors" | tail -n 5
  echo 'FAILED | 0 passed | 1 failed'
  exit 1
}

# What the page is once its script has run. A browser of root needs --no-sandbox.
opened() {
  HOME=$work "$browser" --headless --no-sandbox --disable-gpu --virtual-time-budget=30000 \
    --dump-dom "file://$work/run/report.html$1" 2>"$work/errors"
}
has() { printf '%s' "$page" | grep -qF -- "$1" || fail "the page lacks $1"; }
count() { printf '%s' "$page" | grep -oF -- "$1" | wc -l; }

"$root/denow" run --allow-read "--allow-write=$work" "$root/tests/io/report_runs.ts" "$work"
"$root/denow" task report "$work/run" >"$work/errors" 2>&1 || fail 'there is no report'

page=$(opened '' | sed '/^ *<script/,/<\/script>/d')
has '<body data-state="drawn">'
has '<p id="fault" hidden="">'
has '2 of 2 answers, 1 right'
has '<td class="text">2 &lt; 3 apples &amp; &lt;/script&gt;&lt;script&gt;fail()&lt;/script&gt;?</td>'
has '<td class="text">Answer:&lt;i&gt;6&lt;/i&gt;</td>'
has '<td>1 of 2</td>'
[ "$(count '<svg ')" = 3 ] || fail "$(count '<svg ') charts, not loss, val/acc and the accuracies"
[ "$(count 'aria-roledescription="line mark"')" = 2 ] || fail 'a curve is missing'
[ "$(count 'aria-roledescription="point"')" -ge 3 ] || fail 'a point of the accuracies is missing'

page=$(opened '#text=PEARS&verdict=wrong' | sed '/^ *<script/,/<\/script>/d')
has '1 of 2 answers, 0 right'
has '&lt;b&gt;pears&lt;/b&gt;'
[ "$(count 'apples')" = 0 ] || fail 'the filter keeps what it should not'

echo "report_page: $browser drew 3 charts and filtered 2 answers"
echo 'ok | 1 passed | 0 failed'
