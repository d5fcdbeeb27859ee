# Everything that the service migrate does, as a superuser of Postgres. Idempotent.
set -e
python -m services.migrate.apply --credentials /credentials
PGOPTIONS='-c lock_timeout=60s -c role=dagster_owner' python -m services.migrate.instance
python -m services.migrate.walls
python -m platform_host.ownership workspace.yaml
# What shows the webserver that a request has come through the door, or from the alerts, where there are any.
for folder in /run/door /run/alerts; do
    if test -w $folder && ! test -s $folder/key; then
        (umask 077 && head -c 32 /dev/urandom | base64 > $folder/new)
        mv $folder/new $folder/key
    fi
done
