-- Decides by the run policies which containers the run launcher may ask Docker for.
--
-- The deploy of a location records what a run of it may be, in a file that no location's code can write. This reads the
-- file at each request. A request to create a container is compared with the container that the policy describes, and
-- Docker gets a body that is written here. So nothing that this and Docker's parser read differently gets through.

local cjson = require("cjson.safe").new()
cjson.decode_max_depth(20)

local POLICIES = "/opt/dagster/run_policies/"
local ENGINE = "unix@/var/run/docker.sock"
-- Milliseconds for the engine to create a container; the launcher waits a minute.
local ENGINE_TIMEOUT = 60000
local MAX_BODY = 262144
local COMMAND = { "dagster", "api", "execute_run" }

local PROJECT = os.getenv("COMPOSE_PROJECT_NAME")
if not PROJECT or not PROJECT:match("^[a-z0-9][a-z0-9_-]*$") then
    error("COMPOSE_PROJECT_NAME is not set to the name of the compose project.")
end

local function hex(digits)
    return ("[0-9a-f]"):rep(digits)
end
local RUN_ID = "^" .. table.concat({ hex(8), hex(4), hex(4), hex(4), hex(12) }, "%-") .. "$"

-- A refusal is raised as a table, so that an error of this code is never taken for one.
local function refuse(reason, ...)
    error({ refusal = reason:format(...) }, 0)
end

local function is_positive(number)
    return math.type(number) ~= nil and number > 0 and number < math.huge
end

local function are_strings(values)
    if type(values) ~= "table" then
        return false
    end
    for _, value in pairs(values) do
        if type(value) ~= "string" then
            return false
        end
    end
    return true
end

-- Returns the run policy of a location. Refuses if there is none that can be used.
local function read_policy(location)
    if type(location) ~= "string" or not location:match("^[a-z][a-z0-9_]*$") then
        refuse("the label location does not name a code location")
    end
    local path = POLICIES .. location .. ".json"
    local file, problem = io.open(path)
    if not file then
        refuse("%s has no run policy (%s). `make deploy LOCATION=%s` writes it", location, problem, location)
    end
    local content = file:read("a") or ""
    file:close()
    local policy = cjson.decode(content)
    local usable = type(policy) == "table"
        and policy.location == location
        and policy.project == PROJECT
        and type(policy.network) == "string"
        and are_strings(policy.images)
        and are_strings(policy.environment)
        and are_strings(policy.volumes)
        and is_positive(policy.memory)
        and is_positive(policy.cpus)
        and is_positive(policy.pids)
    if not usable then
        refuse("%s is not a run policy of this project. `make deploy LOCATION=%s` writes it", path, location)
    end
    return policy
end

local function contains(list, wanted)
    for _, value in ipairs(list) do
        if value == wanted then
            return true
        end
    end
    return false
end

