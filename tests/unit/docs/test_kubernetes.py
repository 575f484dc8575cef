"""The manifests of deploy/kubernetes fit one another, the gateway's configuration and what it measures."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import yaml

from gateway.config.document import load_config
from gateway.metrics.exposition import PREFIX
from launch.machine.orphans import MARK
from launch.planning.check import check

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy" / "kubernetes"
PAGE = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
EXPOSITION = (ROOT / "gateway" / "metrics" / "exposition.py").read_text(encoding="utf-8")
CONFIG = FOLDER / "base" / "config.yaml"
OVERLAYS = sorted(f"overlays/{one.name}" for one in (FOLDER / "overlays").iterdir())
KEYS = {"OPERATOR_KEY_SHA256": "1" * 64, "VLLM_API_KEY": "k"}


def objects(folder: str) -> Iterator[dict[str, Any]]:
    """Every object in the files of a folder, as they are written."""
    for file in sorted((FOLDER / folder).glob("*.yaml")):
        if file.name not in ("kustomization.yaml", "config.yaml"):
            yield from (one for one in yaml.safe_load_all(file.read_text(encoding="utf-8")) if one)


BASE = {(one["kind"], one["metadata"]["name"]): one for one in objects("base")}
REDIS = {
    (one["kind"], one["metadata"]["name"]): one
    for folder in ("components/redis", "overlays/redis")
    for one in objects(folder)
}
PODS = {
    name: one["spec"]["template"]["spec"]
    for (kind, name), one in {**BASE, **REDIS}.items()
    if kind in ("Deployment", "StatefulSet")
}


def container(name: str) -> Mapping[str, Any]:
    (only,) = PODS[name]["containers"]
    found: Mapping[str, Any] = only
    return found


def test_the_configuration_is_one_that_the_gateway_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    config = load_config(CONFIG, KEYS)
    assert config.gateway.port == container("gateway")["ports"][0]["containerPort"]
    found = [one for one in check(CONFIG, tmp_path, env=KEYS).findings if one.level == "error"]
    # The key of the engines is looked for in this process's own environment, and the base in the cache.
    assert {one.key for one in found} <= {
        "base.model",
        "gateway.port",
        *(f"engines.{n}.api_key_env" for n in range(4)),
    }


def test_each_engine_is_a_pod_of_the_set_and_none_more_are_made_than_are_known() -> None:
    config, engine = load_config(CONFIG, KEYS), BASE["StatefulSet", "engine"]
    (port,) = container("engine")["ports"]
    service = engine["spec"]["serviceName"]
    expected = [f"http://engine-{index}.{service}:{port['containerPort']}" for index in range(4)]
    assert [one.url for one in config.attached] == expected
    assert BASE["HorizontalPodAutoscaler", "engine"]["spec"]["maxReplicas"] == len(expected)
    (scaled,) = [one for one in objects("overlays/keda") if one["kind"] == "ScaledObject"]
    assert scaled["spec"]["maxReplicaCount"] == len(expected)


def test_the_engine_is_started_as_the_configuration_says() -> None:
    config, args = load_config(CONFIG, KEYS), container("engine")["args"]
    assert f"--model={config.base.model}" in args
    assert f"--served-model-name={config.base.name}" in args
    assert f"--max-loras={config.base.max_loras}" in args
    assert f"--max-lora-rank={config.base.max_lora_rank}" in args
    env = {one["name"]: one["value"] for one in container("engine")["env"]}
    assert env["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "1"
    assert env["VLLM_MAX_STOP_STRINGS"] == str(config.gateway.max_stop_strings)
    assert env["VLLM_MAX_COMPLETION_PROMPTS"] == str(config.gateway.max_sequences)
    assert env[MARK] == "1"


def test_an_engine_ends_what_it_has_begun_before_it_is_killed() -> None:
    """With vLLM's default of 0 requests in flight hang until the gateway's own time is over."""
    (given,) = [one for one in container("engine")["args"] if one.startswith("--shutdown-timeout=")]
    most_s = int(given.partition("=")[2])
    assert 60 <= most_s <= PODS["engine"]["terminationGracePeriodSeconds"] - 15


def test_engines_see_adapters_where_the_control_plane_keeps_them() -> None:
    config = load_config(CONFIG, KEYS)
    for name in ("gateway", "engine"):
        mounts = {one["name"]: one for one in container(name)["volumeMounts"]}
        assert Path(mounts["adapters"]["mountPath"]) == config.state_dir / "adapters"
    assert mounts["adapters"]["readOnly"] is True
    assert BASE["PersistentVolumeClaim", "adapters"]["spec"]["accessModes"] == ["ReadWriteMany"]


def test_probes_ask_routes_that_there_are() -> None:
    routes = set(re.findall(r'"(/\w+)"', (ROOT / "gateway" / "app.py").read_text(encoding="utf-8")))
    probes = [
        container("gateway")[f"{kind}Probe"]["httpGet"]["path"]
        for kind in ("startup", "liveness", "readiness")
    ]
    assert probes == ["/livez", "/livez", "/ready"]
    assert set(probes) <= routes


def test_what_is_scaled_by_is_measured() -> None:
    told = {PREFIX + name for name in re.findall(r'"(requests_\w+)"', EXPOSITION)}
    metrics = [
        one["external"]["metric"]["name"]
        for one in BASE["HorizontalPodAutoscaler", "engine"]["spec"]["metrics"]
    ]
    assert set(metrics) <= told
    (rule,) = yaml.safe_load((FOLDER / "prometheus-adapter.yaml").read_text())["rules"]["external"]
    (pattern,) = re.findall(r'__name__=~"([^"]+)"', rule["seriesQuery"])
    assert all(re.fullmatch(pattern, name) for name in metrics)


def test_keda_scales_as_the_autoscaler_does() -> None:
    """By what waits alone, engines that are enough would be taken away, since nobody waits then."""
    (scaled,) = [one for one in objects("overlays/keda") if one["kind"] == "ScaledObject"]
    autoscaler, own = BASE["HorizontalPodAutoscaler", "engine"]["spec"], scaled["spec"]
    told = [(one["metadata"]["query"], one["metadata"]["threshold"]) for one in own["triggers"]]
    assert told == [
        (f"sum(max_over_time({one['metric']['name']}[1m]))", one["target"]["averageValue"])
        for one in (each["external"] for each in autoscaler["metrics"])
    ]
    assert own["advanced"]["horizontalPodAutoscalerConfig"]["behavior"] == autoscaler["behavior"]
    assert (own["minReplicaCount"], own["maxReplicaCount"]) == (
        autoscaler["minReplicas"],
        autoscaler["maxReplicas"],
    )


def test_redis_refuses_before_it_is_killed_and_evicts_nothing() -> None:
    (*_, script) = container("redis")["command"]
    (most_mb,) = map(int, re.findall(r"maxmemory (\d+)mb", script))
    limit = container("redis")["resources"]["limits"]["memory"]
    assert most_mb * 1.5 <= int(limit.removesuffix("Mi")), "its log is written anew beside it"
    assert "maxmemory-policy noeviction" in script


@pytest.mark.parametrize("name", sorted(PODS))
def test_no_pod_has_more_rights_than_it_needs(name: str) -> None:
    pod, own = PODS[name], container(name)["securityContext"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert own == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"requests", "limits"} <= set(container(name)["resources"])


def allowed_from(policy: Mapping[str, Any]) -> list[Any]:
    return [peer for rule in policy["spec"]["ingress"] for peer in rule["from"]]


def test_only_the_gateway_reaches_engines_and_redis() -> None:
    gateway = [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "gateway"}}}]
    assert BASE["NetworkPolicy", "default-deny"]["spec"] == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
    }
    for name, found in (("engine", BASE), ("redis", REDIS)):
        more = REDIS["NetworkPolicy", f"follower-to-{name}"]
        assert more["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/name"] == name
        assert allowed_from(more) == [
            {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "follower"}}}
        ]
        policy = found["NetworkPolicy", name]
        assert policy["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/name"] == name
        assert allowed_from(policy) == gateway
    opened = BASE["NetworkPolicy", "gateway"]["spec"]["egress"][0]
    assert opened["ports"][0]["port"] == container("engine")["ports"][0]["containerPort"]


def test_every_program_has_a_budget_for_disruptions_that_is_its_own() -> None:
    for name in PODS:
        found = {**BASE, **REDIS}["PodDisruptionBudget", name]["spec"]["selector"]["matchLabels"]
        assert found == {"app.kubernetes.io/name": name}


def test_what_was_accepted_has_time_to_end() -> None:
    config = load_config(CONFIG, KEYS)
    for name in ("gateway", "follower"):
        *_, seconds = container(name)["lifecycle"]["preStop"]["exec"]["command"]
        assert int(seconds) >= 5, "a Service sends requests for some seconds after the end was asked for"
        rest_s = PODS[name]["terminationGracePeriodSeconds"] - int(seconds)
        assert rest_s > config.gateway.shutdown_timeout_s


@pytest.mark.parametrize("follows", [False, True])
def test_gateways_beside_redis_differ_from_the_base_by_what_they_share(follows: bool) -> None:
    """One file for both; who follows has no control plane and no batches."""
    (changed,) = yaml.safe_load((FOLDER / "overlays/redis/kustomization.yaml").read_text())["patches"]
    added = [one["value"] for one in yaml.safe_load(changed["patch"])]
    env = container("follower")["env"] if follows else [one for one in added if "name" in one]
    own = {one["name"]: one["value"] for one in env}
    config = load_config(FOLDER / "overlays/redis/config.yaml", {**KEYS, **own, "REDIS_PASSWORD": "p"})
    (port,) = REDIS["Service", "redis"]["spec"]["ports"]
    assert config.shared is not None
    assert config.shared.redis == f"redis://:p@redis:{port['port']}/0"
    assert (config.shared.follow, config.batches.enabled) == (follows, not follows)
    assert {"secretRef": {"name": "redis-password"}} in [*added, *container("follower")["envFrom"]]
    own_parts = {"shared", "batches", "adapters"}  # of adapters, the default is the file's own folder
    rest = load_config(CONFIG, KEYS).model_dump(exclude=own_parts)
    assert config.model_dump(exclude=own_parts) == rest


def test_no_secret_stands_in_the_files() -> None:
    for file in FOLDER.rglob("kustomization.yaml"):
        for made in yaml.safe_load(file.read_text(encoding="utf-8")).get("secretGenerator", ()):
            assert all(
                one.endswith("=replace-me") or one.endswith(f"={'0' * 64}") for one in made["literals"]
            )
    assert "replace-me" in PAGE


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_overlay_can_be_built_and_is_told_of(overlay: str) -> None:
    assert overlay in PAGE
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("needs kubectl")
    built = subprocess.run(
        [kubectl, "kustomize", FOLDER / overlay], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    objects = [one for one in yaml.safe_load_all(built.stdout) if one]
    kinds = [one["kind"] for one in objects]
    assert {"StatefulSet", "NetworkPolicy", "PodDisruptionBudget"} <= set(kinds)
    assert ("HorizontalPodAutoscaler" in kinds) != ("ScaledObject" in kinds)
    if overlay == "overlays/standby":
        _stands_by({(one["kind"], one["metadata"]["name"]): one for one in objects})


def _stands_by(built: Mapping[tuple[str, str], Any]) -> None:
    """Two pods, each with its own state, and with what both must find under the same path."""
    config = load_config(FOLDER / "overlays/standby/config.yaml", {**KEYS, "REDIS_PASSWORD": "p"})
    assert config.shared is not None
    assert not config.shared.follow
    gateways, engines = built["StatefulSet", "gateway"]["spec"], built["StatefulSet", "engine"]["spec"]
    assert gateways["replicas"] == 2
    assert "strategy" not in gateways
    assert built["PodDisruptionBudget", "gateway"]["spec"]["maxUnavailable"] == 1
    pod = gateways["template"]["spec"]
    (only,) = pod["containers"]
    mounts = {one["name"]: one["mountPath"] for one in only["volumeMounts"]}
    assert Path(mounts["common"]) == config.shared.folder
    assert Path(mounts["adapters"]) == config.common_dir / "adapters"
    assert Path(mounts["state"]) == config.state_dir
    (read,) = [
        one
        for one in engines["template"]["spec"]["containers"][0]["volumeMounts"]
        if "adapters" in one["name"]
    ]
    assert (read["mountPath"], read["readOnly"]) == (mounts["adapters"], True)
    assert [one["metadata"]["name"] for one in gateways["volumeClaimTemplates"]] == ["state"]
    assert {one["name"] for one in pod["volumes"]} == mounts.keys() - {"state"}
    assert ("PersistentVolumeClaim", "state") not in built
    assert built["PersistentVolumeClaim", "common"]["spec"]["accessModes"] == ["ReadWriteMany"]
    assert "redis-password" in str(only["envFrom"])
    rest = {"shared", "adapters"}
    assert config.model_dump(exclude=rest) == load_config(CONFIG, KEYS).model_dump(exclude=rest)
