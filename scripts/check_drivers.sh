#!/usr/bin/env bash
# All op tests and the whole model on drivers that are too slow for every commit, and the kernels in a simulator that
# watches every access. The end of `make check-drivers`; needs scripts/setup.sh drivers.
#
#   scripts/check_drivers.sh BUILD [intel|rusticl|oclgrind ...]      default: all three
#
#   intel     Intel's OpenCL runtime for CPUs: fp16, sub-groups, integer dot products, as GPUs have them
#   rusticl   Mesa's OpenCL on llvmpipe: another compiler, no sub-groups, 256-bit vectors; about 1e8 multiply-adds a second
#   oclgrind  no data race and no access out of bounds in any kernel it can run; about 1e5 multiply-adds a second, so the
#             smallest shapes only. It knows neither sub-groups nor __asm__: those kernels are listed by name, and run with
#             guard bytes around their outputs on the other drivers.
#
# A driver is chosen by the variables of the OpenCL loader alone; the tests themselves know nothing of it.
set -u
cd "$(dirname "$0")/.."
build=${1:?usage: scripts/check_drivers.sh BUILD [intel|rusticl|oclgrind ...]}
shift
[ $# -gt 0 ] || set -- intel rusticl oclgrind
drivers="${XDG_DATA_HOME:-$HOME/.local/share}/clinfer/drivers"
libraries=/usr/lib/$(uname -m)-linux-gnu
failed=

# tests NAME [VARIABLE=VALUE ...] -- [arguments of run_tests.py]
tests() {
    local name=$1 variables=()
    shift
    while [ "$1" != -- ]; do
        variables+=("$1")
        shift
    done
    shift
    printf '== %s\n' "$name"
    env "${variables[@]}" python3 scripts/run_tests.py --build "$build" --name "$name" "$@" || failed="$failed $name"
}

whole=("$build"/tests/ops/test_opencl_* "$build"/tests/ops/test_chain "$build"/tests/model/test_*)
programs=()
for program in "${whole[@]}"; do
    case "$program" in *.o | *.d | *\*) ;; *) programs+=("$program") ;; esac
done

for driver in "$@"; do
    case "$driver" in
    intel)
        # The system's loader before the one in Intel's package, which ignores OpenCL layers.
        tests intel CLINFER_TEST_ALL=1 OCL_ICD_VENDORS="$drivers/intel/vendors" LD_LIBRARY_PATH="$libraries:$drivers/intel/lib" \
            -- --timeout 1800 "${programs[@]}"
        ;;
    rusticl)
        # The whole default model would take hours on it: the tiny ones, and the smallest shapes of the ops. Without
        # test_chain: it computes chains wrongly, and the engine asks for none there (engine/chain.c).
        tests rusticl CLINFER_TEST_SMALL=1 CLINFER_TEST_DEVICE=0 OCL_ICD_VENDORS=/etc/OpenCL/vendors/rusticl.icd RUSTICL_ENABLE=llvmpipe \
            -- --timeout 3600 "$build/tests/ops/test_opencl_kernels" "$build/tests/model/test_model"
        ;;
    oclgrind)
        printf '== kernels that Oclgrind does not know (sub-groups, __asm__):\n'
        unknown=$(grep -lE '__asm__|sub_group' clkernels/*.cl)
        printf '%s\n' "${unknown:-none}" | sed 's/^/  /'
        log=build/check/oclgrind.log
        mkdir -p build/check
        rm -f "$log"
        tests oclgrind CLINFER_TEST_SMALL=1 \
            -- --timeout 3600 --wrap "oclgrind --data-races --log $PWD/$log" "$build/tests/ops/test_opencl_kernels"
        printf '== variants without a case that is small enough, or that do not fit the simulated device:\n'
        grep -h 'runs no case here' build/check/oclgrind-*.log | sed 's/^/  /'
        if [ -s "$log" ]; then
            printf 'oclgrind found something, all of it in %s:\n' "$log"
            head -n 60 "$log"
            failed="$failed oclgrind-log"
        fi
        ;;
    *)
        printf 'check_drivers: %s: not one of intel, rusticl, oclgrind\n' "$driver" >&2
        exit 2
        ;;
    esac
done
[ -z "$failed" ] || { printf 'check-drivers: FAILED:%s\n' "$failed"; exit 1; }
printf 'check-drivers: passed: %s\n' "$*"
