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

-- First pass: only look.  What each window gets is collected, since a call of
-- Redis for each record would take most of the time that others wait.
local batch = {}                -- by window: its members in order
for i = from, #ARGV, 6 do
    local offset, ts, kind = tonumber(ARGV[i]), tonumber(ARGV[i + 1]),
                             ARGV[i + 2]
    if offset >= first and kind ~= 'x' then
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
            local b = batch[w]
            if not b then
                b = { first = ARGV[i], members = {}, more = {}, row = {},
                      counts = {} }
                batch[w] = b
            end
            if not b.more[member] then
                b.members[#b.members + 1] = member
                b.more[member] = 0
                b.row[member] = ARGV[i + 5]
            end
            b.more[member] = b.more[member] + 1
        end
        if watermark == nil or ts > watermark then
            watermark, mark = ts, ARGV[i + 1]
        end
    end
end

-- How often each was counted before; who comes without a row must have been.
local SLICE = 500               -- members in one call: Lua's stack has an end
for w = 1, windows do
    local b = batch[w]
    for from = 1, b and #b.members or 0, SLICE do
        local to = math.min(from + SLICE - 1, #b.members)
        local had = not fresh[w] and redis.call(
            'HMGET', KEYS[3 * w + 1], unpack(b.members, from, to)) or {}
        for i = from, to do
            local count = had[i - from + 1]
            if not count and b.row[b.members[i]] == '' then
                return { 'BROKEN' }
            end
            b.counts[i] = count and tonumber(count) or 0
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
for w = 1, windows do
    local b = batch[w]
    local unique, count, file = KEYS[3 * w], KEYS[3 * w + 1], KEYS[3 * w + 2]
    if b and fresh[w] then
        -- Closed before and kept for inspection, or left by an expired
        -- state: a window begins empty.
        redis.call('HSET', open, ARGV[11 + w], b.first)
        redis.call('UNLINK', unique, count, file)
    end
    for from = 1, b and #b.members or 0, SLICE do
        local counts, new, rows = {}, {}, {}
        for i = from, math.min(from + SLICE - 1, #b.members) do
            local member = b.members[i]
            counts[#counts + 1] = member
            counts[#counts + 1] = string.format('%.0f', b.counts[i]
                                                        + b.more[member])
            if b.counts[i] == 0 then
                new[#new + 1] = member
                rows[#rows + 1] = member
                rows[#rows + 1] = b.row[member]
            end
        end
        redis.call('HSET', count, unpack(counts))
        if #new > 0 then
            redis.call('SADD', unique, unpack(new))
            redis.call('HSET', file, unpack(rows))
        end
    end
end
redis.call('PEXPIRE', progress, ARGV[9])
for i = 2, #KEYS do
    redis.call('PEXPIRE', KEYS[i], ARGV[10])
end
return { 'OK', mark }
