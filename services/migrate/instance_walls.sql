-- What the roles of the locations may do in the database dagster. It runs after Dagster has created or migrated its
-- tables, as dagster_owner.
--
-- A location reads what Dagster reads. It writes what a run writes, for its own runs only:
-- - its events, and of assets and checks only those that the run was planned for;
-- - its status, its times and its tags.
-- Webserver and daemon write the rest: they create runs, plan events, and keep sensors, pools and backfills.
--
-- The functions run with the rights of the role that calls them. No role of a location can create an object in this
-- database. So no function, operator or table of its own can take the place of one that is named here.

-- The linter takes policies for queries, so these rules would change what they say.
-- sqlfluff:exclude_rules:LT02,LT14,RF01,RF03

-- Nothing of an earlier version stays.
drop schema if exists walls cascade;
do $$
declare
  policy record;
begin
  for policy in select policyname, tablename from pg_policies where schemaname = 'public' loop
    execute format('drop policy %I on public.%I', policy.policyname, policy.tablename);
  end loop;
end $$;
revoke all on all tables in schema public from dagster_locations, platform_location, alerts;
revoke all on all sequences in schema public from dagster_locations, platform_location;

create schema walls;
grant usage on schema walls to dagster_locations, alerts;

-- What a location may read and write, by table and column. A table or column that is not named here is not for
-- locations; tests/cross_location/test_instance_columns.py has the decision for each.
grant select on
  alembic_version, secondary_indexes, instance_info, runs, run_tags, snapshots, bulk_actions, event_logs, asset_keys,
  asset_event_tags, asset_check_executions, dynamic_partitions, concurrency_limits, concurrency_slots, pending_steps,
  kvs
  to dagster_locations;
grant
  insert (run_id, event, dagster_event_type, timestamp, step_key, asset_key, partition)
  on event_logs to dagster_locations;
grant insert (event_id, asset_key, key, value, event_timestamp) on asset_event_tags to dagster_locations;
grant
  insert (asset_key, last_materialization, last_run_id, last_materialization_timestamp),
  update (last_materialization, last_run_id, last_materialization_timestamp, cached_status_data)
  on asset_keys to dagster_locations;
-- A check is planned without a partition. Its result for a partition is a row of its own.
grant
  insert (
    asset_key, check_name, run_id, execution_status, evaluation_event, evaluation_event_timestamp,
    evaluation_event_storage_id, materialization_event_storage_id, partition),
  update (
    execution_status, evaluation_event, evaluation_event_timestamp, evaluation_event_storage_id,
    materialization_event_storage_id, partition)
  on asset_check_executions to dagster_locations;
grant
  update (status, run_body, partition, partition_set, update_timestamp, start_time, end_time)
  on runs to dagster_locations;
grant insert (run_id, key, value), update (value) on run_tags to dagster_locations;
-- Only to draw the next number. Nobody but the owner sets a sequence.
grant usage on
  event_logs_id_seq, asset_event_tags_id_seq, asset_keys_id_seq, asset_check_executions_id_seq, run_tags_id_seq
  to dagster_locations;

-- Whether a run may write a tag: all but the system's, of which a failed run writes two, who launched the run (user),
-- and the names by which Dagster takes an object of JSON for another one (__class__). The daemon decides by the reason
-- of a failure on the retries of all locations.
create function walls.own_tag(key text, value text) returns boolean
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
  return key = 'dagster/will_retry'
    or key = 'dagster/failure_reason' and (value is null or value in (
      'JOB_INITIALIZATION_FAILURE', 'RUN_EXCEPTION', 'RUN_WORKER_RESTART', 'START_TIMEOUT', 'STEP_FAILURE',
      'UNEXPECTED_TERMINATION', 'UNKNOWN'))
    or not (
      key = 'user' or starts_with(key, '.') or starts_with(key, '__') or starts_with(key, 'dagster/')
      or starts_with(key, 'docker/'));
end $$;

-- Whether the location has reported this asset from one of its runs, which it may only if the run was planned for it.
create function walls.own_asset(asset text) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  return exists (
    select from public.event_logs
    where asset_key = asset and dagster_event_type in ('ASSET_MATERIALIZATION', 'ASSET_OBSERVATION')
      and walls.own_run(run_id));
