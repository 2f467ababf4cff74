#!/bin/sh
# Tests of ../denow with an empty home and a PATH of stubs: no network, nothing installed for real.
# The stub npm, curl and apt-get write a line to $work/calls for each call; the stub Deno prints the
# folder it runs in and its arguments. Run: sh tests/denow_test.sh
# shellcheck disable=SC2016,SC2034 # conditions are single-quoted, since `all` evaluates them later
set -u

root=$(cd "$(dirname "$0")/.." && pwd -P)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
project="$work/a project" version=2.9.6 passed=0 failed=0
mkdir "$project"
for folder in tools npm broken curl old pinned apt driver; do mkdir "$work/$folder"; done
cp "$root/denow" "$project/denow"
for tool in sh cat chmod cp cut dirname flock grep head mkdir mktemp mv readlink rm sed \
  sha256sum shasum sleep tail; do
  path=$(command -v "$tool") && ln -s "$path" "$work/tools/$tool"
done

stub() { # path; the script comes from standard input
  { echo '#!/bin/sh' && cat; } >"$1" && chmod +x "$1"
}
stub "$work/tools/uname" <<'END'
case $1 in -s) echo Linux ;; -m) echo x86_64 ;; esac
END
stub "$work/deno" <<END
case \$1 in
  --version) echo "deno $version (stable, release, stub)" ;;
  *) printf '%s\n' "folder=\$PWD" "backend=\${DENO_WEBGPU_BACKEND-}" "driver=\${VK_DRIVER_FILES-}" \\
      "memory=\${COLAR_GPU_MEMORY-}"
    printf 'argument=%s\n' "\$@" ;;
esac
END
stub "$work/npm/npm" <<END
echo "npm \$*" >>"$work/calls"
while [ "\$1" != --prefix ]; do shift; done
sleep 0.3
mkdir -p "\$2/node_modules/@deno/stub" && cp "$work/deno" "\$2/node_modules/@deno/stub/deno"
END
echo 'echo "no registry" >&2 && exit 1' | stub "$work/broken/npm"
stub "$work/curl/curl" <<END
echo "curl \$*" >>"$work/calls"
while [ "\$1" != -o ]; do shift; done
case \$3 in *.sha256sum) cat "$work/sum" ;; *) cat "$work/deno" ;; esac >"\$2"
END
stub "$work/curl/unzip" <<'END'
cp "$2" "$5/deno" && chmod +x "$5/deno"
END
stub "$work/old/deno" <<'END'
echo "deno 1.0.0 (stable, release, stub)"
END
cp "$work/deno" "$work/pinned/deno"
echo 'echo 1000' | stub "$work/tools/id"
echo 'echo 0' | stub "$work/apt/id"
stub "$work/apt/apt-get" <<END
echo "apt-get \$*" >>"$work/calls"
case \$* in *update) sleep 0.3 ;; *install*) cp "$work/driver/driver.json" "$work/new.json" ;; esac
END
touch "$work/driver/libvulkan.so.1"
echo "\"library_path\": \"$work/driver/libvulkan.so.1\"" >"$work/driver/driver.json"

