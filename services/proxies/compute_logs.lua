-- Serves what the runs of one location print, and deletes it when it is old. The location's runs write these files, so any
-- of them may be a link, a FIFO or endless. Whatever is opened here, this container holds nothing else of value.
local dirent = require("posix.dirent")
local fcntl = require("posix.fcntl")
local stat = require("posix.sys.stat")
local unistd = require("posix.unistd")

local FOLDER = "/opt/dagster/compute_logs"
local CHUNK_BYTES = 1048576
local HOUR_SECONDS = 3600
local DAY_SECONDS = 86400

local function opened(path)
    -- Without NONBLOCK, opening a FIFO would wait for a writer, and all connections with it.
    local file = fcntl.open(path, fcntl.O_RDONLY | fcntl.O_NONBLOCK)
    if not file then
        return nil
    end
    -- The path may change at any time, so what was opened is compared with what is there: a link is another file than its
    -- target. This module has no O_NOFOLLOW.
    local found, there = stat.fstat(file), stat.lstat(path)
    if there and there.st_dev == found.st_dev and there.st_ino == found.st_ino and stat.S_ISREG(found.st_mode) ~= 0 then
        return file
    end
    unistd.close(file)
    return nil
end

-- GET /PATH?offset=BYTES answers with at most CHUNK_BYTES of a regular file. compute_logs.cfg passes only paths of log files.
core.register_service("compute_log", "http", function(applet)
    local offset = math.tointeger(tonumber(applet.qs:match("^offset=(%d+)$"))) or 0
    local file = opened(FOLDER .. applet.path)
    local bytes
    if file then
        unistd.lseek(file, offset, unistd.SEEK_SET)
        bytes = unistd.read(file, CHUNK_BYTES)
        unistd.close(file)
    end
    applet:set_status(bytes and 200 or 404)
    applet:add_header("content-length", bytes and #bytes or 0)
    applet:start_response()
    applet:send(bytes or "")
end)

local function names(folder)
    local found = {}
    for name in dirent.files(folder) do
        if name ~= "." and name ~= ".." then
            found[#found + 1] = name
        end
    end
    return found
end

local function remove(path)
    if stat.S_ISDIR(stat.lstat(path).st_mode) == 0 then
        unistd.unlink(path)
        return
    end
    for _, name in ipairs(names(path)) do
        remove(path .. "/" .. name)
        -- The connections go on meanwhile.
        core.yield()
    end
    unistd.rmdir(path)
end

local history_days = tonumber(os.getenv("HISTORY_DAYS") or "")

local function prune()
    local ended_before = os.time() - history_days * DAY_SECONDS
    for _, name in ipairs(names(FOLDER)) do
        local path = FOLDER .. "/" .. name
        -- The folder of a run's files is last written when the run's step ends.
        local written = stat.lstat(path .. "/compute_logs") or stat.lstat(path)
        if written.st_mtime < ended_before then
            -- A folder that cannot be read stays and keeps none of the others.
            local removed, problem = pcall(remove, path)
            if not removed then
                core.Warning("The old compute log " .. path .. " cannot be removed: " .. tostring(problem))
            end
        end
    end
end

-- platform_location refuses any other number, and says so.
if os.getenv("HOUSEKEEPING") == "on" and history_days and history_days >= 1 then
    core.register_task(function()
        while true do
            prune()
            core.sleep(HOUR_SECONDS)
        end
    end)
end
