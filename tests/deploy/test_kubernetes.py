"""The manifests hold by the schemas of Kubernetes, and by what Foldline needs of them.

They are plain YAML: what kustomize adds is the name of a ConfigMap, and in an overlay the namespace, images and settings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from foldline.embedded.services import GATEWAY_GRACE_SECONDS, PROCESSOR_GRACE_SECONDS
from foldline.settings import Settings
from tests.deploy.files import KUBERNETES, ROOT, documents, lines, variables

# The first that knows every field that is used, and the newest whose schemas are published.
VERSIONS = ("1.32", "1.37")
KUSTOMIZE = ("Kustomization", "Component")
# Of other projects; their schemas are not Kubernetes's.
FOREIGN = {"ScaledObject": "keda.sh/v1alpha1", "PodMonitor": "monitoring.coreos.com/v1"}
FILES = sorted(KUBERNETES.rglob("*.yaml"))
GRACE = {"gateway": GATEWAY_GRACE_SECONDS, "processor": PROCESSOR_GRACE_SECONDS}


def manifests() -> Iterator[dict[str, Any]]:
    for file in FILES:
        yield from (document for document in documents(file) if document["kind"] not in KUSTOMIZE)


def one(kind: str, name: str) -> dict[str, Any]:
    (found,) = [each for each in manifests() if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def pods() -> dict[str, dict[str, Any]]:
    """The specification of each component's pods."""
    kinds = ("Deployment", "StatefulSet", "Job")
    return {
        each["metadata"]["labels"]["app.kubernetes.io/component"]: each["spec"]["template"]["spec"]
        for each in manifests()
        if each["kind"] in kinds
    }


def container(component: str) -> dict[str, Any]:
    (found,) = pods()[component]["containers"]
    return dict(found)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(KUBERNETES)))
def test_every_manifest_holds_by_the_schema(file: Path, version: str) -> None:
    for document in documents(file):
        if document["kind"] in FOREIGN:
            assert document["apiVersion"] == FOREIGN[document["kind"]]
        elif document["kind"] not in KUSTOMIZE:
            kubernetes_validate.validate(document, version, strict=True)


def test_a_field_that_there_is_not_would_be_seen() -> None:
    wrong = one("PodDisruptionBudget", "foldline-gateway")
    wrong["spec"]["maxUnavailabel"] = 1
    with pytest.raises(kubernetes_validate.ValidationError, match="maxUnavailabel"):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


@pytest.mark.parametrize(
    "file", [file for file in FILES if file.name == "kustomization.yaml"], ids=lambda file: file.parent.name
)
def test_a_kustomization_has_every_file_beside_it(file: Path) -> None:
    (document,) = documents(file)
    named = [*document["resources"], *document.get("components", ())]
    named += [name for each in document.get("configMapGenerator", ()) for name in each["envs"]]
    assert all((file.parent / name).exists() for name in named)
    beside = {other.name for other in file.parent.iterdir()} - {file.name}
    assert beside == {name for name in named if "/" not in name}


def test_there_are_a_job_gateways_and_processors() -> None:
    assert pods().keys() == {"init", "gateway", "processor"}
    assert {name: container(name)["args"] for name in pods()} == {
        "init": ["init"],
        "gateway": ["gateway"],
        "processor": ["process"],
    }


@pytest.mark.parametrize("component", ["init", "gateway", "processor"])
def test_pods_are_restricted(component: str) -> None:
    pod, only = pods()[component], container(component)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert only["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert only["resources"].keys() == {"requests", "limits"}


@pytest.mark.parametrize("component", ["init", "gateway", "processor"])
def test_the_environment_is_ours_alone(component: str) -> None:
    """A Service of the name `foldline-gateway` would set FOLDLINE_GATEWAY_PORT to a URL."""
    assert pods()[component]["enableServiceLinks"] is False
    assert {entry["name"] for entry in container(component).get("env", ())} <= variables()
    assert container(component)["envFrom"] == [{"configMapRef": {"name": "foldline"}}, {"secretRef": {"name": "foldline"}}]


def test_the_settings_of_all_are_taken_together(monkeypatch: pytest.MonkeyPatch) -> None:
    values = lines(KUBERNETES / "base" / "settings.env") | lines(KUBERNETES / "overlays" / "example" / "settings.env")
    values |= one("Secret", "foldline")["stringData"]
    for entry in (*container("gateway")["env"], *container("processor")["env"]):
        values[entry["name"]] = entry.get("value", "foldline-processor-0")
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert (settings.kafka_security_protocol, settings.gateway_port) == ("SASL_SSL", 8080)
    mounted = {mount["mountPath"] for mount in container("gateway")["volumeMounts"]}
    keys = one("Secret", "foldline-master-key")["stringData"]
    assert settings.master_key_file in {f"{path}/{key}" for path in mounted for key in keys}


@pytest.mark.parametrize("component", GRACE)
def test_whoever_is_stopped_has_the_time_to_drain(component: str) -> None:
    before = container(component).get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    needed = max(GRACE[component], Settings().transaction_timeout_seconds if component == "processor" else 0)
    assert pods()[component]["terminationGracePeriodSeconds"] - before > needed


@pytest.mark.parametrize("component", GRACE)
def test_one_at_a_time_is_disrupted(component: str) -> None:
    budget = one("PodDisruptionBudget", f"foldline-{component}")["spec"]
    kind = "Deployment" if component == "gateway" else "StatefulSet"
    assert budget["maxUnavailable"] == 1
    assert budget["selector"] == one(kind, f"foldline-{component}")["spec"]["selector"]


def test_scalers_scale_what_there_is_and_no_further_than_partitions_go() -> None:
    gateways = one("HorizontalPodAutoscaler", "foldline-gateway")["spec"]["scaleTargetRef"]
    assert one(gateways["kind"], gateways["name"])
    assert "replicas" not in one("Deployment", "foldline-gateway")["spec"]
    processors = one("ScaledObject", "foldline-processor")["spec"]
    assert one(processors["scaleTargetRef"]["kind"], processors["scaleTargetRef"]["name"])
    assert processors["maxReplicaCount"] == Settings().partitions
    (metric,) = re.findall(r"foldline_\w+", processors["triggers"][0]["metadata"]["query"])
    assert f"| `{metric}` |" in (ROOT / "docs" / "operations.md").read_text()


def test_a_processor_is_a_static_member_under_its_pod_s_name() -> None:
    (entry,) = [entry for entry in container("processor")["env"] if entry["name"] == "FOLDLINE_GROUP_INSTANCE_ID"]
    assert entry["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}


def test_a_placeholder_is_no_master_key() -> None:
    from foldline.adapters.seals import MasterKey
    from foldline.domain.errors import MasterKeyMissing

    with pytest.raises(MasterKeyMissing):
        MasterKey(one("Secret", "foldline-master-key")["stringData"]["master.key"])
