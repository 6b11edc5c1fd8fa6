"""The process, mlmodel and opencv commands of CNET's documents, letter by letter.

Names say which document and what for. The third document had lost its line breaks; they are put
back, nothing else is changed.
"""

YOLO_DEPLOY = r"""
curl -X POST http://localhost:8080/api/workloads \
  -H "Content-Type: application/json" \
  -d '{
    "name": "yolo-detection-service",
    "type": "mlmodel",
    "config": {
      "model_type": "yolo",
      "model_path": "models/yolo11n.onnx",
      "service_port": 9001
    },
    "requirements": {
      "cpu": 2.0,
      "memory": 2147483648,
      "gpu": 0
    }
  }'
"""

YOLO_PREDICT = r"""
IMAGE_B64=$(base64 -i test.jpg | tr -d '\n')
curl -X POST http://localhost:9001/predict \
  -H "Content-Type: application/json" \
  -d "{\"image\": \"$IMAGE_B64\", \"confidence\": 0.5}"
"""

OPENCV_DEPLOY = r"""
curl -X POST http://localhost:8080/api/workloads \
  -H "Content-Type: application/json" \
  -d '{
    "name": "opencv-face-detection",
    "type": "opencv",
    "config": {
      "cascade_type": "face",
      "service_port": 9000
    },
    "requirements": {
      "cpu": 1.0,
      "memory": 536870912
    }
  }'
"""

PROCESS_SUBMIT = r"""
curl -X POST http://localhost:8080/api/workloads \
  -H "Content-Type: application/json" \
  -d '{
    "name": "test-process",
    "type": "process",
    "requirements": {
      "cpu": 1.0,
      "memory": 536870912
    },
    "config": {
      "command": "sleep",
      "args": ["60"]
    }
  }'
"""

PROCESS_SUBMIT_WITH_ENV = r"""
curl -X POST http://localhost:8080/api/workloads \
  -H "Content-Type: application/json" \
  -d '{
    "name": "test-process",
    "type": "process",
    "requirements": {
      "cpu": 1.0,
      "memory": 536870912
    },
    "config": {
      "command": "sleep",
      "args": ["60"],
      "env": {"TEST": "value"}
    }
  }'
"""

SKLEARN_DEPLOY = r"""
curl -X POST http://localhost:8080/api/workloads \
  -H "Content-Type: application/json" \
  -d '{
    "name": "test-ml-model",
    "type": "mlmodel",
    "requirements": {
      "cpu": 2.0,
      "memory": 2147483648
    },
    "config": {
      "model_path": "models/model.joblib",
      "model_type": "sklearn",
      "framework": "scikit-learn",
      "port": 9000
    }
  }'
"""

SCENARIO_YOLO_DEPLOY = r"""
curl -X POST http://localhost:8080/api/workloads \
  -H "Content-Type: application/json" \
  -d '{
    "name": "yolo-service",
    "type": "mlmodel",
    "config": {
      "model_type": "yolo",
      "model_path": "models/yolo11n.onnx",
      "service_port": 9001
    },
    "requirements": {
      "cpu": 2.0,
      "memory": 2147483648
    }
  }'
"""

SCENARIO_YOLO_PREDICT = r"""
IMAGE_B64=$(base64 -i image.jpg | tr -d '\n')
curl -X POST http://localhost:9001/predict \
  -H "Content-Type: application/json" \
  -d "{\"image\": \"$IMAGE_B64\"}"
"""

CLUSTER_YOLO_DEPLOY = r"""
curl -X POST http://localhost:8080/api/workloads \
  -H "Content-Type: application/json" \
  -d '{
    "name": "yolo",
    "type": "mlmodel",
    "config": {
      "model_type": "yolo",
      "model_path": "models/yolo11n.onnx",
      "service_port": 9001
    },
    "requirements": {
      "cpu": 2.0,
      "memory": 2147483648
    }
  }'
"""

FLAT_YOLO_DEPLOY = r"""
curl -X POST http://localhost:8080/api/workloads \
 -H "Content-Type: application/json" \
 -d '{ "name": "yolo-detection-service", "type": "mlmodel", "config": { "model_type": "yolo", "model_path": "models/yolo11n.onnx", "service_port": 9001 }, "requirements": { "cpu": 2.0, "memory": 2147483648, "gpu": 0 } }'
"""  # noqa: E501

FLAT_OPENCV_DEPLOY = r"""
curl -X POST http://localhost:8080/api/workloads \
 -H "Content-Type: application/json" \
 -d '{ "name": "opencv-face-detection", "type": "opencv", "config": { "cascade_type": "face", "service_port": 9000 }, "requirements": { "cpu": 1.0, "memory": 536870912 } }'
"""  # noqa: E501

FLAT_PROCESS_SUBMIT = r"""
curl -X POST http://localhost:8080/api/workloads \
 -H "Content-Type: application/json" \
 -d '{ "name": "test-process", "type": "process", "requirements": { "cpu": 1.0, "memory": 536870912 }, "config": { "command": "sleep", "args": ["60"] } }'
"""  # noqa: E501

LIST = "curl http://localhost:8080/api/workloads"
GET = "curl http://localhost:8080/api/workloads/{workload_id}"
LOGS = "curl http://localhost:8080/api/workloads/{workload_id}/logs?lines=100"
STOP = "curl -X POST http://localhost:8080/api/workloads/{workload_id}/stop"
DELETE = "curl -X DELETE http://localhost:8080/api/workloads/{workload_id}"
RESOURCES = "curl http://localhost:8080/api/resources"
NANJING_RESOURCES = "curl http://localhost:8081/api/resources"
STATS = "curl http://localhost:8080/api/resources/stats"
NODES = "curl http://localhost:8080/api/nodes"
HEALTH = "curl http://localhost:8080/api/health"

ML_DEPLOY = r"""
curl -X POST "http://localhost:8080/api/ml/models" \
  -H "Content-Type: application/json" \
  -d '{
    "name": "my-model",
    "model_type": "linear_regression",
    "model_path": "models/my_model.joblib",
    "script_path": "examples/ml_models/simple_linear_regression.py",
    "command": "python3",
    "args": ["script.py", "train", "model.joblib", "1000"],
    "resources": {
      "cpu_limit": 1.0,
      "memory_limit": 512000000,
      "disk_limit": 1000000000
    }
  }'
"""

ML_PREDICT = r"""
curl -X POST "http://localhost:8080/api/ml/models/{model_id}/predict" \
  -H "Content-Type: application/json" \
  -d '{"input_data": 5.5}'
"""

ML_CONFIGURATION = r"""
{
  "name": "model-name",
  "model_type": "linear_regression",
  "model_path": "models/model.joblib",
  "script_path": "examples/ml_models/script.py",
  "command": "python3",
  "args": ["script.py", "train", "model.joblib", "1000"],
  "working_dir": ".",
  "env": {
    "PYTHONPATH": "examples/ml_models"
  },
  "resources": {
    "cpu_limit": 1.0,
    "memory_limit": 512000000,
    "disk_limit": 1000000000
  }
}
"""
