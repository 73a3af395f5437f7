"""What docker-compose.yaml, the Dockerfile and their neighbours name: all of it exists, and none of it is a secret."""

from __future__ import annotations

import fnmatch
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from moto.server import ThreadedMotoServer

from compose.composition import PROJECT, MissingError, Stage, interpolate, load, read_dockerfile
from compose.composition import variables as named_variables

BIN = Path(sys.executable).parent
COMPOSE = (PROJECT / "docker-compose.yaml").read_text()
RAW: dict[str, Any] = yaml.safe_load(COMPOSE)["services"]
OF_OTHERS = {"postgres", "s3"}
"""The services whose image is not ours."""

SECRET = re.compile(r"PASSWORD(?!S_FILE)|SECRET|TOKEN|FERNET|ACCESS_KEY|SQL_ALCHEMY_CONN")
REFERENCE = re.compile(r"\$\{\w+:[-?][^}]*\}")


@pytest.fixture
def services(variables: dict[str, str]) -> dict[str, Any]:
    return load(variables)


@pytest.fixture(scope="module")
def image() -> Stage:
    """The last stage of the Dockerfile: what the image is."""
    return read_dockerfile()[1][-1]


def _example() -> dict[str, tuple[bool, str]]:
    """The variables of .env.example: whether each is commented out, and its value."""
    lines = (PROJECT / ".env.example").read_text().splitlines()
    found = [re.fullmatch(r"(#?)([A-Z][A-Z0-9_]*)=(.*)", line) for line in lines]
    return {match[2]: (match[1] == "#", match[3]) for match in found if match}


# The file itself


