-- check.lua: is the state still the one the lane built on?  Keeps it alive.
-- KEYS  progress open [unique count file of every open window]
-- ARGV  next closed, TTL of progress (0: leave them), TTL
local next, closed = unpack(redis.call('HMGET', KEYS[1], 'next', 'closed'))
if (next or '') ~= ARGV[1] or (next and closed ~= ARGV[2]) then
    return { 'FENCED', next or '', closed or '' }
end
if not next then
    return { 'OK' }
end

-- Keys live and die together: one that went alone was evicted or deleted.
for i = 3, #KEYS do
    if redis.call('EXISTS', KEYS[i]) == 0 then
        return { 'BROKEN' }
    end
end

if ARGV[3] ~= '0' then
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
    for i = 2, #KEYS do
        redis.call('PEXPIRE', KEYS[i], ARGV[4])
    end
end
return { 'OK' }
