#!/usr/bin/env bash
# Two models on a running agent: trained, asked, looked at, and taken away again.
#
#     examples/ml_deployment_demo.sh [URL of the agent, default http://localhost:8080]
#
# PYTHON names the interpreter that trains them (default: python3); it needs what is in
# examples/ml_models/requirements.txt. CNET_TOKEN is sent where the agent asks for a token.
set -euo pipefail

AGENT="${1:-${CNET_URL:-http://localhost:8080}}"
HERE="$(cd "$(dirname "$0")" && pwd)"
PYTHON="${PYTHON:-python3}"
MODELS="$(mktemp -d)"
DEPLOYED=()

die() { echo "error: $*" >&2; exit 1; }

# api METHOD PATH [JSON]: the body of the answer; anything but 2xx ends the demo.
api() {
  local answer status
  answer="$(curl -sS --noproxy '*' -X "$1" "$AGENT/api/ml/models$2" -w '\n%{http_code}' \
    ${CNET_TOKEN:+-H "Authorization: Bearer $CNET_TOKEN"} \
    ${3:+-H 'Content-Type: application/json' -d "$3"})" || die "no agent answers at $AGENT"
  status="${answer##*$'\n'}"
  [[ "$status" == 2* ]] || die "$1 $2: $answer"
  echo "${answer%$'\n'*}"
}

# of FIELD: that field of the JSON object on stdin.
of() { "$PYTHON" -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

clean_up() {
  for id in ${DEPLOYED[@]+"${DEPLOYED[@]}"}; do api DELETE "/$id" >/dev/null || true; done
  rm -rf "$MODELS"
}
trap clean_up EXIT

deploy() { # NAME TYPE SCRIPT
  api POST "" "{
    \"name\": \"$1\",
    \"model_type\": \"$2\",
    \"model_path\": \"$MODELS/$1.joblib\",
    \"script_path\": \"$HERE/ml_models/$3\",
    \"command\": \"$PYTHON\",
    \"args\": [\"$HERE/ml_models/$3\", \"train\", \"$MODELS/$1.joblib\", \"1000\"],
    \"resources\": {\"cpu_limit\": 1.0, \"memory_limit\": 512000000, \"disk_limit\": 1000000000}
  }"
}

trained() { # ID: waits until its training has ended
  local status
  while status="$(api GET "/$1" | of status)"; [[ "$status" == pending || "$status" == running ]]; do
    sleep 0.5
  done
  api GET "/$1/logs?lines=20"
  [[ "$status" == completed ]] || die "training $1 is $status"
}

"$PYTHON" -c 'import joblib, numpy, sklearn' 2>/dev/null ||
  die "$PYTHON lacks a library; $PYTHON -m pip install -r $HERE/ml_models/requirements.txt"

echo "== a line through noisy points"
line="$(deploy demo-line linear_regression simple_linear_regression.py | of id)"
DEPLOYED+=("$line")
trained "$line"
echo "== 5.5 should give about 14.75 (2.5 x + 1)"
api POST "/$line/predict" '{"input_data": 5.5}'

echo "== two half moons and a small neural network"
moons="$(deploy demo-moons neural_network neural_network.py | of id)"
DEPLOYED+=("$moons")
trained "$moons"
echo "== a point on the upper moon, and one on the lower"
api POST "/$moons/predict" '{"input_data": [0.0, 1.0]}'
api POST "/$moons/predict" '{"input_data": [1.0, -0.5]}'

echo "== what there is, and how it is"
api GET "" | "$PYTHON" -c 'import json, sys
for model in json.load(sys.stdin):
    print(model["id"], model["status"], model["name"])'
api GET "/$line/health"
api GET "/$line/info" | "$PYTHON" -m json.tool
echo "== done; both are taken away again"
