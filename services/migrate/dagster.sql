-- Database dagster: the instance. dagster_owner owns it and all that is in it, and nobody logs in as this role. dagster
-- is the role of webserver and daemon. Each location has the role of its name, and with it the rights of
-- dagster_locations (instance_walls.sql).
alter database dagster owner to dagster_owner;
-- Before there was an owner, dagster owned everything.
reassign owned by dagster to dagster_owner;

revoke all on database dagster from public;
revoke all on schema public from public;
grant connect on database dagster to dagster, dagster_locations;
grant usage on schema public to dagster, dagster_locations;

-- No role of a location needs large objects, and nothing else would limit what they take.
revoke execute on function lo_create(oid), lo_creat(integer), lo_from_bytea(oid, bytea) from public;

-- Webserver and daemon write all tables, also those that a later release of Dagster adds, and change none.
grant select, insert, update, delete on all tables in schema public to dagster;
grant usage, select on all sequences in schema public to dagster;
alter default privileges for role dagster_owner in schema public
grant select, insert, update, delete on tables to dagster;
alter default privileges for role dagster_owner in schema public grant usage, select on sequences to dagster;

-- A location may lock the rows of its own runs and assets. Webserver and daemon then get an error, and do not hang.
alter role dagster set lock_timeout = '10s';

-- The limits of the roles that have no warehouse.sql (docs/connections.md).
alter role dagster connection limit 40;
alter role platform_location connection limit 10;
