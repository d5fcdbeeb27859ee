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
-- The alerts read the event log, and how full the server is (pg_stat_activity, the databases' sizes).
grant connect on database dagster to alerts;
grant usage on schema public to alerts;
grant pg_read_all_stats to alerts;

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
alter role alerts connection limit 3;

-- What everybody did through the webserver (docs/access.md). It adds lines, and changes and deletes none.
create schema if not exists audit authorization dagster_owner;
grant usage on schema audit to dagster, platform_location;
create table if not exists audit.log (
    id bigint generated always as identity primary key,
    at timestamptz not null default clock_timestamp(),
    who text not null,
    address text not null,
    what text not null,
    locations text [] not null,
    named jsonb not null,
    result text not null
);
alter table audit.log owner to dagster_owner;
create index if not exists log_at on audit.log (at);
grant select, insert (who, address, what, locations, named, result) on audit.log to dagster;

-- Housekeeping deletes lines of more than a year, and no others.
create or replace function audit.prune(dry_run boolean) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  lines bigint;
begin
  if dry_run then
    select count(*) into lines from audit.log where at < now() - interval '1 year';
  else
    delete from audit.log where at < now() - interval '1 year';
    get diagnostics lines = row_count;
  end if;
  return lines;
end $$;
alter function audit.prune(boolean) owner to dagster_owner;
revoke all on function audit.prune(boolean) from public;
grant execute on function audit.prune(boolean) to platform_location;
