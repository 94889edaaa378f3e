# Supervisor and training. The CUDA libraries come with torch's own wheels.
FROM python:3.12.12-slim-bookworm AS install
# An index beside the default one, for example that of PyTorch's builds without CUDA.
ARG PIP_EXTRA_INDEX_URL=""
# The driver of an object store: s3, gcs or azure (docs/machines.md).
ARG STORE=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY requirements.lock pyproject.toml README.md LICENSE ./
COPY copg_core copg_core
COPY backend backend
COPY worker worker
RUN pip install --constraint requirements.lock hatchling editables \
 && pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && python -m venv /opt/copg \
 && /opt/copg/bin/pip install --constraint requirements.lock "$(echo /wheels/*.whl)[train,web${STORE:+,$STORE}]"

FROM python:3.12.12-slim-bookworm
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PATH=/opt/copg/bin:$PATH COPG_DATA_DIR=/data
# The sandbox of rewards from unit tests; it also needs user name spaces, which a container has to be granted. Debian keeps
# only the newest build of a package in its archive, so that a pinned one could not be installed for long.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends bubblewrap && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --create-home copg && mkdir /data && chown copg /data
COPY --from=install /opt/copg /opt/copg
# Not /data: Python would import from what runs write.
WORKDIR /opt/copg
USER 10001
VOLUME /data
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=15s --start-period=60s CMD ["python", "-m", "worker.health"]
# In its own process tree a shell would swallow the signal that asks for a checkpoint, hence exec.
CMD ["sh", "-c", "exec celery --quiet -A worker.app worker -P threads -Q ${COPG_QUEUE:-default} --without-gossip --without-mingle --without-heartbeat --loglevel INFO"]
