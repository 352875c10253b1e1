"""The changes we make on the server of django-tasks-redis, each in one step there.

Each looks first whether the task is as it was read: its status, its attempts, and the message
that its worker holds. So of us, another of us and the package's own reclaim exactly one acts.
"""

from __future__ import annotations

# READY again, or FAILED. What it must find, and what it is to write, come as JSON.
# KEYS: the task's hash; the status index, of the backend and of the queue (4 + 4); the stream
# and the delayed set for what is ready; the stream in which the worker holds its message.
MOVE = """
local order = cjson.decode(ARGV[1])
local names = {'status', 'worker_ids_json', 'last_attempted_at', 'finished_at', 'errors_json'}
local found = redis.call('HMGET', KEYS[1], unpack(names))
for i, value in ipairs(order.found) do
    if (found[i] or '') ~= value then
        return 0
    end
end
-- Before anything is changed: a script that stops in the middle is not taken back.
local errors = {}
if order.error then
    local read, kept = pcall(cjson.decode, found[5] or '')
    if read and type(kept) == 'table' then
        errors = kept
    end
    errors[#errors + 1] = order.error
    errors = cjson.encode(errors)
end
if order.message ~= '' then
    local entry = redis.pcall('XPENDING', KEYS[12], order.group, order.message, order.message, 1)
    if entry.err or not entry[1] or entry[1][2] ~= order.consumer then
        return 0
    end
    redis.call('XACK', KEYS[12], order.group, order.message)
    redis.call('XDEL', KEYS[12], order.message)
end
if order.error then
    redis.call('HSET', KEYS[1], 'errors_json', errors)
end
for name, value in pairs(order.fields) do
    redis.call('HSET', KEYS[1], name, value)
end
if order.ttl > 0 then
    redis.call('EXPIRE', KEYS[1], order.ttl)
else
    redis.call('PERSIST', KEYS[1])
end
local statuses = {'READY', 'RUNNING', 'SUCCESSFUL', 'FAILED'}
for i, status in ipairs(statuses) do
    for _, key in ipairs({KEYS[1 + i], KEYS[5 + i]}) do
        if status == order.fields.status then
            redis.call('ZADD', key, order.since, order.id)
        else
            redis.call('ZREM', key, order.id)
        end
    end
end
if order.fields.status == 'READY' then
    if order.delayed then
        redis.call('ZADD', KEYS[11], order.since, order.id)
    else
        redis.pcall('XGROUP', 'CREATE', KEYS[10], order.group, '0', 'MKSTREAM')
        redis.call('XADD', KEYS[10], '*', unpack(order.entry))
    end
end
return 1
"""

# Deletes a task that still has this status and this end; both empty: one whose hash is gone.
# KEYS: the task's hash, the set of all tasks, the status index (4, or 4 + 4).
DELETE = """
local found = redis.call('HMGET', KEYS[1], 'status', 'finished_at')
if (found[1] or '') ~= ARGV[2] or (found[2] or '') ~= ARGV[3] then
    return 0
end
redis.call('UNLINK', KEYS[1])
redis.call('SREM', KEYS[2], ARGV[1])
for i = 3, #KEYS do
    redis.call('ZREM', KEYS[i], ARGV[1])
end
return 1
"""
