# Everything that the service migrate does, as a superuser of Postgres. Idempotent.
set -e
python -m services.migrate.apply --credentials /credentials
PGOPTIONS='-c lock_timeout=60s -c role=dagster_owner' dagster instance migrate
python -m services.migrate.walls
python -m platform_host.ownership workspace.yaml
dagster instance concurrency set loading 2
# What shows the webserver that a request has come through the door.
if ! test -s /run/door/key; then
    (umask 077 && head -c 32 /dev/urandom | base64 > /run/door/new)
    mv /run/door/new /run/door/key
fi
