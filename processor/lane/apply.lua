-- apply.lua: a batch moves the state of a partition, wholly or not at all.
--
-- KEYS  progress open, then unique count file of each window: first those the
--       batch counts into, then the other open ones, whose TTLs go along
-- ARGV  1 next as the lane believes, '' for none   2 closed
--       3 next after the batch                     4 its last record's id
--       5 window ms   6 lateness ms   7 version   8 ledger_next
--       9 TTL of progress, ms   10 TTL of the rest
--       11 how many windows the batch counts into, then for each its label;
--       then for each record: offset, time, kind, window's number, member,
--       row ('' when the lane knows the member to be there)
--       kinds: c count, l late, p past, r repeat, d dead, x unreadable,
--       t in the log twice: whether that place is late is all the same
--
-- The state is a function of the records before `next`, of `closed` and of
-- window and lateness.  So whoever holds another belief than what is stored
-- is refused, and what the lane decided about late records is decided again.
local progress, open = KEYS[1], KEYS[2]
local stored = redis.call('HMGET', progress, 'next', 'closed', 'watermark',
                          'window', 'lateness', 'version')
local next = stored[1]
local size, lateness = tonumber(ARGV[5]), tonumber(ARGV[6])
local closed = tonumber(ARGV[2])                   -- nil: nothing yet
local watermark = next and tonumber(stored[3]) or nil
local mark = next and stored[3] or ''              -- its text
local first = next and tonumber(next) or 0
local windows = tonumber(ARGV[11])
local from = 12 + windows

if (next or '') ~= ARGV[1] or (next and stored[2] ~= ARGV[2]) then
    return { 'FENCED', next or '', stored[2] or '' }
end
if next and (stored[6] ~= ARGV[7] or stored[4] ~= ARGV[5]
             or (stored[5] ~= ARGV[6] and redis.call('HLEN', open) > 0)) then
    return { 'FENCED', next, stored[2] }
end

-- A window that is open has all its keys, or Redis lost some of them.
local fresh = {}
for w = 1, windows do
    fresh[w] = not next or redis.call('HEXISTS', open, ARGV[11 + w]) == 0
    if not fresh[w] and redis.call('EXISTS', KEYS[3 * w], KEYS[3 * w + 1],
                                   KEYS[3 * w + 2]) ~= 3 then
        return { 'BROKEN' }
    end
end

-- First pass: only look.
local seen = {}
for i = from, #ARGV, 6 do
    local ts, kind = tonumber(ARGV[i + 1]), ARGV[i + 2]
    if tonumber(ARGV[i]) >= first and kind ~= 'x' then
        local start = ts - ts % size
        local over = closed ~= nil and start <= closed
        local due = watermark ~= nil and start + size + lateness <= watermark
        if kind == 'p' and not over or kind == 'l' and not (over or due)
           or (kind == 'c' or kind == 'r' or kind == 'd') and (over or due)
        then
            return { 'FENCED', next or '', stored[2] or '' }
        end
        if kind == 'c' then
            local w, member = tonumber(ARGV[i + 3]), ARGV[i + 4]
            local name = w .. ' ' .. member
            if ARGV[i + 5] == '' and not seen[name]
               and (fresh[w] or redis.call('SISMEMBER', KEYS[3 * w],
                                           member) == 0)
            then
                return { 'BROKEN' }
            end
            seen[name] = true
        end
        if watermark == nil or ts > watermark then
            watermark, mark = ts, ARGV[i + 1]
        end
    end
end

-- Second pass: change.  A full Redis refuses a script at its first write, if
-- that needs memory: so one that does comes first.
redis.call('HSET', progress, 'next', ARGV[3], 'last', ARGV[4],
           'watermark', mark, 'closed', ARGV[2], 'window', ARGV[5],
           'lateness', ARGV[6], 'version', ARGV[7], 'ledger', ARGV[8])
if not next then
    redis.call('DEL', open)
end
for i = from, #ARGV, 6 do
    if ARGV[i + 2] == 'c' and tonumber(ARGV[i]) >= first then
        local w, member = tonumber(ARGV[i + 3]), ARGV[i + 4]
        local unique, count, file = KEYS[3 * w], KEYS[3 * w + 1],
                                    KEYS[3 * w + 2]
        if redis.call('HSETNX', open, ARGV[11 + w], ARGV[i]) == 1 then
            -- Closed before and kept for inspection, or left by an expired
            -- state: a window begins empty.
            redis.call('UNLINK', unique, count, file)
        end
        redis.call('SADD', unique, member)
        redis.call('HINCRBY', count, member, 1)
        if ARGV[i + 5] ~= '' then
            redis.call('HSETNX', file, member, ARGV[i + 5])
        end
    end
end
redis.call('PEXPIRE', progress, ARGV[9])
for i = 2, #KEYS do
    redis.call('PEXPIRE', KEYS[i], ARGV[10])
end
return { 'OK', mark }
