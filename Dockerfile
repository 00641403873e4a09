# Two images: `runtime` (exporter and relay; the default) and `demo` (also the simulated AWS).
#   docker build -t aws-spend-exporter .
#   docker build -t aws-spend-exporter:demo --target demo .
#   docker build -t aws-spend-exporter --build-arg EXTRAS=export .   # with DuckDB, to read data exports: 25 MB more
# The base is pinned by tag; give PYTHON_TAG as 3.12.12-slim-bookworm@sha256:... to pin the digest as well.
ARG PYTHON_TAG=3.12.12-slim-bookworm

FROM python:${PYTHON_TAG} AS dependencies
WORKDIR /src
# The project's dependencies change less often than its code: a stub stands in for the package.
COPY pyproject.toml README.md LICENSE ./
ARG EXTRAS=
# hadolint ignore=DL3013 # the versions are bounded in pyproject.toml
RUN mkdir exporter && touch exporter/__init__.py && \
    python -m venv --without-pip /opt/app && \
    pip --python /opt/app install --no-cache-dir --disable-pip-version-check ".${EXTRAS:+[$EXTRAS]}"

FROM dependencies AS build-runtime
COPY exporter exporter
RUN pip --python /opt/app install --no-cache-dir --disable-pip-version-check --no-deps --force-reinstall .

# The demo and the simulated AWS are a distribution beside the exporter's.
FROM build-runtime AS build-demo
COPY demo demo
COPY simulated_aws simulated_aws
# hadolint ignore=DL3013 # the versions are bounded in demo/pyproject.toml
RUN pip --python /opt/app install --no-cache-dir --disable-pip-version-check ./demo

FROM python:${PYTHON_TAG} AS base
# Any uid may run the image as long as its group is 10001: /data belongs to the group. So a host user's own
# uid can be given to read that user's ~/.aws.
RUN groupadd --gid 10001 exporter && \
    useradd --uid 10001 --gid 10001 --create-home --home-dir /home/exporter exporter && \
    chmod 0755 /home/exporter && \
    install --directory --owner=10001 --group=10001 --mode=2770 /data && \
    install --directory --mode=0755 /etc/aws-spend-exporter
ENV PATH=/opt/app/bin:$PATH \
    HOME=/home/exporter \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    AWS_SPEND_EXPORTER_DATA_DIR=/data \
    AWS_SPEND_EXPORTER_RELAY__STATE_DIR=/data/relay
COPY --chmod=0755 deploy/healthcheck.py /usr/local/bin/healthcheck
# What Prometheus, Alertmanager and Grafana read, for tasks that have no files of their own (deploy/ecs-fargate.yaml).
COPY --chmod=0755 deploy/prepare-task.sh /usr/local/bin/prepare-task
COPY --chmod=0755 deploy/make-password.sh /usr/local/bin/make-password
COPY prometheus/prometheus.yml /usr/share/aws-spend-exporter/prometheus/prometheus.yml
COPY prometheus/rules /usr/share/aws-spend-exporter/prometheus/rules
COPY alertmanager /usr/share/aws-spend-exporter/alertmanager
COPY grafana/provisioning /usr/share/aws-spend-exporter/grafana/provisioning
COPY grafana/dashboards /usr/share/aws-spend-exporter/grafana/dashboards
# config.yaml is read from here when there is one.
WORKDIR /etc/aws-spend-exporter
VOLUME /data
EXPOSE 9998 8000
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="aws-spend-exporter" \
      org.opencontainers.image.description="Prometheus exporter for AWS cost, usage and resource inventory" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 \
    CMD ["healthcheck", "http://127.0.0.1:9998/-/healthy"]
ENTRYPOINT ["aws-spend-exporter"]
CMD ["run"]

FROM base AS demo
COPY --from=build-demo /opt/app /opt/app
USER 10001:10001

FROM base AS runtime
COPY --from=build-runtime /opt/app /opt/app
USER 10001:10001