def test_the_file_is_what_the_compose_specification_allows() -> None:
    command = [BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", PROJECT / "docker-compose.yaml"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_a_service_waits_for_is_there_and_can_be_waited_for(services: dict[str, Any]) -> None:
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            assert other in services, name
            if how["condition"] == "service_healthy":
                assert services[other]["healthcheck"]["test"][0] == "CMD"
            else:
                assert how["condition"] == "service_completed_successfully"
                assert "restart" not in services[other], "one that restarts never completes"


def test_every_service_that_stays_has_a_health_check(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert ("healthcheck" in service) == ("restart" in service), name


def test_nothing_but_the_ui_is_published_and_that_to_this_machine_alone(services: dict[str, Any]) -> None:
    ports = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert ports == {"api-server": ["127.0.0.1:8080:8080"]}


def test_images_of_others_are_pinned_to_a_version(services: dict[str, Any]) -> None:
    for name in OF_OTHERS:
        assert re.fullmatch(r"[\w./-]+:v?\d[\w.-]*", services[name]["image"]), name
    assert read_dockerfile()[1][0].all("FROM") == ["${PYTHON_IMAGE} AS environments"]
    assert "ARG PYTHON_IMAGE=python:3.11-slim-bookworm\n" in (PROJECT / "Dockerfile").read_text()


# Secrets


def test_no_value_of_a_secret_stands_in_the_file() -> None:
    seen = 0
    for service in RAW.values():
        for name, value in service.get("environment", {}).items():
            if SECRET.search(name) and value is not None and name != "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS":
                seen += 1
                left = REFERENCE.sub("", value)
                allowed = ("", "postgresql+psycopg2://airflow:@postgres:5432/airflow")
                assert left in allowed, name
                assert not re.search(r":-[^}]", value), f"{name} has a default"
    assert seen >= 10


def test_nothing_starts_without_each_secret(variables: dict[str, str]) -> None:
    required = {name for name, needed in named_variables(COMPOSE).items() if needed}
    assert required == set(variables)
    for name in required:
        for environ in ({**variables, name: ""}, {key: value for key, value in variables.items() if key != name}):
            with pytest.raises(MissingError, match=name):
                load(environ)


def test_the_example_names_every_variable_and_gives_no_secret() -> None:
    example, named = _example(), named_variables(COMPOSE)
    environments = [service.get("environment", {}) for service in RAW.values()]
    passed_on = {name for environment in environments for name, value in environment.items() if value is None}
    assert set(example) == set(named) | passed_on
    for name, (commented, value) in example.items():
        if named.get(name):
            assert (commented, value) == (False, ""), name
        else:
            assert commented, name
            defaults = {interpolate(match, {}) for match in re.findall(rf"\$\{{{name}:-[^}}]*\}}", COMPOSE)}
            assert {value} == defaults or (value == "" and not any(defaults)) or name == "AWS_REGION", name


def test_no_secret_stands_in_the_other_files() -> None:
    for stage in read_dockerfile()[1]:
        assert not SECRET.search(" ".join([*stage.all("ENV"), *stage.all("ARG")]))
    passwords = re.findall(r"password (.+);", (PROJECT / "deploy/compose/databases.sql").read_text())
    assert passwords == [":'airflow_password'", ":'lake_password'"]
    settings = yaml.safe_load((PROJECT / "deploy/compose/flowlake.yaml").read_text())
    assert settings == {"sources": [{"name": "logs", "uri": "/sources"}]}


def test_the_filled_in_example_goes_neither_to_git_nor_into_the_image() -> None:
    assert subprocess.run(["git", "check-ignore", "-q", ".env"], cwd=PROJECT, check=False).returncode == 0
    for secret in (".env", "flowlake.yaml", "data/demo/airflow/passwords.json", ".git/config"):
        assert _is_ignored(secret), secret


# What is named


def test_every_program_that_runs_in_our_image_is_in_it(services: dict[str, Any], image: Stage) -> None:
    assert "PATH=/opt/flowlake/.venv/bin:$PATH" in image.all("ENV")[0]
    for name, service in services.items():
        if name in OF_OTHERS:
            continue
        commands = [service.get("entrypoint", service["command"])]
        commands += [service["healthcheck"]["test"][1:]] if "healthcheck" in service else []
        for program, *arguments in commands:
            assert (BIN / program).exists() or program == "sh", (name, program)
            for module in re.findall(r"-m ([\w.]+)", " ".join(arguments)):
                assert importlib.util.find_spec(module), (name, module)
            for script in [word for word in arguments if word.endswith(".py")]:
                assert (PROJECT / script).is_file()
                assert script.split("/")[0] in _copied(image)


def test_every_setting_of_airflow_is_one_that_it_has(services: dict[str, Any], tmp_path: Path) -> None:
    script = """if True:
        from airflow.configuration import conf
        for section, about in conf.configuration_description.items():
            for key in about["options"]:
                print(f"AIRFLOW__{section}__{key}".upper())
    """
    home = {"AIRFLOW_HOME": str(tmp_path), "PATH": str(BIN)}
    done = subprocess.run([sys.executable, "-c", script], check=True, env=home, capture_output=True, text=True)
    known = set(done.stdout.split())
    named = {name for service in services.values() for name in service["environment"] if name.startswith("AIRFLOW__")}
    assert len(named) > 15
    assert named <= known


def test_every_variable_of_flowlake_is_one_that_it_reads(services: dict[str, Any]) -> None:
    sources = [*(PROJECT / "plugins").rglob("*.py"), PROJECT / "dbt_project/profiles.yml"]
    code = "".join(path.read_text() for path in sources)
    named = {name for service in services.values() for name in service["environment"] if name.startswith("FLOWLAKE_")}
    assert "FLOWLAKE_CATALOG" in named
    assert [name for name in sorted(named) if not re.search(rf"\b{name}\b", code)] == []


def test_what_a_dag_reads_of_the_environment_reaches_what_reads_the_dags(services: dict[str, Any]) -> None:
    assert "FLOWLAKE_MAX_ACTIVE_RUNS" in services["dag-processor"]["environment"]


def test_every_folder_that_a_service_writes_to_belongs_to_the_user_of_the_image(
    services: dict[str, Any], image: Stage
) -> None:
    [user] = image.all("USER")
    assert user not in ("root", "0")
    made = re.search(rf"install --directory --owner {user} --group {user} ([/\w ]+)", " ".join(image.all("RUN")))
    assert made
    for name, service in services.items():
        for volume in service.get("volumes", []):
            if volume["type"] == "volume":
                assert volume["source"] in yaml.safe_load(COMPOSE)["volumes"]
                assert name in OF_OTHERS or volume["target"] in made[1].split(), (name, volume)
            else:
                assert volume["read_only"] is True
                here = PROJECT / volume["source"]
                assert here.exists() or volume["source"] == "./data/sources"


def test_the_bucket_is_made_once(services: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3

    service = services["s3-bucket"]
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        login = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
        environment = {**service["environment"], **login, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}
        for _ in range(2):
            command = [BIN / service["command"][0], *service["command"][1:]]
            subprocess.run(command, check=True, env=environment, cwd=PROJECT)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        assert [bucket["Name"] for bucket in boto3.client("s3").list_buckets()["Buckets"]] == ["flow-logs"]
    finally:
        server.stop()


# The image


def _copied(stage: Stage) -> list[str]:
    """What a stage takes from the checkout."""
    return [source for words in stage.all("COPY") if not words.startswith("--from") for source in words.split()[:-1]]


def _is_ignored(path: str) -> bool:
    """Whether .dockerignore keeps a path out: the last pattern that fits decides, as in Docker."""
    ignored = False
    for line in (PROJECT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!").removeprefix("**/")
        if not pattern or pattern.startswith("#"):
            continue
        parts = path.split("/")
        heads = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
        if any(fnmatch.fnmatch(head, pattern) for head in [*heads, *parts]):
            ignored = not line.startswith("!")
    return ignored


def test_every_file_that_the_image_copies_is_there_and_reaches_docker() -> None:
    for stage in read_dockerfile()[1]:
        for source in _copied(stage):
            assert (PROJECT / source).exists(), source
            assert not _is_ignored(source), source


def test_the_image_is_built_from_both_locks_and_what_the_services_need() -> None:
    builder = read_dockerfile()[1][0]
    needed = {path.name for path in PROJECT.glob("requirements*.lock")} | {"requirements.txt"}
    assert len(needed) == 3
    assert needed <= set(_copied(builder))
    for name in _copied(builder):
        assert name in " ".join(builder.all("RUN")), name


def test_the_lock_has_each_requirement_of_the_services_at_its_version() -> None:
    def pins(name: str) -> set[str]:
        return set(re.findall(r"^([\w.-]+==[^\s;]+)", (PROJECT / name).read_text(), re.MULTILINE))

    assert pins("requirements.txt") <= pins("requirements.lock")
    assert pins("requirements-dbt.txt") <= pins("requirements-dbt.lock")
    assert any(pin.startswith("setuptools==") for pin in pins("requirements.lock"))


def test_the_image_gets_the_python_that_the_locks_are_made_for(image: Stage) -> None:
    assert "--python-version 3.11" in (PROJECT / "Makefile").read_text()
    assert image.all("WORKDIR") == ["/opt/flowlake"]


def test_every_argument_of_the_build_is_one_that_the_image_takes(services: dict[str, Any]) -> None:
    arguments, _ = read_dockerfile()
    built = [service["build"] for name, service in services.items() if name not in OF_OTHERS]
    assert len(built) == len(services) - len(OF_OTHERS)
    for build in built:
        assert set(build["args"]) == set(arguments)
        assert (PROJECT / build["context"]).resolve() == PROJECT
