-- ingestion_location owns raw_taxis and decides who reads it.
grant connect on database warehouse to ingestion_location;

-- The most connections that its code server and its runs may have together; docs/connections.md counts them.
alter role ingestion_location connection limit 10;

create schema if not exists raw_taxis authorization ingestion_location;

-- The tables come and go with every load, so the right to read them is a default, not a grant per table.
grant usage on schema raw_taxis to dbt_location;
grant select on all tables in schema raw_taxis to dbt_location;
alter default privileges for role ingestion_location in schema raw_taxis grant select on tables to dbt_location;

-- The sessions that a waiting session of the caller's own waits for. On request it ends those that only read tables of
-- the caller's: their locks on these are the weakest that there is. It never ends a session of the caller's role, of a
-- superuser, as a backup is, or of a role that replicates. It is in a schema of the superuser's: in one of its own, a
-- role could put another function in its place, and this file could not be applied any more.
create schema if not exists locks;
create or replace function locks.in_the_way(waiting integer, end_readers boolean)
returns table (pid integer, role name, application text, since timestamptz, ended boolean)
language sql security definer set search_path = pg_catalog, pg_temp
as $$
    with locks as (
        select
            pg_locks.pid,
            bool_and(pg_locks.mode = 'AccessShareLock') as only_reads
        from pg_locks
        inner join pg_class on pg_locks.relation = pg_class.oid
        inner join pg_database on pg_locks.database = pg_database.oid and pg_database.datname = current_database()
        where pg_locks.granted and pg_get_userbyid(pg_class.relowner) = session_user
        group by pg_locks.pid
    )

    select
        sessions.pid,
        sessions.usename,
        sessions.application_name,
        sessions.xact_start,
        case
            when
                end_readers and locks.only_reads and sessions.usename <> session_user
                and not pg_roles.rolsuper and not pg_roles.rolreplication
                then pg_terminate_backend(sessions.pid)
            else false
        end
    from pg_stat_activity as sessions
    inner join pg_roles on sessions.usesysid = pg_roles.oid
    left join locks on sessions.pid = locks.pid
    where
        sessions.pid = any(pg_blocking_pids(waiting))
        and exists (select from pg_stat_activity as own where own.pid = waiting and own.usename = session_user)
$$;
revoke all on function locks.in_the_way(integer, boolean) from public;
grant usage on schema locks to ingestion_location;
grant execute on function locks.in_the_way(integer, boolean) to ingestion_location;

-- What is wrong with the restored tables, asked by the rehearsal of a restore (services/postgres/backups) as this
-- location's role: a month whose trips are not as many as its ledger says. The tables come with the first load, so they
-- are looked up when the function is called.
create schema if not exists rehearsal;
grant usage on schema rehearsal to ingestion_location;
create or replace function rehearsal.ingestion_location() returns setof text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
    if to_regclass('raw_taxis.trip_files') is null then
        return;
    end if;
    return query
        select format(
            'raw_taxis.trips has %s trips and %s strays of the file of %s, and its ledger says %s and %s',
            found.trips, found.strays, files.month, files.rows - files.strays, files.strays
        )
        from raw_taxis.trip_files as files
        cross join lateral (
            select
                (
                    select count(*) from raw_taxis.trips
                    where pickup_datetime >= files.month and pickup_datetime < files.month + interval '1 month'
                ) as trips,
                (select count(*) from raw_taxis.stray_trips where file_month = files.month) as strays
        ) as found
        where (found.trips, found.strays) <> (files.rows - files.strays, files.strays);
end
$$;
