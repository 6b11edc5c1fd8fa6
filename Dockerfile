# An image of the agent; docs/install.md says how to build and run it. Tested with the classic builder of
# Docker 20.10; BuildKit has not been tried.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
# More options for pip: where no registry can be reached, put wheels into packaging/wheels and give
# "--no-index --find-links packaging/wheels".
ARG PIP_OPTIONS=
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
RUN python3 -m venv /opt/cnet
COPY packaging/wheels packaging/wheels
COPY requirements/runtime.lock requirements/runtime.lock
RUN /opt/cnet/bin/pip install --quiet ${PIP_OPTIONS} --require-hashes -r requirements/runtime.lock
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /opt/cnet/bin/pip install --quiet --no-index --no-deps --no-build-isolation . \
    && /opt/cnet/bin/pip uninstall --quiet --yes hatchling editables setuptools pip

FROM ${BASE}
LABEL org.opencontainers.image.title="CNET agent" org.opencontainers.image.licenses="MIT"
# One folder for all that lasts: state, data, and the token below .config.
RUN useradd --system --user-group --uid 10001 --home-dir /var/lib/cnet --shell /usr/sbin/nologin cnet \
    && install -d -o cnet -g cnet -m 0700 /var/lib/cnet /var/lib/cnet/data \
        /var/lib/cnet/.config /var/lib/cnet/.config/cnet
COPY --from=build /opt/cnet /opt/cnet
ENV PATH=/opt/cnet/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/var/lib/cnet \
    PYTHONDONTWRITEBYTECODE=1 \
    CNET_AGENT__ADDRESS=0.0.0.0 \
    CNET_AGENT__PORT=8080 \
    CNET_AGENT__DATA_DIR=/var/lib/cnet/data \
    CNET_AGENT__STOP_WORKLOADS_ON_EXIT=true
USER cnet
WORKDIR /var/lib/cnet
VOLUME /var/lib/cnet
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD python3 -c "import sys, urllib.request as u; u.urlopen('http://127.0.0.1:' + sys.argv[1] + '/api/health', timeout=4)" "$CNET_AGENT__PORT"
ENTRYPOINT ["cnet"]
CMD ["agent"]
