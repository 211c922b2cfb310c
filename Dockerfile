# The gateway as a small image: built with everything pinned by hash, run by a user without rights.
#   docker build -t sluicegate .
#   docker build -t sluicegate-upstream --target upstream .      (the fake upstream of docker-compose.yml)

FROM python:3.12-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy
WORKDIR /src
COPY scripts/uv-requirements.txt scripts/runtime_lock.py scripts/
RUN python -m venv /uv && /uv/bin/pip install --require-hashes --no-deps --only-binary :all: -r scripts/uv-requirements.txt
COPY requirements.lock ./
RUN python scripts/runtime_lock.py requirements.lock > /runtime.lock \
    && /uv/bin/uv venv --python /usr/local/bin/python /opt/sluicegate \
    && /uv/bin/uv pip sync --require-hashes --python /opt/sluicegate /runtime.lock
COPY pyproject.toml README.md LICENSE ./
COPY app app
RUN /uv/bin/uv pip install --offline --no-deps --python /opt/sluicegate .

FROM build AS upstream-build
RUN /uv/bin/uv pip sync --require-hashes --python /opt/sluicegate requirements.lock
COPY tests/upstream /opt/upstream/tests/upstream

FROM python:3.12-slim-bookworm AS upstream
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin sluicegate
COPY --from=upstream-build /opt/sluicegate /opt/sluicegate
COPY --from=upstream-build /opt/upstream /opt/upstream
WORKDIR /opt/upstream
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s CMD ["/opt/sluicegate/bin/python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health', timeout=2)"]
ENTRYPOINT ["/opt/sluicegate/bin/python", "-m", "tests.upstream", "--host", "0.0.0.0", "--port", "8000"]

FROM python:3.12-slim-bookworm AS gateway
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin sluicegate \
    && install -d -o 10001 -g 10001 /var/lib/sluicegate/spool
COPY --from=build /opt/sluicegate /opt/sluicegate
ENV PATH=/opt/sluicegate/bin:$PATH PYTHONUNBUFFERED=1
WORKDIR /var/lib/sluicegate
USER 10001
EXPOSE 8080 9090
VOLUME /var/lib/sluicegate/spool
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/livez', timeout=2)"]
ENTRYPOINT ["sluicegate"]
CMD ["serve", "--config", "/etc/sluicegate/config.yaml"]
