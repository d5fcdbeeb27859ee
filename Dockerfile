# The platform's image: webserver, daemon and the one-shot migrate service.
FROM python:3.13-slim

ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    DAGSTER_HOME=/opt/dagster/home \
    PGPASSFILE=/run/credentials/pgpass

# One user id in all images: the volumes that containers share belong to it.
RUN useradd --uid 10001 --create-home dagster
WORKDIR /opt/dagster

# Dependencies before code: a change of the code does not install them again.
COPY requirements/platform.lock .
RUN python -m venv /opt/venv \
    && pip install --no-cache-dir --require-hashes --no-deps -r platform.lock

COPY warehouse warehouse
COPY dagster.yaml home/
COPY workspace.yaml .
# A new volume takes over owner and mode of the folder that it covers.
RUN mkdir -p compute_logs /run/credentials \
    && for sql in warehouse/*_location.sql; do mkdir -p "/credentials/$(basename "$sql" .sql)"; done \
    && mkdir -p /credentials/dagster \
    && chown -R dagster:dagster /opt/dagster /run/credentials /credentials
USER dagster

# No ENTRYPOINT: each service gives its whole command.
CMD ["dagster-webserver", "--help"]
