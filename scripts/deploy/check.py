"""Static checks of everything under deploy/, in an environment of their own: `make check-deploy`.

Compose file, Dockerfile, chart (linted, rendered in three shapes, validated against Kubernetes' own schemas and by
checkov), the gateway's configurations in them. Then the same with a fault planted in each: a check that finds nothing
is no check.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from helm_python.chart import Chart, lint
from helm_python.errors import HelmError

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
SHAPES: dict[str, dict[str, Any]] = {
    "default": {},
    "bare": {
        "autoscaling": {"enabled": False},
        "podDisruptionBudget": {"enabled": False},
        "serviceMonitor": {"enabled": False},
        "networkPolicy": {"enabled": False},
    },
    "rich": {
        "spool": {"storageClass": "fast"},
        "imagePullSecrets": [{"name": "registry"}],
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "gateway", "operator": "Exists"}],
        "podAnnotations": {"team": "platform"},
        "serviceMonitor": {"labels": {"release": "prometheus"}},
    },
}
CUSTOM = {"ServiceMonitor"}
"""Kinds that are not Kubernetes' own: there is no schema for them here."""
NOT_OURS = (
    "CKV_K8S_15",  # pullPolicy is the user's: a tag that never changes need not be pulled each time
    "CKV_K8S_35",  # secrets as variables: the configuration's `env:NAME`; `file:/path` with a volume works as well
    "CKV_K8S_43",  # digests of an image that the user builds
    "CKV_K8S_11",  # no CPU limit: throttling an event loop makes everybody late
    "CKV2_K8S_6",  # the NetworkPolicy is there; checkov does not match it across files
    "CKV_DOCKER_7",  # the base image's tag names its version
)
ENVIRON = {
    "SLUICEGATE_KEY": "sk-checked-caller",
    "SLUICEGATE_ADMIN_KEY": "sk-checked-operator",
    "DATABASE_URL": "postgresql+asyncpg://sluicegate@postgres/sluicegate",
    "POSTGRES_PASSWORD": "checked",
    "GRAFANA_PASSWORD": "checked",
}


def run(*command: str | Path, cwd: Path) -> list[str]:
    """What a command complains about; nothing when it succeeds."""
    environ = {**os.environ, **ENVIRON}
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=environ, capture_output=True, text=True, check=False)
    return [f"{Path(command[0]).name}: {done.stdout}{done.stderr}"] if done.returncode else []


def compose(root: Path) -> list[str]:
    """docker-compose.yml, with every profile."""
    profiles = [part for name in ("vllm-gpu", "vllm-cpu") for part in ("--profile", name)]
    return run(BIN / "docker-compose", *profiles, "config", "--quiet", cwd=root)


def dockerfile(root: Path) -> list[str]:
    """The Dockerfile: hadolint and checkov."""
    found = run(BIN / "hadolint", "Dockerfile", cwd=root)
    return found + checkov(root, "--file", "Dockerfile", "--framework", "dockerfile")


def checkov(root: Path, *what: str) -> list[str]:
    """What checkov finds, but for what `NOT_OURS` gives a reason for."""
    skipped = ("--skip-check", ",".join(NOT_OURS))
    return run(BIN / "checkov", "--compact", "--quiet", "--skip-download", *what, *skipped, cwd=root)


def chart(root: Path) -> list[str]:
    """The chart: lint, render, Kubernetes' schemas, checkov."""
    folder = root / "deploy" / "helm" / "sluicegate"
    found: list[str] = []
    try:
        for shape, values in SHAPES.items():
            report = lint(folder, values)
            found += [f"lint {shape}: {one['error']}" for one in report["messages"] if one["severity"] >= 2]
            found += [f"lint {shape}: {error}" for error in report["errors"]]
            with Chart.load(folder) as loaded, tempfile.TemporaryDirectory() as rendered:
                for path, text in loaded.render(values, name="demo", namespace="demo").items():
                    for number, document in enumerate(one for one in yaml.safe_load_all(text) if one):
                        if document["kind"] not in CUSTOM:
                            name = Path(path).stem
                            Path(rendered, f"{name}-{number}.yaml").write_text(yaml.safe_dump(document))
                files = sorted(Path(rendered).glob("*.yaml"))
                found += run(BIN / "kubernetes-validate", "--strict", "--quiet", *files, cwd=root)
                if shape == "default":
                    found += checkov(root, "--directory", rendered, "--framework", "kubernetes")
    except HelmError as error:
        found.append(f"helm: {error}")
    return found


def configurations(root: Path) -> list[str]:
    """The gateway's own configurations: those of compose, and the chart's."""
    sluicegate = ROOT / ".venv" / "bin" / "sluicegate"
    values = yaml.safe_load((root / "deploy" / "helm" / "sluicegate" / "values.yaml").read_text())
    with tempfile.TemporaryDirectory() as folder:
        charted = Path(folder) / "chart.yaml"
        charted.write_text(yaml.safe_dump(values["config"]))
        paths = [*sorted((root / "deploy" / "compose").glob("*.yaml")), charted]
        return [problem for path in paths for problem in run(sluicegate, "check", path, cwd=root)]


CHECKS: dict[str, Callable[[Path], list[str]]] = {
    "compose": compose,
    "Dockerfile": dockerfile,
    "chart": chart,
    "configurations": configurations,
}
PLANTED = (
    ("compose", "docker-compose.yml", "depends_on:", "dependson:"),
    ("Dockerfile", "Dockerfile", "USER 10001\nEXPOSE 8080", "USER root\nEXPOSE 8080"),
    ("Dockerfile", "Dockerfile", "WORKDIR /var/lib/sluicegate", "RUN cd /var/lib/sluicegate"),
    ("chart", "deploy/helm/sluicegate/templates/statefulset.yaml", "podManagementPolicy", "podManagmentPolicy"),
    (
        "chart",
        "deploy/helm/sluicegate/templates/statefulset.yaml",
        "allowPrivilegeEscalation: false",
        "privileged: true",
    ),
    ("chart", "deploy/helm/sluicegate/templates/services.yaml", "{{- include", "{{- includ"),
    ("configurations", "deploy/compose/gateway.yaml", "stable: fake-v1", "stable: fake-v9"),
)
"""A check, and what it must find: in a file, one text in place of another."""


def main() -> None:
    """Run every check on the repository, then on copies with a fault each."""
    problems = {name: check(ROOT) for name, check in CHECKS.items()}
    for name, found in problems.items():
        print(f"{name}: {'ok' if not found else ''}", *found, sep="\n")
    missed = 0
    for name, path, old, new in PLANTED:
        with tempfile.TemporaryDirectory() as folder:
            for part in ("deploy", "docker-compose.yml", "Dockerfile"):
                source = ROOT / part
                (shutil.copytree if source.is_dir() else shutil.copy)(source, Path(folder, part))
            target = Path(folder, path)
            text = target.read_text()
            target.write_text(text.replace(old, new))
            with contextlib.chdir(folder):
                seen = old in text and bool(CHECKS[name](Path(folder)))
        missed += not seen
        print(f"planted {new!r} in {path}: {'found' if seen else 'MISSED'}")
    sys.exit(1 if missed or any(problems.values()) else 0)


if __name__ == "__main__":
    main()
