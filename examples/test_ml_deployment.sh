#!/usr/bin/env bash
# Checks every route of /api/ml/models against a running agent; ends with 0 only if all is right.
#
#     examples/test_ml_deployment.sh [URL of the agent, default http://localhost:8080]
#
# PYTHON and CNET_TOKEN as in ml_deployment_demo.sh.
set -euo pipefail

AGENT="${1:-${CNET_URL:-http://localhost:8080}}"
HERE="$(cd "$(dirname "$0")" && pwd)"
PYTHON="${PYTHON:-python3}"
MODELS="$(mktemp -d)"
ID=""
CHECKS=0
trap '[[ -z "$ID" ]] || { ask DELETE "/$ID"; ask DELETE "/$ID"; }; rm -rf "$MODELS"' EXIT

# ask METHOD PATH [JSON]: STATUS and BODY of the answer.
ask() {
  local answer
  answer="$(curl -sS --noproxy '*' -X "$1" "$AGENT/api/ml/models$2" -w '\n%{http_code}' \
    ${CNET_TOKEN:+-H "Authorization: Bearer $CNET_TOKEN"} \
    ${3:+-H 'Content-Type: application/json' -d "$3"})"
  STATUS="${answer##*$'\n'}" BODY="${answer%$'\n'*}"
}

# check NAME STATUS [EXPRESSION]: the status, and a Python expression over the answer `it`.
check() {
  CHECKS=$((CHECKS + 1))
  if [[ "$STATUS" != "$2" ]] || ! "$PYTHON" -c 'import json, sys
it = json.loads(sys.argv[1])
sys.exit(not eval(sys.argv[2]))' "$BODY" "${3:-True}"; then
    echo "FAILED $1: $STATUS $BODY (expected $2 ${3:-})" >&2
    exit 1
  fi
  echo "ok $1"
}

model() { # MODEL_PATH COMMAND ARGS-AS-JSON
  echo "{\"name\": \"test-line\", \"model_type\": \"linear_regression\", \"model_path\": \"$1\",
    \"script_path\": \"$HERE/ml_models/simple_linear_regression.py\", \"command\": \"$2\",
    \"args\": $3, \"working_dir\": \"$MODELS\", \"env\": {\"SAMPLE\": \"1\"},
    \"resources\": {\"cpu_limit\": 0.5, \"memory_limit\": 512000000, \"disk_limit\": 0}}"
}

ask POST "" '{"name": "x"}'
check "a model needs a path" 422 'it["error"] == "invalid_field" and "model_path" in it["details"]'
ask POST "" "$(model line.joblib no-such-program '["script.py", "train", "line.joblib"]')"
check "a training that cannot start has failed" 201 'it["status"] == "failed"'
failed="$(echo "$BODY" | "$PYTHON" -c 'import json, sys; print(json.load(sys.stdin)["id"])')"
ask POST "/$failed/predict" '{"input_data": 1}'
check "a failed one predicts nothing" 409 'it["error"] == "model_not_ready"'
ask GET "/$failed/health"
check "and is not healthy" 503 'it["error"] == "model_not_ready"'
ask DELETE "/$failed"
check "it can be taken away" 200

ask POST "" "$(model line.joblib "$PYTHON" '["script.py", "train", "model.joblib", "500"]')"
check "deploy" 201 'it["type"] == "ml" and it["status"] in ("running", "completed")'
ID="$(echo "$BODY" | "$PYTHON" -c 'import json, sys; print(json.load(sys.stdin)["id"])')"
for _ in $(seq 600); do
  ask GET "/$ID"
  [[ "$BODY" == *'"status":"running"'* || "$BODY" == *'"status":"pending"'* ]] || break
  sleep 0.2
done
check "training completes" 200 'it["status"] == "completed" and it["exit_code"] == 0'
ask GET ""
check "list" 200 "'$ID' in [model['id'] for model in it]"
ask GET "/$ID/logs?lines=100"
check "logs" 200 'any("r2_score" in line for line in it)'
ask GET "/$ID/health"
check "health" 200 'it["status"] == "healthy" and it["loaded"] is False'
ask POST "/$ID/predict" '{"input_data": 5.5}'
check "predict" 200 'abs(it["prediction"] - 14.75) < 0.5 and it["duration"] > 0'
ask POST "/$ID/predict" '{"input_data": "five"}'
check "a bad input" 422 'it["error"] == "model_failed"'
ask GET "/$ID/info"
check "info" 200 'it["ml_specific"]["model_path"] == "line.joblib" and it["service"]["status"] == "running"'
ask DELETE "/$ID"
check "delete" 200
ask GET "/$ID"
check "it is gone" 404 'it["error"] == "not_found"'
ID=""
echo "all $CHECKS checks passed"
