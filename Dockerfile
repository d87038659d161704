# Pennyweight in a container. Three targets, each with an engine and without the tools that built it:
#
#   docker build --target cpu -t pennyweight:cpu .
#   docker build --target cuda-vllm -t pennyweight:cuda-vllm .
#   docker build --target cuda-tensorrt-llm --build-arg TENSORRT_LLM_IMAGE=<NVIDIA's release image> -t pennyweight:cuda-tensorrt-llm .
#
#   docker run -p 127.0.0.1:8000:8000 -v ~/models:/models:ro pennyweight:cpu serve /models/qwen2.5-7b-instruct
#   docker run --gpus all -p 127.0.0.1:8000:8000 -v ~/models:/models:ro pennyweight:cuda-vllm serve /models/large --engine vllm
#
# TORCH_INDEX_URL   an index of PyTorch's own for the build to install, as for make; by default what the package index has
# Models that come from packages are kept in the volume /cache.

ARG PYTHON_IMAGE=python:3.12-slim
# No default: the tag goes with the driver at hand. It must carry tensorrt_llm 1.2.1, which the adapter was written against.
ARG TENSORRT_LLM_IMAGE=scratch

# ---- the wheel, with its CPU kernels
FROM ${PYTHON_IMAGE} AS wheel
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY pyproject.toml setup.py README.md LICENSE constraints.txt ./
COPY configs configs
COPY server server
COPY kernels kernels
COPY quantize quantize
COPY bench bench
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

# ---- the server on CPUs
FROM ${PYTHON_IMAGE} AS cpu-packages
ARG TORCH_INDEX_URL=
COPY constraints.txt /tmp/
RUN python -m venv /opt/pennyweight
ENV PATH=/opt/pennyweight/bin:$PATH
RUN pip install --no-cache-dir ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} "$(grep '^torch==' /tmp/constraints.txt)"
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir -c /tmp/constraints.txt "$(ls /wheels/*.whl)[hub]"

FROM ${PYTHON_IMAGE} AS cpu
COPY --from=cpu-packages /opt/pennyweight /opt/pennyweight
ENV PATH=/opt/pennyweight/bin:$PATH XDG_CACHE_HOME=/cache PENNYWEIGHT_HTTP__HOST=0.0.0.0
RUN useradd --uid 10001 --create-home pennyweight && mkdir /cache && chown pennyweight /cache
USER pennyweight
VOLUME /cache
EXPOSE 8000
HEALTHCHECK --start-period=10m --interval=15s --timeout=5s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/ready', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["pennyweight"]
CMD ["serve"]

# ---- with vLLM, which pins its own PyTorch: one environment for both
FROM ${PYTHON_IMAGE} AS cuda-vllm-packages
ARG VLLM=vllm>=0.32,<1
RUN python -m venv /opt/pennyweight
ENV PATH=/opt/pennyweight/bin:$PATH
RUN pip install --no-cache-dir "$VLLM"
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir "$(ls /wheels/*.whl)[hub]"

# Triton compiles its kernels at the first run, which wants a C compiler.
FROM cpu AS cuda-vllm
USER root
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/* \
 && rm -rf /opt/pennyweight
COPY --from=cuda-vllm-packages /opt/pennyweight /opt/pennyweight
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility PENNYWEIGHT_ENGINE__KIND=vllm
USER pennyweight

# ---- with TensorRT-LLM: its image has an environment that no other fits into, so that ours stands beside it
FROM ${TENSORRT_LLM_IMAGE} AS cuda-tensorrt-llm
ARG TORCH_INDEX_URL=
USER root
COPY constraints.txt /tmp/
COPY --from=wheel /wheels /wheels
# The worker needs of Pennyweight only what runs in TensorRT-LLM's process; the server and its tokenizer have a Python environment of their own.
RUN python3 -m pip install --no-cache-dir --no-deps /wheels/*.whl && python3 -m pip install --no-cache-dir msgspec \
 && python3 -m venv /opt/pennyweight \
 && /opt/pennyweight/bin/pip install --no-cache-dir ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} "$(grep '^torch==' /tmp/constraints.txt)" \
 && /opt/pennyweight/bin/pip install --no-cache-dir -c /tmp/constraints.txt "$(ls /wheels/*.whl)[hub]" \
 && useradd --uid 10001 --create-home pennyweight && mkdir /cache && chown pennyweight /cache
ENV PATH=/opt/pennyweight/bin:$PATH XDG_CACHE_HOME=/cache PENNYWEIGHT_HTTP__HOST=0.0.0.0 \
    PENNYWEIGHT_ENGINE__KIND=tensorrt_llm PENNYWEIGHT_ENGINE__PYTHON=/usr/bin/python3
USER pennyweight
VOLUME /cache
EXPOSE 8000
STOPSIGNAL SIGTERM
ENTRYPOINT ["pennyweight"]
CMD ["serve"]