end $$;

-- Reads JSON as Python writes it: with NaN, Infinity, NUL and halves of surrogate pairs, which jsonb does not have.
-- They are replaced by another value of the same length in tokens, so the structure stays what Python reads.
create function walls.parse(value text) returns jsonb
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
  return value::jsonb;
exception when data_exception then
  value := regexp_replace(value, E'\\\\u(0000|[dD][89a-fA-F][0-9a-fA-F]{2})', E'\\\\u0001', 'g');
  return regexp_replace(value, E'([\\[,:]\\s*)(NaN|-?Infinity)(?=\\s*[\\],}])', E'\\10', 'g')::jsonb;
end $$;

-- The location of a run, given the body of its row: the name from workspace.yaml, which the host processes write there
-- when they create the run. Not the tag .dagster/repository: code of a location can ask for a run with another value of
-- it.
create function walls.location_of(run_body text) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
  return walls.parse(run_body)
    #>> '{external_pipeline_origin,external_repository_origin,repository_location_origin,location_name}';
end $$;

-- Whether a run is one of the location that asks.
create function walls.own_run(run text) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  return exists (select from public.runs where run_id = run and walls.location_of(run_body) = session_user);
end $$;

create function walls.refuse(what text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  raise insufficient_privilege using message = format('%s may not %s.', session_user, what),
    hint = 'docs/security.md says what a location may write to the instance.';
end $$;

-- An event says in its columns what it says in its text, is of a type that runs write, and is of an asset or a check
-- that the host processes planned for this run. Whether Dagster can read all of its text only Dagster can tell: see
-- services/dagster/platform_host/unreadable_events.py. What would exhaust the reader is refused here.
create function walls.check_event_logs() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  entry jsonb;
  event jsonb;
  data jsonb;
  kind text := new.dagster_event_type;
  about jsonb;
  planned boolean := true;
begin
  -- The daemon reads the ends of 50 runs at once.
  if octet_length(new.event) > 1048576 then
    perform walls.refuse(format('store an event of %s bytes; 1048576 is the limit', octet_length(new.event)));
  end if;
  entry := walls.parse(new.event);
  event := entry -> 'dagster_event';
  data := event -> 'event_specific_data';
  about := case kind
    when 'ASSET_MATERIALIZATION' then data -> 'materialization'
    when 'ASSET_OBSERVATION' then data -> 'asset_observation'
  end;
  -- Python reads some hundred levels.
  if jsonb_path_exists(entry, '$.**{100}') then
    perform walls.refuse('store an event with more than 100 levels of objects and lists');
  end if;
  if entry ->> 'run_id' is distinct from new.run_id or event ->> 'event_type_value' is distinct from kind
    or about #> '{asset_key,path}' is distinct from walls.parse(new.asset_key)
    or about ->> 'partition' is distinct from new.partition or not walls.readable(new."timestamp")
    or (case jsonb_typeof(entry -> 'timestamp')
        when 'number' then abs((entry ->> 'timestamp')::float - extract(epoch from new."timestamp")) < 1
      end) is not true
  then
    perform walls.refuse('store an event whose columns differ from its text');
  end if;
  -- NULL: what code logs has no type.
  if kind not in (
    'ASSET_CHECK_EVALUATION', 'ASSET_MATERIALIZATION', 'ASSET_OBSERVATION', 'ENGINE_EVENT', 'HANDLED_OUTPUT',
    'HOOK_COMPLETED', 'HOOK_ERRORED', 'HOOK_SKIPPED', 'LOADED_INPUT', 'LOGS_CAPTURED', 'OBJECT_STORE_OPERATION',
    'PIPELINE_CANCELED', 'PIPELINE_FAILURE', 'PIPELINE_START', 'PIPELINE_SUCCESS', 'RESOURCE_INIT_FAILURE',
    'RESOURCE_INIT_STARTED', 'RESOURCE_INIT_SUCCESS', 'STEP_EXPECTATION_RESULT', 'STEP_FAILURE', 'STEP_INPUT',
    'STEP_OUTPUT', 'STEP_RESTARTED', 'STEP_SKIPPED', 'STEP_START', 'STEP_SUCCESS', 'STEP_UP_FOR_RETRY',
    'STEP_WORKER_STARTED', 'STEP_WORKER_STARTING')
  then
    perform walls.refuse(format('store events of the type %s', kind));
  end if;
  if about is not null then
    planned := exists (
      select from public.event_logs
      where run_id = new.run_id and asset_key = new.asset_key and dagster_event_type = 'ASSET_MATERIALIZATION_PLANNED');
  elsif kind = 'ASSET_CHECK_EVALUATION' then
    planned := walls.planned_check(new.run_id, data);
  end if;
  if not planned then
    perform walls.refuse(format(
      'report %s from the run %s, which was not planned for it',
      coalesce(new.asset_key, concat_ws(' ', data #>> '{asset_key,path}', data ->> 'check_name')), new.run_id));
  end if;
  return new;
end $$;

-- Whether the host processes planned a check, given as the data of its evaluation, for a run.
create function walls.planned_check(run text, data jsonb) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  -- By the index. jsonb writes an asset's key as Python does, unless it has letters outside of ASCII.
  return exists (
      select from public.asset_check_executions
      where asset_key = data #>> '{asset_key,path}' and check_name = data ->> 'check_name' and run_id = run)
    or data #>> '{asset_key,path}' ~ '[^ -~]' and exists (
      select from public.asset_check_executions
      where walls.parse(asset_key) = data #> '{asset_key,path}' and check_name = data ->> 'check_name'
        and run_id = run);
end $$;

-- The newest event of an asset is one that a run of the location stored. The cache of its partitions, which Dagster
-- reads for all assets at once, is the host processes' alone: what a run counts for itself is not stored.
create function walls.check_asset_keys() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  stored record;
  changed boolean;
begin
  if tg_op = 'INSERT' then
    changed := new.last_materialization is not null or new.last_run_id is not null;
  else
    changed := (new.last_materialization, new.last_run_id) is distinct from (old.last_materialization, old.last_run_id);
  end if;
  if not walls.readable(new.last_materialization_timestamp) then
    perform walls.refuse('set a time that cannot be read');
  end if;
  if changed then
    select id, run_id, event into stored from public.event_logs
    where id = (walls.parse(new.last_materialization) ->> 'storage_id')::bigint and asset_key = new.asset_key
      and dagster_event_type = 'ASSET_MATERIALIZATION' and walls.own_run(run_id);
    if not found or new.last_run_id is distinct from stored.run_id then
      perform walls.refuse(format('set the newest materialization of %s to what it did not store', new.asset_key));
    end if;
    new.last_materialization := format(
      '{"__class__": "EventLogRecord", "event_log_entry": %s, "storage_id": %s}', stored.event, stored.id);
  end if;
  if tg_op = 'UPDATE' then
    new.cached_status_data := old.cached_status_data;
  end if;
  return new;
end $$;

-- A check's result is what an event of the same run says, about a materialization of its asset.
create function walls.check_asset_check_executions() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  evaluation jsonb;
begin
  select event into new.evaluation_event from public.event_logs
  where id = new.evaluation_event_storage_id and run_id = new.run_id and dagster_event_type = 'ASSET_CHECK_EVALUATION';
  if not found then
    perform walls.refuse('set a check''s result to what it did not store');
  end if;
  evaluation := walls.parse(new.evaluation_event) #> '{dagster_event,event_specific_data}';
  if walls.parse(new.asset_key) is distinct from evaluation #> '{asset_key,path}'
    or new.check_name is distinct from evaluation ->> 'check_name'
    or new.partition is distinct from evaluation ->> 'partition'
    or new.execution_status is distinct from (case evaluation ->> 'success' when 'true' then 'SUCCEEDED' else 'FAILED' end)
    or not walls.readable(new.evaluation_event_timestamp)
    or new.materialization_event_storage_id is distinct from
      (evaluation #>> '{target_materialization_data,storage_id}')::bigint
  then
    perform walls.refuse('set a check''s result to other than its event says');
  end if;
  return new;
end $$;

-- Whether a time in seconds since the epoch, which had no value yet, is set to no later time than now. The clock of the
-- run may be ahead a bit.
create function walls.now_or_before(before float, after float) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  return before is null and after between 0 and extract(epoch from clock_timestamp()) + 60;
end $$;

-- Whether Python can read a time: its years have four digits.
create function walls.readable(moment timestamp) returns boolean
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
  return moment is null or moment >= '1970-01-01' and moment < '9999-01-01';
end $$;

-- A run changes its status as a run does, and in its body the tags that are its own. Dagster takes the status from the
-- column; the one in the body may be older. An older release leaves out fields that it does not know: they stay.
create function walls.check_runs() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  before jsonb := walls.parse(old.run_body);
  written jsonb := walls.parse(new.run_body);
  after jsonb := before || written;
  foreign_tag text;
begin
  if new.status is distinct from old.status and not (
    old.status in ('STARTING', 'STARTED', 'CANCELING') and new.status in ('STARTED', 'SUCCESS', 'FAILURE', 'CANCELED'))
  then
    perform walls.refuse(format('set the status of the run %s from %s to %s', old.run_id, old.status, new.status));
  end if;
  -- As text, which tells 4000 from 4000.0. A null of a name like __class__ makes Dagster look for a class.
  if jsonb_strip_nulls(after - 'status' - 'tags')::text
      is distinct from jsonb_strip_nulls(before - 'status' - 'tags')::text
    or jsonb_path_exists(
      after, '$.** ? (@.type() == "object").keyvalue() ? (@.key starts with "__" && @.value == null)')
    or new.partition is distinct from old.partition or new.partition_set is distinct from old.partition_set
  then
    perform walls.refuse(format('change anything but status, times and tags of the run %s', old.run_id));
  end if;
  -- The daemon ends a run that takes too long by its start.
  if new.start_time is distinct from old.start_time and not walls.now_or_before(old.start_time, new.start_time)
    or new.end_time is distinct from old.end_time and not walls.now_or_before(old.end_time, new.end_time)
  then
    perform walls.refuse(format('change the times of the run %s', old.run_id));
  end if;
  select key into foreign_tag
  from jsonb_each(before -> 'tags') as was full join jsonb_each(after -> 'tags') as is_now using (key)
  where was.value is distinct from is_now.value
    and (not walls.own_tag(key, is_now.value #>> '{}') or jsonb_typeof(is_now.value) <> 'string')
  limit 1;
  if found then
    perform walls.refuse(format('write the tag %s of the run %s', foreign_tag, old.run_id));
  end if;
  if coalesce((after -> 'status')::text, '')
    !~ '^{"__enum__": "PipelineRunStatus\.(STARTING|STARTED|CANCELING|SUCCESS|FAILURE|CANCELED)"}$'
  then
    perform walls.refuse(format('write the status %s of the run %s', after ->> 'status', old.run_id));
  end if;
  if after -> 'tags' is distinct from before -> 'tags' and octet_length((after -> 'tags')::text) > 262144 then
    perform walls.refuse(format('give more than 262144 bytes of tags to the run %s', old.run_id));
  end if;
  -- As it was read here, for the text may have more: an object twice, of which Dagster reads the first as well, or half of
  -- a character. A run that cannot be read ends every list of runs, and with it the queue.
  new.run_body := after::text;
  if new.update_timestamp is distinct from old.update_timestamp then
    new.update_timestamp := timezone('utc', clock_timestamp());
  end if;
  return new;
end $$;

do $$
declare
  name text;
begin
  foreach name in array array[
    'event_logs', 'asset_event_tags', 'asset_keys', 'asset_check_executions', 'runs', 'run_tags']
  loop
    execute format('alter table public.%I enable row level security', name);
    execute format('create policy hosts on public.%I to dagster using (true)', name);
    execute format('create policy reads on public.%I for select to dagster_locations using (true)', name);
  end loop;
  foreach name in array array['event_logs', 'asset_keys', 'asset_check_executions', 'runs'] loop
    execute format(
      'create trigger walls before insert or update on public.%1$I for each row '
      -- Superusers are members of every role.
      'when (session_user <> ''dagster'' and not pg_has_role(session_user, ''dagster_owner'', ''member'')) '
      'execute function walls.check_%1$s()', name);
  end loop;
end $$;

-- As walls.own_run: a run has many events, each on a connection of its own, and the first call of a function costs 0.6
-- ms.
create policy own_events on event_logs for insert to dagster_locations
  with check (exists (
    select from runs where runs.run_id = event_logs.run_id and walls.location_of(runs.run_body) = session_user));
create policy own_runs on runs for update to dagster_locations using (walls.location_of(run_body) = session_user);
create policy adds_own_checks on asset_check_executions for insert to dagster_locations
  with check (walls.own_run(run_id));
create policy changes_own_checks on asset_check_executions for update to dagster_locations
  using (walls.own_run(run_id));
create policy adds_own_tags on run_tags for insert to dagster_locations
  with check (walls.own_tag(key, value) and value is not null and walls.own_run(run_id));
create policy changes_own_tags on run_tags for update to dagster_locations
  using (walls.own_tag(key, null) and walls.own_run(run_id))
  with check (walls.own_tag(key, value) and value is not null and walls.own_run(run_id));
create policy own_event_tags on asset_event_tags for insert to dagster_locations
  with check (value is not null and exists (
    select from event_logs
    where event_logs.id = event_id and event_logs.asset_key = asset_event_tags.asset_key
      and walls.own_run(event_logs.run_id)));
create policy adds_own_assets on asset_keys for insert to dagster_locations with check (walls.own_asset(asset_key));
create policy changes_own_assets on asset_keys for update to dagster_locations using (walls.own_asset(asset_key));

-- Dagster's cursors are in this table, too. Locations read the one entry that the load of definitions asks for.
alter table kvs enable row level security;
create policy hosts on kvs to dagster using (true);
create policy reads on kvs for select to dagster_locations using (key = '__latest_defs_state_info__');

-- The alerts read what the status does.
grant select on event_logs, asset_keys, runs, run_tags to alerts;
do $$
declare
  name text;
begin
  foreach name in array array['event_logs', 'asset_keys', 'runs', 'run_tags'] loop
    execute format('create policy alerts on public.%I for select to alerts using (true)', name);
  end loop;
end $$;

-- Housekeeping is the platform's. It stores the output of other locations' failed runs, and it prunes: the types are
-- those of platform_location/src/platform_location/event_log.py.
create policy stores_output on event_logs for insert to platform_location
  with check (dagster_event_type = 'ENGINE_EVENT');
grant delete on event_logs to platform_location;
-- Pruning locks the rows that it deletes, which takes the right to update a column. No update passes its policy.
grant update (id) on event_logs to platform_location;
create function walls.prunable(run text, kind text, asset text) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  return asset is null
    and (kind is null or kind in (
      'ENGINE_EVENT', 'STEP_WORKER_STARTING', 'STEP_WORKER_STARTED', 'RESOURCE_INIT_STARTED', 'RESOURCE_INIT_SUCCESS',
      'LOGS_CAPTURED', 'STEP_INPUT', 'LOADED_INPUT', 'HANDLED_OUTPUT', 'OBJECT_STORE_OPERATION', 'HOOK_COMPLETED',
      'HOOK_ERRORED', 'HOOK_SKIPPED', 'STEP_OUTPUT'))
    and exists (
      select from public.runs
      where run_id = run
        and status in ('SUCCESS', case when kind is distinct from 'STEP_OUTPUT' then 'FAILURE' end,
          case when kind is distinct from 'STEP_OUTPUT' then 'CANCELED' end));
end $$;
create policy prunes on event_logs for delete to platform_location
  using (walls.prunable(run_id, dagster_event_type, asset_key));
create policy locks_what_it_prunes on event_logs for update to platform_location
  using (walls.prunable(run_id, dagster_event_type, asset_key)) with check (false);
