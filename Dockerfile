# featcache in a container: docs/guide/containers.md has the commands.
#   docker build -t featcache .                             CPU
#   docker build -t featcache:cuda --build-arg EXTRAS=cuda12,weights,report,audit .
ARG PYTHON=3.12

FROM python:${PYTHON}-slim-bookworm AS build
WORKDIR /source
COPY pyproject.toml setup.py README.md LICENSE ./
COPY data ./data
COPY featcache ./featcache
ARG EXTRAS=weights,report,audit,onnx,heif
# CUDA's libraries come with jax's wheels: the image needs no CUDA of its own, the host its driver and
# NVIDIA's container toolkit.
RUN python -m venv /opt/featcache \
    && /opt/featcache/bin/pip install --no-cache-dir --no-compile ".[${EXTRAS}]"

FROM python:${PYTHON}-slim-bookworm
COPY --from=build /opt/featcache /opt/featcache
ENV PATH=/opt/featcache/bin:$PATH \
    FEATCACHE_HOME=/home/featcache/home
# Weights, compiled programs and remembered hashes outlive the container in a volume that is mounted at FEATCACHE_HOME.
RUN useradd --create-home --uid 1000 featcache \
    && mkdir -p "$FEATCACHE_HOME" /data \
    && chown featcache:featcache "$FEATCACHE_HOME" /data
USER 1000
WORKDIR /data
ENTRYPOINT ["featcache"]
CMD ["--help"]
