#!/usr/bin/env bash
# Fuzzes every target, or those that are named, for FUZZ_SECONDS each. Ends with a failure at the first input that breaks something;
# libFuzzer leaves it in fuzz/artifacts. New inputs that reach new code go to fuzz/target/found, not into the corpora.
#
# Coverage comes from LLVM's pass of that name, which stable rustc has as well; no sanitizer, for which there is no stable switch, and
# which would find little in code without `unsafe`.
set -euo pipefail
cd "$(dirname "$0")"

seconds=${FUZZ_SECONDS:-60}
host=$(rustc -vV | sed -n 's/^host: //p')
export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
export CARGO_TARGET_DIR=$PWD/target
# With a target, so that build scripts are not instrumented.
cargo build --locked --target "$host"

targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
	targets=(corpus/*)
fi
for target in "${targets[@]##*/}"; do
	mkdir -p "target/found/$target" "artifacts/$target"
	echo "== $target, $seconds s"
	FUZZ_TARGET=$target "target/$host/debug/fuzz" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=16384 \
		-artifact_prefix="artifacts/$target/" -print_final_stats=1 -verbosity=0 "target/found/$target" "corpus/$target"
done