home=$work/home driver=$work/driver/driver.json
# Runs denow with the stubs in the folders named first (space-separated), then its arguments.
denow() {
  path=$work/tools
  for folder in $1; do path=$work/$folder:$path; done
  shift
  env -i PATH="$path" ${home:+HOME="$home"} \
    ${driver:+VK_DRIVER_FILES="$driver"} XDG_DATA_HOME="$work/share" \
    LD_LIBRARY_PATH="$work/driver" \
    "${program:-$project/denow}" "$@" >"$work/out" 2>"$work/err"
}
fresh() { rm -rf "${work:?}/home" && : >"$work/calls"; }
says() { grep -q -e "$2" "$work/$1"; }
silent() { [ ! -s "$work/err" ]; }
calls() { [ "$(grep -c "$1" "$work/calls")" = "$2" ]; }
one_line() { [ "$(grep -c '' "$work/err")" = 1 ]; }
clean() { # no temporary folder is left
  for folder in "$work"/home/.cache/colar-webgpu/install.*; do [ ! -e "$folder" ] || return 1; done
}
check() { # name, condition...
  name=$1 && shift
  if "$@"; then passed=$((passed + 1)); else
    failed=$((failed + 1))
    echo "FAILED: $name" && sed 's/^/  /' "$work/out" "$work/err"
  fi
}
all() { while [ $# -gt 0 ]; do eval "$1" || return 1; shift; done; }

check 'the version is written once, and is the pinned one' \
  all '[ "$(grep -c "$version" "$root/denow")" = 1 ]' \
  'grep -q "^version=$version$" "$root/denow"'

fresh
check 'npm installs the pinned version once, and says so' all 'denow npm fmt' 'one_line' \
  'says err installing' 'calls "npm install.*deno@$version" 1' 'clean'
check 'the second run is silent and needs neither npm nor curl' all \
  'denow "npm curl" fmt' silent 'calls . 1'
check 'a cached Deno is preferred to another on PATH' all 'denow old fmt' 'says out argument=fmt'
start=$(date +%s)
for _ in 1 2 3 4 5 6 7 8 9 10; do denow npm task check; done
check 'ten more runs take less than 5 s' [ $(($(date +%s) - start)) -lt 5 ]

fresh
check 'a pinned Deno on PATH is used without installing' all \
  'denow "npm pinned" fmt' silent 'calls . 0'
check 'another version on PATH is not' all \
  'denow "npm old" fmt' 'calls npm 1' 'says out argument=fmt'

fresh
(denow npm fmt; echo $? >"$work/first") & denow npm fmt; second=$?; wait
check 'two at once both succeed' all '[ "$(cat "$work/first") $second" = "0 0" ]' 'clean' \
  'denow "" fmt'

ln -s "$project/denow" "$work/link" && mkdir -p "$work/else where"
cd "$work/else where" || exit 1
program=../link
check 'a task called through a link elsewhere gets the project, the folder stays' all \
  'denow "" task check "a b"' 'says out "folder=$work/else where"' 'says out "argument=a b"' \
  'says out "argument=$project/deno.json"' 'says out backend=vulkan'
program=

mkdir "$work/nvidia"
echo 'echo 81152; echo 40000' | stub "$work/nvidia/nvidia-smi"
check 'the free memory of the first NVIDIA card is told to the program' all \
  'denow nvidia task check' 'says out "memory=81152$"' silent
echo 'echo "no devices were found"; exit 6' | stub "$work/nvidia/nvidia-smi"
check 'a tool that finds no card says nothing that counts' all \
  'denow nvidia task check' '! says out "memory=[0-9]"' silent

fresh && (sha256sum || shasum -a 256) <"$work/deno" >"$work/sum" 2>/dev/null
check 'without npm the download is installed' all 'denow curl fmt' clean \
  'calls "v$version/deno-x86_64.*zip" 2'
check 'where npm fails the download follows' all 'fresh' 'denow "curl broken" fmt' \
  'says err "npm failed (no registry)"' 'calls curl 2'
fresh && echo "0000  deno.zip" >"$work/sum"
check 'a wrong checksum is refused in one line' all '! denow curl fmt' 'says err "expected .0000"' \
  'clean' '! denow "" fmt'
fresh
check 'without npm, curl and wget one line says so' all \
  '! denow "" fmt' one_line 'says err "npm, curl and wget"'
home=
check 'without HOME one line says so' all '! denow npm fmt' one_line 'says err COLAR_CACHE'
home=$work/home driver=$work/new.json
check 'without a driver a user gets the command to run' all '! denow pinned task check' one_line \
  'says err "sudo apt-get install -y mesa-vulkan-drivers libvulkan1"'
check 'doctor goes on without a driver, fmt does not look' all 'denow pinned task doctor' one_line \
  'denow pinned fmt' silent
denow 'pinned apt' task check & denow 'pinned apt' task check; wait
check 'root gets the driver through apt-get, once, also for two at once' all one_line \
  'calls apt-get.*install 1' 'denow "pinned apt" task check' silent 'calls apt-get.*install 1'

# Where Debian 12 has no GPU, the newer Mesa of its backports goes into the cache. The stub apt-get
# "downloads" an empty package, the stub dpkg-deb "unpacks" a driver from it.
for folder in mesa share/vulkan/icd.d; do mkdir -p "$work/$folder"; done
cp "$work/driver/driver.json" "$work/share/vulkan/icd.d/system.json"
stub "$work/mesa/apt-get" <<END
echo "apt-get \$*" >>"$work/calls"
case \$* in *download*) : >mesa-vulkan-drivers_1_amd64.deb ;; esac
END
stub "$work/mesa/dpkg-deb" <<'END'
mkdir -p files/usr/lib/x files/usr/share/vulkan/icd.d
: >files/usr/lib/x/libvulkan_lvp.so
echo '{"ICD": {"library_path": "/usr/lib/libvulkan_lvp.so"}}' >files/usr/share/vulkan/icd.d/lvp_icd.json
END
: | stub "$work/mesa/ldd"
gpu=
for device in /dev/dri/renderD* /dev/nvidiactl /dev/dxg; do [ ! -e "$device" ] || gpu=$device; done
if [ -z "$gpu" ] && grep -qs '^VERSION_CODENAME=bookworm$' /etc/os-release; then
  driver=
  fresh
  newer=$home/.cache/colar-webgpu/mesa-
  check 'Debian 12 without a GPU gets the newer Mesa into the cache, once' all \
    'denow "pinned mesa" task check' 'says err "Mesa.s software driver"' clean \
    'says out "driver=$newer.*lvp_icd.json"' 'calls "apt-get.*download" 1' \
    'grep -q "$newer.*libvulkan_lvp.so" "$newer"*/lvp_icd.json' \
    'denow "pinned mesa" task check' silent 'calls "apt-get.*download" 1'
  driver=$work/driver/driver.json
  check 'a driver that the user names is left alone' all 'denow "pinned mesa" task check' \
    'says out "driver=$driver"'
  driver=
  echo 'exit 1' | stub "$work/mesa/apt-get"
  fresh
  check 'where that fails the system Mesa serves, and the failure is said once' all \
    'denow "pinned mesa" task check' 'says err "that failed"' clean \
    'denow "pinned mesa" task check' silent 'says out "driver=$"'
fi

[ "$failed" = 0 ] && verdict=ok || verdict=FAILED
echo "$verdict | $passed passed | $failed failed"
[ "$failed" = 0 ]
