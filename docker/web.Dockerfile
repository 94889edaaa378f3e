# API and page. No torch: small, quick to start, nothing to train with.
FROM node:24-slim AS page
WORKDIR /src/frontend
COPY frontend/package.json frontend/package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY frontend ./
# vite writes to ../backend/page
RUN mkdir -p /src/backend && npm run build

FROM python:3.12-slim
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 COPG_DATA_DIR=/data
WORKDIR /app
COPY requirements.lock pyproject.toml README.md LICENSE ./
COPY copg_core copg_core
COPY backend backend
COPY worker worker
COPY --from=page /src/backend/page backend/page
# The lock only constrains, so what the web extra does not name is not installed.
RUN pip install --constraint requirements.lock ".[web]" \
 && useradd --uid 10001 --create-home copg && mkdir /data && chown copg /data
USER copg
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
CMD ["uvicorn", "--factory", "backend.main:create_app", "--host", "0.0.0.0", "--port", "8000", "--timeout-graceful-shutdown", "2"]
