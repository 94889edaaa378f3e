# Supervisor and training. The CUDA libraries come with torch's own wheels.
FROM python:3.12-slim
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 COPG_DATA_DIR=/data
WORKDIR /app
COPY requirements.lock pyproject.toml README.md LICENSE ./
COPY copg_core copg_core
COPY backend backend
COPY worker worker
# The sandbox of rewards from unit tests; it also needs user name spaces, which a container has to be granted.
RUN apt-get update && apt-get install -y --no-install-recommends bubblewrap && rm -rf /var/lib/apt/lists/*
RUN pip install --constraint requirements.lock ".[train,web]" \
 && useradd --uid 10001 --create-home copg && mkdir /data && chown copg /data
USER copg
VOLUME /data
STOPSIGNAL SIGTERM
# In its own process tree a shell would swallow the signal that asks for a checkpoint, hence exec.
CMD ["sh", "-c", "exec celery -A worker.app worker -P threads -c ${COPG_SLOTS:-1} -Q ${COPG_QUEUE:-default} --without-gossip --without-mingle --without-heartbeat --loglevel INFO"]
