#!/bin/bash
# Writes requirements*.txt again out of requirements*.in: every package with its version and its hashes. Needs uv (PyPI).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
for source in requirements*.in; do
  uv pip compile --quiet --generate-hashes --python-version 3.11 --only-binary :all: --no-config \
    --custom-compile-command tests/tools/lock.sh "$source" --output-file "${source%.in}.txt"
done