-- Returns the value as it is compared: the order of a list does not count.
local function comparable(value)
    if type(value) ~= "table" or #value == 0 or not are_strings(value) then
        return value
    end
    local sorted = table.move(value, 1, #value, 1, {})
    table.sort(sorted)
    return sorted
end

-- Refuses what differs between the container that was asked for and the one that the policy describes.
local function compare(asked, expected, path)
    if expected == nil then
        refuse("%s is not allowed", path)
    end
    if asked == nil then
        refuse("%s is missing", path)
    end
    if type(asked) ~= "table" or type(expected) ~= "table" then
        if asked ~= expected then
            refuse("%s differs from the run policy", path)
        end
        return
    end
    local prefix = path and path .. "." or ""
    asked, expected = comparable(asked), comparable(expected)
    for key, value in pairs(asked) do
        compare(value, expected[key], prefix .. key)
    end
    for key, value in pairs(expected) do
        compare(asked[key], value, prefix .. key)
    end
end

-- Counts the members of all objects within a value.
local function count_members(value)
    local count = 0
    if type(value) == "table" then
        for key, member in pairs(value) do
            count = count + (type(key) == "string" and 1 or 0) + count_members(member)
        end
    end
    return count
end

-- Decodes a body. Refuses what parsers disagree on: invalid UTF-8, NUL bytes, a member that an object has twice.
local function decode(body)
    local decoded, problem = cjson.decode(body)
    if type(decoded) ~= "table" then
        refuse("the body is not a JSON object (%s)", problem or "it is a " .. type(decoded))
    end
    if not utf8.len(body) or body:find("\0", 1, true) then
        refuse("the body is not UTF-8 text")
    end
    -- Outside of strings, JSON has one colon per member. The decoder keeps one of two members with the same name.
    local _, colons = body:gsub("\\.", ""):gsub('"[^"]*"', ""):gsub(":", "")
    if colons ~= count_members(decoded) then
        refuse("the body has a key twice in one object")
    end
    return decoded
end

-- Returns the command of a run. Its arguments are free: they are data for the code of the location's image.
local function run_command(asked)
    if not are_strings(asked) then
        refuse("Cmd is not a list of strings")
    end
    for number, word in ipairs(COMMAND) do
        if asked[number] ~= word then
            refuse("Cmd does not begin with %s", table.concat(COMMAND, " "))
        end
    end
    return asked
end

-- Returns the container that the policy of its location describes, for the run that the asked one names. The launcher
-- makes the same of a policy (services/dagster/platform_host/run_container.py).
local function run_container(asked, name)
    local labels = type(asked.Labels) == "table" and asked.Labels or {}
    local policy = read_policy(labels.location)
    local run_id = tostring(labels["dagster/run_id"]):match(RUN_ID)
    if not run_id or name ~= PROJECT .. "-run-" .. run_id then
        refuse("the name is not %s-run-, followed by the label dagster/run_id", PROJECT)
    end
    local job = tostring(labels["dagster/job_name"]):match("^[%w_]+$")
    if not job then
        refuse("the label dagster/job_name is not the name of a job")
    end
    if not contains(policy.images, asked.Image) then
        refuse("Image is not among the images of %s", policy.location)
    end
    local environment = { "DAGSTER_RUN_JOB_NAME=" .. job }
    for variable, value in pairs(policy.environment) do
        table.insert(environment, variable .. "=" .. value)
    end
    return {
        Image = asked.Image,
        Cmd = run_command(asked.Cmd),
        Env = environment,
        Labels = {
            project = PROJECT,
            location = policy.location,
            ["dagster/run_id"] = run_id,
            ["dagster/job_name"] = job,
        },
        HostConfig = {
            Binds = policy.volumes,
            NetworkMode = policy.network,
            Memory = policy.memory,
            NanoCpus = math.floor(policy.cpus * 1e9),
            PidsLimit = policy.pids,
            CapDrop = { "ALL" },
            SecurityOpt = { "no-new-privileges:true" },
            ReadonlyRootfs = true,
            Tmpfs = { ["/tmp"] = ("size=%d"):format(policy.memory // 2) },
            LogConfig = { Type = "json-file", Config = { ["max-size"] = "10m", ["max-file"] = "2" } },
            Init = true,
        },
    }
end

-- Returns the body for the engine, in JSON.
local function checked_body(body, name)
    local asked = decode(body)
    local container = run_container(asked, name)
    compare(asked, container)
    return cjson.encode(container)
end

local function answer(applet, status, body)
    applet:set_status(status)
    applet:add_header("content-type", "application/json")
    applet:add_header("content-length", tostring(#body))
    applet:start_response()
    applet:send(body)
end

local function answer_message(applet, status, message)
    core.Warning(message)
    answer(applet, status, cjson.encode({ message = message }))
end

core.register_service("create_run_container", "http", function(applet)
    -- The configuration refuses bodies of unknown length, and those that are longer than this.
    local body = applet:receive(MAX_BODY)
    local name = (applet.qs or ""):match("^name=([%w_.-]+)$") or ""
    local checked, result = pcall(checked_body, body, name)
    if not checked then
        local reason = type(result) == "table" and result.refusal or "the check failed: " .. tostring(result)
        local message = "docker-proxy refuses to create the container %s: %s."
        return answer_message(applet, 403, message:format(name, reason))
    end
    local response = core.httpclient():post({
        url = "http://127.0.0.1/containers/create?name=" .. name,
        headers = { host = { "docker" }, ["content-type"] = { "application/json" } },
        body = result,
        dst = ENGINE,
        timeout = ENGINE_TIMEOUT,
    })
    if not response or not response.status or response.status == 0 then
        return answer_message(applet, 503, "docker-proxy does not reach Docker's engine at its socket.")
    end
    answer(applet, response.status, response.body or "")
end)
