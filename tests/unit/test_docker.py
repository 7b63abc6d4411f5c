"""What a deployment is made of: checked by each tool's own checker, and against what the program offers."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from rescind.cli import commands
from streams.settings import Settings
from tests.unit.gateway.harness import gateway_in
from tests.unit.gateway.test_lag import four_states, samples

DOCKER = Path(__file__).parents[2] / "docker"
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
OURS = {name: service for name, service in COMPOSE["services"].items() if service["image"] == "rescind"}


def check(command: str, *words: str | Path) -> None:
    done = subprocess.run([command, *words], capture_output=True, text=True, cwd=DOCKER)
    assert done.returncode == 0, done.stdout + done.stderr


def installed(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def test_the_image_is_built_by_the_rules() -> None:
    check(installed("hadolint"), "Dockerfile")


def test_the_compose_file_is_one() -> None:
    check(installed("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", "compose.yaml")


def test_prometheus_takes_its_settings(promtool: str) -> None:
    check(promtool, "check", "config", "prometheus/prometheus.yml")


def test_alerts_go_off_when_they_should(promtool: str) -> None:
    check(promtool, "test", "rules", "prometheus/alerts_test.yml")


@pytest.mark.parametrize("name", sorted(OURS))
def test_each_service_is_a_command_that_exists(name: str) -> None:
    words = OURS[name]["command"]
    command: Any = typer.main.get_command(commands())
    while words and not words[0].startswith("-"):
        command = command.commands[words[0]]
        words = words[1:]
    # Parsed by the command itself; what is wrong raises.
    command.make_context(name, list(words))


@pytest.mark.parametrize("name", sorted(OURS))
def test_each_service_is_given_settings_that_exist(name: str) -> None:
    known = {f"RESCIND_{field.upper()}" for field in Settings.model_fields}
    assert set(OURS[name]["environment"]) <= known


def test_the_image_is_given_settings_that_exist() -> None:
    known = {f"RESCIND_{field.upper()}" for field in Settings.model_fields}
    assert set(re.findall(r"RESCIND_[A-Z_]+", (DOCKER / "Dockerfile").read_text())) <= known


def test_what_is_mounted_is_there() -> None:
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (DOCKER / source).exists(), volume


def test_grafana_finds_what_is_mounted() -> None:
    service = COMPOSE["services"]["grafana"]
    mounted = dict(volume.split(":")[1::-1] for volume in service["volumes"])
    (provider,) = yaml.safe_load((DOCKER / "grafana/provisioning/dashboards/rescind.yaml").read_text())["providers"]
    home = Path(service["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert provider["options"]["path"] == str(home.parent)
    assert (DOCKER / mounted[str(home.parent)] / home.name).exists()
    assert (DOCKER / mounted["/etc/grafana/provisioning"] / "dashboards/rescind.yaml").exists()
    (source,) = yaml.safe_load((DOCKER / "grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in COMPOSE["services"]


BOARDS = {path.name: json.loads(path.read_text()) for path in (DOCKER / "grafana/dashboards").glob("*.json")}
GROUPS = yaml.safe_load((DOCKER / "prometheus/alerts.yml").read_text())["groups"]
ALERTS = {rule["alert"]: rule for group in GROUPS for rule in group["rules"]}


@pytest.mark.parametrize("name", sorted(BOARDS))
def test_a_dashboard_is_whole(name: str) -> None:
    board = BOARDS[name]
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    places = {(panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y) for panel in panels for x, y in _cells(panel)}
    assert len(places) == sum(panel["gridPos"]["w"] * panel["gridPos"]["h"] for panel in panels)  # none over another
    assert {x for x, _ in places} <= set(range(24))
    sources = [panel["datasource"] for panel in panels] + [
        t["datasource"] for panel in panels for t in panel["targets"]
    ]
    assert {source["uid"] for source in sources} == {"prometheus"}
    known = {variable["name"] for variable in board["templating"]["list"]} | {"__rate_interval"}
    asked = {found for panel in panels for t in panel["targets"] for found in re.findall(r"\$(\w+)", t["expr"])}
    assert asked <= known
    others = {other["uid"] for other in BOARDS.values()}
    assert {link["url"].removeprefix("/d/") for link in board["links"]} <= others - {board["uid"]}


def _cells(panel: dict[str, Any]) -> Iterator[tuple[int, int]]:
    yield from product(range(panel["gridPos"]["w"]), range(panel["gridPos"]["h"]))


def test_dashboards_are_told_apart() -> None:
    assert len({board["uid"] for board in BOARDS.values()}) == len(BOARDS) > 1


def expressions() -> Iterator[tuple[str, str]]:
    for name, board in BOARDS.items():
        for panel in board["panels"]:
            for target in panel["targets"]:
                plain = target["expr"].replace("$partner", "acme").replace("$__rate_interval", "5m")
                yield f"{name}: {panel['title']}", plain
        for variable in board["templating"]["list"]:
            yield f"{name}: {variable['name']}", re.sub(r"label_values\((\w+), \w+\)", r"\1", variable["definition"])
    yield from ((name, rule["expr"]) for name, rule in ALERTS.items())


def test_prometheus_understands_every_expression(promtool: str, tmp_path: Path) -> None:
    rules = [{"record": f"asked:{number}", "expr": asked} for number, (_, asked) in enumerate(expressions())]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "asked", "rules": rules}]}))
    check(promtool, "check", "rules", path)


async def test_dashboards_and_alerts_ask_for_metrics_that_exist(tmp_path: Path) -> None:
    async with gateway_in(tmp_path) as gateway:
        four_states(gateway)
        await samples(gateway)  # and is counted as a request
        found = await samples(gateway)
    series: dict[str, set[str]] = {}
    for name, place in found:
        series.setdefault(name, set()).update(f'{label}="{value}"' for label, value in place)
    asked = 0
    for where, expression in expressions():
        for name, chosen in re.findall(r"(rescind_\w+)(?:\{([^}]*)\})?", expression):
            assert name in series, f"{where}: there is no {name}"
            labels = re.findall(r'\w+="[^"]*"', re.sub(r'(partner|outcome)[!=]+"[^"]*",?', "", chosen))
            assert set(labels) <= series[name], f"{where}: {name} is never {labels}"
            asked += 1
    assert asked > 40


def test_alerts_are_all_tested() -> None:
    told = yaml.safe_load((DOCKER / "prometheus/alerts_test.yml").read_text())["tests"]
    cases = [case for test in told for case in test["alert_rule_test"]]
    for wanted in (True, False):
        assert {case["alertname"] for case in cases if bool(case["exp_alerts"]) is wanted} == set(ALERTS)


@pytest.mark.parametrize("name", sorted(ALERTS))
def test_an_alert_says_what_to_do_first(name: str) -> None:
    notes = ALERTS[name]["annotations"]
    assert ALERTS[name]["labels"]["severity"] in ("page", "ticket")
    assert notes["summary"]
    assert notes["description"]
    words = notes["command"].replace("{{ $labels.partner }}", "acme").split()
    assert words.pop(0) == "rescind"
    command: Any = typer.main.get_command(commands())
    while words and not words[0].startswith("-") and hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    command.make_context(name, words)  # what is wrong raises
