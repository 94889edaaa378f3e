# API and page. No torch: small, quick to start, nothing to train with.
FROM node:24.19.0-bookworm-slim AS page
WORKDIR /src/frontend
COPY frontend/package.json frontend/package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY frontend ./
# vite writes to ../backend/page
RUN mkdir -p /src/backend && npm run build

FROM python:3.12.12-slim-bookworm AS install
# The driver of an object store: s3, gcs or azure (docs/machines.md).
ARG STORE=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY requirements.lock pyproject.toml README.md LICENSE ./
COPY copg_core copg_core
COPY backend backend
COPY worker worker
COPY --from=page /src/backend/page backend/page
# The lock constrains the build's tools, too; what the web extra does not name is not installed.
RUN pip install --constraint requirements.lock hatchling editables \
 && pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && python -m venv /opt/copg \
 && /opt/copg/bin/pip install --constraint requirements.lock "$(echo /wheels/*.whl)[web${STORE:+,$STORE}]"

FROM python:3.12.12-slim-bookworm
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PATH=/opt/copg/bin:$PATH COPG_DATA_DIR=/data
RUN useradd --uid 10001 --create-home copg && mkdir /data && chown copg /data
COPY --from=install /opt/copg /opt/copg
# Not /data: Python would import from what runs write.
WORKDIR /opt/copg
USER 10001
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=20s CMD ["python", "-m", "backend.health", "http://127.0.0.1:8000"]
CMD ["uvicorn", "--factory", "backend.main:create_app", "--host", "0.0.0.0", "--port", "8000", "--no-access-log", "--no-proxy-headers", "--timeout-graceful-shutdown", "2"]
