#!/usr/bin/env bash
# Measures and checks this machine's NVIDIA GPU. Needs its driver and nothing else: no .NET, no CUDA toolkit.
set -uo pipefail

readonly NAME=mmesid-device-linux-x64
usage() {
    cat <<EOF
usage: device.sh [--quick] [--steps a,b] [--seconds N] [--results FOLDER] [--device N] [--rows N] [PUBLISH]

Runs the contract of the CUDA backend, random shapes, and the benches, with PyTorch beside them where a python3 has it, and writes
gpu-<name>.md and gpu-<name>.json. A step that fails or takes too long is reported there, and the next one runs.

  PUBLISH            what './build.sh --target DevicePublish' made: the .tar.gz or the folder that it unpacks to. Found without being named
                     beside this script and in artifacts/device
  --steps a,b        only these, in this order; default: ${STEPS[*]%%:*}
  --seconds N        longest that all steps together take; default $TOTAL
  --quick            tiny shapes: shows that everything works, measures nothing
  --results FOLDER   default: bench/results of the repository that this script lies in, else ./results; with --quick ./results
  --device N         which GPU, 0 the first
  --rows N           rows whose codes are proven against float64 on the device; default 100000000

MMESID_LIBCUDA names another driver library than the machine's.
EOF
}

# name:longest it takes, seconds. What matters most comes first: the total may end before the last.
STEPS=(ceilings:40 contract:150 tune:90 encode:120 exact:150 stream:60 grid:90 kmeans:60 peer:120 mmd:40 fuzz:45 topk:60 sinkhorn:40)
TOTAL=510
# Longest that 'fuzz' and each part of 'exact' draw and check: enough for their limits above.
BOX=25

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
results="" publish="" quick=() device=0 rows=100000000 chosen=""
while [ $# -gt 0 ]; do
    case "$1" in
        --quick) quick=(--quick) ;;
        --steps | --seconds | --results | --device | --rows)
            [ $# -ge 2 ] || { echo "device.sh: $1 needs a value" >&2; exit 2; }
            case "$1" in
                --steps) chosen="$2" ;;
                --seconds) TOTAL="$2" ;;
                --results) results="$2" ;;
                --device) device="$2" ;;
                --rows) rows="$2" ;;
            esac
            shift ;;
        -h | --help) usage; exit 0 ;;
        -*) echo "device.sh: there is no option $1" >&2; usage >&2; exit 2 ;;
        *) publish="$1" ;;
    esac
    shift
done
if [ -z "$results" ]; then
    results="$PWD/results"
    [ ! -f "$here/../MmeSid.Engine.sln" ] || [ ${#quick[@]} -gt 0 ] || results="$here/results"
fi

scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
for candidate in "$publish" "$here" "$here/$NAME" "$here/$NAME.tar.gz" "$here/../artifacts/device/$NAME" "$here/../artifacts/device/$NAME.tar.gz"; do
    if [ -n "$candidate" ] && { [ -x "$candidate/MmeSid.Bench" ] || [ -f "$candidate" ]; }; then
        publish="$candidate"
        break
    fi
done
if [ -f "$publish" ]; then
    tar -xzf "$publish" -C "$scratch" || { echo "device.sh: $publish cannot be unpacked" >&2; exit 2; }
    publish="$scratch/$NAME"
fi
if [ ! -x "$publish/MmeSid.Bench" ]; then
    echo "device.sh: no publish ${publish:+in $publish}; './build.sh --target DevicePublish' makes one" >&2
    exit 2
fi

mkdir -p "$results" || exit 2
# Set, if to nothing: beside a repository the tests would choose the driver that runs on the host.
export MMESID_LIBCUDA="${MMESID_LIBCUDA-}"
export DOTNET_gcServer=0
bench=("$publish/MmeSid.Bench" --gpu --results "$results" --device "$device" --rows "$rows")
if [ ${#quick[@]} -gt 0 ]; then bench+=(--quick); else bench+=(--seconds "$BOX"); fi
table="$scratch/steps.tsv"
: > "$table"
started=$SECONDS failed=0

# What a step said last, the path of the page aside: fit for a cell of a table.
said_last() { grep -v -e '^[[:space:]]*$' -e "^$results/" "$1" | tail -n 1 | tr '\t|' ' /' | sed 's/^ *//' | cut -c1-300; }

# run NAME LIMIT COMMAND...: within what is left of the total; one line into the table.
run() {
    local name="$1" limit="$2" left=$((TOTAL - (SECONDS - started))) begun=$SECONDS outcome said log="$scratch/$1.log" code
    shift 2
    if [ "$left" -lt 5 ]; then
        printf '%s\tnot run\t0\tall %s seconds are spent\n' "$name" "$TOTAL" >> "$table"
        echo "── $name: not run, all $TOTAL seconds are spent"
        failed=1
        return
    fi
    [ "$limit" -le "$left" ] || limit=$left
    echo "── $name (at most $limit s)"
    timeout --kill-after=5 "$limit" "$@" 2>&1 | tee "$log"
    code=${PIPESTATUS[0]}
    case $code in
        0) outcome=passed ;;
        124 | 137) outcome="over time" ;;
        *) outcome="failed ($code)" ;;
    esac
    said=""
    [ "$code" -eq 0 ] || said="$(said_last "$log")"
    # The tests sum up before their last line when one failed.
    [ "$name" != contract ] || said="$(grep -o 'Total: .*' "$log" | tail -n 1)"
    printf '%s\t%s\t%s\t%s\n' "$name" "$outcome" "$((SECONDS - begun))" "$said" >> "$table"
    echo "── $name: $outcome after $((SECONDS - begun)) s"
    [ "$code" -eq 0 ] || failed=1
}

limit_of() {
    local step
    for step in "${STEPS[@]}"; do
        [ "${step%%:*}" != "$1" ] || echo "${step##*:}"
    done
}

shapes=(--dimensions 64,256,768,4096 --codes 256,1024,8192)
[ ${#quick[@]} -eq 0 ] || shapes=(--dimensions 40 --codes 100)
wanted=("${STEPS[@]%%:*}")
[ -z "$chosen" ] || IFS=, read -r -a wanted <<< "$chosen"
for name in "${wanted[@]}"; do
    if [ -z "$(limit_of "$name")" ]; then
        echo "device.sh: there is no step '$name'; there are ${STEPS[*]%%:*}" >&2
        exit 2
    fi
done
for name in "${wanted[@]}"; do
    limit="$(limit_of "$name")"
    case "$name" in
        ceilings) run "$name" "$limit" "${bench[@]}" --suites none ;;
        contract) run "$name" "$limit" "$publish/MmeSid.Kernels.Cuda.Tests" -noLogo -noColor ;;
        # What it finds is there for all later steps.
        tune) run "$name" "$limit" "$publish/mmesid" bench tune --backend "cuda:$device" "${shapes[@]}" ;;
        *) run "$name" "$limit" "${bench[@]}" --suites "$name" ;;
    esac
done

page="$(timeout 60 "${bench[@]}" --suites none --steps "$table" 2> "$scratch/page.log" | tail -n 1)"
if [ -z "$page" ]; then
    cat "$scratch/page.log" >&2
    cp "$table" "$results/steps.tsv"
    echo "device.sh: no page could be written; what ran is in $results/steps.tsv" >&2
    exit 1
fi
echo "results: $page and ${page%.md}.json"
exit $failed
