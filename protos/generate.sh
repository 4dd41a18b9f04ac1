#!/bin/sh
# Regenerates the stubs beside the .proto files. Run from anywhere; `make protos` calls it.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
PATH="$(dirname "$python"):$PATH" "$python" -m grpc_tools.protoc -I. \
  --python_out=. --mypy_out=. --grpc_python_out=. --mypy_grpc_out=. protos/coalition/v1/*.proto
