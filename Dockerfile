# One image for every role: `docker run penstock api`, `… worker openai`, `… accounting`, `… admin migrate`.
# Without a command it is `penstock serve`: everything in one process, data in /var/lib/penstock.

FROM python:3.11-slim-bookworm AS build
ENV UV_PROJECT_ENVIRONMENT=/opt/penstock \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1 \
    UV_PYTHON_DOWNLOADS=never
RUN pip install --no-cache-dir uv==0.13.9
WORKDIR /src
# The dependencies first: this layer changes only with the lock. Wheels only, so that nothing is compiled.
COPY pyproject.toml uv.lock README.md ./
RUN uv sync --locked --no-default-groups --extra litellm --no-install-project --no-build
COPY . .
RUN uv sync --locked --no-default-groups --extra litellm --no-editable

FROM python:3.11-slim-bookworm
# A name for the user, since initdb asks for one when the embedded Postgres is used.
RUN useradd --uid 10001 --user-group --home-dir /var/lib/penstock --shell /usr/sbin/nologin penstock \
    && install --directory --owner penstock --group penstock --mode 0700 /var/lib/penstock
COPY --from=build /opt/penstock /opt/penstock
COPY deploy/healthcheck.py /opt/penstock/healthcheck.py
ENV PATH=/opt/penstock/bin:$PATH \
    PENSTOCK_STATE_DIR=/var/lib/penstock \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /var/lib/penstock
VOLUME /var/lib/penstock
EXPOSE 4000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "/opt/penstock/healthcheck.py"]
ENTRYPOINT ["penstock"]
CMD ["serve", "--host", "0.0.0.0"]
