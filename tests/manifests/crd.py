"""KubeRay's CRD schemas as strict JSON Schema, from the folder that KUBERAY_SCHEMAS names."""

import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest

VARIABLE = "KUBERAY_SCHEMAS"


def validator(plural: str) -> jsonschema.Draft202012Validator:
    """Checks objects of `plural`, such as "rayservices"; skips the test where no schema is.

    The files are the v1 openAPIV3Schema of each CRD of KubeRay, as `<plural>.v1.json`.
    """
    folder = os.environ.get(VARIABLE, "")  # noqa: TID251  # a test's own switch
    if not folder:
        pytest.skip(f"{VARIABLE} names no folder with KubeRay's CRD schemas ({plural}.v1.json)")
    schema = json.loads((Path(folder) / f"{plural}.v1.json").read_text())["openAPIV3Schema"]
    # Kubernetes itself knows what metadata may hold; here it is enough that it is an object.
    return jsonschema.Draft202012Validator(_strict(schema))


def _strict(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with unknown fields refused, as `kubectl apply` with strict validation does."""
    strict = {key: value for key, value in schema.items() if not key.startswith("x-kubernetes-")}
    if "properties" in strict:
        strict["properties"] = {name: _strict(each) for name, each in strict["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            strict.setdefault("additionalProperties", False)
    if isinstance(strict.get("additionalProperties"), dict):
        strict["additionalProperties"] = _strict(strict["additionalProperties"])
    if "items" in strict:
        strict["items"] = _strict(strict["items"])
    if schema.get("x-kubernetes-int-or-string"):
        strict.pop("type", None)
        strict["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if strict.pop("nullable", False) and "type" in strict:
        strict["type"] = [strict["type"], "null"]
    return strict
