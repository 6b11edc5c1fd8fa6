"""The data commands of CNET's documents, letter by letter."""

UPLOAD = r"""
curl -X POST http://localhost:8080/api/workloads \
  -H "Content-Type: multipart/form-data" \
  -F "type=data" \
  -F "name=test-file" \
  -F "file=@./gw_test.txt"
"""

GATEWAY = r"""
curl -X POST http://localhost:8080/api/workloads \
  -H "Content-Type: application/json" \
  -d '{
        "name": "data-gateway",
        "type": "datagateway",
        "config": {
          "service_port": 9091,
          "service_host": "127.0.0.1",
          "base_path": "/tmp/cnet_data",
          "bucket": "cnet"
        }
      }'
"""

GATEWAY_HEALTH = "curl http://127.0.0.1:9091/health"
GATEWAY_LIST = 'curl "http://127.0.0.1:9091/s3/cnet?list-type=2&prefix=<data_key>"'
GATEWAY_GET = "curl http://127.0.0.1:9091/s3/cnet/<data_key>/gw_test.txt"
