# The image of every flowlake service in docker-compose.yaml: both environments of `make setup`, without what only tests
# and lint need. See docs/compose.md, and docs/adr/0014-compose.md for the reasons.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS environments
WORKDIR /opt/flowlake
COPY requirements.txt requirements-dev.txt requirements.lock requirements-dbt.lock ./
RUN python -m venv /opt/uv \
    && /opt/uv/bin/pip install --no-cache-dir --disable-pip-version-check "$(grep '^uv==' requirements-dev.txt)"
# The lock holds the tools of tests too: as constraints it gives its versions to what the services need, and no more.
RUN python -m venv --without-pip .venv \
    && /opt/uv/bin/uv pip install --no-cache --no-build --compile-bytecode --python .venv/bin/python \
        --constraint requirements.lock --requirement requirements.txt setuptools
RUN python -m venv --without-pip .venv-dbt \
    && /opt/uv/bin/uv pip sync --no-cache --no-build --compile-bytecode --python .venv-dbt/bin/python requirements-dbt.lock

FROM ${PYTHON_IMAGE}
# A new volume takes the owner of the folder that it covers, so these are made here.
RUN groupadd --gid 10001 flowlake \
    && useradd --uid 10001 --gid flowlake --create-home --shell /usr/sbin/nologin flowlake \
    && install --directory --owner flowlake --group flowlake \
        /lake /sources /opt/airflow /opt/airflow/logs /opt/airflow/logins
WORKDIR /opt/flowlake
COPY --from=environments /opt/flowlake/.venv .venv
COPY --from=environments /opt/flowlake/.venv-dbt .venv-dbt
COPY pyproject.toml LICENSE ./
COPY plugins plugins
COPY dags dags
COPY dbt_project dbt_project
COPY deploy deploy
RUN python -m pip --python .venv/bin/python install --no-cache-dir --disable-pip-version-check \
        --no-deps --no-build-isolation --editable .
ENV PATH=/opt/flowlake/.venv/bin:$PATH \
    AIRFLOW_HOME=/opt/airflow \
    PYTHONUNBUFFERED=1
USER flowlake
CMD ["flowlake", "--help"]
