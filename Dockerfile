# The platform's two images: `platform` for webserver and daemon, and `migrate` for the one-shot services, which alone
# know the locations: so one more is no change of webserver and daemon.
FROM python:3.13-slim AS platform

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

# python:3.13-slim comes without the bytecode of Python's own modules, and a user who is not root cannot keep it: each
# start would compile them anew, 0.6 s of CPU for an `import dagster`.
RUN python -m compileall -q -x '/(test|tests|lib2to3)/' "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"

COPY dagster.yaml home/
# A new volume takes over owner and mode of the folder that it covers.
RUN mkdir -p compute_logs workspace /run/credentials \
    && chown -R dagster:dagster /opt/dagster /run/credentials
USER dagster

# No ENTRYPOINT: each service gives its whole command.
CMD ["dagster-webserver", "--help"]

FROM platform AS migrate
USER root
COPY warehouse warehouse
COPY workspace.yaml .
RUN for sql in warehouse/*_location.sql; do mkdir -p "/credentials/$(basename "$sql" .sql)"; done \
    && mkdir -p /credentials/dagster \
    && chown -R dagster:dagster /credentials
USER dagster
